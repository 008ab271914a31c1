"""In which order a step sends its coefficients: by how much a bit is expected to buy.

What a bit about a coefficient buys, its *slope*, is the expected fall of the squared error over the expected number of
bits, both under the reference psi that sender and receiver know. In a splitting step of width w it is

    slope(psi) = (Var[y] - E Var[y | child]) / H(child),      y ~ psi within the parent,                    (1)

between 0 and 0.7 w^2 for a zero cell, and up to any number of w^2 where nothing was known. A prefix that ends inside of
a step is best when slopes only ever fall (Li and Lei 1999, "An embedded still image coder with rate-distortion
optimization"; the fractional bit-planes of EBCOT, Taubman 2000, are the same thought), and gets better everywhere at
once instead of from top to bottom. References are made before a step, so nothing more is asked of the network.

Slopes are read from two tables, in sixteenths of w^2 per bit and rounded down, for the rows of
`channel_sim.split_tables`; the tables are computed once, when a model is made, and stored with it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from channel_sim.split_tables import LOCATION_CLASSES, LOCATION_STEPS, SCALE_CLASSES, SCALE_STEPS, SplitTables

__all__ = ["LARGEST", "Slopes"]

UNITS = 16
"""Units of a slope per w^2 and bit."""
LARGEST = 63
"""Larger slopes count as this one."""

_ROWS = (2 * SCALE_CLASSES + 1) * (2 * LOCATION_CLASSES + 1)
_POINTS = 64
"""Of the numerical integration, per child width."""
_FARTHEST = 64
"""Child widths from 0 that stand for the whole line: densities that reach farther have the largest slope anyway."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """The slopes of Eq. 1.

    Attributes:
      zero: of zero cells that are split, uint8 (rows,).
      first: of coefficients of which nothing was known, uint8 (rows,).
    """

    zero: np.ndarray
    first: np.ndarray

    def __post_init__(self):
        for name, table in self.to_arrays().items():
            if table.dtype != np.uint8 or table.shape != (_ROWS,) or table.max() > LARGEST:
                raise ValueError(f"slope/{name} must be uint8 ({_ROWS},), 0 to {LARGEST}")

    @classmethod
    @cache
    def logistic(cls) -> "Slopes":
        """Those of logistic densities, computed here (in double precision)."""
        return cls(zero=_table(2), first=_table(_FARTHEST))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Both tables, by name."""
        return {"zero": self.zero, "first": self.first}

    def order(self, location: np.ndarray, scale_class: np.ndarray, unit_log2: int, unseen: np.ndarray) -> np.ndarray:
        """Where the coefficients are that come first, second, ...: slopes fall, and equal ones stay as they are.

        Args:
          location: of references, in ticks, (n,).
          scale_class: 8 log2 of their scales in ticks, (n,).
          unit_log2: log2 of the width after the step, in ticks.
          unseen: of which coefficients nothing is known, bool (n,); the others are zero cells of twice the width.

        Returns:
          Indices, int64 (n,).
        """
        row = SplitTables.row(location, scale_class, np.asarray(unit_log2, np.int32))
        slope = np.where(unseen, self.first.take(row), self.zero.take(row))
        return np.argsort(LARGEST - slope, kind="stable")


def _table(reach: int) -> np.ndarray:
    """Eq. 1 for a parent of so many child widths on both sides of 0, by the midpoint rule."""
    points = (np.arange(-reach * _POINTS, reach * _POINTS) + 0.5) / _POINTS
    child = np.where(np.abs(points) < 1, 0, np.floor(np.abs(points)) * np.sign(points))
    starts = np.flatnonzero(np.diff(child, prepend=child[0] - 1))
    location = np.arange(-LOCATION_CLASSES, LOCATION_CLASSES + 1)[:, None] / LOCATION_STEPS
    rows = []
    for scale_class in np.arange(-SCALE_CLASSES, SCALE_CLASSES + 1):
        u = np.abs(points - location) / 2.0 ** (scale_class / SCALE_STEPS)
        log_density = -u - 2 * np.log1p(np.exp(-u))
        mass = np.exp(log_density - log_density.max(1, keepdims=True))
        mass /= mass.sum(1, keepdims=True)
        p, first = (np.add.reduceat(mass * points**power, starts, axis=1) for power in (0, 1))
        some = np.maximum(p, 1e-300)
        gain = np.sum(p * (first / some - first.sum(1, keepdims=True)) ** 2, 1)
        bits = -np.sum(p * np.log2(some), 1)
        rows.append(np.where(bits > 1e-9, gain / np.maximum(bits, 1e-9), 0))
    return np.minimum(np.floor(UNITS * np.concatenate(rows)), LARGEST).astype(np.uint8)
