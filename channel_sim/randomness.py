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

__all__ = ["SharedRandomness", "threefry2x32"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
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
    x, y = counter[0].astype(np.uint32), counter[1].astype(np.uint32)
    with np.errstate(over="ignore"):
        x, y = x + schedule[0], y + schedule[1]
        for group in range(5):
            for rotation in _ROTATIONS[group % 2]:
                x = x + y
                y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
            x = x + schedule[(group + 1) % 3]
            y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _halves(counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The low and the high 32 bits of uint64."""
    return (counters & np.uint64(0xFFFFFFFF)).astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32)


class SharedRandomness(NamedTuple):
    """A source of common randomness, named by `seed` and `stream`, both in [0, 2^32)."""

    seed: int
    stream: int = 0

    def words(self, count: int, start: int = 0) -> np.ndarray:
        """Words `start` to `start + count - 1` of Eq. 1, uint32 of shape (count,).

        Raises:
          ValueError: the seed or the stream is outside [0, 2^32).
        """
        for name, value in (("seed", self.seed), ("stream", self.stream)):
            if not 0 <= value < 2**32:
                raise ValueError(f"{name} must be in [0, 2^32), got {value}")
        first, end = start // 2, (start + count + 1) // 2
        words = np.empty((end - first, 2), np.uint32)
        for begin in range(first, end, _CHUNK):  # in pieces that stay in the cache
            pairs = np.arange(begin, min(begin + _CHUNK, end), dtype=np.uint64)
            part = slice(begin - first, begin - first + len(pairs))
            words[part, 0], words[part, 1] = threefry2x32((self.seed, self.stream), _halves(pairs))
        return words.reshape(-1)[start % 2 :][:count]

    def words_at(self, indices: np.ndarray) -> np.ndarray:
        """Words of Eq. 1 at any places.

        Args:
          indices: uint64, any shape.

        Returns:
          uint32 of that shape.
        """
        indices = np.asarray(indices, np.uint64)
        x, y = threefry2x32((self.seed, self.stream), _halves(indices >> np.uint64(1)))
        return np.where(indices & np.uint64(1), y, x)

    def bytes(self, count: int) -> np.ndarray:
        """The first `count` bytes, uint8: the words of Eq. 1 in order, least significant byte first."""
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
