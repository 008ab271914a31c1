"""Refinement of cells: how a message leads from the whole line to a cell of a dead-zone or a regular lattice.

The dead-zone partition of width w has the cells (-w, w), [k w, (k + 1) w) for k >= 1, and their mirror images
-[k w, (k + 1) w). Halving w splits the zero cell in three and every other cell in two. The *last split* cuts the zero
cell at 0 and makes the lattice regular.

Everything works on integers ("ticks"). A cell is an `Interval`: a sign and the ends of its magnitude. Four kinds of
split (channel_sim.split_tables) lead from the whole line to any cell: `first` tells the sign unless the cell is the
zero cell, `outer` doubles the magnitude until it is bounded (an Elias-gamma walk), `half` halves it down to the width,
and `zero` refines a zero cell. A `Reference` says with which probabilities: from stored tables, the same on every
machine, or from any density in floating point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from channel_sim import checks
from channel_sim.channel import Gaussian, Logistic
from channel_sim.entropy import ProbabilityTable, Reader, Sampler, Writer, quantize_probabilities
from channel_sim.split_tables import SplitTables

__all__ = [
    "OPEN",
    "DensityReference",
    "Interval",
    "Reference",
    "TableReference",
    "receive_last_split",
    "receive_refinement",
    "refinement_bits",
    "send_last_split",
    "send_refinement",
    "whole_line",
]

OPEN = np.int64(2) ** 62
"""Upper end of an unbounded interval."""


_LARGEST = 2**60


class Interval(NamedTuple):
    """What is known of integers y, one per coordinate: sign 0 means |y| < high, otherwise low <= sign * y < high.

    (For negative signs the ends belong the other way round: the mirror image of [low, high).)
    """

    sign: np.ndarray
    """int8: -1, 0 or 1."""
    low: np.ndarray
    """int64."""
    high: np.ndarray
    """int64; `OPEN` if unbounded."""

    @property
    def doubled_midpoint(self) -> np.ndarray:
        """Twice the midpoint, int64; 0 while the sign is unknown."""
        return self.sign * (self.low + self.high)


_PIECE = 2**20
"""Coordinates that are split at a time."""


def whole_line(count: int) -> Interval:
    """The state before anything was sent.

    Raises:
      TypeError: `count` is not an integer.
      ValueError: it is negative.
    """
    count = checks.integer("count", count, 0, 2**62)
    return Interval(np.zeros(count, np.int8), np.zeros(count, np.int64), np.full(count, OPEN))


@runtime_checkable
class Reference(Protocol):
    """Probabilities of the four splits for the coordinates `index`, as a table and a row for each of them."""

    def first(self, index: np.ndarray, unit: np.ndarray) -> tuple[ProbabilityTable, np.ndarray]: ...

    def zero(self, index: np.ndarray, unit: np.ndarray) -> tuple[ProbabilityTable, np.ndarray]: ...

    def outer(self, index, sign, unit) -> tuple[ProbabilityTable, np.ndarray]: ...

    def half(self, index, sign, middle, unit) -> tuple[ProbabilityTable, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class TableReference:
    """Logistic densities whose splits are read from stored integers: equal on every machine.

    Attributes:
      tables: see `channel_sim.split_tables`.
      location: int32, in ticks.
      scale_class: integer, 8 log2 of the scale in ticks.
    """

    tables: SplitTables
    location: np.ndarray
    scale_class: np.ndarray

    def first(self, index, unit):
        return self.tables.first, self._row(self.location[index], index, unit)

    def zero(self, index, unit):
        return self.tables.zero, self._row(self.location[index], index, unit)

    def outer(self, index, sign, unit):
        return self.tables.outer, self._row(sign * self.location[index], index, unit)

    def half(self, index, sign, middle, unit):
        return self.tables.half, self._row(sign * self.location[index] - middle, index, unit)

    def _row(self, location, index, unit):
        return self.tables.row(location, self.scale_class[index], _log2(unit))


@dataclass(frozen=True, eq=False)
class DensityReference:
    """Any logistic or Gaussian densities, in floating point: exact to 2^-24, equal only on equal machines.

    Attributes:
      density: location and scale per coordinate.
      tick: length of a tick in the density's units.
      shift: offset of y's origin in the density's units, per coordinate: y = (x - shift) / tick.
    """

    density: Logistic | Gaussian
    tick: float
    shift: np.ndarray

    def first(self, index, unit):
        return self._split(index, [np.full(len(index), -np.inf), -unit, unit, np.full(len(index), np.inf)])

    def zero(self, index, unit):
        return self._split(index, [-2 * unit, -unit, unit, 2 * unit])

    def outer(self, index, sign, unit):
        return self._split(index, [unit, 2 * unit, np.full(len(index), np.inf)], sign)

    def half(self, index, sign, middle, unit):
        return self._split(index, [middle - unit, middle, middle + unit], sign)

    def _split(self, index, ends, sign=1):
        center, scale = (checks.spread(part, self.shift.shape)[index] for part in self.density)
        psi = type(self.density)(center - self.shift[index], scale)
        points = [sign * end * self.tick for end in ends]
        masses = [psi.log_mass(np.minimum(a, b), np.maximum(a, b)) for a, b in zip(points, points[1:], strict=False)]
        shares = np.exp(np.stack(masses, -1) - np.max(masses, axis=0)[:, None])
        return ProbabilityTable(quantize_probabilities(shares)), np.arange(len(index))


def _log2(unit):
    """Exponent of a power of two below 2^53 (exact)."""
    return np.frexp(np.asarray(unit, np.float64))[1].astype(np.int64) - 1


def _refine(
    exchange: Callable, reference: Reference, cells: Interval, unit: int, first: int | None
) -> tuple[Interval, bool]:
    """Refines every cell until it is a dead-zone cell of width `unit` (or a cell of the regular lattice).

    `exchange(table, rows, index, cut)` gives the symbols of the split of the coordinates `index`: 0, 1 or 2 around
    the two cuts -cut and cut where the sign is unknown, else 0 or 1 for magnitudes below and from `cut` on.

    Returns:
      The cells, and whether all of them were completed: the message may end before.
    """
    sign, low, high = (np.array(part) for part in cells)

    def split(index, kind, cut, *geometry) -> bool:
        """In pieces, whose symbols come one after the other all the same: tables of whole pictures are large."""
        for start in range(0, len(index), _PIECE):
            part = slice(start, start + _PIECE)
            if not split_piece(index[part], kind, cut[part], *(values[part] for values in geometry)):
                return False
        return True

    def split_piece(index, kind, cut, *geometry) -> bool:
        symbols = exchange(*kind(index, *geometry), index, cut)
        told, cut = index[: len(symbols)], cut[: len(symbols)]
        if kind in (reference.first, reference.zero):
            inside = symbols == 1
            sign[told] = symbols - 1
            low[told] = np.where(inside, 0, cut)
            high[told] = np.where(inside, cut, high[told])
        else:
            low[told] = np.where(symbols == 1, cut, low[told])
            high[told] = np.where(symbols == 1, high[told], cut)
        return len(symbols) == len(index)

    def refine_zero_cells() -> bool:
        while len(index := np.flatnonzero((sign == 0) & (high > unit) & (high < OPEN))):
            half = high[index] >> 1
            if not split(index, reference.zero, half, half):
                return False
        return True

    if not refine_zero_cells():
        return Interval(sign, low, high), False
    if len(index := np.flatnonzero((sign == 0) & (high == OPEN))):
        cut = np.full(len(index), unit if first is None else first, np.int64)
        if not split(index, reference.first, cut, cut) or not refine_zero_cells():
            return Interval(sign, low, high), False
    # Magnitudes: double until bounded, then halve.
    while len(index := np.flatnonzero(high == OPEN)):
        if low[index].max() >= _LARGEST:
            raise OverflowError("a magnitude of 2^60 ticks: no source is that large, the message must be damaged")
        if not split(index, reference.outer, 2 * low[index], sign[index], low[index]):
            return Interval(sign, low, high), False
    while len(index := np.flatnonzero((sign != 0) & (high - low > unit))):
        half = (high[index] - low[index]) >> 1
        middle = low[index] + half
        if not split(index, reference.half, middle, sign[index], middle, half):
            return Interval(sign, low, high), False
    return Interval(sign, low, high), True


def _check_unit(unit: int, first: int | None = None) -> None:
    for name, width, least in (("unit", unit, 1), ("first", first, unit)):
        if width is not None and checks.integer(name, width, least, 2**61) & (width - 1):
            raise ValueError(f"{name} must be a power of two, got {width}")


def _check_source(y: np.ndarray) -> None:
    if y.dtype.kind != "i" or y.ndim != 1:
        raise TypeError(f"y must be a vector of signed integers, in ticks, got the shape {y.shape} of {y.dtype}")


def _children(table: ProbabilityTable, value: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Symbols of the children that values lie in (`_refine`)."""
    if table.frequencies.shape[1] == 3:
        return (value > -cut).astype(np.int32) + (value >= cut)
    return (np.abs(value) >= cut).astype(np.int32)


def send_refinement(
    writer: Writer, reference: Reference, cells: Interval, unit: int, y: np.ndarray, *, first: int | None = None
) -> Interval:
    """Sends, for every coordinate of y, its dead-zone cell of width `unit` given the cell known so far.

    Args:
      writer: takes the message.
      reference: psi.
      cells: what both sides know; must contain y.
      unit: the new width in ticks, a power of two, at most half the present widths.
      y: integers in ticks.
      first: width of the dead-zone cell that is told first where nothing is known, a power of two; by default `unit`.
        Tables know where a density lies up to some units from 0 (channel_sim.split_tables): where it may lie farther,
        a coarser beginning costs less.

    Returns:
      The new cells.

    Raises:
      TypeError: `unit`, `first` or `y` are not integers.
      ValueError: `unit` or `first` is no power of two, `first` is below `unit`, or a y is 2^60 ticks from 0.
    """
    _check_unit(unit, first)
    _check_source(y)

    def exchange(table, rows, index, cut):
        symbols = _children(table, y[index], cut)
        writer.encode(table, rows, symbols)
        return symbols

    try:
        return _refine(exchange, reference, cells, unit, first)[0]
    except OverflowError:
        raise ValueError(f"y must be less than 2^60 ticks from 0, got {np.min(y)} to {np.max(y)}") from None


def refinement_bits(
    reference: Reference, cells: Interval, unit: int, y: np.ndarray, *, first: int | None = None
) -> np.ndarray:
    """What every coordinate contributes to the ideal bits of `send_refinement`, float64 (n,)."""
    _check_unit(unit, first)
    _check_source(y)
    bits = np.zeros(len(y))

    def exchange(table, rows, index, cut):
        symbols = _children(table, y[index], cut)
        bits[index] += table.bits[rows, symbols]
        return symbols

    _refine(exchange, reference, cells, unit, first)
    return bits


def receive_refinement(
    reader: Reader | Sampler, reference: Reference, cells: Interval, unit: int, *, first: int | None = None
) -> tuple[Interval, bool]:
    """Mirror image of `send_refinement`; the flag says whether the message sufficed for all cells."""
    _check_unit(unit, first)

    def exchange(table, rows, index, cut):
        return reader.decode(table, rows)

    return _refine(exchange, reference, cells, unit, first)


def _last_split(exchange: Callable, reference: Reference, cells: Interval) -> tuple[Interval, bool]:
    """Cuts zero cells at 0: [0, w) gets the sign 1, (-w, 0) the sign -1."""
    sign = np.array(cells.sign)
    index = np.flatnonzero(sign == 0)
    if not len(index):
        return cells, True
    zero = np.zeros(len(index), np.int64)
    symbols = exchange(*reference.half(index, 1, zero, cells.high[index]), index)
    sign[index[: len(symbols)]] = 2 * symbols - 1
    return Interval(sign, cells.low, cells.high), len(symbols) == len(index)


def send_last_split(writer: Writer, reference: Reference, cells: Interval, y: np.ndarray) -> Interval:
    """Sends the split that makes the lattice regular: afterwards zero cells are [0, w) or (-w, 0)."""

    def exchange(table, rows, index):
        symbols = (y[index] >= 0).astype(np.int32)
        writer.encode(table, rows, symbols)
        return symbols

    return _last_split(exchange, reference, cells)[0]


def receive_last_split(reader: Reader | Sampler, reference: Reference, cells: Interval) -> tuple[Interval, bool]:
    """Mirror image of `send_last_split`."""
    return _last_split(lambda table, rows, index: reader.decode(table, rows), reference, cells)
