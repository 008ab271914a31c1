"""The Gaussian channel at any size: N(mu_q, s^2 I) from N(mu_p, s^2 I), DiffC's case (review, Section IV-B).

The ratio of the two has no bound and the work grows as 2^KL, so the vector is sent in chunks of about C bits, each by
the Poisson functional representation (channel_sim.poisson) with a budget of K candidates. Four things make this fast
and its error small and known.

*Equal chunks.* A common random rotation (channel_sim.rotation) spreads delta = (mu_q - mu_p) / s over all D
coordinates, so that each of the J chunks of n = D / J coordinates has nearly KL / J bits. Vectors with fewer than 256
coordinates per chunk are padded with coordinates that carry nothing.

*The exact law of the index.* It depends on the chunk's divergence only and is a geometric mixture, Eq. 4 of
channel_sim.index_code. The receiver needs KL as a class only, eight bits per call.

*Factored candidates.* Candidate i = k B + b of a chunk (from 0) is

    x_i = g_b * h_k,    g_b ~ N(0, I_n) for b < B,    h_k in {-1, 1}^n for k < M,    K = B M,               (1)

elementwise, so that the scores of all chunks are one matrix product with M columns,

    ln w(x_i) + const = <x_i, delta> = sum_j h_kj (g_bj delta_j),                                          (2)

and B + M/32 random numbers per coordinate replace B M. Every x_i is N(0, I); two are uncorrelated but share |x| if they
share b, which the law of the sample does not show for n >= 256 (see the tests). The sign rows are shared by all chunks:
given them, chunks are independent.

*Lazy arrivals.* Marks T_i exp(-score) below the best can only come from scores above ln T - ln best, T being the time
at which a batch of candidates begins. Arrival times are drawn for these few only: the time between two of them is
Gamma(difference of their indices).

Error. The sample of a chunk of C bits differs from its target by at most P(N > K) in total variation
(`truncation_error`): 1 % for C = 8 and K = 2^19, 33 % for the published C = 14 and K = 2^16, whose mean shift is 13.5 %
short.

At high divergence per coordinate layered quantization (channel_sim.layered) is cheaper; the sender compares the
expected bits and says in one bit which is used. The reference for mu_q is then N(mu_p, tau^2 I); s and KL fix tau:

    KL = D tau^2 / (2 s^2 ln 2).                                                                           (3)

Portability. The receiver's arithmetic is integers, sums, products, quotients and square roots in IEEE double precision:
equal on every machine. (Classes of divergence are powers of 2^(1/8), of which only rounded functions are used.)
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from channel_sim import bounds, checks
from channel_sim.channel import Gaussian
from channel_sim.entropy import ProbabilityTable, Reader, Writer
from channel_sim.index_code import (
    KL_CLASSES,
    class_of,
    expected_bits,
    index_table,
    kl_of,
    receive_class,
    receive_flag,
    receive_indices,
    send_class,
    send_flag,
    send_indices,
)
from channel_sim.layered import LayeredQuantization
from channel_sim.quantile import TICKS, normal_ticks
from channel_sim.randomness import SharedRandomness
from channel_sim.rotation import rotate, unrotate

__all__ = ["Cost", "GaussianChannel"]

_ROWS_LOG2 = 9
"""log2 B of Eq. 1."""
_FEWEST = 256
"""Coordinates of a chunk, at least."""
_SIGN_ROWS_FROM, _ROTATION_FROM = 2**50, 2**51
_GROUP, _BATCH = 2**23, 2**22
"""Numbers drawn, and scores computed, at a time."""
_AHEAD = 9.0
"""Bits sent ahead: class of divergence and choice of algorithm."""
_MOST_BITS = kl_of(KL_CLASSES - 1) * 2 ** (1 / 16)
"""The divergence beyond which the last class is not the nearest one."""


class Cost(NamedTuple):
    """What a call is expected to cost, in bits."""

    bits: float
    """All of it."""
    ahead_bits: float
    """Of these, what goes before the chunks or layers."""
    layered: bool
    """Whether the vector is sent by layers."""
    chunks: int
    """How many chunks otherwise."""


@dataclass(frozen=True, kw_only=True)
class GaussianChannel:
    """N(mu_q, s^2 I) from N(mu_p, s^2 I), vectors of any size.

    Attributes:
      chunk_bits: C, the largest mean divergence of the chunks of a call (within 5 %, by the classes of KL). Single
        chunks vary by a share of sqrt(2 / n) around their mean, 9 % for the smallest.
      candidates_log2: log2 K >= 9. Work is K times the number of coordinates.
      method: "poisson" (chunks), "layered", or None for the one with fewer expected bits.

    Raises:
      TypeError: a field is of another kind.
      ValueError: `chunk_bits` is not positive and finite, `candidates_log2` out of range, or the method unknown.
    """

    chunk_bits: float = 8.0
    candidates_log2: int = 19
    method: Literal["poisson", "layered"] | None = None

    def __post_init__(self):
        object.__setattr__(self, "chunk_bits", checks.number("chunk_bits", self.chunk_bits))
        candidates_log2 = checks.integer("candidates_log2", self.candidates_log2, -(2**62), 2**62)
        if not _ROWS_LOG2 <= candidates_log2 <= 48:
            raise ValueError(
                f"there must be 2^candidates_log2 candidates, candidates_log2 from {_ROWS_LOG2} to 48, got "
                f"{candidates_log2}; the work grows with their number (2^19 take a second per 500 bits)"
            )
        checks.one_of("method", self.method, ("poisson", "layered", None))
        object.__setattr__(self, "candidates_log2", candidates_log2)

    @property
    def truncation_error(self) -> float:
        """P(N > K) for a chunk of `chunk_bits`: bounds the total variation to the target."""
        return bounds.truncation_error(self.chunk_bits, 2.0**self.candidates_log2)

    def cost(self, kl_bits: float, dimension: int) -> Cost:
        """What a target of so many bits and coordinates costs.

        Raises:
          TypeError: one of the two is not a number, or the dimension not an integer.
          ValueError: one of them is negative or not finite.
        """
        return self._cost(class_of(kl_bits), checks.integer("dimension", dimension, 0, 2**48))

    def encode(self, writer: Writer, target: Gaussian, reference: Gaussian, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample of `target`.

        Args:
          writer: takes the message.
          target: mean (d,), std a scalar s.
          reference: mean (d,), std the same s.
          shared: common randomness of this use.

        Returns:
          float64 (d,).

        Raises:
          TypeError: target or reference is not `Gaussian`.
          ValueError: the standard deviations differ or vary, the shapes differ, a parameter is none
            (channel_sim.checks), or the divergence of chunks is beyond 2^19.8 bits.
        """
        mean, std = _parameters(reference, shared)
        target = checks.distribution("target", target, Gaussian)
        if np.shape(target.std) != () or float(target.std) != std:
            raise ValueError(
                f"target.std and reference.std must be one common scalar std, got {checks.told(target.std)} and {std}; "
                "for others see LayeredQuantization, PoissonFunctionalRepresentation and GreedyRejection"
            )
        checks.same_shape("target", target, mean.shape)
        mean_q = checks.spread(target.mean, mean.shape)
        delta = (mean_q - mean) / std
        kl_bits = float(delta @ delta) / (2 * np.log(2))
        kl_class = class_of(kl_bits)
        use_layers = self._cost(kl_class, len(delta)).layered
        if not use_layers and kl_bits > _MOST_BITS:
            raise ValueError(
                f"target.mean must be at most {_MOST_BITS:.6g} bits from reference.mean to be sent in chunks, got "
                f"{kl_bits:.6g}; see method='layered'"
            )
        send_class(writer, kl_class)
        send_flag(writer, use_layers)
        if use_layers:
            channel, psi = _layered(kl_class, mean, std)
            return channel.encode(writer, Gaussian(mean_q, std), psi, shared)
        plan = self._plan(kl_class, len(delta))
        padded = np.pad(delta, (0, plan.size - len(delta)))
        index = _search(plan, rotate(padded, shared, _ROTATION_FROM), shared)
        send_indices(writer, plan.table, index)
        return mean + std * _candidates(plan, index, shared)[: len(mean)]

    def decode(self, reader: Reader, reference: Gaussian, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`."""
        mean, std = _parameters(reference, shared)
        kl_class = receive_class(reader)
        if receive_flag(reader):
            channel, psi = _layered(kl_class, mean, std)
            return channel.decode(reader, psi, shared)
        plan = self._plan(kl_class, len(mean))
        index = receive_indices(reader, plan.table, plan.chunks)
        return mean + std * _candidates(plan, index, shared)[: len(mean)]

    def _plan(self, kl_class: int, dimension: int) -> "_Plan":
        chunks = max(1, int(np.ceil(kl_of(kl_class) / self.chunk_bits - 1e-9))) if kl_class else 0
        width = max(_FEWEST, -(-dimension // max(1, chunks)))
        chunk_class = class_of(kl_of(kl_class) / max(1, chunks))
        return _Plan(
            chunks, width, self.candidates_log2, index_table(chunk_class, "gaussian", self.candidates_log2 + 1)
        )

    def _cost(self, kl_class: int, dimension: int) -> Cost:
        """The cheaper way, or the one that `method` asks for."""
        plan = self._plan(kl_class, dimension)
        chunked = Cost(_AHEAD + plan.chunks * expected_bits(plan.table), _AHEAD, False, plan.chunks)
        if self.method == "poisson":
            return chunked
        layered = Cost(_AHEAD + dimension * _layered_bits(kl_class, dimension), _AHEAD, True, 0)
        return layered if self.method == "layered" or layered.bits < chunked.bits else chunked


class _Plan(NamedTuple):
    """How a vector is cut: `chunks` of `width` coordinates."""

    chunks: int
    width: int
    candidates_log2: int
    table: ProbabilityTable

    @property
    def size(self) -> int:
        return max(1, self.chunks) * self.width


def _parameters(reference: Gaussian, shared: SharedRandomness) -> tuple[np.ndarray, float]:
    """Mean and standard deviation, or what both sides refuse."""
    checks.source(shared)
    reference = checks.distribution("reference", reference, Gaussian)
    mean = np.asarray(reference.mean, np.float64)
    if np.ndim(reference.std) or mean.ndim != 1:
        raise ValueError(
            "the reference must have a mean (d,) and one positive std, got shapes "
            f"{mean.shape} and {np.shape(reference.std)}"
        )
    return mean, float(reference.std)


def _layered(kl_class: int, mean: np.ndarray, std: float) -> tuple[LayeredQuantization, Gaussian]:
    """The other channel, and its reference by Eq. 3."""
    tau = std * np.sqrt(2 * np.log(2) * kl_of(max(kl_class, 1)) / max(1, len(mean)))
    return LayeredQuantization(noise=Gaussian(0.0, std)), Gaussian(mean, np.full(len(mean), tau))


@lru_cache(1024)
def _layered_bits(kl_class: int, dimension: int) -> float:
    """Expected bits per coordinate."""
    return bounds.layered_bits(float(np.sqrt(2 * np.log(2) * kl_of(max(kl_class, 1)) / max(1, dimension))))


def _sign_rows(plan: _Plan, shared: SharedRandomness, rows: np.ndarray) -> np.ndarray:
    """Rows h_k of Eq. 1 as bits, 1 for minus, uint8 (len(rows), n)."""
    each = -(-plan.width // 32)
    place = _SIGN_ROWS_FROM + rows[:, None].astype(np.uint64) * np.uint64(each) + np.arange(each, dtype=np.uint64)
    words = shared.words_at(place).astype("<u4")
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : plan.width]


def _candidates(plan: _Plan, index: np.ndarray, shared: SharedRandomness) -> np.ndarray:
    """The chosen candidates of all chunks, rotated back to one vector, float64 (size,)."""
    if not plan.chunks:
        return normal_ticks(shared.words(plan.size)) / TICKS
    k, b = (index - 1) >> _ROWS_LOG2, (index - 1) & ((1 << _ROWS_LOG2) - 1)
    row = (np.arange(plan.chunks) << _ROWS_LOG2) + b
    place = row[:, None].astype(np.uint64) * np.uint64(plan.width) + np.arange(plan.width, dtype=np.uint64)
    ticks = normal_ticks(shared.words_at(place)) * (1 - 2 * _sign_rows(plan, shared, k).astype(np.int32))
    return unrotate((ticks / TICKS).T.reshape(-1), shared, _ROTATION_FROM)


def _search(plan: _Plan, delta: np.ndarray, shared: SharedRandomness) -> np.ndarray:
    """Indices from 1 on of the chosen candidates, int64 (chunks,); chunk c has the coordinates c, c + J, ..."""
    index = np.ones(plan.chunks, np.int64)
    if not plan.chunks:
        return index
    private, by_chunk = shared.private(), delta.reshape(plan.width, plan.chunks).T.astype(np.float32)
    columns = 1 << (plan.candidates_log2 - _ROWS_LOG2)
    signs = 1 - 2 * _sign_rows(plan, shared, np.arange(columns)).T.astype(np.float32)
    rows = 1 << _ROWS_LOG2
    group = max(1, _GROUP // (rows * plan.width))
    for first in range(0, plan.chunks, group):
        about = by_chunk[first : first + group]
        words = shared.words(len(about) * rows * plan.width, first * rows * plan.width)
        weighted = normal_ticks(words).astype(np.float32).reshape(len(about), rows, plan.width)
        weighted *= about[:, None] / np.float32(TICKS)
        index[first : first + group] = _least_marks(weighted, signs, private)
    return index


def _least_marks(weighted: np.ndarray, signs: np.ndarray, private: np.random.Generator) -> np.ndarray:
    """argmin_i ln T_i - score_i, from 1 on, for every chunk.

    Args:
      weighted: g_bj delta_j, float32 (chunks, B, n).
      signs: h_kj, float32 (n, M).
      private: gives the arrival times.
    """
    chunks, rows, width = weighted.shape
    best, index, time = np.full(chunks, np.inf), np.ones(chunks, np.int64), np.zeros(chunks)
    k, largest = 0, max(1, _BATCH // (chunks * rows))
    while k < signs.shape[1]:
        batch = min(max(1, k), largest, signs.shape[1] - k)
        scores = (weighted.reshape(-1, width) @ signs[:, k : k + batch]).reshape(chunks, -1)
        with np.errstate(divide="ignore"):
            threshold = np.where(time > 0, np.log(time) - best, -np.inf).astype(np.float32)
        chunk, place = np.divmod(np.flatnonzero(scores > threshold[:, None]), rows * batch)
        number = (k + place % batch) * rows + place // batch + 1
        order = np.lexsort((number, chunk))
        score, chunk, number = scores[chunk, place][order], chunk[order], number[order]
        # Arrival times of the candidates that passed, and of the end of the batch.
        starts = np.flatnonzero(np.diff(chunk, prepend=-1))
        before = np.append(k * rows, number)[:-1]
        before[starts] = k * rows
        gaps = private.standard_gamma(number - before)
        sums = np.cumsum(gaps)
        passed = np.zeros(chunks, np.int64)
        earlier = np.zeros(chunks)
        earlier[chunk[starts]] = sums[starts] - gaps[starts]
        arrival = time[chunk] + sums - earlier[chunk]
        mark = np.log(arrival) - score
        least = np.lexsort((mark, chunk))[starts]
        better = least[mark[least] < best[chunk[least]]]
        best[chunk[better]], index[chunk[better]] = mark[better], number[better]
        last = np.flatnonzero(np.diff(chunk, append=chunks))
        passed[chunk[last]] = number[last] - k * rows
        time[chunk[last]] = arrival[last]
        time += private.standard_gamma(batch * rows - passed)
        k += batch
    return index
