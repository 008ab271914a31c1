"""Adaptive probabilities from counts, in integers: a row of symbols is coded under the counts of all rows before it."""

import numpy as np

from channel_sim.entropy import PRECISION, ProbabilityTable

__all__ = ["Counts"]


class Counts:
    """Counts of symbols in contexts.

    Attributes:
      counts: int64 (contexts, symbols).
    """

    def __init__(self, counts: np.ndarray, *, step: int, limit: int):
        """Begins with some counts.

        Args:
          counts: positive integers (contexts, symbols).
          step: what a symbol adds.
          limit: a context whose counts sum to more has them halved.
        """
        self.counts, self._step, self._limit = np.array(counts, np.int64), step, limit

    def table(self, contexts: np.ndarray) -> tuple[ProbabilityTable, np.ndarray]:
        """Probabilities of the contexts of some symbols, and the row of each symbol.

        A symbol of count c in a context of sum S and K symbols has the frequency 1 + floor(c (2^24 - K) / S); what is
        left over goes to the first symbol with the largest count.
        """
        used, rows = np.unique(contexts, return_inverse=True)
        counts = self.counts[used]
        frequencies = 1 + counts * (2**PRECISION - counts.shape[1]) // counts.sum(1, keepdims=True)
        frequencies[np.arange(len(used)), counts.argmax(1)] += 2**PRECISION - frequencies.sum(1)
        return ProbabilityTable(frequencies), rows

    def add(self, contexts: np.ndarray, symbols: np.ndarray) -> None:
        """Counts symbols in their contexts."""
        np.add.at(self.counts, (contexts, symbols), self._step)
        used = np.unique(contexts)
        while (over := used[self.counts[used].sum(1) > self._limit]).size:
            self.counts[over] = (self.counts[over] + 1) >> 1

    def copy(self) -> "Counts":
        """A copy that can go its own way."""
        return Counts(self.counts, step=self._step, limit=self._limit)
