"""Integer probabilities for the four splits of nested dithered quantization, for a logistic or a Gaussian reference.

Refining an interval of the line under a reference density psi takes four kinds of split (channel_sim.refinement). With
the width u of the child cell as the unit of length they are

    first   (-inf, inf)  ->  (-inf, -1]  (-1, 1)  [1, inf)
    zero    (-2, 2)      ->  (-2, -1]    (-1, 1)  [1, 2)
    outer   [1, inf)     ->  [1, 2)      [2, inf)
    half    [-1, 1)      ->  [-1, 0)     [0, 1)

and the probability of a part is psi(part) / psi(whole). psi is the logistic or the normal density whose location m and
scale s are known in classes,

    m = a / 32,    a = -128, ..., 128,        s = 2^(r / 8),    r = -32, ..., 32,                        (1)

so that row 257 (r + 32) + (a + 128) of a table holds everything. Frequencies are integers out of 2^16; their
computation in double precision happens once, when a model is made. What coding reads is the stored integers.
"""

from dataclasses import dataclass, fields

import numpy as np

from channel_sim.channel import Gaussian, Logistic
from channel_sim.entropy import PRECISION, ProbabilityTable, quantize_probabilities

__all__ = ["LOCATION_STEPS", "SCALE_STEPS", "SplitTables"]

LOCATION_STEPS = 32
"""Location classes per child width."""
LOCATION_CLASSES = 4 * LOCATION_STEPS
"""Largest |a|."""
SCALE_STEPS = 8
"""Scale classes per octave."""
SCALE_CLASSES = 4 * SCALE_STEPS
"""Largest |r|."""
_BITS = 16


@dataclass(frozen=True, eq=False)
class SplitTables:
    """The four tables; rows are addressed by `row`."""

    first: ProbabilityTable
    zero: ProbabilityTable
    outer: ProbabilityTable
    half: ProbabilityTable

    @classmethod
    def logistic(cls) -> "SplitTables":
        """Tables of Eq. 1, computed here (in double precision, with this machine's libm)."""
        return cls._of(Logistic)

    @classmethod
    def gaussian(cls) -> "SplitTables":
        """The same for the normal density, s being its standard deviation."""
        return cls._of(Gaussian)

    @classmethod
    def _of(cls, family: type[Logistic] | type[Gaussian]) -> "SplitTables":
        scale = 2.0 ** (np.arange(-SCALE_CLASSES, SCALE_CLASSES + 1) / SCALE_STEPS)
        location = np.arange(-LOCATION_CLASSES, LOCATION_CLASSES + 1) / LOCATION_STEPS
        scale, location = (grid.reshape(-1) for grid in np.meshgrid(scale, location, indexing="ij"))

        def log_mass(low: float, high: float) -> np.ndarray:
            """Of psi around its location; mirrored into the left half, so that mirror images give the same integers."""
            a, b = low - location, high - location
            right = a > -b
            return family(0.0, scale).log_mass(np.where(right, -b, a), np.where(right, -a, b))

        def table(*ends: float) -> np.ndarray:
            whole = log_mass(ends[0], ends[-1])
            parts = [np.exp(log_mass(a, b) - whole) for a, b in zip(ends, ends[1:], strict=False)]
            return quantize_probabilities(np.stack(parts, axis=-1), _BITS)

        infinity = np.inf
        return cls.from_arrays(
            first=table(-infinity, -1.0, 1.0, infinity),
            zero=table(-2.0, -1.0, 1.0, 2.0),
            outer=table(1.0, 2.0, infinity),
            half=table(-1.0, 0.0, 1.0),
        )

    @classmethod
    def from_arrays(cls, **frequencies: np.ndarray) -> "SplitTables":
        """Tables from stored frequencies out of 2^16, as `to_arrays` gives them.

        Raises:
          TypeError: a table does not hold integers.
          ValueError: a table is missing, has the wrong shape or its rows do not sum to 2^16.
        """
        if set(frequencies) != {field.name for field in fields(cls)}:
            raise ValueError(f"there must be the tables first, zero, outer and half, got {', '.join(frequencies)}")
        rows = (2 * SCALE_CLASSES + 1) * (2 * LOCATION_CLASSES + 1)
        for name, symbols in (("first", 3), ("zero", 3), ("outer", 2), ("half", 2)):
            if frequencies[name].shape != (rows, symbols):
                raise ValueError(f"table {name!r} must be {(rows, symbols)}, got {frequencies[name].shape}")
            if frequencies[name].dtype.kind not in "iu":
                raise TypeError(f"table {name!r} must hold integers, got {frequencies[name].dtype}")
        scaled = {name: table.astype(np.int64) << (PRECISION - _BITS) for name, table in frequencies.items()}
        return cls(**{name: ProbabilityTable(table) for name, table in scaled.items()})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The four tables as uint16 (rows, symbols)."""
        tables = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: (t.frequencies >> (PRECISION - _BITS)).astype(np.uint16) for name, t in tables.items()}

    @staticmethod
    def row(location: np.ndarray, scale_class: np.ndarray, unit_log2: np.ndarray) -> np.ndarray:
        """Row for a location and scale given in ticks, where the child width is 2^unit_log2 >= 64 ticks.

        Args:
          location: m in ticks, int32, relative to the origin of the split.
          scale_class: 8 log2(s in ticks), rounded, integer.
          unit_log2: log2 of the child width in ticks, integer, scalar or array.

        Returns:
          The row of Eq. 1: the location is rounded to the nearest class (half up), both are clipped to the classes.
        """
        drop = unit_log2 - 5  # 2^5 location classes per unit
        a = _within((location + (1 << (drop - 1))) >> drop, LOCATION_CLASSES)
        r = _within(scale_class - SCALE_STEPS * unit_log2, SCALE_CLASSES)
        return (r + SCALE_CLASSES) * (2 * LOCATION_CLASSES + 1) + (a + LOCATION_CLASSES)


def _within(values: np.ndarray, largest: int) -> np.ndarray:
    """numpy.clip to +-largest; that function takes longer than the work on short arrays."""
    return np.minimum(np.maximum(values, -largest), largest)
