"""In which order pixels are sent: passes over finer and finer lattices.

The first pass has the pixels at multiples of 64 rows and columns. Then every level halves the spacing s in two passes,

    rows      pixels of the lattice's columns at odd multiples of s / 2 rows,
    columns   pixels of all these rows at odd multiples of s / 2 columns,                                   (1)

so that after a pass the known pixels are a lattice of their own. A pass goes row by row. What is known of the pixels
around one is named by sixteen neighbours, the nearest first; in units of h rows and columns from it, h being s / 2, or
64 in the first pass,

    first     (-1, 0) (-1, -1) (-1, 1) (-2, 0) (-1, -2) (-1, 2) (-2, -1) (-2, 1) (-3, 0)
              (-2, -2) (-2, 2) (-1, -3) (-1, 3) (-3, -1) (-3, 1) (-4, 0)
    rows      (-1, 0) (1, 0) (-1, -2) (-1, 2) (1, -2) (1, 2) (-2, 0) (-2, -2) (-2, 2)
              (-1, -4) (-1, 4) (1, -4) (1, 4) (-3, 0) (3, 0) (-4, 0)
    columns   (0, -1) (0, 1) (-1, 0) (1, -1) (1, 1) (-1, -1) (-1, 1) (-1, -2) (-1, 2)
              (0, -3) (0, 3) (1, -3) (1, 3) (-1, -3) (-1, 3) (-2, 0)                                        (2)

of which all of the first, (-2, x) and (-4, 0) of the rows and (-1, even) and (-2, 0) of the columns are of the pass
itself. A neighbour beyond the border, or below the last known row, is replaced by the first of the two nearest ones, or
by the other. The first row of the first pass has none.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["NEIGHBOURS", "PASSES", "Row", "lattice", "rows_of"]

_COARSEST = 64
PASSES = 13
"""The first one, and two for each of six levels."""

_AT_FIRST = ((-1, 0), (-1, -1), (-1, 1), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-3, 0))
_AT_FIRST += ((-2, -2), (-2, 2), (-1, -3), (-1, 3), (-3, -1), (-3, 1), (-4, 0))
_BY_ROWS = ((-1, 0), (1, 0), (-1, -2), (-1, 2), (1, -2), (1, 2), (-2, 0), (-2, -2), (-2, 2))
_BY_ROWS += ((-1, -4), (-1, 4), (1, -4), (1, 4), (-3, 0), (3, 0), (-4, 0))
_BY_COLUMNS = ((0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (-1, -2), (-1, 2))
_BY_COLUMNS += ((0, -3), (0, 3), (1, -3), (1, 3), (-1, -3), (-1, 3), (-2, 0))
NEIGHBOURS = len(_BY_ROWS)


class Row(NamedTuple):
    """A row of pixels of a pass."""

    row: int
    columns: slice
    neighbours: np.ndarray | None
    """Flat indices of the neighbours of every pixel, (16, n); None in the first row of the first pass."""


def lattice(known: int) -> tuple[int, int]:
    """Spacing of rows and of columns of the pixels that so many passes, at least one, have sent."""
    levels, half = divmod(known - 1, 2)
    spacing = _COARSEST >> levels
    return (spacing // 2, spacing) if half else (spacing, spacing)


def rows_of(index: int, height: int, width: int) -> Iterator[Row]:
    """The rows of a pass, for a picture of so many rows and columns."""
    if index == 0:
        yield Row(0, slice(0, width, _COARSEST), None)
        half, first, step, around = _COARSEST, 0, _COARSEST, _AT_FIRST
        chosen = range(_COARSEST, height, _COARSEST)
    else:
        half, by_rows = _COARSEST >> (index + 1) // 2, index % 2 == 1
        first, step, around = (0, 2 * half, _BY_ROWS) if by_rows else (half, 2 * half, _BY_COLUMNS)
        chosen = range(half, height, 2 * half) if by_rows else range(0, height, half)
    columns = np.arange(first, width, step)
    if not len(columns):
        return
    moves = half * np.array(around)
    across = columns + moves[:, 1:]
    beside = (across >= 0) & (across < width)
    for row in chosen:
        down = row + moves[:, :1]
        inside = beside & (down >= 0) & (down < height)
        places = down * width + across
        nearest = np.where(inside[0], places[0], places[1])
        yield Row(row, slice(first, width, step), np.where(inside, places, nearest))
