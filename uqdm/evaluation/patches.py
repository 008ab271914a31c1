"""Realism of a set of pictures: how far the patches of all reconstructions are from the patches of all originals.

A single picture says little about a distribution, its patches more. Every picture is cut into a grid of squares; of
squares x of originals and y of reconstructions, over all pictures of a setting,

    KID   squared kernel distance of features f(x) and f(y)        unbiased, may be negative            (uqdm.metrics)
    FID   squared Frechet distance of features                     biased upwards by about 1 / n
    SWD   sliced Wasserstein distance of 7 x 7 pixels of pyramids  biased upwards by about 1 / sqrt(n)

lower is better for all. Patches of one picture are alike, so n patches tell less than n independent ones would; but the
originals are those of the same pictures, which makes the distances of codecs comparable with each other. Compare values
of equal sets and sides only. Features are those of MobileNetV2, not of Inception-v3.
"""

import numpy as np

__all__ = ["patches_of"]


def patches_of(picture: np.ndarray, side: int) -> np.ndarray:
    """The squares of a grid in the middle of a picture, as many as fit; uint8 (n, side, side, 3), row by row.

    Args:
      picture: uint8 (H, W, 3).
      side: of a patch, in pixels.

    Raises:
      ValueError: the picture is smaller than a patch.
    """
    rows, columns = (length // side for length in picture.shape[:2])
    if not rows * columns:
        size = f"{picture.shape[1]} x {picture.shape[0]}"
        raise ValueError(f"a picture of {size} pixels has no patch of {side} x {side}: choose a smaller side")
    top, left = (picture.shape[0] - rows * side) // 2, (picture.shape[1] - columns * side) // 2
    middle = picture[top : top + rows * side, left : left + columns * side]
    return middle.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
