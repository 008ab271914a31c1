"""Edge maps, sent exactly: coarse maps before fine ones, under counts in contexts of known pixels, in integers.

The coarse map of a map has a pixel for every 2 x 2 of its pixels, set if one of them is (the resolution reduction of
JBIG, without its exceptions). `LEVELS` maps are sent, the coarsest first. Of a finer map only pixels below a set one
of the coarse map are sent, and of those not the last of the 2 x 2, or of as many as the map has, if the others are
not set: it must be.

A pixel at row y and column x knows ten pixels of its own map, those of JBIG2's template of ten with a plain shape,

    (0, -1) (0, -2) (-1, -2) (-1, -1) (-1, 0) (-1, 1) (-1, 2) (-2, -1) (-2, 0) (-2, 1),                     (1)

four of the coarse map, seen from (floor(y / 2), floor(x / 2)), which tell what is to the right and below,

    (0, 1) (1, 0) (1, 1) (1, -1),                                                                          (2)

and (y mod 2, x mod 2); outside nothing is set. With all of that as its context a, and the first, the fourth to the
sixth of Eq. 1, the first two of Eq. 2 and the place as another context b, it is set with the probability

    p = (a_1 + 2 q) / (a_0 + a_1 + 2),      q = (b_1 + 1/2) / (b_0 + b_1 + 1),                             (3)

in 2^-24ths, rounded down, and limited to 2^-14 ... 1 - 2^-14; a_s and b_s count symbols so far in this map, and are
halved, rounded up, where they sum to more than `LIMIT`. No pixel of Eq. 1 lies on the same *wave* x + 3 y, so waves
are sent one after the other, the pixels of one from above, all under the counts before it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer

__all__ = ["LEVELS", "coarse_map", "pyramid", "read_map", "sides_of", "write_map"]

LEVELS, LIMIT = 3, 1023
_OWN = ((0, -1), (0, -2), (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2), (-2, -1), (-2, 0), (-2, 1))
_COARSE = ((0, 1), (1, 0), (1, 1), (1, -1))
_NEAR = 0b0001111001, 0b0011
"""Of Eqs. 1 and 2, the bits of context b."""
_BORDER = 2
_LEAST = 2 ** (PRECISION - 14)


def coarse_map(edges: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h2 w2"]:
    """Set where one of 2 x 2 is; sides are rounded up."""
    height, width = edges.shape
    padded = np.pad(edges, ((0, height % 2), (0, width % 2)))
    return np.asarray(padded.reshape(-(-height // 2), 2, -(-width // 2), 2).any((1, 3)))


def pyramid(edges: Bool[np.ndarray, "h w"]) -> list[np.ndarray]:
    """The maps in the order in which they are sent, the map itself last."""
    maps = [edges]
    while len(maps) < LEVELS:
        maps.insert(0, coarse_map(maps[0]))
    return maps


def sides_of(level: int, height: int, width: int) -> tuple[int, int]:
    """Sides of one of these maps, where the finest has the given ones."""
    divisor = 2 ** (LEVELS - 1 - level)
    return -(-height // divisor), -(-width // divisor)


class _Wave(NamedTuple):
    """Pixels that are sent together."""

    rows: np.ndarray
    columns: np.ndarray
    context: np.ndarray
    """Of Eq. 2 and the place."""


def _waves(shape: tuple[int, int], coarse: np.ndarray | None) -> Iterator[_Wave]:
    """The pixels that may be set."""
    if coarse is None:
        rows, columns = (places.reshape(-1) for places in np.indices(shape))
        context = np.zeros(rows.size, np.int64)
    else:
        rows, columns = np.nonzero(coarse.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]])
        around = np.pad(coarse, 1).astype(np.int64)
        context = (rows % 2 << 5) + (columns % 2 << 4)
        for bit, (down, right) in enumerate(_COARSE):
            context += around[1 + rows // 2 + down, 1 + columns // 2 + right] << bit
    number = columns + 3 * rows
    order = np.argsort(number, kind="stable")
    ends = np.flatnonzero(np.diff(number[order])) + 1
    for part in np.split(order, ends) if len(order) else ():
        yield _Wave(rows[part], columns[part], context[part])


class _Counts:
    """Of Eq. 3."""

    def __init__(self):
        self._whole, self._near = np.zeros((2 ** (len(_OWN) + 6), 2), np.int64), np.zeros((2**12, 2), np.int64)
        # Context b by context a: the place stays where it is, other bits move together.
        contexts = np.arange(len(self._whole))
        own, place = contexts >> 6, contexts >> 4 & 3
        kept = [own >> bit & 1 for bit in range(len(_OWN)) if _NEAR[0] >> bit & 1]
        kept += [contexts >> bit & 1 for bit in range(len(_COARSE)) if _NEAR[1] >> bit & 1]
        self._near_of = (sum(bits << i for i, bits in enumerate(kept)) << 2) + place

    def table(self, contexts: np.ndarray) -> ProbabilityTable:
        """A row for every pixel."""
        a, b = self._whole[contexts], self._near[self._near_of[contexts]]
        q = (2 * b[:, 1] + 1 << PRECISION - 1) // (b.sum(1) + 1)
        p = ((a[:, 1] << PRECISION) + 2 * q) // (a.sum(1) + 2)
        p = np.clip(p, _LEAST, 2**PRECISION - _LEAST)
        return ProbabilityTable(np.stack([2**PRECISION - p, p], 1))

    def add(self, contexts: np.ndarray, symbols: np.ndarray) -> None:
        for counts, places in ((self._whole, contexts), (self._near, self._near_of[contexts])):
            np.add.at(counts, (places, symbols), 1)
            over = places[counts[places].sum(1) > LIMIT]
            counts[over] = counts[over] + 1 >> 1


def _code(
    code: Callable[[ProbabilityTable, np.ndarray, np.ndarray], np.ndarray],
    shape: tuple[int, int],
    coarse: np.ndarray | None,
) -> np.ndarray | None:
    """Sends or receives a map; None if it is not determined.

    Args:
      code: gives the symbols of some pixels, by rows of a table, rows and columns of the map.
      shape: of the map.
      coarse: the one that is known already.
    """
    known, counts = np.zeros((shape[0] + _BORDER, shape[1] + 2 * _BORDER), np.int64), _Counts()
    flat, side = known.reshape(-1), known.shape[1]
    moves = np.array([down * side + right for down, right in _OWN])
    for wave in _waves(shape, coarse):
        at = (wave.rows + _BORDER) * side + wave.columns + _BORDER
        own = flat[at[:, None] + moves]
        contexts = (own << np.arange(6, 6 + len(_OWN))).sum(1) + wave.context
        asked = np.ones(len(at), bool)
        if coarse is not None:
            below, right = wave.rows % 2, wave.columns % 2
            last = (below | (wave.rows == shape[0] - 1)) & (right | (wave.columns == shape[1] - 1))
            others = (own[:, 0] & right) | (own[:, 4] & below) | (own[:, 3] & below & right)
            asked = (last == 0) | (others == 1)
            flat[at[~asked]] = 1
        if not asked.any():
            continue
        symbols = code(counts.table(contexts[asked]), wave.rows[asked], wave.columns[asked])
        if len(symbols) < asked.sum():
            return None
        counts.add(contexts[asked], symbols)
        flat[at[asked]] = symbols
    return known[_BORDER:, _BORDER:-_BORDER] > 0


def write_map(writer: Writer, edges: Bool[np.ndarray, "h w"], coarse: Bool[np.ndarray, "h2 w2"] | None = None) -> None:
    """Sends a map.

    Args:
      writer: takes the symbols.
      edges: the map.
      coarse: its coarse map, if that is known.
    """

    def encode(table: ProbabilityTable, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        symbols = edges[rows, columns].astype(np.int64)
        writer.encode(table, np.arange(len(rows)), symbols)
        return symbols

    _code(encode, edges.shape, coarse)


def read_map(
    reader: Reader, shape: tuple[int, int], coarse: Bool[np.ndarray, "h2 w2"] | None = None
) -> Bool[np.ndarray, "h w"] | None:
    """Mirror image of `write_map`; None if the bytes do not determine all of it."""
    return _code(lambda table, rows, _: reader.decode(table, np.arange(len(rows))).astype(np.int64), shape, coarse)
