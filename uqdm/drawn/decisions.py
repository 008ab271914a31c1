"""Adaptive probabilities of decisions: what several contexts have counted, mixed, all in integers.

A *decision* is 0 or 1. It falls into one slot of each of K contexts, where n_0 zeros and n_1 ones were counted. With
T(n) = floor(2^8 log2(2 n + 1)),

    s_i = T(n_1) - T(n_0),      z = lim(floor(sum of w_i s_i / 2^16), 2^12 - 1),                            (1)

a one has the odds 2^(z / 256): with E(z) = floor(2^40 2^(z / 256)) the frequency

    F(z) = max(1, floor(2^24 E(z) / (E(z) + 2^40)))      out of 2^24.                                      (2)

The weights w_i, at first 11000 / 2^16, belong to a *set* that the caller names. Decisions of a row of pixels are made
under what was known before the row; after it, of all N decisions of a set,

    w_i <- lim(w_i + floor(floor(G_i / max(1, floor(N / 4))) / 2^15), 2^18),
    G_i = sum of (2^16 decision - floor(F(z) / 2^8)) s_i,                                                   (3)

a step along the gradient of the code length (logistic mixing, as in the PAQ family of compressors; Mahoney 2005).
Then counts change: in every slot that a decision fell into, the count n of the other outcome becomes floor((n + 6) /
2) if it is more than 6, once in a row, since pictures change; every decision adds one to its own count; and while the
counts of a slot sum to more than 4095 both are halved, rounded down.

Slots are hashes of integers: with h = 0 at first, h <- (h + v + 1) 9E3779B97F4A7C15 (hexadecimal) modulo 2^64 for
each of them, and the slot is floor(h / 2^(64 - s)). Contexts have 2^s slots each; what falls into one slot by chance
is counted together.
"""

import copy
from collections.abc import Callable
from functools import cache, reduce
from math import isqrt
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import PRECISION, ProbabilityTable

__all__ = ["Decisions", "Exchange", "hashed"]

Exchange = Callable[[ProbabilityTable, np.ndarray, np.ndarray | None], np.ndarray]
"""Of a table, the rows of symbols, and the symbols, which a receiver does not know: gives the symbols.

Raises EOFError where the bytes do not determine them all."""

_MOST_COUNTED, _OF_THE_OTHER = 4095, 6
_LIMIT, _UNITS, _ONE = 2**12 - 1, 256, 40
_WEIGHT_BITS, _FIRST_WEIGHT, _LARGEST_WEIGHT = 16, 11000, 2**18
_FULL, _RATE_BITS = 4, 15
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

_LOGARITHMS = np.array([((2 * n + 1) ** _UNITS).bit_length() - 1 for n in range(_MOST_COUNTED + 1)], np.int64)
"""T."""


@cache
def _table() -> ProbabilityTable:
    """Of zeros and ones for z = -L, ..., L."""
    most = _LIMIT // _UNITS + 1
    # A 256th root is eight square roots; one for each fraction of an octave, and E is what its first bits say.
    roots = [reduce(lambda value, _: isqrt(value), range(8), 1 << (_UNITS * (_ONE + most) + z)) for z in range(_UNITS)]
    powers = [roots[z % _UNITS] >> (most - z // _UNITS) for z in range(-_LIMIT, _LIMIT + 1)]
    ones = np.array([max(1, (power << PRECISION) // (power + (1 << _ONE))) for power in powers])
    return ProbabilityTable(np.stack([2**PRECISION - ones, ones], -1))


def hashed(start: np.ndarray | int, *parts: np.ndarray | int) -> np.ndarray:
    """h after some more integers, uint64; `start` is 0 or a hash."""
    total = np.asarray(start, np.uint64)
    for part in parts:
        total = (total + np.asarray(part).astype(np.uint64) + np.uint64(1)) * _FACTOR
    return total


class _Made(NamedTuple):
    """Decisions of a row."""

    slots: np.ndarray
    """(K, n)."""
    logarithms: np.ndarray
    """s, (K, n)."""
    sets: np.ndarray
    bits: np.ndarray
    errors: np.ndarray


class Decisions:
    """What was learned of decisions of one kind."""

    def __init__(self, contexts: int, sets: int, slots_log2: int):
        """Nothing.

        Args:
          contexts: K.
          sets: of weights.
          slots_log2: s.
        """
        self._counts = np.zeros((contexts << slots_log2, 2), np.int32)
        self._weights = np.full((sets, contexts), _FIRST_WEIGHT, np.int64)
        self._first = (np.arange(contexts, dtype=np.int64) << slots_log2)[:, None]
        self._shift = np.uint64(64 - slots_log2)
        self._row: list[_Made] = []

    def copy(self) -> "Decisions":
        """A copy that can go its own way."""
        other = copy.copy(self)
        other._counts, other._weights, other._row = self._counts.copy(), self._weights.copy(), [*self._row]
        return other

    def make(self, exchange: Exchange, contexts: np.ndarray, sets: np.ndarray, bits: np.ndarray | None) -> np.ndarray:
        """Exchanges decisions.

        Args:
          exchange: with the other side.
          contexts: hashes of the K contexts, uint64 (K, n).
          sets: of weights, (n,).
          bits: the decisions (n,), which a receiver does not know.

        Returns:
          The decisions.
        """
        slots = (contexts >> self._shift).astype(np.int64) + self._first
        counted = _LOGARITHMS[self._counts[slots]]
        logarithms = counted[..., 1] - counted[..., 0]
        z = (self._weights[sets].T * logarithms).sum(0) >> _WEIGHT_BITS
        table, rows = _table(), np.minimum(np.maximum(z, -_LIMIT), _LIMIT) + _LIMIT
        bits = exchange(table, rows, bits)
        errors = (bits << _WEIGHT_BITS) - (table.frequencies[rows, 1].astype(np.int64) >> (PRECISION - _WEIGHT_BITS))
        self._row.append(_Made(slots, logarithms, sets, bits, errors))
        return bits

    def learn(self) -> None:
        """After a row."""
        if not self._row:
            return
        changes, amounts = np.zeros_like(self._weights), np.zeros(len(self._weights), np.int64)
        for made in self._row:
            np.add.at(changes, made.sets, (made.errors * made.logarithms).T)
            np.add.at(amounts, made.sets, 1)
        changes //= np.maximum(1, amounts // _FULL)[:, None]
        self._weights = np.clip(self._weights + (changes >> _RATE_BITS), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        slots = np.concatenate([made.slots.reshape(-1) for made in self._row])
        bits = np.concatenate([np.tile(made.bits, len(made.slots)) for made in self._row])
        counts, own, other = self._counts.reshape(-1), 2 * slots + bits, 2 * slots + 1 - bits
        counted = counts[other]
        counts[other] = np.where(counted > _OF_THE_OTHER, (counted + _OF_THE_OTHER) >> 1, counted)
        np.add.at(counts, own, 1)
        while (over := slots[self._counts[slots].sum(-1) > _MOST_COUNTED]).size:
            over = np.unique(over)
            self._counts[over] >>= 1
        self._row = []
