"""The Poisson functional representation (Li and El Gamal 2018): exact simulation of any channel.

Both sides draw candidates X_1, X_2, ... ~ P from common randomness. The sender marks them with the arrival times
T_1 < T_2 < ... of a Poisson process of rate 1 and, with w = dQ/dP, sends

    N = argmin_i T_i / w(X_i).                                                                             (1)

The points (X_i, T_i / w(X_i)) form a Poisson process of intensity Q x dt, so X_N ~ Q exactly, and independent of its
mark, which is Exp(1). The index costs

    E[log2 N] <= KL(Q || P) + log2(e) / e,    E[bits] <= KL + log2(KL + 1) + 4                             (2)

with the Zipf code of channel_sim.index_code (review, Eq. 12). The search may stop once T_i / max w exceeds the best
mark: it takes max w candidates on average. Where w has no bound (two Gaussians of equal variance, DiffC's case), the
search never ends; with a budget of K candidates the sample is wrong with probability at most P(N > K), in total
variation. For such Gaussians channel_sim.bounds tells the number; channel_sim.gaussian is made for them.

Many blocks are sent by one call, each by its own search; the law that codes their indices best is told in six bits.
"""

from dataclasses import dataclass

import numpy as np

from channel_sim import checks
from channel_sim.candidates import Blocks
from channel_sim.entropy import Reader, Writer
from channel_sim.index_code import receive_searched, send_searched
from channel_sim.randomness import SharedRandomness

__all__ = ["PoissonFunctionalRepresentation"]

_LARGEST_BATCH = 2**20
_MOST_LOG, _MOST_LOG_OF_ONE = 32 * np.log(2), 24.5 * np.log(2)
_FARTHEST = 6.2
"""Deviations of a Gaussian reference beyond which there are hardly candidates: the last ones lie at 6.3."""


@dataclass(frozen=True, kw_only=True)
class PoissonFunctionalRepresentation:
    """Eq. 1, for targets and references of one kind: `Categorical`, `Gaussian` or `Uniform` (see `Blocks`).

    Attributes:
      budget: the largest number K of candidates per block, from 1 on, or None for the exact search, which needs a
        bounded ratio.

    Raises:
      TypeError: the budget is not an integer.
      ValueError: it is below 1 or above 2^62 - 1.
    """

    budget: int | None = None

    def __post_init__(self):
        if self.budget is not None:
            object.__setattr__(self, "budget", checks.integer("budget", self.budget, 1, 2**62 - 1))

    def encode(self, writer: Writer, target, reference, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample of `target`, one per block.

        Args:
          writer: takes the message.
          target: Q, with the shapes of `reference`.
          reference: P.
          shared: common randomness of this use.

        Returns:
          int64 (blocks,) for `Categorical`, otherwise float64 of the reference's shape.

        Raises:
          TypeError: target and reference are not of one kind.
          ValueError: there is no budget and the ratio has no bound below 2^32 or a Gaussian target reaches beyond the
            candidates, the shapes differ, a parameter is none (channel_sim.checks), or the target has mass where the
            reference has none.
        """
        checks.source(shared)
        blocks = Blocks(reference)
        target = blocks.target(target)
        index = self._search(blocks, target, shared)
        send_searched(writer, index)
        return blocks.draw(shared, np.arange(blocks.count), index)

    def decode(self, reader: Reader, reference, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`."""
        checks.source(shared)
        blocks = Blocks(reference)
        index = receive_searched(reader, blocks.count)
        return blocks.draw(shared, np.arange(blocks.count), index)

    def _search(self, blocks: Blocks, target, shared: SharedRandomness) -> np.ndarray:
        """N of Eq. 1 for every block, int64."""
        coordinates = blocks.log_ratio_bound(target)
        bound = coordinates.sum(-1) if coordinates.ndim == 2 else coordinates
        if self.budget is None and not (bound < _MOST_LOG).all():
            raise ValueError(
                f"the exact search takes max dQ/dP candidates, up to 2^{bound.max() / np.log(2):.1f} here, and is "
                "refused above 2^32: give a budget, or use GaussianChannel (equal variances) or GreedyRejection (one "
                "dimension)"
            )
        if self.budget is None and not (coordinates < _MOST_LOG_OF_ONE).all():
            raise ValueError(
                "candidates have 32 random bits a coordinate, and the exact search needs max dQ/dP of 2^24 at most in "
                f"each, got 2^{coordinates.max() / np.log(2):.1f}: give a budget, or use GreedyRejection"
            )
        if self.budget is None and (reach := blocks.reach(target)) > _FARTHEST:
            raise ValueError(
                f"candidates reach {_FARTHEST} deviations of the reference, and the exact search needs targets within "
                f"that, 4 deviations added to their means; got {reach:.3g}: give a budget, or use GreedyRejection"
            )
        private, budget = shared.private(), self.budget or 2**62
        best, index = np.full(blocks.count, np.inf), np.ones(blocks.count, np.int64)
        arrival, searching = np.zeros(blocks.count), np.arange(blocks.count)
        first, batch = 1, 8
        while len(searching) and first <= budget:
            number = np.arange(first, min(first + batch, budget + 1))
            time = arrival[searching, None] + np.cumsum(private.exponential(size=(len(searching), len(number))), 1)
            sample = blocks.draw(shared, searching[:, None], number)
            mark = np.log(time) - blocks.log_ratio(target, searching[:, None], sample)
            least = mark.argmin(1)
            mark = mark[np.arange(len(searching)), least]
            better = searching[mark < best[searching]]
            index[better] = number[least[mark < best[searching]]]
            best[searching] = np.minimum(mark, best[searching])
            arrival[searching] = time[:, -1]
            first += len(number)
            searching = searching[np.log(time[:, -1]) - bound[searching] < best[searching]]
            batch = max(1, min(2 * batch, _LARGEST_BATCH // max(1, len(searching) * blocks.width)))
        return index
