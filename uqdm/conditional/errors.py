"""How wrong previews are: the scale of everything in the conditional flow, from tables and from the nested network.

The network says of every coefficient how uncertain it is, the scale of its reference. It says so even where a step
sends nothing of a coefficient, though not in the right units. So the standard deviation of a preview's error is

    std = exp(a + b log s),                                                                       (1)

s the scale in pixel values, with a and b for every step and kind of coefficient (band and colour) those of the greatest
likelihood of Gaussian errors.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from uqdm.transforms.wavelet import layout

__all__ = ["Errors", "fitted", "kinds"]

_SLOPES = np.linspace(0.0, 1.5, 16)


class Errors(NamedTuple):
    """Tables for every step."""

    offset: Float32[np.ndarray, "t k"]
    """a of Eq. 1, (steps + 1, kinds)."""
    slope: Float32[np.ndarray, "t k"]
    """b of Eq. 1."""
    of_pixels: Float32[np.ndarray, " t"]
    """Root mean square of the error of pixel values, c of uqdm.conditional.network, (steps + 1,)."""


def kinds(block: int) -> Int32[np.ndarray, " C"]:
    """The kind of every channel."""
    channels = layout(block)
    return 3 * channels.band + channels.colour


def fitted(error: np.ndarray, log_scale: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a and b of Eq. 1 for every kind.

    Args:
      error: of estimates, in pixel values, (..., C).
      log_scale: natural logarithms of the network's scales, (..., C).
      kind: of channels (C,).
    """
    found = []
    for one in range(kind.max() + 1):
        squared = np.square(error[..., kind == one].astype(np.float64)) + 1e-6
        scale = log_scale[..., kind == one].astype(np.float64)
        offsets = [0.5 * np.log(np.mean(squared * np.exp(-2 * slope * scale))) for slope in _SLOPES]
        # The likelihood of Eq. 1 with its best offset: the mean logarithm of std, and a constant.
        losses = [offset + slope * scale.mean() for offset, slope in zip(offsets, _SLOPES, strict=True)]
        best = int(np.argmin(losses))
        found.append((offsets[best], _SLOPES[best]))
    offset, slope = np.array(found, np.float32).T
    return offset, slope
