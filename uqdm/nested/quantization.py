"""Rate-distortion optimised quantization: what a sender leaves in the zero cell if it knows where the stream will end.

A coefficient y that leaves its zero cell in a step of width w is known to within w / 2 afterwards, at the cost of

    Delta R = -log2 P(its cell) + log2 P(zero cell)   bits.

If the stream ends in this level, nothing will be said about it that it could wait for, and it should stay if

    y^2 - (|y| - m)^2  <  price w^2 Delta R,        m the midpoint of its cell,                    (1)

where `price` w^2 is what a bit buys elsewhere: at the end of a level's splitting steps about 0.35 w^2, in its halving
step, which is all that is left then, 0.2 w^2 (it buys w^2 / 4 at the most). Only coefficients of the cells next to the
zero cell are asked. One that stays is moved to the edge of the zero cell, so that whatever follows is about that, and
the receiver notices nothing.

A coefficient that stays can never leave its cell again: in levels before the last one that costs more than it saves.
"""

import numpy as np

from channel_sim.refinement import Interval, Reference, refinement_bits

__all__ = ["PRICE_OF_HALVING", "PRICE_OF_SPLITTING", "stay_if_worth"]

PRICE_OF_SPLITTING, PRICE_OF_HALVING = 0.35, 0.2
"""Of streams that end in a splitting or a halving step; measured at 0.1 to 1 bit per pixel."""


def stay_if_worth(
    reference: Reference, cells: Interval, unit: int, y: np.ndarray, price: float, *, first: int | None = None
) -> np.ndarray:
    """Sources of a splitting step of width `unit`, those moved into the zero cell that should stay there (Eq. 1).

    Args:
      reference: psi.
      cells: zero cells, or the whole line.
      unit: w in ticks.
      y: the sources, in ticks.
      price: of a bit, in w^2.
      first: as for `channel_sim.refinement.send_refinement`.
    """
    moved = np.clip(y, 1 - unit, unit - 1)
    before, after = (refinement_bits(reference, cells, unit, values, first=first) for values in (y, moved))
    magnitude = np.abs(y) / unit
    error = magnitude**2 - (magnitude - 1.5) ** 2
    return np.where((magnitude < 2) & (error < price * (before - after)), moved, y)
