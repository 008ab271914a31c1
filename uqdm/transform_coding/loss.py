"""The losses of transform coding and of its conditional diffusion decoder.

    R + D / lambda        in bits per pixel; D the squared error of a pixel, summed over its three colours,     (1)

lambda in squared pixel values per bit: what CDC and the review's Eq. 22 minimise, lambda R + D, over lambda. While
lambda is small beside the variance of pixels, the best width of an orthonormal transform's quantizer is

    Delta = sqrt(6 lambda / ln 2),                                                                      (2)

since dD / dDelta = Delta / 6 and dR / dDelta = -1 / (Delta ln 2) for every coefficient.

Rates are of latents with uniform noise (uqdm.transform_coding.network, Eq. 3). With universal quantization the
receiver has those very latents. Otherwise it has rounded ones, about their means, and so has the synthesis in training,
gradients passing straight through (Minnen and Singh 2020, "Channel-wise autoregressive entropy models"): rounding is
what is deployed.

With a diffusion decoder (uqdm.transform_coding.denoiser, whose weight lambda(t) is w),

    D = (|x - m|^2 + w |x - x'|^2) / 2,                                                                 (3)

the first half so that the mean decoder stays one while the encoder moves, and LPIPS of x' and x is added with a weight
in bits per pixel, where it is asked for.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm.exact.fixed_point import straight_through
from uqdm.transform_coding import denoiser, network
from uqdm.transform_coding.config import TransformConfig
from uqdm.transform_coding.layers import Parameters

__all__ = ["Coded", "Denoised", "best_width", "coded", "denoised", "squared_error"]


class Coded(NamedTuple):
    """Pictures through the channel."""

    bits: Float[Array, " n"]
    """Rates."""
    latents: Float[Array, "n h w M"]
    """What the receiver has."""


class Denoised(NamedTuple):
    """What a diffusion decoder makes of latents at a random time: pictures (n, H, W, 3)."""

    mean: Array
    """m."""
    predicted: Array
    """x'."""
    weight: Float[Array, " n"]
    """Of the time."""


def best_width(rate_weight: float) -> float:
    """Eq. 2."""
    return float(np.sqrt(6 * rate_weight / np.log(2)))


def coded(
    config: TransformConfig, parameters: Parameters, x: Float[Array, "n H W 3"], key: PRNGKeyArray, *, rounded: bool
) -> Coded:
    """Sends pictures, in pixel values, whose sides are multiples of 16.

    Args:
      config: the shape.
      parameters: of the networks.
      x: pictures.
      key: of the noise.
      rounded: whether rates are those of rounded hyper-latents and latents, too, as when a stream is made.
    """
    noises = jax.random.split(key)
    y = network.analysis(config, parameters, x)
    z = network.hyper_analysis(config, parameters, y)
    limit = network.HYPER_LIMIT
    z_hat = straight_through(z, jnp.clip(jnp.round(z), -limit, limit))
    z_noisy = z_hat if rounded else z + jax.random.uniform(noises[0], z.shape, minval=-0.5, maxval=0.5)
    prior = network.hyper_synthesis(config, parameters, z_hat)
    noisy = y + jax.random.uniform(noises[1], y.shape, minval=-0.5, maxval=0.5)
    y_hat = noisy if config.universal else straight_through(y, prior.mean + jnp.round(y - prior.mean))
    y_priced = y_hat if rounded else noisy
    bits = jnp.sum(network.hyper_bits(parameters, z_noisy), (1, 2, 3))
    return Coded(bits + jnp.sum(network.latent_bits(y_priced, prior), (1, 2, 3)), y_hat)


def denoised(
    config: TransformConfig,
    parameters: Parameters,
    x: Float[Array, "n H W 3"],
    latents: Float[Array, "n h w M"],
    t: Float[Array, " n"],
    key: PRNGKeyArray,
) -> Denoised:
    """One prediction at the given times."""
    assert config.denoiser is not None, "only a model with a diffusion decoder denoises"
    features = network.trunk(config, parameters, latents, None)
    mean = network.synthesis(config, parameters, latents)
    noisy = denoiser.noised(config.denoiser, x, mean, t, jax.random.normal(key, x.shape))
    predicted = denoiser.predict(config.denoiser, parameters["denoiser"], noisy, mean, features, t)
    return Denoised(
        mean, mean + np.float32(config.denoiser.error) * predicted, denoiser.time_weight(config.denoiser, t)
    )


def squared_error(x: Float[Array, "n H W 3"], y: Float[Array, "n H W 3"]) -> Float[Array, " n"]:
    """Of a pixel, summed over colours and averaged over pixels."""
    return 3 * jnp.mean(jnp.square(x - y), (1, 2, 3))
