"""Grids of any size in programmes of a few shapes.

A compiled programme has shapes. So that pictures of all sizes share a few programmes, grids of h x w cells are laid out
as one row of cells, line after line, each line followed by an empty cell and each grid by an empty line:

    cell (r, c) of grid i is at place ((h + 1) i + r) S + c,      S = w + 1,                                (1)

so that the neighbours of the cell at p are at p +- 1, p +- S and p +- S +- 1, whatever the size. Empty places hold
zeros, which is what a SAME convolution sees beyond the border: results are the same to the last bit. S and the number
of cells are arguments; what is compiled is a `Capacity`. Programmes work on a chunk of cells at a time (`Sweep`), as
often as there are cells, so that arithmetic follows the grids and not the capacity. A part of the chunks can be asked
for alone, so that parts go to the cores of a machine.

A cell may be a square of positions itself: a band of a wavelet transform has 1 x 1 or more of them in every block of
the picture. `Sweep.tile` gives the squares of a chunk, with the positions around them.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32

__all__ = [
    "CAPACITIES",
    "FARTHEST",
    "Capacity",
    "Cells",
    "Piece",
    "Sweep",
    "cells_of",
    "laid_out",
    "pieces",
    "taken_back",
]


class Capacity(NamedTuple):
    """What a programme is compiled for."""

    cells: int
    """Places from the first cell to the last (Eq. 1), at most."""
    chunk: int
    """Places that are worked on at once; divides `cells`."""
    margin: int
    """Empty places before the first cell and after the last, at least 2 S + 2."""

    @property
    def places(self) -> int:
        """Length of arrays."""
        return self.cells + 2 * self.margin

    def holds(self, grids: int, height: int, width: int) -> bool:
        """Whether there are places for so many grids of h x w cells."""
        return _count(grids, height, width) <= self.cells and 2 * (width + 1) + 2 <= self.margin


def _count(grids: int, height: int, width: int) -> int:
    """Places from the first cell to the last."""
    return (grids * (height + 1) - 1) * (width + 1) - 1


CAPACITIES = (
    Capacity(80, 80, 48),
    Capacity(512, 32, 160),
    Capacity(2048, 128, 320),
    Capacity(8192, 128, 640),
    Capacity(25600, 128, 2048),
)
"""Of programmes. Chunks are small beside the grids that need a capacity, and large enough for products of matrices to
be fast."""


FARTHEST = 32
"""Longest reach of `Sweep.fill`."""


class Cells(NamedTuple):
    """Where cells are: arrays, an argument of programmes."""

    classes: Any
    """A number from 0 for every cell, -1 for empty places; int8 (places,)."""
    stride: Any
    """S of Eq. 1, int32."""
    chunks: Any
    """How many of them hold cells, int32."""
    part: Any
    """First of the chunks whose results are asked for, and the one after the last: int32 (2,)."""
    around: Any
    """Chunks that cells so many rows, columns or diagonals away lie in, at most: int32 (FARTHEST + 1,)."""

    def parts(self, count: int) -> "list[Cells]":
        """The same cells with a part of the chunks each, nearly equal ones."""
        ends = [int(self.chunks) * i // count for i in range(count + 1)]
        return [self._replace(part=np.array(pair, np.int32)) for pair in zip(ends, ends[1:], strict=False)]

    def places(self, capacity: Capacity) -> slice:
        """Where the results are that are asked for."""
        first, last = (int(end) * capacity.chunk + capacity.margin for end in self.part)
        return slice(first, last)


def cells_of(capacity: Capacity, grids: int, classes: Int[np.ndarray, "h w"]) -> Cells:
    """Where the cells of some grids of one size are, their numbers being `classes` in each of them."""
    height, width = classes.shape
    laid = np.full(capacity.places, -1, np.int8)
    taken_back(laid, capacity, grids, height, width)[...] = classes
    chunks = -(-_count(grids, height, width) // capacity.chunk)
    stride, part = np.asarray(width + 1, np.int32), np.array([0, chunks], np.int32)
    around = [-(-reach * (width + 2) // capacity.chunk) for reach in range(FARTHEST + 1)]
    return Cells(laid, stride, np.asarray(chunks, np.int32), part, np.array(around, np.int32))


def laid_out(x: np.ndarray, capacity: Capacity) -> np.ndarray:
    """Grids (n, h, w, ...) as a row of cells (places, ...), zero where there are none (Eq. 1)."""
    laid = np.zeros((capacity.places, *x.shape[3:]), x.dtype)
    taken_back(laid, capacity, *x.shape[:3])[...] = x
    return laid


def taken_back(laid: np.ndarray, capacity: Capacity, grids: int, height: int, width: int) -> np.ndarray:
    """Mirror image of `laid_out`, as a view (n, h, w, ...)."""
    stride, start = width + 1, capacity.margin
    # The empty line after the last grid lies in the margin.
    part = laid[start : start + grids * (height + 1) * stride]
    return part.reshape(grids, height + 1, stride, *laid.shape[1:])[:, :height, :width]


class Piece(NamedTuple):
    """What of some grids is evaluated at once."""

    capacity: Capacity
    grids: slice
    rows: slice
    columns: slice
    """Pieces of one grid overlap by their halos."""
    inner_rows: slice
    inner_columns: slice
    """What counts, relative to the first row and column of the piece."""

    @property
    def target(self) -> tuple[slice, slice, slice]:
        """Where that lies in the grids."""
        rows, columns = (
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in ((self.rows, self.inner_rows), (self.columns, self.inner_columns))
        )
        return self.grids, rows, columns


def pieces(grids: int, height: int, width: int, halo: int, most_cells: int | None = None) -> Iterator[Piece]:
    """Cuts grids into what is evaluated at once: as many as the largest capacity holds, or tiles of one.

    Args:
      grids: how many there are.
      height: of each, in cells.
      width: likewise.
      halo: cells around one that its result depends on.
      most_cells: of a capacity, where cells take much memory; by default any.
    """
    small_enough = [capacity for capacity in CAPACITIES if most_cells is None or capacity.cells <= most_cells]
    largest = (small_enough or CAPACITIES[:1])[-1]
    together = next((n for n in range(grids, 0, -1) if largest.holds(n, height, width)), 1)
    rows_parts, columns_parts = (1, 1) if largest.holds(1, height, width) else _parts(height, width, halo, largest)
    for first in range(0, grids, together):
        chosen = slice(first, min(first + together, grids))
        for rows, inner_rows in _spans(height, rows_parts, halo):
            for columns, inner_columns in _spans(width, columns_parts, halo):
                size = chosen.stop - first, rows.stop - rows.start, columns.stop - columns.start
                capacity = next(capacity for capacity in CAPACITIES if capacity.holds(*size))
                yield Piece(capacity, chosen, rows, columns, inner_rows, inner_columns)


def _parts(height: int, width: int, halo: int, largest: Capacity) -> tuple[int, int]:
    """Into how many rows and columns of tiles a grid is cut so that they fit and overlap least."""
    found = []
    for columns in range(1, 1 + width):
        across = min(width, math.ceil(width / columns) + 2 * halo)
        along = largest.cells // (across + 1)
        if not largest.holds(1, along, across) or along <= 2 * halo:
            continue
        rows = math.ceil(height / (along - 2 * halo))
        found.append((rows * (math.ceil(height / rows) + 2 * halo) * columns * across, rows, columns))
        if along >= height:
            break
    _, rows, columns = min(found)
    return rows, columns


def _spans(length: int, parts: int, halo: int) -> list[tuple[slice, slice]]:
    """A line of cells in equal parts: each with its halo, and what counts of that."""
    ends = [length * part // parts for part in range(parts + 1)]
    spans = []
    for start, stop in zip(ends, ends[1:], strict=False):
        outer = slice(max(0, start - halo), min(length, stop + halo))
        spans.append((outer, slice(start - outer.start, stop - outer.start)))
    return spans


class Sweep:
    """Inside of a programme: what is done for all cells, a chunk of them at a time.

    Arrays are rows of cells (places, ...). A chunk is named by the place of its first cell.
    """

    def __init__(self, capacity: Capacity, cells: Cells):
        self._capacity, self._cells = capacity, cells

    def at(self, x: Array, start: Array | int, moved: Array | np.ndarray | int = 0) -> Array:
        """What x holds at a chunk, moved by some places: (chunk, ...)."""
        return jax.lax.dynamic_slice_in_dim(x, start + moved + self._capacity.margin, self._capacity.chunk, 0)

    @property
    def known(self) -> Bool[Array, " places"]:
        """Which places have cells."""
        return jnp.asarray(self._cells.classes) >= 0

    def classes(self, start: Array | int, moved: Array | np.ndarray | int = 0) -> Int32[Array, " chunk"]:
        """Numbers of cells, -1 for empty places."""
        return self.at(jnp.asarray(self._cells.classes), start, moved).astype(jnp.int32)

    def fill(self, work: Callable[[Array], tuple[Array, ...]], reach: int = 0) -> tuple[Array, ...]:
        """Arrays (places, ...) of what `work` gives for a chunk, (chunk, ...), with zeros in empty places.

        Args:
          work: of the place of a chunk's first cell.
          reach: cells so many rows, columns or diagonals away from the part that is asked for take part as well, at
            most `FARTHEST`.
        """
        if reach > FARTHEST:
            raise ValueError(f"reach must be at most {FARTHEST}, got {reach}")
        margin, chunk = self._capacity.margin, self._capacity.chunk
        around = self._cells.around[reach]
        first = jnp.maximum(self._cells.part[0] - around, 0)
        last = jnp.minimum(self._cells.part[1] + around, self._cells.chunks)

        def step(i, filled):
            start = jnp.asarray(i, jnp.int32) * chunk
            inside = self.classes(start) >= 0
            results = (_where(inside, result) for result in work(start))
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(array, result, start + margin, 0)
                for array, result in zip(filled, results, strict=True)
            )

        shapes = jax.eval_shape(work, jnp.int32(0))
        zeros = tuple(jnp.zeros((self._capacity.places, *shape.shape[1:]), shape.dtype) for shape in shapes)
        return jax.lax.fori_loop(first, last, step, zeros)

    def window(self, x: Array, start: Array | int) -> Array:
        """The 3 x 3 cells around those of a chunk, row by row: (chunk, 9, ...)."""
        moves = [row * self._cells.stride + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
        return jnp.stack([self.at(x, start, moved) for moved in moves], axis=1)

    def tile(self, x: Array, start: Array, margin: int) -> Array:
        """The squares of a chunk, each with so many positions around it.

        Args:
          x: squares of s x s positions with k numbers each, (places, s, s k).
          start: names the chunk, of K cells.
          margin: m, at most 2.

        Returns:
          (K, s + 2 m, (s + 2 m) k).
        """
        side, k, stride = x.shape[1], x.shape[2] // x.shape[1], self._cells.stride
        reach = -(-margin // side)
        moves = range(-reach, reach + 1)

        def part(row: int, column: int) -> Array:
            rows, columns = self._in_reach(row, side, margin), self._in_reach(column, side, margin)
            return self.at(x, start, row * stride + column)[:, rows, k * columns.start : k * columns.stop]

        rows = [jnp.concatenate([part(row, column) for column in moves], axis=2) for row in moves]
        return jnp.concatenate(rows, axis=1)

    @staticmethod
    def _in_reach(move: int, side: int, margin: int) -> slice:
        """Which positions of the square so many squares away are in a margin, or in the square itself."""
        return slice(max(0, -margin - move * side), min(side, side + margin - move * side))


def _where(inside: Array, x: Array) -> Array:
    return jnp.where(inside.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))
