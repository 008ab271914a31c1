"""Vector-quantized latents: indices on a grid, under counts of how near their codes are to their neighbours'.

A hyper-encoder gives a vector at every place of a grid, and the index of the nearest code is sent, by squared
distance, or by cosine where vectors have the length 1 (Yu et al. 2021). Careil et al. (2024) code indices with a
uniform law, log2 K bits each. But neighbours are alike, and both sides have the codebook: with its entries in
integers,

    v_k = round(127 code_k / largest magnitude of any entry),                                              (1)

codes are put in order by |2 v_k - v_i - v_j|^2, i and j being the indices at the two nearest known places, equal ones
by their number. The code at rank r has the class floor(log2(1 + r)), and the frequency

    1 + floor(F w_k / W),      F = floor(c (2^24 - K) / C),                                                (2)

where c counts the class, `STEP` for each symbol so far, and C sums to all classes, in a context that says how alike i
and j are, the number of bits of |v_i - v_j|^2; w_k is one more than how often k was sent, and W its sum over the
class. What is left over of 2^24 goes to the first most frequent code. Counts begin with what a uniform law says,
`PRIOR` 2^class.

Places are sent in passes over finer and finer lattices (uqdm.drawn.passes), row by row, each under the counts before
it, so that a prefix of the stream is a grid of lower resolution. Where no neighbour is known, F is 2^24 - K and the
class is all codes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer
from uqdm.drawn.passes import lattice, rows_of

__all__ = ["PRIOR", "STEP", "CodeCounts", "Codebook", "filled", "read_pass", "write_pass"]

STEP, PRIOR, _LIMIT = 64, 1, 2**16
_CONTEXTS = 32
_LARGEST = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Codebook:
    """What places of a grid are quantized to.

    Attributes:
      codes: float32 (K, d), 2 to 2^16 of them; of length 1 if `cosine`.
      cosine: whether vectors are compared by their angle.
    """

    codes: Float[np.ndarray, "k d"]
    cosine: bool = False

    def __post_init__(self):
        if not 2 <= len(self.codes) <= 2**16 or not np.isfinite(self.codes).all() or not self.codes.any():
            raise ValueError(f"a codebook has 2 to 65536 finite codes, got an array {self.codes.shape}")

    def nearest(self, vectors: Float[np.ndarray, "h w d"]) -> Int[np.ndarray, "h w"]:
        """Indices of the nearest codes."""
        flat = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
        codes = self.codes.astype(np.float64)
        lengths = 0 if self.cosine else np.square(codes).sum(1)
        return (lengths - 2 * flat @ codes.T).argmin(1).reshape(vectors.shape[:-1])

    @cached_property
    def integers(self) -> Int[np.ndarray, "k d"]:
        """Eq. 1; kept as float64, in which their products are exact."""
        codes = self.codes.astype(np.float64)
        return np.rint(codes * (_LARGEST / np.abs(codes).max())).astype(np.int64)


class CodeCounts:
    """Counts of Eq. 2."""

    def __init__(self, codebook: Codebook):
        self._v = codebook.integers.astype(np.float64)
        self._lengths = np.square(self._v).sum(1)
        classes = len(self._v).bit_length()
        self._class_of_rank = np.array([int(1 + rank).bit_length() - 1 for rank in range(len(self._v))])
        sizes = np.bincount(self._class_of_rank, minlength=classes)
        self._classes = np.tile(PRIOR * sizes, (_CONTEXTS, 1))
        self._weights = np.ones(len(self._v), np.int64)

    def copy(self) -> "CodeCounts":
        """A copy that can go its own way."""
        other = object.__new__(CodeCounts)
        other.__dict__ = self.__dict__ | {"_classes": self._classes.copy(), "_weights": self._weights.copy()}
        return other

    def expect(self, neighbours: Int[np.ndarray, "2 n"] | None, count: int) -> ProbabilityTable:
        """Rows for some symbols, which `add` is then told.

        Args:
          neighbours: indices i and j of every symbol, or None.
          count: how many there are.
        """
        total = 2**PRECISION - len(self._v)
        if neighbours is None:
            self._symbol_classes = None
            frequencies = np.tile(1 + total * self._weights // self._weights.sum(), (count, 1))
        else:
            i, j = self._v[neighbours]
            distances = 2 * self._lengths - 2 * (i + j) @ self._v.T  # half of the squared ones, less what all share
            order = distances.argsort(1, kind="stable")
            classes = np.empty(order.shape, np.int64)
            np.put_along_axis(classes, order, self._class_of_rank[None], 1)
            apart = np.square(i - j).sum(1)
            self._contexts, self._symbol_classes = np.frexp(apart)[1], classes
            counts = self._classes[self._contexts]
            shares = counts * total // counts.sum(1, keepdims=True)
            rows = np.arange(count)[:, None]
            sums = np.zeros(counts.shape, np.int64)
            np.add.at(sums, (rows, classes), self._weights[None])
            frequencies = 1 + shares[rows, classes] * self._weights // sums[rows, classes]
        each = np.arange(count)
        frequencies[each, frequencies.argmax(1)] += 2**PRECISION - frequencies.sum(1)
        return ProbabilityTable(frequencies)

    def add(self, symbols: Int[np.ndarray, " n"]) -> None:
        """Counts them."""
        np.add.at(self._weights, symbols, 1)
        if self._weights.sum() > _LIMIT * len(self._weights):
            self._weights = self._weights + 1 >> 1
        if self._symbol_classes is None:
            return
        classes = self._symbol_classes[np.arange(len(symbols)), symbols]
        np.add.at(self._classes, (self._contexts, classes), STEP)
        over = self._classes.sum(1) > _LIMIT
        self._classes[over] = self._classes[over] + 1 >> 1


def _code_pass(
    code: Callable[[ProbabilityTable, tuple], np.ndarray], index: int, known: np.ndarray, counts: CodeCounts
) -> bool:
    """Sends or receives a pass, row by row, into `known`; False if it is not determined."""
    for row in rows_of(index, *known.shape):
        place = row.row, row.columns
        around = None if row.neighbours is None else known.reshape(-1)[row.neighbours[:2]]
        symbols = code(counts.expect(around, known[place].size), place)
        if len(symbols) < known[place].size:
            return False
        known[place] = symbols
        counts.add(symbols)
    return True


def write_pass(
    writer: Writer, index: int, indices: Int[np.ndarray, "h w"], known: Int[np.ndarray, "h w"], counts: CodeCounts
) -> None:
    """Sends a pass.

    Args:
      writer: takes the symbols.
      index: of the pass.
      indices: of the whole grid.
      known: those of earlier passes; what is sent is put in.
      counts: of earlier passes; they learn.
    """

    def encode(table: ProbabilityTable, place: tuple) -> np.ndarray:
        writer.encode(table, np.arange(len(table.frequencies)), indices[place])
        return indices[place]

    _code_pass(encode, index, known, counts)


def read_pass(reader: Reader, index: int, known: Int[np.ndarray, "h w"], counts: CodeCounts) -> bool:
    """Mirror image of `write_pass`; False if bytes are missing, and `known` and `counts` are spoilt then."""
    return _code_pass(
        lambda table, _: reader.decode(table, np.arange(len(table.frequencies))).astype(np.int64), index, known, counts
    )


def filled(known: Int[np.ndarray, "h w"], passes: int) -> Int[np.ndarray, "h w"]:
    """The index of every place after so many passes, at least one: of the nearest place that is known."""
    nearest = []
    for side, spacing in zip(known.shape, lattice(passes), strict=True):
        at = (np.arange(side) + spacing // 2) // spacing
        nearest.append(np.minimum(at, (side - 1) // spacing) * spacing)
    return known[np.ix_(*nearest)]
