"""Codes for the index of a candidate: positive integers with a known law, from tables of integers.

An index n >= 1 is sent as the bin that holds it, with a probability out of 2^24, and its place in the bin as raw
bits. The bins are {1}, ..., {7} and then four to the octave,

    [2^j + r 2^(j - 2), 2^j + (r + 1) 2^(j - 2)),    j = 3, 4, ...,    r = 0, 1, 2, 3.                    (1)

Within a quarter of an octave the laws below are so flat that raw bits lose less than 0.002 bit. The two laws, for a
divergence of C bits:

Zipf (Li and El Gamal 2018, for the Poisson functional representation): with s = 1 + 1 / (C + log2(e) / e + 1),

    P(N = n) = n^-s / zeta(s),    E[-log2 P(N)] <= C + log2(C + 1) + 4.                                   (2)

Gaussian (exact): the index that the Poisson functional representation chooses for N(mu, s^2 I) from N(0, s^2 I). Only
the projection z on mu matters, in units of s, with m = |mu| / s, C = m^2 / (2 ln 2), and w(z) = exp(m z - m^2 / 2).
Given the chosen z ~ N(m, 1), N - 1 is geometric with mean lambda(z), the number of candidates that came earlier with
a smaller ratio:

    lambda(z) = E_P[(w(z) - w(Z))_+] = w(z) Phi(z) - Phi(z - m),                                           (3)
    P(N > n) = E_{z ~ N(m, 1)} [(lambda(z) / (1 + lambda(z)))^n].                                          (4)

C is known to both sides as a class: class 0 is C = 0, class c > 0 is C = 2^((c - 97) / 8).

*Searched* indices, of a scheme that knows neither law nor C: the sender takes the cheapest of 64 laws for all of its
indices together and says which in six bits. Laws 0 to 23 are Eq. 4 with C = 2^-6, 2^-5.5, ..., 2^5.5, laws 24 to 63
are Eq. 2 with C = 2^-4, 2^-3.5, ..., 2^15.5; the bound of Eq. 2 holds whatever the law of the index.

Portability. Tables are computed with libm, in double precision, and rounded to multiples of 2^-16. The tests check that
no entry of the tables in use comes within 1e-5 of those units of changing, where rounding errors are below 1e-9; a
number of candidates that they do not list is as safe with all but certainty, not with proof.
"""

from functools import cache
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, ndtr, zeta

from channel_sim import checks
from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer, quantize_probabilities

__all__ = [
    "KL_CLASSES",
    "Law",
    "bin_probabilities",
    "class_of",
    "expected_bits",
    "gaussian_tail",
    "index_table",
    "kl_of",
    "receive_class",
    "receive_flag",
    "receive_indices",
    "receive_searched",
    "send_class",
    "send_flag",
    "send_indices",
    "send_searched",
]

Law = Literal["zipf", "gaussian"]
KL_CLASSES = 256
_PER_OCTAVE, _ZERO = 8, 97
_BITS = 16
_LARGEST_LOG2 = 62


def class_of(kl_bits: float) -> int:
    """The nearest class of a divergence in bits; 0 alone has class 0, what lies beyond the classes the last.

    Raises:
      TypeError: the divergence is not a number.
      ValueError: it is negative, infinite or none.
    """
    checks.number("kl_bits", kl_bits, 0.0, float(np.finfo(np.float64).max))
    if kl_bits == 0:
        return 0
    return int(np.clip(round(_ZERO + _PER_OCTAVE * np.log2(kl_bits)), 1, KL_CLASSES - 1))


def kl_of(kl_class: int) -> float:
    """The divergence of a class, in bits.

    Raises:
      TypeError: the class is not an integer.
      ValueError: it is not from 0 to 255.
    """
    checks.integer("kl_class", kl_class, 0, KL_CLASSES - 1)
    return 2.0 ** ((kl_class - _ZERO) / _PER_OCTAVE) if kl_class else 0.0


def _first_of_bins(limit_log2: int) -> np.ndarray:
    """First indices of the bins that hold 1, ..., 2^limit_log2 - 1, and the next one, as Python integers."""
    starts = [n for n in range(1, 8) if n < 2**limit_log2]
    starts += [(4 + r) << (j - 2) for j in range(3, limit_log2) for r in range(4)]
    return np.array([*starts, 1 << limit_log2], dtype=np.float64)


def gaussian_tail(kl_bits: float, n: np.ndarray) -> np.ndarray:
    """P(N > n) of Eq. 4, the share of searches that need more than n candidates.

    Args:
      kl_bits: C.
      n: >= 0, any shape.

    Raises:
      TypeError: one of the two are not real numbers.
      ValueError: they are negative or not finite.
    """
    checks.number("kl_bits", kl_bits, 0.0)
    n = checks.array("n", n)
    if not (n >= 0).all():
        raise ValueError(f"n must be 0 or more, got {np.min(n)}")
    m = np.sqrt(2 * np.log(2) * kl_bits)
    step = np.linspace(-9.0, 9.0, 1001)  # the trapezoidal rule converges exponentially here
    z = m + step
    weights = np.exp(-(step**2) / 2)
    # lambda / Phi = w - Phi(z - m) / Phi(z): the second term is small where cancellation would matter.
    ratio = np.exp(np.minimum(m * z - m**2 / 2, 700))
    rate = ndtr(z) * (ratio - np.exp(log_ndtr(step) - log_ndtr(z)))
    log_stay = -np.log1p(1 / np.maximum(rate, 1e-300))
    return np.asarray(np.exp(np.multiply.outer(np.asarray(n, np.float64), log_stay)) @ (weights / weights.sum()))


def bin_probabilities(kl_bits: float, law: Law, limit_log2: int) -> np.ndarray:
    """Probabilities of the bins of indices below 2^limit_log2 under Eq. 2 or 4, not normalised."""
    first = _first_of_bins(limit_log2)
    if law == "gaussian":
        return -np.diff(gaussian_tail(kl_bits, first - 1))
    exponent = 1 + 1 / (kl_bits + np.log2(np.e) / np.e + 1)
    return -np.diff(zeta(exponent, first)) / zeta(exponent)


@cache
def index_table(kl_class: int, law: Law, limit_log2: int = _LARGEST_LOG2) -> ProbabilityTable:
    """One row: the bins of the indices 1, ..., 2^limit_log2 - 1."""
    frequencies = quantize_probabilities(bin_probabilities(kl_of(kl_class), law, limit_log2)[None], _BITS)
    return ProbabilityTable(frequencies << (PRECISION - _BITS))


def expected_bits(table: ProbabilityTable) -> float:
    """Mean cost of an index with the law of a table that `index_table` gave."""
    probability = table.frequencies[0] / 2**PRECISION
    octave = np.maximum((np.arange(len(probability)) - 7) // 4 + 1, 0)
    return float(probability @ (table.bits[0] + octave))


@cache
def _uniform(bits: int) -> ProbabilityTable:
    return ProbabilityTable(np.full((1, 1 << bits), 1 << (PRECISION - bits)))


def _row(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)


def send_class(writer: Writer, kl_class: int) -> None:
    """Eight bits."""
    writer.encode(_uniform(8), _row(1), np.array([kl_class]))


def receive_class(reader: Reader) -> int:
    """Mirror image of `send_class`."""
    return int(_all(reader.decode(_uniform(8), _row(1)), 1)[0])


def send_flag(writer: Writer, flag: bool) -> None:
    """One bit."""
    writer.encode(_uniform(1), _row(1), np.array([int(flag)]))


def receive_flag(reader: Reader) -> bool:
    """Mirror image of `send_flag`."""
    return bool(_all(reader.decode(_uniform(1), _row(1)), 1)[0])


@cache
def _searched_table() -> ProbabilityTable:
    """The 64 laws of searched indices, a row for each."""
    gaussian = [bin_probabilities(2.0 ** ((k - 12) / 2), "gaussian", _LARGEST_LOG2) for k in range(24)]
    zipf = [bin_probabilities(2.0 ** ((k - 8) / 2), "zipf", _LARGEST_LOG2) for k in range(40)]
    rows = np.stack(gaussian + zipf)
    return ProbabilityTable(quantize_probabilities(rows, _BITS) << (PRECISION - _BITS))


def send_searched(writer: Writer, indices: np.ndarray) -> None:
    """Sends indices, int64 (count,), from 1 to 2^62 - 1, whatever their law."""
    table = _searched_table()
    bins = np.bincount(_bins(indices)[0], minlength=table.bits.shape[1])
    law = int((table.bits @ bins).argmin())
    writer.encode(_uniform(6), _row(1), np.array([law]))
    send_indices(writer, table, indices, law)


def receive_searched(reader: Reader, count: int) -> np.ndarray:
    """Mirror image of `send_searched`."""
    law = int(_all(reader.decode(_uniform(6), _row(1)), 1)[0])
    return receive_indices(reader, _searched_table(), count, law)


def _bins(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bins of Eq. 1 and the numbers of raw bits in them."""
    octave = np.frexp(indices.astype(np.float64))[1].astype(np.int64) - 1
    octave -= indices >> np.minimum(octave, 62) == 0  # the conversion of large integers may round up
    raw = np.maximum(octave - 2, 0)
    small = indices < 8
    return np.where(small, indices - 1, 7 + 4 * (octave - 3) + ((indices >> raw) & 3)), np.where(small, 0, raw)


def send_indices(writer: Writer, table: ProbabilityTable, indices: np.ndarray, row: int = 0) -> None:
    """Sends indices, int64 (count,), each at least 1 and inside the bins of `table`, with the law of its row `row`."""
    bins, raw = _bins(indices)
    writer.encode(table, _row(len(indices)) + row, bins)
    offset = indices & ((1 << raw) - 1)
    for digits, position, bits in _digits(raw):
        writer.encode(_uniform(bits), _row(len(digits)), (offset[digits] >> position) & ((1 << bits) - 1))


def receive_indices(reader: Reader, table: ProbabilityTable, count: int, row: int = 0) -> np.ndarray:
    """Mirror image of `send_indices`."""
    bins = _all(reader.decode(table, _row(count) + row), count).astype(np.int64)
    octave = 3 + (bins - 7) // 4
    raw = np.where(bins < 7, 0, octave - 2)
    indices = np.where(bins < 7, bins + 1, (4 + (bins - 7) % 4) << raw)
    for digits, position, bits in _digits(raw):
        symbols = _all(reader.decode(_uniform(bits), _row(len(digits))), len(digits))
        indices[digits] += symbols.astype(np.int64) << position
    return indices


def _digits(raw: np.ndarray):
    """Raw bits in digits of at most eight: coordinates, position of the lowest bit and number of bits."""
    for position in range(0, int(raw.max(initial=0)), 8):
        for bits in range(1, 9):
            digits = np.flatnonzero(np.minimum(raw - position, 8) == bits)
            if len(digits):
                yield digits, position, bits


def _all(symbols: np.ndarray, count: int) -> np.ndarray:
    if len(symbols) < count:
        raise EOFError("the message ends before the sample is determined")
    return symbols
