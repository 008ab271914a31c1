"""What parameters may be. Whatever no channel could work with is refused here, by name, once per call on whole arrays.

*Numbers* are real and finite. Their magnitude is at most 2^100, that of widths and scales at least 2^-100 (2^60 and
2^-60 in single precision), so that squares and products of a few of them are finite as well.

*Kinds.* Integers and floating point numbers of Python and of numpy are numbers, and so are lists and arrays of them;
bool, complex, text and objects are not. Integers are turned into float64; float32 and float64 stay what they are.

*Shapes.* The parameters of a distribution broadcast to its shape. Target and reference have one shape; a distribution
whose parameters are scalars has every shape.

*Tables* of probabilities have no negative entries, and rows that sum to 1 within 1e-5.

Everything here raises TypeError for what is of the wrong kind and ValueError for what is out of range, in one line that
names the argument, what was given and what is allowed.
"""

import math
import operator
from typing import Any

import numpy as np

__all__ = [
    "LARGEST",
    "SMALLEST",
    "array",
    "broadcast",
    "coordinates",
    "distribution",
    "flag",
    "instance",
    "integer",
    "number",
    "one_of",
    "probabilities",
    "real",
    "same_shape",
    "shape_of",
    "source",
    "spread",
    "told",
    "within",
]

LARGEST, SMALLEST = 2.0**100, 2.0**-100
"""Magnitudes of numbers, and of positive ones."""
_LARGEST_SINGLE = 2.0**60
_POSITIVE = ("scale", "std", "width")
_SUM_TOLERANCE = 1e-5
_FARTHEST = 2.0**60


def told(value) -> str:
    """What was given, in a few words."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array {value.shape} of {value.dtype}"
    text = " ".join((str(value) if isinstance(value, np.generic | np.ndarray) else repr(value)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first(values, wrong: np.ndarray) -> str:
    """The first value of those that are wrong, and where it is."""
    place = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))
    return f"{told(np.atleast_1d(values)[place])} at {list(place)}"


def _bound(value: float) -> str:
    """Powers of two as such where they are not short otherwise."""
    exponent = np.log2(abs(value)) if value else 0.0
    if abs(exponent) < 20 or exponent != int(exponent):
        return f"{value:g}"
    return f"{'-' * (value < 0)}2^{int(exponent)}"


def instance(name: str, value, *kinds: type) -> None:
    """Refuses what is not of one of the kinds."""
    if not isinstance(value, kinds):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}, got {given}")


def one_of(name: str, value, allowed: tuple) -> None:
    """Refuses what is not among the values."""
    if not any(value is each or (isinstance(value, str) and value == each) for each in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {told(value)}")


def flag(name: str, value) -> None:
    """Refuses what is neither true nor false."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {told(value)}")


def integer(name: str, value, low: int, high: int) -> int:
    """An integer from `low` to `high` (inclusive), of Python's or numpy's kinds."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {told(value)}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {told(value)}") from None
    if not low <= result <= high:
        last = (high + 1).bit_length() - 1
        end = f"2^{last})" if high + 1 == 1 << last and high > 999 else f"{high}]"
        raise ValueError(f"{name} must be in [{low}, {end}, got {told(result)}")
    return result


def number(name: str, value, low: float = SMALLEST, high: float = LARGEST) -> Any:
    """One real number from `low` to `high`; by default a positive one."""
    values = np.asarray(value) if type(value) is float else array(name, value)
    if values.ndim:
        raise ValueError(f"{name} must be one number, got {told(values)}")
    if not low <= values <= high:
        allowed = "positive, " if low == SMALLEST else ""
        raise ValueError(f"{name} must be {allowed}from {_bound(low)} to {_bound(high)}, got {told(value)}")
    return value if isinstance(value, np.floating) else values.item()


def real(name: str, value, *, positive: bool = False) -> Any:
    """Real numbers, finite and of a magnitude that squares survive.

    Args:
      name: of the argument.
      value: a number, or what numpy makes an array of.
      positive: whether they must be.

    Returns:
      A float for a number of Python, else an array of float32 or float64.
    """
    if type(value) in (float, int) and (SMALLEST if positive else -LARGEST) <= value <= LARGEST:
        return float(value)
    values = array(name, value)
    high = _LARGEST_SINGLE if values.dtype == np.float32 else LARGEST
    low = 1 / high if positive else -high
    # Not a number is neither large nor small enough.
    least, most = np.minimum.reduce, np.maximum.reduce
    if values.size and not (low <= least(values, axis=None) and most(values, axis=None) <= high):
        given = _first(values, ~((values >= low) & (values <= high))) if values.ndim else told(value)
        allowed = "positive and finite" if positive else "finite"
        raise ValueError(f"{name} must be {allowed}, from {_bound(low)} to {_bound(high)}, got {given}")
    return values


def array(name: str, value) -> np.ndarray:
    """Numbers of any value as an array of float32 or float64."""
    if type(value) is int:
        return np.asarray(float(value) if abs(value) <= LARGEST else math.inf)
    try:
        values = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} must be an array of numbers, got {told(value)}, whose rows differ in length"
        ) from None
    if values.dtype in (np.float64, np.float32):
        return values
    if values.dtype.kind == "b" or not np.can_cast(values.dtype, np.float64, "same_kind"):
        given = told(values) if values.ndim else f"{told(value)} ({type(value).__name__})"
        raise TypeError(f"{name} must be real numbers, got {given}")
    with np.errstate(over="ignore"):
        return values.astype(np.float64)


def source(shared) -> None:
    """Refuses what is no common randomness, or one whose seed or stream is none (channel_sim.randomness)."""
    if not hasattr(shared, "key"):
        raise TypeError(f"shared must be SharedRandomness(seed, stream), got {told(shared)}")


def probabilities(name: str, value) -> np.ndarray:
    """Rows of probabilities, (..., K)."""
    table = array(name, value)
    if not table.ndim or not table.shape[-1]:
        raise ValueError(f"{name} must have rows of one symbol or more, got {told(table)}")
    if not table.size:
        return table
    if not np.minimum.reduce(table, axis=None) >= 0:
        raise ValueError(f"{name} must be finite and not negative, got {_first(table, ~(table >= 0))}")
    total = table.sum(-1, dtype=np.float64)
    off = np.abs(total - 1)
    if not np.maximum.reduce(off, axis=None) <= _SUM_TOLERANCE:
        given = _first(total, ~(off <= _SUM_TOLERANCE))
        raise ValueError(f"{name} must have rows that sum to 1, within {_SUM_TOLERANCE:g}, got the sum {given}")
    return table


def distribution(name: str, value, *kinds: type) -> Any:
    """A distribution of one of the kinds, with all its parameters checked.

    Args:
      name: of the argument.
      value: a NamedTuple of parameters (channel_sim.channel).
      kinds: what it may be.

    Returns:
      The same with its parameters as `real` and `probabilities` give them.
    """
    instance(name, value, *kinds)
    parts = (
        probabilities(f"{name}.{field}", part)
        if field == "probabilities"
        else real(f"{name}.{field}", part, positive=field in _POSITIVE)
        for field, part in zip(value._fields, value, strict=True)
    )
    return type(value)._make(parts)


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """The shape that the parameters of a distribution broadcast to; () if all are scalars."""
    shapes = {np.shape(part) for part in value} - {()}
    if len(shapes) < 2:
        return shapes.pop() if shapes else ()
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        fields = " and ".join(f"{name}.{field}" for field in value._fields)
        given = " and ".join(str(np.shape(part)) for part in value)
        raise ValueError(f"{fields} must have one shape or be scalars, got {given}") from None


def broadcast(target: Any, reference: Any) -> None:
    """Refuses two distributions whose shapes do not broadcast; rows of probabilities must have equally many symbols."""
    shapes = shape_of("target", target), shape_of("reference", reference)
    try:
        np.broadcast_shapes(*shapes)
        fits = "probabilities" not in target._fields or shapes[0][-1] == shapes[1][-1]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"target and reference must have one shape, got {shapes[0]} and {shapes[1]}")


def same_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Refuses a target that has not the shape of the reference."""
    found = shape_of(name, value)
    if found not in ((), shape):
        fields = " and ".join(f"{name}.{field}" for field in value._fields)
        scalars = "" if "probabilities" in value._fields else ", or be scalars"
        raise ValueError(f"{fields} must have the shape of the reference, {shape}{scalars}, got {found}")


def coordinates(**distributions: Any) -> int:
    """How many coordinates distributions of one axis have, all of them the same number."""
    known = {name: shape for name, value in distributions.items() if (shape := shape_of(name, value))}
    names = " and ".join(distributions)
    if not known:
        raise ValueError(f"{names} must have a parameter of shape (coordinates,), got scalars, which tell no number")
    for name, shape in known.items():
        if len(shape) != 1:
            raise ValueError(f"the parameters of {name} must be of shape (coordinates,) or scalars, got {shape}")
    if len(set(known.values())) > 1:
        given = " and ".join(str(shape) for shape in known.values())
        raise ValueError(f"{names} must have parameters of one shape (coordinates,) or scalars, got {given}")
    return known.popitem()[1][0]


def spread(parameter, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter in double precision, repeated to a shape if it has another one."""
    values = np.asarray(parameter, np.float64)
    return values if values.shape == shape else np.broadcast_to(values, shape)


def within(name: str, values, ticks, unit: str) -> None:
    """Refuses values that are 2^60 ticks or more from 0, where the integers of refinement end.

    Args:
      name: of the values.
      values: as they were given.
      ticks: the same in ticks of 2^-20 cells.
      unit: what a cell is as wide as, and where 0 is, in words.
    """
    least, most = np.minimum.reduce, np.maximum.reduce
    if np.size(ticks) and not (least(ticks, axis=None) > -_FARTHEST and most(ticks, axis=None) < _FARTHEST):
        given = _first(np.broadcast_to(values, np.shape(ticks)), ~(np.abs(ticks) < _FARTHEST))
        raise ValueError(f"{name} must be less than 2^40 {unit}, got {given}")
