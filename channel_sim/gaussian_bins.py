"""Gaussians on a grid, by integer tables: what bits-back coding pushes and pops.

A number k of a grid whose bins are a quarter of the standard deviation wide has the probability that a Gaussian has in
its bin. With a mean m in bins, m = n + f / 16 for integers n and f in {0, ..., 15},

    P(k) = Phi((k + 1/2 - m) / 4) - Phi((k - 1/2 - m) / 4)     for |k - n| < 32 = 8 standard deviations,       (1)

rounded to multiples of 2^-24 (channel_sim.entropy.quantize_probabilities), a row of the table for every f. What is
farther has two symbols of its own, and its distance d = |k - n| - 32 follows: the number of bits of d + 1, c + 1 of
them, with probability 2^-(c + 1), and the c bits below the first. So every integer below 2^31 can be sent, at a price.

Means are rounded to 1/64 standard deviation, which costs 1.5e-5 bits: the variance of that error over 2 ln 2.
"""

import binascii
from functools import cache

import numpy as np
from scipy.special import ndtr

from channel_sim.entropy import ProbabilityTable, quantize_probabilities
from channel_sim.stack import Stack

__all__ = ["BINS_PER_STD", "phases_of", "pop_gaussian", "push_gaussian"]

BINS_PER_STD = 4
"""How fine the grid is."""
_PHASES, _REACH, _CLASSES = 16, 8 * BINS_PER_STD, 32
_CRC = 0x0E3F4192


@cache
def gaussian_table() -> ProbabilityTable:
    """Eq. 1: symbol j is k = n - 32 + j, for j from 1 to 63; 0 and 64 are what is farther, left and right.

    Raises:
      ArithmeticError: this machine computes another table.
    """
    edges = np.arange(-_REACH, _REACH) + 0.5
    distances = (edges[None, :] - np.arange(_PHASES)[:, None] / _PHASES) / BINS_PER_STD
    # Of the smaller tail nothing cancels.
    below, above = ndtr(distances), ndtr(-distances)
    inner = np.where(distances[:, :-1] > 0, above[:, :-1] - above[:, 1:], below[:, 1:] - below[:, :-1])
    table = quantize_probabilities(np.concatenate([below[:, :1], inner, above[:, -1:]], axis=1))
    found = binascii.crc32(table.astype("<i4").tobytes())
    if found != _CRC:
        raise ArithmeticError(f"the table of Gaussian bins has CRC {found:#010x} here and must have {_CRC:#010x}")
    return ProbabilityTable(table)


@cache
def _class_table() -> ProbabilityTable:
    weights = np.exp2(-np.arange(1.0, _CLASSES + 1))
    return ProbabilityTable(quantize_probabilities(weights[None]))


@cache
def _bit_table() -> ProbabilityTable:
    return ProbabilityTable(np.full((1, 2), 2**23))


def phases_of(mean: np.ndarray) -> np.ndarray:
    """Means in bins as integers, 16 n + f: int64 of the same shape.

    Raises:
      ValueError: a mean is not finite, or beyond 2^30 bins.
    """
    if not (np.abs(mean) < 2.0**30).all():
        raise ValueError("means must be finite and below 2^30 bins")
    return np.floor(np.asarray(mean, np.float64) * _PHASES + 0.5).astype(np.int64)


def push_gaussian(stack: Stack, phases: np.ndarray, numbers: np.ndarray) -> None:
    """Pushes numbers of the grid.

    Args:
      stack: takes them.
      phases: of their means (`phases_of`), (d,).
      numbers: integers k (d,).

    Raises:
      ValueError: a number is 2^31 bins or more from its mean.
    """
    nearest, phase = np.divmod(np.asarray(phases, np.int64), _PHASES)
    relative = np.asarray(numbers, np.int64) - nearest
    symbols = np.clip(relative, -_REACH, _REACH) + _REACH
    distance = np.abs(relative[np.abs(relative) >= _REACH]) - _REACH + 1
    if distance.size and distance.max() >= 2 ** (_CLASSES - 1):
        raise ValueError("a number is 2^31 bins or more from its mean")
    lengths = np.floor(np.log2(distance)).astype(np.int64)
    for bit in range(lengths.max(initial=0)):
        longer = lengths > bit
        stack.push(_bit_table(), np.zeros(longer.sum(), np.int64), distance[longer] >> bit & 1)
    stack.push(_class_table(), np.zeros(len(lengths), np.int64), lengths)
    stack.push(gaussian_table(), phase, symbols)


def pop_gaussian(stack: Stack, phases: np.ndarray) -> np.ndarray:
    """Pops what `push_gaussian` has pushed, or draws: int64 (d,).

    Raises:
      EOFError: as `Stack.pop`.
    """
    nearest, phase = np.divmod(np.asarray(phases, np.int64), _PHASES)
    symbols = stack.pop(gaussian_table(), phase).astype(np.int64)
    far = (symbols == 0) | (symbols == 2 * _REACH)
    lengths = stack.pop(_class_table(), np.zeros(far.sum(), np.int64)).astype(np.int64)
    distance = np.ones(len(lengths), np.int64)
    for bit in reversed(range(lengths.max(initial=0))):
        longer = lengths > bit
        distance[longer] = distance[longer] << 1 | stack.pop(_bit_table(), np.zeros(longer.sum(), np.int64))
    relative = symbols - _REACH
    relative[far] = np.sign(relative[far]) * (distance - 1 + _REACH)
    return nearest + relative
