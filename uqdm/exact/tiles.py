"""Local functions of pictures of any size, evaluated on square tiles of a few sides: few programmes, bounded memory.

What is evaluated depends on a few places around, its *halo*, so tiles overlap by it, and the results are the same to
the last bit as of the whole grid at once.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

__all__ = ["SIDES", "in_tiles"]

SIDES = (8, 16, 32, 64, 136)
"""Of tiles, halos included; multiples of 8."""


def in_tiles(
    evaluate: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    halo: int,
    grid: np.ndarray,
    sides: Sequence[int] = SIDES,
) -> tuple[np.ndarray, ...]:
    """Evaluates something local on a grid.

    Args:
      evaluate: takes a tile (side, side, ...), zero beyond the grid, and where it is inside, bool (side, side); gives
        arrays (side, side, ...), whose values in places of the grid depend on such places alone.
      halo: places around one that its result depends on.
      grid: (h, w, ...).
      sides: of tiles, halos included, rising.
    """
    height, width = grid.shape[:2]
    side = next((side for side in sides if side >= max(height, width)), sides[-1])
    whole: tuple[np.ndarray, ...] = ()
    for top, upper, lower in _spans(height, side, halo):
        for left, first, last in _spans(width, side, halo):
            part = grid[top : top + side, left : left + side]
            tile, inside = np.zeros((side, side, *grid.shape[2:]), grid.dtype), np.zeros((side, side), bool)
            tile[: part.shape[0], : part.shape[1]], inside[: part.shape[0], : part.shape[1]] = part, True
            results = evaluate(tile, inside)
            whole = whole or tuple(np.empty((height, width, *r.shape[2:]), r.dtype) for r in results)
            for array, result in zip(whole, results, strict=True):
                array[upper:lower, first:last] = result[upper - top : lower - top, first - left : last - left]
    return whole


def _spans(length: int, side: int, halo: int) -> Iterator[tuple[int, int, int]]:
    """Where tiles begin along an axis, and what counts of each."""
    done = 0
    while done < length:
        start = max(0, min(done - halo, length - side))
        stop = length if start + side >= length else start + side - halo
        yield start, done, stop
        done = stop
