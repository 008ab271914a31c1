"""Where the bits of a picture go: the ideal code length of every block at every step of the nested process.

By the chain rule a step's ideal bits are the sum of -log2 psi(child) / psi(cell) over its members (channel_sim.dither),
so they belong to coefficients, and coefficients to blocks. Coarse bands of a block speak for its whole area.
"""

from collections.abc import Callable

import numpy as np

from channel_sim.entropy import Writer
from uqdm.nested.model import NestedModel

__all__ = ["block_bits"]


def block_bits(
    picture: np.ndarray, model: NestedModel, *, seed: int = 0, on_step: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Ideal bits of a whole stream, without header and check values.

    Args:
      picture: uint8 (H, W, 3).
      model: of the nested process.
      seed: of the common randomness.
      on_step: called after every step, to show progress.

    Returns:
      float64 (steps, h, w), in bits, on the grid of blocks that covers the picture.
    """
    height, width = picture.shape[:2]
    state, writer, bits = model.new_state(height, width, seed, picture), Writer(), []
    for step in range(model.steps):
        model.expect([state], step)
        bits.append(state.block_bits(step))
        state.send(writer, step)
        on_step()
    return np.stack(bits)
