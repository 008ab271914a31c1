"""Distortion and rate."""

from collections.abc import Sequence

import numpy as np

__all__ = ["bd_rate_percent", "bpp", "psnr_db"]


def psnr_db(x: np.ndarray, y: np.ndarray) -> float:
    """10 log10(255^2 / mse) over all pixels and colours of two uint8 pictures; infinite where they are equal."""
    mse = float(np.mean(np.square(np.asarray(x, np.float64) - np.asarray(y, np.float64))))
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))


def bpp(size_bytes: int, picture: np.ndarray) -> float:
    """Bits per pixel of a file of `size_bytes` for a picture (H, W, 3)."""
    return 8 * size_bytes / (picture.shape[0] * picture.shape[1])


def bd_rate_percent(curve: Sequence[tuple[float, float]], anchor: Sequence[tuple[float, float]]) -> float:
    """Bjontegaard's average rate difference of `curve` against `anchor`, in percent; negative is better.

    Both are points (rate, PSNR in dB). log(rate) is interpolated over PSNR piecewise linearly, which unlike the
    original cubic fit cannot overshoot, and averaged over the PSNR range that both curves cover.

    Raises:
      ValueError: the curves share no PSNR.
    """
    ours, theirs = (np.array(sorted((psnr, np.log(rate)) for rate, psnr in points)) for points in (curve, anchor))
    low, high = max(ours[0, 0], theirs[0, 0]), min(ours[-1, 0], theirs[-1, 0])
    if not low < high:
        raise ValueError("the curves have no range of PSNR in common")
    psnr = np.linspace(low, high, 1001)
    difference = np.interp(psnr, *ours.T) - np.interp(psnr, *theirs.T)
    return 100 * (float(np.exp(np.trapezoid(difference, psnr) / (high - low))) - 1)
