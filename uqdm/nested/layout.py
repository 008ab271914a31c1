"""What the channels of a block are: bands of a wavelet transform with three colours, or the channels of a latent.

A latent has blocks of one position, which is one band, and as many *colours* as channels.
"""

import numpy as np

from uqdm.transforms.wavelet import Layout, layout

__all__ = ["layout_of"]


def layout_of(block: int, colours: int) -> Layout:
    """The order of channels.

    Raises:
      ValueError: blocks of this side have other than three colours.
    """
    if block > 1:
        if colours != 3:
            raise ValueError(f"blocks of more than one position have 3 colours, got {colours}")
        return layout(block)
    zeros = np.zeros(colours, np.int32)
    return Layout(zeros, zeros + 1, zeros, zeros, np.arange(colours, dtype=np.int32))
