"""Captions as side information: bytes under counts of what followed in the same context, in integers.

A caption is one line of UTF-8 and ends with a newline byte. With c_k(y) the count of the byte y after the last k
bytes, n_k the sum and d_k the number of different bytes counted there, the blend of orders 0 to K = `ORDER` is

    p_-1(y) = 1 / 256,      p_k(y) = (c_k(y) + d_k p_{k-1}(y)) / (n_k + d_k),                              (1)

which is Witten and Bell's estimate (escapes of method C in prediction by partial matching: Cleary and Witten 1984,
Moffat 1990); orders whose context is new are left out. All is done in 2^-24ths, rounded down, p_K becoming the
frequency 1 + floor(p_K (2^24 - 256) / 2^24), and what is left over goes to the first most probable byte. A byte is
counted in the longest context first, and in shorter ones as long as it was new in all longer ones (update exclusion).

Captions are short, so counts do not begin with nothing: those of `caption_corpus.txt`, lines in the manner of
captions, come first. That file is a part of the format.
"""

from functools import cache
from importlib import resources

import numpy as np

from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer

__all__ = ["LONGEST", "ORDER", "ByteCounts", "as_line", "read_caption", "write_caption"]

ORDER = 4
LONGEST = 1024
"""Bytes of a caption."""
_END = ord("\n")
_FIRST = np.zeros(1, np.int64)


def as_line(text: str) -> str:
    """A caption as it is sent: one line, words parted by single spaces.

    Raises:
      ValueError: it is no text, or longer than `LONGEST` bytes.
    """
    line = " ".join(text.split())
    try:
        size = len(line.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"a caption must be text: {error.reason} at character {error.start}") from None
    if size > LONGEST:
        raise ValueError(f"a caption has at most {LONGEST} bytes, this one {size}: shorten it")
    return line


class ByteCounts:
    """Counts of bytes in the contexts of up to `ORDER` bytes before them."""

    def __init__(self, counts: dict[bytes, dict[int, int]] | None = None):
        """Begins with some counts, which are its own from then on."""
        self._counts = {} if counts is None else counts
        self._past = bytes([_END]) * ORDER

    @classmethod
    def of_captions(cls) -> "ByteCounts":
        """Which have seen `caption_corpus.txt`, and are before the first byte of a caption."""
        return cls({context: dict(counts) for context, counts in _primed().items()})

    def table(self) -> ProbabilityTable:
        """Of the next byte (Eq. 1)."""
        p = np.full(256, 2 ** (PRECISION - 8), np.int64)
        for order in range(ORDER + 1):
            counts = self._counts.get(self._past[ORDER - order :])
            if counts is None:
                break  # a context that is new has no longer ones that are not
            p *= len(counts)
            p[list(counts)] += np.array(list(counts.values()), np.int64) << PRECISION
            p //= sum(counts.values()) + len(counts)
        frequencies = 1 + (p * (2**PRECISION - 256) >> PRECISION)
        frequencies[frequencies.argmax()] += 2**PRECISION - frequencies.sum()
        return ProbabilityTable(frequencies[None])

    def add(self, byte: int) -> None:
        """Counts the next byte."""
        for order in range(ORDER, -1, -1):
            counts = self._counts.setdefault(self._past[ORDER - order :], {})
            counts[byte] = counts.get(byte, 0) + 1
            if counts[byte] > 1:
                break
        self._past = bytes([_END]) * ORDER if byte == _END else self._past[1:] + bytes([byte])


@cache
def _primed() -> dict[bytes, dict[int, int]]:
    counts = ByteCounts()
    for byte in (resources.files("uqdm.prompted") / "caption_corpus.txt").read_bytes():
        counts.add(byte)
    return counts._counts


def write_caption(writer: Writer, line: str) -> None:
    """Sends what `as_line` gives."""
    counts = ByteCounts.of_captions()
    for byte in line.encode() + bytes([_END]):
        writer.encode(counts.table(), _FIRST, np.array([byte]))
        counts.add(byte)


def read_caption(reader: Reader) -> str | None:
    """Mirror image of `write_caption`; None if the bytes do not determine all of it.

    Raises:
      OverflowError: it is too long or no UTF-8, the message must be damaged.
    """
    counts, received = ByteCounts.of_captions(), bytearray()
    while len(received) <= LONGEST:
        decoded = reader.decode(counts.table(), _FIRST)
        if not len(decoded):
            return None
        byte = int(decoded[0])
        if byte == _END:
            try:
                return received.decode()
            except UnicodeDecodeError:
                raise OverflowError("a caption is no UTF-8, the message must be damaged") from None
        received.append(byte)
        counts.add(byte)
    raise OverflowError("a caption is too long, the message must be damaged")
