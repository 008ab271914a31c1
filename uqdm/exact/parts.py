"""Grids of pictures on the device, cut into what is evaluated at once, and that among the cores.

Programmes work on rows of cells (uqdm.exact.grids). Grids of any size are cut into pieces that they hold, and on a CPU
the chunks of a piece are shared among threads: that is more parallel than what a compiler makes of single products.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Int

from uqdm.exact.grids import Capacity, Cells, Piece, cells_of, pieces

__all__ = ["Placed", "concurrently", "joined", "placed"]

_FEWEST_CHUNKS = 6
"""Of a part of a grid that is worth a thread."""


class Placed(NamedTuple):
    """A piece of grids and where its cells are."""

    piece: Piece
    capacity: Capacity
    parts: list[Cells]
    """On the device; each is a thread's work."""
    places: list[slice]
    """Of the results of parts."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grids, rows and columns of the piece."""
        _, grids, rows, columns, *_ = self.piece
        return grids.stop - grids.start, rows.stop - rows.start, columns.stop - columns.start


def placed(
    grids: int,
    classes: Int[np.ndarray, "h w"],
    halo: int,
    *,
    chunk: int | None = None,
    most_cells: int | None = None,
) -> list[Placed]:
    """Pieces of grids of one size, and where their cells are.

    Args:
      grids: how many there are.
      classes: a number from 0 for every cell.
      halo: cells around one that its result depends on.
      chunk: places that are worked on at once, at most; a divisor of chunks of `CAPACITIES`.
      most_cells: as for `pieces`.
    """
    found, (height, width) = [], classes.shape
    for piece in pieces(grids, height, width, halo, most_cells):
        capacity = piece.capacity
        if chunk and capacity.chunk > chunk:
            capacity = capacity._replace(chunk=chunk)
        cells = cells_of(capacity, piece.grids.stop - piece.grids.start, classes[piece.rows, piece.columns])
        threads = _cores() if jax.default_backend() == "cpu" else 1
        parts = cells.parts(max(1, min(threads, int(cells.chunks) // _FEWEST_CHUNKS)))
        on_device = [jax.device_put(part) for part in parts]
        found.append(Placed(piece, capacity, on_device, [part.places(capacity) for part in parts]))
    return found


T = TypeVar("T")
U = TypeVar("U")


def concurrently(work: Callable[[T], U], arguments: Sequence[T]) -> list[U]:
    """What a function gives for each argument, on as many threads as there are cores."""
    return [work(argument) for argument in arguments] if len(arguments) < 2 else list(_workers().map(work, arguments))


def joined(results: Sequence[np.ndarray], places: Sequence[slice]) -> np.ndarray:
    """One row of cells from those of parts, each of which holds its own places."""
    whole = results[0]
    if len(results) > 1:
        whole = whole.copy()
        for result, part in zip(results[1:], places[1:], strict=True):
            whole[part] = result[part]
    return whole


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="uqdm-parts")
