"""The best linear denoiser of quantized latents, as a flow: no training, only second moments.

Let x be a latent, less its mean, e the error of its quantization, and y_t = x + t e what the flow of
uqdm.latent.denoising passes, t from 1 to 0. Over the 3 x 3 places around one, with A = E[x x'], B = E[x e'] and
C = E[e e'] measured on latents of pictures, the linear estimate of least squared error is

    x_hat = (A + t B)_0 (A + t (B + B') + t^2 C)^-1 y_t,                                       (1)

(.)_0 being the rows of the place in the middle. It is the mean, and the flow the right one, if x and e are Gaussian
together. Under dither B = 0 and C = w^2 / 12, Wiener's filter; for rounding B is not zero: elements near 0 lose all.
"""

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from uqdm.diffusion import process as diffusion
from uqdm.latent.prediction import shifted

__all__ = ["LinearPredictor", "moments"]

_RIDGE = 1e-4


def moments(
    latents: Float[np.ndarray, "n h w c"], width: float, *, dithered: bool, seed: int = 0
) -> dict[str, np.ndarray]:
    """Means of channels (c,), and A, B and C of Eq. 1, (9 c, 9 c), float32.

    Args:
      latents: of pictures.
      width: of quantization.
      dithered: whether it is.
      seed: of the dither.
    """
    x = latents.astype(np.float32)
    mean = x.mean((0, 1, 2))
    x = x - mean
    if dithered:
        e = np.random.default_rng(seed).uniform(-width / 2, width / 2, x.shape).astype(np.float32)
    else:
        e = np.float32(width) * np.rint(x / np.float32(width)) - x
    patches = [np.stack([shifted(grid)[1:-1, 1:-1] for grid in part]) for part in (x, e)]
    x, e = (part.reshape(-1, 9 * latents.shape[3]) for part in patches)
    return {"mean": mean, "xx": x.T @ x / len(x), "xe": x.T @ e / len(x), "ee": e.T @ e / len(x)}


class LinearPredictor:
    """Eq. 1 as a predictor of noise (uqdm.latent.denoising).

    Attributes:
      scale: the standard deviation of latents.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], width: float):
        """Takes `moments` of a width.

        Raises:
          ValueError: they are none.
        """
        moments = [np.asarray(arrays[name], np.float64) for name in ("mean", "xx", "xe", "ee")]
        count = moments[0].size
        if [array.shape for array in moments] != [(count,), *[(9 * count, 9 * count)] * 3]:
            raise ValueError(f"moments of latents of {count} channels must be matrices of {9 * count} rows")
        if not all(np.isfinite(array).all() for array in moments) or not np.trace(moments[1]) > 0:
            raise ValueError("moments of latents must be finite, and variances positive")
        self._mean, self._xx, self._xe, self._ee = moments
        self._width = width
        self.scale = float(np.sqrt(np.diag(self._xx).mean()))
        self._kernel = lru_cache(maxsize=16)(self._fresh_kernel)

    def _fresh_kernel(self, t: float) -> np.ndarray:
        channels = len(self._mean)
        right = (self._xx + t * self._xe)[4 * channels : 5 * channels]
        total = self._xx + t * (self._xe + self._xe.T) + t * t * self._ee
        total += _RIDGE * np.trace(self._xx) / len(total) * np.eye(len(total))
        return np.linalg.solve(total, right.T).astype(np.float32)

    def predict(self, z: np.ndarray, gamma: float) -> np.ndarray:
        """eps_hat = (y - x_hat) / s in the units of latents, y = c z / alpha."""
        s = math.exp(gamma / 2) * self.scale
        y = z * np.float32(self.scale / float(diffusion.alpha(gamma))) - self._mean.astype(np.float32)
        t = min(1.0, s * 12**0.5 / self._width)
        around = shifted(y).reshape(*y.shape[:2], -1)
        return (y - around @ self._kernel(t)) / np.float32(s)
