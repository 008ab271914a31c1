"""The neighbourhoods of `uqdm.nested.context` block by block, for integers: the same sums, arranged for processors.

A band of some blocks is an array (blocks, s, s k), k = 3 orientations x 3 colours (or 3 colours, or the channels of a
latent) of one position after the other: whatever is done for all of them is done for long rows. A tile (blocks,
s + 2 m, (s + 2 m) k) has m positions more on every side (uqdm.exact.grids.Sweep.tile).

What the other orientations and the other colours hold lies a few numbers before or after in the same row. So the sums
of `uqdm.nested.context.sums_of_magnitudes` become terms, each times a row of weights that is zero where it holds
something else (`rows_of_sums`, `rows_of_values`).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from uqdm.nested.network_config import MAGNITUDE_LIMIT

__all__ = ["local_tiles", "magnitude_terms", "rows_of_sums", "rows_of_values", "sums_of_children", "value_terms"]


_COLOURS = (1, 3)
_ORIENTATIONS = (3, 9)
"""How far apart they lie in a position, and the first number beyond."""


def _shifts(entries: tuple[int, int], k: int) -> dict[int, np.ndarray]:
    """How far away the other entries of a position can be, and for which of its k numbers one is there.

    Positions that are not of 3 or 9 numbers, those of latents, have no others.
    """
    step, stop = entries
    if k not in (stop, 9):
        return {}
    entry = np.arange(k) % stop // step
    return {step * by: (entry + by >= 0) & (entry + by < 3) for by in (-2, -1, 1, 2)}


def rows_of_sums(weights: np.ndarray, side: int) -> np.ndarray:
    """Weights of `magnitude_terms`, so that their sum is that of `sums_of_magnitudes` with its weights.

    Args:
      weights: of the sums in their order, (..., 10, k).
      side: s.

    Returns:
      (..., terms, s k).
    """
    near, parents, orientations, colours, children = np.split(weights, [5, 7, 8, 9], axis=-2)
    k = weights.shape[-1]
    others = [orientations * there for there in _shifts(_ORIENTATIONS, k).values()]
    others += [colours * there for there in _shifts(_COLOURS, k).values()]
    return np.tile(np.concatenate([near, parents, children, *others], axis=-2), side)


def rows_of_values(weights: np.ndarray, side: int) -> np.ndarray:
    """Likewise for `value_terms` and `signed_neighbours`: (..., 3, k) to (..., terms, s k)."""
    near, colours = np.split(weights, [2], axis=-2)
    others = [colours * there for there in _shifts(_COLOURS, weights.shape[-1]).values()]
    return np.tile(np.concatenate([near, *others], axis=-2), side)


def _moved(x: Array, k: int, margin: int, rows: int = 0, columns: int = 0, numbers: int = 0) -> Array:
    """What lies so many rows, columns and numbers away from every position but those of a margin."""
    height, width = x.shape[1], x.shape[2]
    first = (margin + columns) * k + numbers
    width -= 2 * margin * k
    return x[:, margin + rows : height - margin + rows, first : first + width]


def _box(x: Array, k: int) -> Array:
    """Sums over the 3 x 3 positions around each that has them."""
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return rows[:, :, : -2 * k] + rows[:, :, k:-k] + rows[:, :, 2 * k :]


def _columns(x: Array, k: int) -> list[Array]:
    return [x[:, :, first : first + k] for first in range(0, x.shape[2], k)]


def _inherited(parent: Array, k: int, side: int) -> Array:
    """Every position of a band of s x s positions gets the numbers of its parent."""
    if side == 1:  # the low-pass band is the parent of all orientations
        return jnp.concatenate([column for column in _columns(parent, k) for _ in range(3)], axis=2)
    wide = jnp.concatenate([column for column in _columns(parent, k) for _ in range(2)], axis=2)
    rows = [wide[:, row : row + 1] for row in range(parent.shape[1])]
    return jnp.concatenate([row for row in rows for _ in range(2)], axis=1)


def local_tiles(values: Array, parent: Array, children: Array | None, k: int) -> list[Array]:
    """The features of `uqdm.nested.context.local_features`, tiles with a margin of one.

    Args:
      values: of the band, tiles with a margin of one, limited as values are.
      parent: magnitudes of the next coarser band, tiles with a margin of one.
      children: magnitudes of the next finer one, tiles with a margin of two; None for the finest band.
      k: numbers per position.
    """
    magnitudes, side = jnp.minimum(jnp.abs(values), MAGNITUDE_LIMIT), values.shape[1] - 2
    inherited = _inherited(parent, k if side > 1 else 3, side)
    tiles = [values, magnitudes, inherited if side == 1 else inherited[:, 1:-1, k:-k]]
    if children is not None:
        pairs = jnp.maximum(children[:, ::2], children[:, 1::2])
        pairs = pairs.reshape(*pairs.shape[:2], -1, 2, k)
        tiles.append(jnp.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1]).reshape(*pairs.shape[:2], -1))
    return tiles


def sums_of_children(side: int, k: int) -> np.ndarray:
    """A matrix of zeros and ones, int8 (numbers of two rows of children, numbers of a row).

    A row of positions, k numbers each, times it is the sum over the 2 x 2 children of every position; or over the three
    orientations that are the children of the low-pass band, which has k = 3.
    """
    if k == 3:
        return np.tile(np.eye(3, dtype=np.int8), (3, 1))
    columns = np.repeat(np.eye(side, dtype=np.int8), 2, axis=0)
    return np.tile(np.kron(columns, np.eye(k, dtype=np.int8)), (2, 1))


def magnitude_terms(
    own: Array, parent: Array | None, children: Array | None, inside: Array, k: int
) -> list[Array | None]:
    """What `rows_of_sums` has weights for.

    Args:
      own: tiles of magnitudes with a margin of two.
      parent: tiles of the next coarser band with a margin of one; None for the low-pass band.
      children: sums over the children of every position; None for the finest band.
      inside: 1 for what belongs to the picture and 0 for the rest, tiles with a margin of one.
      k: numbers per position.

    Returns:
      Arrays (blocks, s, s k), and None for zeros.
    """
    side = own.shape[1] - 4
    center, across = _moved(own, k, 2), _moved(own, k, 2, columns=-1) + _moved(own, k, 2, columns=1)
    along = _moved(own, k, 2, rows=-1) + _moved(own, k, 2, rows=1)
    around = _box(own, k) * inside
    ring, around = _box(around, k) - _moved(around, k, 1), _moved(around, k, 1)
    parents: list[Array | None] = [None, None]
    if parent is not None:
        own_k = k if side > 1 else 3
        parents = [_inherited(p, own_k, side) for p in (_moved(parent, own_k, 1), _box(parent, own_k))]
    others = [_moved(own, k, 2, numbers=by) for entries in (_ORIENTATIONS, _COLOURS) for by in _shifts(entries, k)]
    return [center, across, along, around - center - across - along, ring, *parents, children, *others]


def value_terms(own: Array, k: int) -> list[Array]:
    """What `rows_of_values` has weights for; `own` are tiles of values with a margin of one."""
    across = _moved(own, k, 1, columns=-1) + _moved(own, k, 1, columns=1)
    along = _moved(own, k, 1, rows=-1) + _moved(own, k, 1, rows=1)
    return [across, along, *(_moved(own, k, 1, numbers=by) for by in _shifts(_COLOURS, k))]
