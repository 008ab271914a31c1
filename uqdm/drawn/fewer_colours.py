"""Pictures of text and screens in fewer colours: what the drawn process then sends exactly, in fewer bytes.

Edges of letters are blends of two colours, many of them nearly equal. With a palette of the k best colours (median cut
and a few turns of k-means, Pillow's), each pixel takes the nearest one, without dither, and contexts see what repeats.
What is lost is lost before anything is encoded.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from uqdm.metrics.psnr import psnr_db

__all__ = ["best_within", "in_colours", "nearest_to"]

_MOST = 256
_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_TURNS = 3


def in_colours(picture: UInt8[np.ndarray, "H W 3"], count: int) -> UInt8[np.ndarray, "H W 3"]:
    """The picture in so many colours, 2 to 256."""
    image = Image.fromarray(picture).quantize(count, kmeans=_TURNS, dither=Image.Dither.NONE)
    return np.asarray(image.convert("RGB"))


def nearest_to(picture: UInt8[np.ndarray, "H W 3"], least_db: float) -> UInt8[np.ndarray, "H W 3"] | None:
    """The picture in the fewest colours that have a PSNR; None where 256 are too few."""
    low, high, found = 1, _MOST + 1, None
    while high - low > 1:
        middle = (low + high) // 2
        reduced = in_colours(picture, middle)
        if psnr_db(picture, reduced) >= least_db:
            high, found = middle, reduced
        else:
            low = middle
    return found


def best_within(
    picture: UInt8[np.ndarray, "H W 3"], encode: Callable[[np.ndarray], bytes], most_bytes: int
) -> tuple[bytes, float] | None:
    """The stream of the picture in the most colours of which it is short enough, and its PSNR in dB.

    Args:
      picture: what is encoded.
      encode: gives the stream of a picture.
      most_bytes: of the stream; None is returned where two colours are too many.
    """
    low, high, found = -1, len(_COUNTS), None
    while high - low > 1:
        middle = (low + high) // 2
        reduced = in_colours(picture, _COUNTS[middle])
        data = encode(reduced)
        if len(data) <= most_bytes:
            low, found = middle, (data, psnr_db(picture, reduced))
        else:
            high = middle
    return found
