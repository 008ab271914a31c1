"""Entropy coding: symbols with integer probabilities to bytes and back, every bit accounted for.

Probabilities are integers out of 2^24 (`PRECISION`), kept in tables (`ProbabilityTable`) whose rows are addressed
per symbol, so encoder and decoder agree if they agree on integers. The coder is the range coder of `constriction`
(64-bit state, 32-bit words); with

    state (low, range) = (0, 2^64 - 1),    a row of frequencies f_0, ..., f_(K-1) and C_s = f_0 + ... + f_(s-1),

one symbol s is coded as

    step = floor(range / 2^24),  low += step C_s,  range = step f_s,
    and if range < 2^32:  emit the top 32 bits of low (with carry), low <<= 32, range <<= 32.              (1)

The bytes are the words, most significant byte first, cut to the fewest bytes that determine every symbol.

Truncation. A prefix of the bytes leaves the rest of the code word unknown; a symbol is *determined* if it is the same
whatever follows. Decoding is monotone in the code word, so it suffices to compare the two extremes: the prefix followed
by zeros and the prefix followed by ones. `Reader.decode` returns the symbols that both agree on, and no others.

This file and channel_sim.stack alone import constriction.
"""

from functools import cached_property

import constriction
import numpy as np

from channel_sim import checks

__all__ = [
    "MODEL",
    "PRECISION",
    "ProbabilityTable",
    "Reader",
    "Sampler",
    "Writer",
    "determining_bytes",
    "quantize_probabilities",
]

PRECISION = 24
"""Probabilities are integers out of 2^PRECISION."""

MODEL = constriction.stream.model.Categorical(perfect=False)


def quantize_probabilities(probabilities: np.ndarray, bits: int = PRECISION) -> np.ndarray:
    """Integer frequencies that sum to 2^bits, each at least 1, nearest to given probabilities from below.

    Args:
      probabilities: (..., K) floats, non-negative with a positive sum.
      bits: logarithm of the sum, at most 52.

    Returns:
      int64 (..., K); what rounding leaves over goes to the largest.

    Raises:
      TypeError: the probabilities are not real numbers.
      ValueError: they are negative, not finite or all zero in a row, or more than 2^bits.
    """
    p = np.asarray(checks.array("probabilities", probabilities), np.float64)
    checks.integer("bits", bits, 1, 52)
    symbols = p.shape[-1] if p.ndim else 0
    if not 1 <= symbols <= 2**bits:
        raise ValueError(f"probabilities must be 1 to 2^{bits} in a row, got the shape {p.shape}")
    with np.errstate(over="ignore"):
        total = p.sum(-1, keepdims=True)
    if p.size and not (np.minimum.reduce(p, axis=None) >= 0 and (total > 0).all() and (total < np.inf).all()):
        raise ValueError("probabilities must be finite, non-negative and not all zero")
    frequencies = 1 + np.floor(p / total * (2**bits - symbols)).astype(np.int64)
    largest = p.argmax(-1)[..., None]
    rest = 2**bits - frequencies.sum(-1, keepdims=True)
    np.put_along_axis(frequencies, largest, np.take_along_axis(frequencies, largest, -1) + rest, -1)
    return frequencies


class ProbabilityTable:
    """Rows of integer frequencies.

    Attributes:
      frequencies: int64 (R, K), every entry at least 1, every row summing to 2^24.
    """

    def __init__(self, frequencies: np.ndarray):
        """Takes the rows.

        Raises:
          TypeError: they are not integers.
          ValueError: they are no matrix, an entry is below 1 or a row does not sum to 2^24.
        """
        frequencies = np.asarray(frequencies)
        if frequencies.dtype.kind not in "iu":
            raise TypeError(f"frequencies must be integers, got {frequencies.dtype}")
        self.frequencies = frequencies.astype(np.int64, copy=False)
        if self.frequencies.ndim != 2 or self.frequencies.min(initial=1) < 1:
            raise ValueError("frequencies must be a matrix of integers >= 1")
        if (self.frequencies.sum(1) != 2**PRECISION).any():
            raise ValueError(f"every row of frequencies must sum to 2^{PRECISION}")

    @cached_property
    def _weights(self) -> np.ndarray:
        # constriction turns weights v of sum 2^24 - K into frequencies v + 1 without rounding (scale = 1 exactly).
        return (self.frequencies - 1).astype(np.float32)

    @cached_property
    def bits(self) -> np.ndarray:
        """Ideal code length of every symbol in bits, float64 (R, K)."""
        return PRECISION - np.log2(self.frequencies)

    def weights(self, rows: np.ndarray) -> np.ndarray:
        return self._weights.take(rows, axis=0)


class Writer:
    """Appends symbols to one code word.

    Attributes:
      ideal_bits: sum of -log2 of the probabilities of all symbols so far.
    """

    def __init__(self):
        self._encoder = constriction.stream.queue.RangeEncoder()
        self.ideal_bits = 0.0

    def encode(self, table: ProbabilityTable, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Codes symbol i with row rows[i] of the table; both are integer arrays of one length.

        Raises:
          ValueError: a symbol is not in the table; what has been coded is of no use any more.
        """
        if len(symbols):
            try:
                self._encoder.encode(np.asarray(symbols, np.int32), MODEL, table.weights(rows))
            except KeyError:
                last = table.frequencies.shape[1] - 1
                raise ValueError(
                    f"symbols must be in [0, {last}], got {np.min(symbols)} to {np.max(symbols)}"
                ) from None
            self.ideal_bits += float(table.bits[rows, symbols].sum())

    @property
    def position(self) -> "Position":
        """The state of the coder; its first number counts whole 32-bit words."""
        return _position(self._encoder)

    def branch(self) -> "Writer":
        """A copy that can go its own way."""
        branch = Writer()
        branch._encoder, branch.ideal_bits = self._encoder.clone(), self.ideal_bits
        return branch

    def getvalue(self) -> bytes:
        """The shortest bytes of which every continuation decodes to all symbols so far."""
        return _seal(self._encoder) if self.ideal_bits else b""


class Reader:
    """Takes symbols from the prefix of a code word.

    Attributes:
      exhausted: whether the last `decode` ran out of bytes; from then on nothing more is returned.
      ideal_bits: sum of -log2 of the probabilities of all symbols so far.
    """

    def __init__(self, data: bytes):
        # What was decoded is coded again: constriction's decoder does not tell its position, its encoder does.
        self._shadow = constriction.stream.queue.RangeEncoder()
        self.ideal_bits = 0.0
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Replaces the data by a longer prefix of the same code word.

        Raises:
          TypeError: `data` is not bytes.
        """
        checks.instance("data", data, bytes, bytearray, memoryview)
        data = bytes(data)
        self._available_bits = 8 * len(data)
        size = 4 * (-(-len(data) // 4) + 64)
        self._low, self._high = (
            constriction.stream.queue.RangeDecoder(np.frombuffer(data.ljust(size, fill), ">u4").astype(np.uint32))
            for fill in (b"\x00", b"\xff")
        )
        self._low.seek(*self._shadow.pos())
        self.exhausted = False

    def mark(self) -> tuple:
        """The present position, for `reset`."""
        return self._shadow.clone(), self.ideal_bits

    def reset(self, mark: tuple) -> None:
        """Goes back to a position that `mark` gave; the mark is spent."""
        self._shadow, self.ideal_bits = mark
        self._low.seek(*self._shadow.pos())
        self.exhausted = False

    def decode(self, table: ProbabilityTable, rows: np.ndarray) -> np.ndarray:
        """Symbols coded with the given rows, int32; fewer than len(rows) if the bytes determine no more."""
        if self.exhausted or not len(rows):
            return np.zeros(0, np.int32)
        weights = table.weights(rows)
        start = self._shadow.pos()
        symbols = _decode_until_invalid(self._low, start, weights)
        bits = float(table.bits[rows[: len(symbols)], symbols].sum())
        # What the coder has spent, what it will (at most 2^-7 bit per symbol beyond the ideal), and the 64 bits that it
        # reads ahead: with as many all symbols are determined.
        words, (_, width) = start
        spent = 32 * int(words) + 64 - int(width).bit_length() + 1
        if len(symbols) < len(rows) or spent + bits + len(rows) / 128 + 64 > self._available_bits:
            self._low.seek(*start)
            self._high.seek(*start)
            symbols, other = (_decode_until_invalid(own, start, weights) for own in (self._low, self._high))
            shorter = min(len(symbols), len(other))
            differing = np.flatnonzero(symbols[:shorter] != other[:shorter])
            symbols = symbols[: differing[0] if len(differing) else shorter]
            self.exhausted = len(symbols) < len(rows)
            bits = float(table.bits[rows[: len(symbols)], symbols].sum())
        if len(symbols):
            self._shadow.encode(symbols, MODEL, weights[: len(symbols)])
        self.ideal_bits += bits
        return symbols

    @property
    def position(self) -> "Position":
        """Equal to `Writer.position` after the same symbols; its first number counts whole 32-bit words."""
        return _position(self._shadow)


class Sampler:
    """Stands in for a `Reader`: draws symbols from their probabilities instead of reading them.

    Attributes:
      generator: private randomness.
    """

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    def decode(self, table: ProbabilityTable, rows: np.ndarray) -> np.ndarray:
        """One symbol per row, int32."""
        ends = np.cumsum(table.frequencies.take(rows, axis=0), axis=1)
        draws = self.generator.integers(0, 2**PRECISION, (len(rows), 1))
        return (draws >= ends).sum(axis=1).astype(np.int32)


Position = tuple[int, tuple[int, int]]
"""Words emitted, and the state (low, range): what `Writer.position` and `Reader.position` share."""


def _position(encoder) -> Position:
    words, (low, width) = encoder.pos()
    return int(words), (int(low), int(width))


def _interval(data: bytes, position: Position) -> tuple[int, int, int]:
    """The interval of a position that holds the code word `data`, as low, width and their scale in bytes.

    Of `low` a position has 64 bits only; the code word lies inside the interval and tells the others.
    """
    emitted, (low, width) = position
    size = 4 * (emitted + 2)
    point = int.from_bytes(data[:size].ljust(size, b"\0"), "big")
    return point - (point - low) % 2**64, width, size


def _seal(encoder) -> bytes:
    """The shortest bytes of which every continuation lies inside the interval of everything coded so far."""
    sealed = np.asarray(encoder.get_compressed(), ">u4").tobytes()
    low, width, size = _interval(sealed, _position(encoder))
    for cut in range(max(0, size - 9), size + 1):
        free = 8 * (size - cut)
        prefix = -(-low >> free)
        if (prefix + 1) << free <= low + width:
            return prefix.to_bytes(cut, "big")
    raise AssertionError("a code word of full length lies inside its own interval")


def determining_bytes(data: bytes, position: Position) -> int:
    """Length of the shortest prefix of a code word that determines all symbols before a position.

    Args:
      data: the code word, or a prefix that determines them.
      position: of the writer or reader after these symbols.
    """
    low, width, size = _interval(data, position)
    if position == (0, (0, 2**64 - 1)):
        return 0
    cut = size
    while cut:
        free = 8 * (size - cut + 1)
        prefix = int.from_bytes(data[: cut - 1].ljust(cut - 1, b"\0"), "big")
        if prefix << free < low or (prefix + 1) << free > low + width:
            break
        cut -= 1
    return cut


def _decode_until_invalid(decoder, start: tuple, weights: np.ndarray) -> np.ndarray:
    """Symbols up to the first that no code word could hold (constriction raises there and returns nothing).

    Args:
      decoder: at `start`; of no use any more where there is such a symbol.
      start: its position.
      weights: of the models.
    """
    try:
        return np.asarray(decoder.decode(MODEL, weights))
    except AssertionError:
        decoder.seek(*start)
        return _decode_by_halves(decoder, weights)


def _decode_by_halves(decoder, weights: np.ndarray) -> np.ndarray:
    """The same of a decoder whose position nobody knows: it is copied, with all its bytes."""
    if not len(weights):
        return np.zeros(0, np.int32)
    attempt = decoder.clone()
    try:
        return np.asarray(decoder.decode(MODEL, weights))
    except AssertionError:
        if len(weights) == 1:
            return np.zeros(0, np.int32)
    decoder = attempt
    half = len(weights) // 2
    first = _decode_by_halves(decoder, weights[:half])
    if len(first) < half:
        return first
    return np.concatenate([first, _decode_by_halves(decoder, weights[half:])])
