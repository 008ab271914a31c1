"""Local functions of large pictures, evaluated on a few rows of the grid at a time: memory stays bounded.

What is evaluated depends on a few rows above and below, its *halo*, so strips overlap by it and the results are the
same to the last bit as of the whole grid at once.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["STRIP_CELLS", "in_strips"]

STRIP_CELLS = 2**14
"""Cells of the grid in one strip, about."""


def in_strips(
    evaluate: Callable[..., tuple[np.ndarray, ...]], halo: int, *arrays: np.ndarray, cells: int = STRIP_CELLS
) -> tuple[np.ndarray, ...]:
    """Evaluates something local on rows of a grid, a few at a time and all strips of one height.

    Args:
      evaluate: takes the arrays, cut to some of their rows, and gives arrays (n, rows, ...).
      halo: rows on both sides that a row's result depends on.
      *arrays: (n, h, w, ...), the last one (h, w).
      cells: of the grid in one strip, about.
    """
    n, height, width = arrays[0].shape[:3]
    rows = max(4 * halo, 2 * (cells // (2 * n * width)))
    if rows >= height:
        return evaluate(*arrays)
    pieces, done = [], 0
    while done < height:
        start = min(max(0, done - halo), height - rows)
        stop = start + rows
        cut = [array[:, start:stop] for array in arrays[:-1]] + [arrays[-1][start:stop]]
        until = height if stop == height else stop - halo
        pieces.append([result[:, done - start : until - start] for result in evaluate(*cut)])
        done = until
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
