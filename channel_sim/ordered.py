"""Ordered random coding (Theis and Yosri 2022): a fixed number of candidates, and a sample that is nearly right.

Both sides draw K candidates X_i ~ P. The sender chooses one with the normalised weights w_i / sum_j w_j, w = dQ/dP, by
the exponential race argmin_i E_i / w_i with independent exponentials; their order is free, and sorted ones favour
small indices. The sorted exponentials, in units of 1 / K, are

    S_1 = E_1,    S_(i+1) = S_i + K / (K - i) E_(i+1),    N = argmin_i S_i / w(X_i).                       (1)

The sample is that of importance sampling (minimal random coding): right as K goes to infinity, with an error that falls
once log2 K exceeds KL and some standard deviations of log2 w; the index obeys the bound of the Poisson functional
representation. Work and memory are known in advance, whatever Q: this is the scheme for a fixed budget. Within the
same budget the Poisson functional representation errs as much.
"""

from dataclasses import dataclass

import numpy as np

from channel_sim import checks
from channel_sim.candidates import Blocks
from channel_sim.entropy import Reader, Writer
from channel_sim.index_code import receive_searched, send_searched
from channel_sim.randomness import SharedRandomness

__all__ = ["OrderedRandomCoding"]

_LARGEST_BATCH = 2**20


@dataclass(frozen=True, kw_only=True)
class OrderedRandomCoding:
    """Eq. 1, for targets and references of one kind: `Categorical`, `Gaussian` or `Uniform` (see `Blocks`).

    Attributes:
      candidates_log2: log2 K, from 0 to 32.

    Raises:
      TypeError: it is not an integer.
      ValueError: it is out of range.
    """

    candidates_log2: int

    def __post_init__(self):
        object.__setattr__(self, "candidates_log2", checks.integer("candidates_log2", self.candidates_log2, 0, 32))

    def encode(self, writer: Writer, target, reference, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample that is nearly one of `target`, one per block.

        Args:
          writer: takes the message.
          target: Q, with the shapes of `reference`.
          reference: P.
          shared: common randomness of this use.

        Returns:
          int64 (blocks,) for `Categorical`, otherwise float64 of the reference's shape.

        Raises:
          TypeError: target and reference are not of one kind.
          ValueError: the shapes differ, a parameter is none (channel_sim.checks), or the target has mass where the
            reference has none.
        """
        checks.source(shared)
        blocks = Blocks(reference)
        target = blocks.target(target)
        index = self._race(blocks, target, shared)
        send_searched(writer, index)
        return blocks.draw(shared, np.arange(blocks.count), index)

    def decode(self, reader: Reader, reference, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`."""
        checks.source(shared)
        blocks = Blocks(reference)
        index = receive_searched(reader, blocks.count)
        return blocks.draw(shared, np.arange(blocks.count), index)

    def _race(self, blocks: Blocks, target, shared: SharedRandomness) -> np.ndarray:
        """N of Eq. 1 for every block, int64."""
        private, total = shared.private(), 1 << self.candidates_log2
        everything = np.arange(blocks.count)
        best, index = np.full(blocks.count, np.inf), np.ones(blocks.count, np.int64)
        time = np.zeros((blocks.count, 1))
        batch = max(1, min(total, _LARGEST_BATCH // max(1, blocks.count * blocks.width)))
        for first in range(1, total + 1, batch):
            number = np.arange(first, min(first + batch, total + 1))
            gaps = private.exponential(size=(blocks.count, len(number))) * (total / (total + 1 - number))
            arrival = time + np.cumsum(gaps, 1)
            sample = blocks.draw(shared, everything[:, None], number)
            mark = np.log(arrival) - blocks.log_ratio(target, everything[:, None], sample)
            least = mark.argmin(1)
            mark = mark[everything, least]
            index = np.where(mark < best, number[least], index)
            best = np.minimum(mark, best)
            time = arrival[:, -1:]
        return index
