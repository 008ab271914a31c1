"""Sketches of pictures by Canny's edge detector (1986): thin lines where brightness changes most.

The brightness Y = 0.299 R + 0.587 G + 0.114 B is smoothed by a Gaussian; g is its gradient by Sobel's operators, in
units of brightness per pixel. A pixel is a candidate where |g| is above `LOW` and the largest of three across the
edge, that is in the nearest of the four directions of neighbours to that of g. Connected candidates are an edge if
one of them is above `HIGH`.

The detector is the sender's affair: it computes in floating point, and what it finds is sent as it is.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

__all__ = ["HIGH", "LOW", "canny", "reduced"]

DEVIATION, LOW, HIGH = 1.0, 4.0, 10.0
_ACROSS = ((0, 1), (1, 1), (1, 0), (1, -1))


def reduced(picture: UInt8[np.ndarray, "H W 3"], scale: int) -> UInt8[np.ndarray, "h w 3"]:
    """The mean of every scale x scale pixels; sides are rounded up, the last row and column are repeated."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % scale), (0, -width % scale), (0, 0)), mode="edge")
    blocks = padded.reshape(-(-height // scale), scale, -(-width // scale), scale, 3)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)


def canny(picture: UInt8[np.ndarray, "h w 3"], low: float = LOW, high: float = HIGH) -> Bool[np.ndarray, "h w"]:
    """The edges of a picture."""
    brightness = ndimage.gaussian_filter(picture @ np.array([0.299, 0.587, 0.114]), DEVIATION, mode="nearest")
    down, right = (ndimage.sobel(brightness, axis, mode="nearest") / 8 for axis in (0, 1))
    strength = np.hypot(down, right)
    direction = np.rint(np.arctan2(down, right) * (4 / np.pi)).astype(int) % 4
    height, width = strength.shape
    padded, largest = np.pad(strength, 1), np.zeros(strength.shape, bool)
    for number, (rows, columns) in enumerate(_ACROSS):
        ahead = padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
        behind = padded[1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]
        largest |= (direction == number) & (strength > ahead) & (strength >= behind)
    labelled: Any = ndimage.label(largest & (strength > low), np.ones((3, 3)))
    lines, count = labelled
    kept = np.zeros(count + 1, bool)
    kept[np.unique(lines[largest & (strength > high)])] = True
    kept[0] = False
    return kept[lines]
