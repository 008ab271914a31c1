"""Taking the noise of quantization from a latent, with any diffusion or flow model of such latents.

Dithered quantization of width w leaves y = x + e, e uniform over w and independent of x: the state of a diffusion
process whose noise happens to be uniform (Relic et al. 2025). With a scale c that makes x / c of about unit variance,
and alpha, sigma of uqdm.diffusion.process, that is the state of the time whose noise has the same variance,

    gamma(w) = log(w^2 / (12 c^2)),        z = alpha y / c = alpha x / c + sigma n,                      (1)

and alpha is the correction of the scale without which a network would see too much energy (Relic et al. 2024). A
network that predicts the noise in z gives the estimate of x,

    x_hat(y, w) = y - w / sqrt(12) eps_hat(z, gamma(w)),                                               (2)

which is the mean of what x may be where the network was trained under uniform noise. From y on the flow goes straight
to it while the noise becomes narrower, w = w_0 > w_1 > ... > w_n = 0 in equal steps, n evaluations,

    y_{i+1} = x_hat(y_i, w_i) + w_{i+1} / w_i (y_i - x_hat(y_i, w_i)):                                  (3)

a rectified flow from latents under noise to latents. One evaluation gives the estimate of least squared error, more
give a latent that is more like latents of pictures. Both are deterministic: the noise is the dither's. Without dither
the error of rounding is taken for noise of the same variance (Relic et al. 2024): the same equations, but for it they
hold only so far.
"""

import math
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float32

from uqdm.diffusion import process as diffusion
from uqdm.exact.programs import run
from uqdm.latent import network as networks
from uqdm.latent.network import LatentNetworkConfig

__all__ = ["NetworkPredictor", "NoisePredictor", "denoised", "gamma_of"]


@runtime_checkable
class NoisePredictor(Protocol):
    """A diffusion or flow model of latents."""

    @property
    def scale(self) -> float:
        """c of Eq. 1, in the units of latents that are sent."""
        ...

    def predict(self, z: np.ndarray, gamma: float) -> ArrayLike:
        """eps_hat of z, float32 (h, w, c)."""
        ...


def gamma_of(width: float, scale: float) -> float:
    """Eq. 1."""
    return math.log(width**2 / (12 * scale**2))


def denoised(
    predictor: NoisePredictor, y: Float[np.ndarray, "h w c"], width: float, evaluations: int
) -> Float32[np.ndarray, "h w c"]:
    """The end of Eq. 3.

    Args:
      predictor: of noise.
      y: a latent under uniform noise.
      width: of the noise.
      evaluations: of the predictor, 1 or more.

    Raises:
      ValueError: the predictor gave another shape, or something that is no number.
    """
    y, estimate = np.asarray(y, np.float32), np.asarray(y, np.float32)
    for left in range(evaluations, 0, -1):
        now = width * left / evaluations
        gamma = gamma_of(now, predictor.scale)
        z = y * np.float32(float(diffusion.alpha(gamma)) / predictor.scale)
        noise = np.asarray(predictor.predict(z, gamma), np.float32)
        if noise.shape != y.shape or not np.isfinite(noise).all():
            raise ValueError(f"a predictor must give finite noise of shape {y.shape}, got {noise.shape}")
        estimate = y - np.float32(now / 12**0.5) * noise
        y = estimate + np.float32((left - 1) / left) * (y - estimate)
    return estimate


def _estimate(config: LatentNetworkConfig, parameters: Any, y: Any, s: Any, rounded: Any) -> tuple[Any]:
    return (networks.apply(config, parameters, y, s, rounded),)


class NetworkPredictor:
    """The network of uqdm.latent.network as a predictor of noise; odd sides are extended by repeating what is last.

    Attributes:
      scale: the standard deviation of latents, d of its Eq. 1.
    """

    def __init__(self, config: LatentNetworkConfig, parameters: dict, *, dithered: bool):
        self._config, self._parameters, self.scale = config, parameters, config.std
        self._rounded = np.full(1, not dithered)

    def predict(self, z: np.ndarray, gamma: float) -> np.ndarray:
        """eps_hat = (y - x_hat) / s in the units of the network, y = c z / alpha."""
        height, width = z.shape[:2]
        s = np.float32(math.exp(gamma / 2) * self.scale)
        y = z * np.float32(self.scale / float(diffusion.alpha(gamma)))
        padded = np.pad(y, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        told = (np.full(1, s, np.float32), self._rounded)
        (estimate,) = run(_estimate, (self._config,), self._parameters, padded[None], *told)
        return (y - jax.device_get(estimate)[0, :height, :width]) / s
