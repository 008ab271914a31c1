"""A common random rotation that spreads any vector over all its coordinates.

With the Hadamard matrix H of size R = 2^r, the largest power of two with R <= D, and random signs S_1, S_2, S_3,

    rotate = A S_3 B S_2 A S_1,                                                                            (1)

where A applies H / sqrt(R) to the first R coordinates and B to the last R. Every factor is orthogonal and symmetric,
so the inverse has the factors in reverse order. It takes 3 D log2 D additions. The arithmetic is sums, sign changes and
products with powers of two and one constant, in IEEE double precision and in a fixed order: equal on every machine.
"""

import numpy as np

from channel_sim import checks
from channel_sim.randomness import SharedRandomness

__all__ = ["rotate", "unrotate"]

_ROOT_HALF = 0.7071067811865476


def rotate(x: np.ndarray, shared: SharedRandomness, first_word: int) -> np.ndarray:
    """Eq. 1.

    Args:
      x: (D,).
      shared: gives the signs.
      first_word: of 3 ceil(D / 32) words.

    Returns:
      float64 (D,), of the same norm.

    Raises:
      TypeError: x is not real numbers.
      ValueError: it is not finite or no vector.
    """
    x = _vector("x", x)
    signs, size = _signs(len(x), shared, first_word)
    y = x * signs[0]
    _hadamard(y[:size])
    y *= signs[1]
    _hadamard(y[len(y) - size :])
    y *= signs[2]
    _hadamard(y[:size])
    return y


def unrotate(y: np.ndarray, shared: SharedRandomness, first_word: int) -> np.ndarray:
    """Inverse of `rotate`, up to rounding."""
    x = _vector("y", y).astype(np.float64)
    signs, size = _signs(len(x), shared, first_word)
    _hadamard(x[:size])
    x *= signs[2]
    _hadamard(x[len(x) - size :])
    x *= signs[1]
    _hadamard(x[:size])
    return x * signs[0]


def _vector(name: str, value: np.ndarray) -> np.ndarray:
    value = np.asarray(checks.real(name, value))
    if value.ndim != 1 or not len(value):
        raise ValueError(f"{name} must be a vector of one coordinate or more, got the shape {value.shape}")
    return value


def _signs(count: int, shared: SharedRandomness, first_word: int) -> tuple[np.ndarray, int]:
    words = shared.words(3 * -(-count // 32), first_word).astype("<u4")
    bits = np.unpackbits(words.view(np.uint8).reshape(3, -1), axis=1, bitorder="little")[:, :count]
    return 1.0 - 2.0 * bits, 1 << (count.bit_length() - 1)


def _hadamard(x: np.ndarray) -> None:
    """Multiplies a contiguous vector by H / sqrt(R) in place."""
    half, levels = 1, 0
    while half < len(x):
        pairs = x.reshape(-1, 2, half)
        difference = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = difference
        half, levels = 2 * half, levels + 1
    x *= 2.0 ** -(levels // 2) * (_ROOT_HALF if levels % 2 else 1.0)
