"""Common randomness: integers that sender and receiver draw alike, on every machine and for ever.

The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011), a keyed bijection of 64-bit counters. A source is named by two 32-bit numbers, `seed` and
`stream`, which are the key; word i of a source is

    threefry2x32(key = (seed, stream), counter = (floor(i / 2) mod 2^32, floor(i / 2^33)))[i mod 2].        (1)

It is a pure function of (seed, stream, i): there is no state, any part can be drawn without the rest, and only
additions, rotations and exclusive-ors of 32-bit integers are involved. The test vectors of the authors' library
hold, among them

    threefry2x32((0, 0), (0, 0)) = (0x6b200159, 0x99ba4efe).
"""

from typing import NamedTuple

import numpy as np

from channel_sim import checks

__all__ = ["SharedRandomness", "threefry2x32"]

_ROTATIONS = tuple(
    tuple((np.uint32(left), np.uint32(32 - left)) for left in group) for group in ((13, 15, 26, 6), (17, 29, 16, 24))
)
"""Shifts to the left and to the right, which together rotate."""
_PARITY = np.uint32(0x1BD11BDA)
_CHUNK = 1 << 14
_PRIVATE = 2**60


def threefry2x32(key: tuple[int, int], counter: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Encrypts counters, elementwise.

    Args:
      key: two integers in [0, 2^32).
      counter: two uint32 arrays of one shape.

    Returns:
      Two uint32 arrays of that shape.
    """
    first, second = np.uint32(key[0]), np.uint32(key[1])
    schedule = (first, second, first ^ second ^ _PARITY)
    x, y = np.array(counter[0], np.uint32), np.array(counter[1], np.uint32)
    rotated = np.empty_like(y)
    with np.errstate(over="ignore"):
        # In place, since memory takes longer than arithmetic.
        x += schedule[0]
        y += schedule[1]
        for group in range(5):
            for left, right in _ROTATIONS[group % 2]:
                x += y
                np.left_shift(y, left, out=rotated)
                y >>= right
                y |= rotated
                y ^= x
            x += schedule[(group + 1) % 3]
            y += schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _halves(counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The low and the high 32 bits of uint64."""
    return (counters & np.uint64(0xFFFFFFFF)).astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32)


class SharedRandomness(NamedTuple):
    """A source of common randomness, named by `seed` and `stream`, both in [0, 2^32)."""

    seed: int
    stream: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Of Eq. 1.

        Raises:
          TypeError: the seed or the stream is not an integer.
          ValueError: one of them is outside [0, 2^32).
        """
        seed, stream = (checks.integer(name, getattr(self, name), 0, 2**32 - 1) for name in ("seed", "stream"))
        return seed, stream

    def words(self, count: int, start: int = 0) -> np.ndarray:
        """Words `start` to `start + count - 1` of Eq. 1, uint32 of shape (count,).

        Raises:
          TypeError: `count`, `start`, the seed or the stream is not an integer.
          ValueError: one of them is out of range.
        """
        key = self.key
        count, start = checks.integer("count", count, 0, 2**62), checks.integer("start", start, 0, 2**63)
        first, end = start // 2, (start + count + 1) // 2
        words = np.empty((end - first, 2), np.uint32)
        for begin in range(first, end, _CHUNK):  # in pieces that stay in the cache
            pairs = np.arange(begin, min(begin + _CHUNK, end), dtype=np.uint64)
            part = slice(begin - first, begin - first + len(pairs))
            words[part, 0], words[part, 1] = threefry2x32(key, _halves(pairs))
        return words.reshape(-1)[start % 2 :][:count]

    def words_at(self, indices: np.ndarray) -> np.ndarray:
        """Words of Eq. 1 at any places.

        Args:
          indices: integers from 0 on, any shape.

        Returns:
          uint32 of that shape.

        Raises:
          TypeError: `indices`, the seed or the stream are not integers.
          ValueError: one of them is out of range.
        """
        key, indices = self.key, np.asarray(indices)
        if indices.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, got {indices.dtype}")
        if indices.dtype.kind == "i" and (indices < 0).any():
            raise ValueError(f"indices must be 0 or more, got {indices.min()}")
        indices = indices.astype(np.uint64, copy=False)
        x, y = threefry2x32(key, _halves(indices >> np.uint64(1)))
        return np.where(indices & np.uint64(1), y, x)

    def bytes(self, count: int) -> np.ndarray:
        """The first `count` bytes, uint8: the words of Eq. 1 in order, least significant byte first."""
        count = checks.integer("count", count, 0, 2**62)
        return self.words(-(-count // 4)).astype("<u4").view(np.uint8)[:count]

    def uniform(self, count: int, start: int = 0) -> np.ndarray:
        """float64 in the open interval (-1/2, 1/2): (word + 1/2) / 2^32 - 1/2, exact in double precision."""
        return (self.words(count, start) + 0.5) / 2**32 - 0.5

    def private(self) -> np.random.Generator:
        """A generator for decisions that are the sender's alone, seeded by the eight words from 2^60 on.

        The receiver never needs its numbers, so they may differ between versions of numpy; it makes encoding
        reproducible. Channels take nothing else from words beyond 2^60.
        """
        return np.random.Generator(np.random.PCG64(self.words(8, _PRIVATE).tolist()))
