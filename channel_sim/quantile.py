"""Common randomness with a given distribution: integer quantile tables, the same on every machine.

Let q be the upper quantile function of a distribution on (0, inf): q(u) is exceeded with probability 2u, for u in
(0, 1/2). It is stored at the points

    u(e, j) = 2^(e - 65) (1 + j / 512),    e = 0, ..., 63,  j = 0, ..., 511,     and u = 1/2,                (1)
    t(e, j) = round(2^24 q(u(e, j))),                                                                        (2)

and an odd integer v < 2^64 stands for u = v / 2^65. With v = 2^e (1 + (j + f) / 512) and F = floor(2^15 f),

    x(v) = t(e, j) - floor((t(e, j) - t_next) F / 2^15)    in ticks of 2^-24,                                (3)

where t_next is the following point. A symmetric distribution takes its sign from one more bit. The density of x is a
staircase whose steps are cells of Eq. 1: for the normal distribution it is off by at most 0.12 %, in total variation by
9e-5, and |x| is at most 9.16.

Portability. Eq. 1 to 3 are integer arithmetic, except that the table is computed when it is first needed, in double
precision. It is a rounded quantity: another libm could change an entry only if its 2^24 q were off by more than the
distance to the next half, 8e-6 for the normal distribution, where errors are below 1e-6. What is more, the CRC-32 of
every table is written down, and a machine that computed another one refuses to work rather than decode noise.
"""

import binascii
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.special import ndtri

from channel_sim.randomness import SharedRandomness

__all__ = ["TICKS", "QuantileTable", "normal_table", "normal_ticks", "normals"]

TICKS = 2**24
"""Ticks per unit."""
_OCTAVES, _STEPS = 64, 512
_CHUNK = 1 << 15


class QuantileTable:
    """The table t of Eq. 2, and x of Eq. 3.

    Attributes:
      ticks: int32 (64 * 512 + 1,), monotone, neighbours less than 2^16 apart.
    """

    def __init__(self, quantile: Callable[[np.ndarray], np.ndarray], crc: int):
        """Computes the table.

        Args:
          quantile: q, for float64 arrays.
          crc: CRC-32 of the table as little-endian int32.

        Raises:
          ArithmeticError: this machine computes another table.
        """
        self.ticks = np.rint(TICKS * quantile(self.points())).astype(np.int32)
        self._drops = self.ticks[:-1] - self.ticks[1:]
        found = binascii.crc32(self.ticks.astype("<i4").tobytes())
        if found != crc:
            raise ArithmeticError(
                f"the quantile table has CRC {found:#010x} on this machine and must have {crc:#010x}: its floating "
                "point arithmetic is off by more than 1e-6 ticks; samples would differ from everybody else's"
            )

    @staticmethod
    def points() -> np.ndarray:
        """The points of Eq. 1 in increasing order, and 1/2."""
        octave = 2.0 ** (np.arange(_OCTAVES) - 65)
        return np.append((octave[:, None] * (1 + np.arange(_STEPS) / _STEPS)).reshape(-1), 0.5)

    def lookup(self, v: np.ndarray) -> np.ndarray:
        """Eq. 3 for odd integers v, uint64, to int32."""
        # Without the 11 lowest bits of large v the conversion is exact; exponent and mantissa then tell e, j and F.
        kept = np.where(v < np.uint64(2**53), v, v & np.uint64(2**64 - 2**11))
        return self._of_floats(kept.astype(np.float64), 0)

    def lookup_words(self, words: np.ndarray) -> np.ndarray:
        """Eq. 3 for v = 2^32 (2 (word mod 2^31) + 1): thirty-one bits of common randomness, uint32 to int32."""
        return self._of_floats(((words << np.uint32(1)) | np.uint32(1)).astype(np.float64), 32)

    def _of_floats(self, v: np.ndarray, octaves: int) -> np.ndarray:
        bits = v.view(np.int64)
        place = (bits >> 43) - ((1023 - octaves) << 9)
        fraction = ((bits >> 28) & 0x7FFF).astype(np.int32)
        return self.ticks.take(place) - ((self._drops.take(place) * fraction) >> 15)


@cache
def normal_table() -> QuantileTable:
    """The table of |x| for a standard normal x: q(u) = -Phi^-1(u)."""
    return QuantileTable(lambda u: -ndtri(u), crc=0x2D7B4F0C)


def normal_ticks(words: np.ndarray) -> np.ndarray:
    """Standard normal numbers in ticks from common randomness: the top bit is the sign, Eq. 3 the magnitude.

    Args:
      words: uint32, any shape.

    Returns:
      int32 of that shape; |x| <= 6.5 units.

    Raises:
      TypeError: the words are not uint32.
    """
    if words.dtype != np.uint32:
        raise TypeError(f"words must be uint32, got {words.dtype}")
    table, flat = normal_table(), words.reshape(-1)
    result = np.empty(flat.shape, np.int32)
    for begin in range(0, len(flat), _CHUNK):  # in pieces that stay in the cache
        part = flat[begin : begin + _CHUNK]
        sign = (part >> np.uint32(31)).astype(np.int32)
        result[begin : begin + _CHUNK] = (table.lookup_words(part) ^ -sign) + sign
    return result.reshape(words.shape)


def normals(shared: SharedRandomness, indices: np.ndarray) -> np.ndarray:
    """Standard normal numbers, float64 and exact multiples of 2^-24, from the words `indices` of `shared`."""
    return normal_ticks(shared.words_at(indices)) / TICKS
