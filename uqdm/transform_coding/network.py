"""The transforms and the entropy model, in floating point: a mean-scale hyperprior.

A picture x is seen as a grid of blocks of 8 x 8 pixels, 192 numbers each. Analysis and synthesis are linear transforms
of blocks, which begin as the principal components of blocks (the best linear transform), and networks that look at
blocks around and begin at zero:

    y = A x + f_a(x),                       y^ -> x^ = S y^ + Delta f_s(y^).                               (1)

Latents y are quantized with width 1. What is expected of them is said by hyper-latents z = h_a(y), one vector for 2 x 2
blocks, which are rounded and sent first, under tables of their own (Balle et al. 2018, "Variational image compression
with a scale hyperprior"; Minnen et al. 2018, "Joint autoregressive and hierarchical priors", without the former),

    (mu, log2 s) = h_s(z^),                 psi = Logistic(mu, s).                                         (2)

With u ~ U(-1/2, 1/2) the density of y + u is (psi * U)(y + u), so that the rate of a latent is

    -log2 (F((y + u - mu + 1/2) / s) - F((y + u - mu - 1/2) / s)),       F(x) = 1 / (1 + e^-x),            (3)

and that of a hyper-latent the same with a mixture of three logistic densities for every channel.

h_s decides what bytes mean, so it is trained as it will be evaluated in integers
(uqdm.transform_coding.hyper_integers): kernels and activations are rounded to 8 bits. It works on the grid of z; its
outputs are those of all 4 blocks.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm.exact.fixed_point import ACTIVATION_LIMIT, round_kernels, straight_through
from uqdm.training.once import once
from uqdm.transform_coding.config import BLOCK, PHASES, TransformConfig
from uqdm.transform_coding.layers import Parameters, convolved, fresh, kept, leaky, residual
from uqdm.transforms.folding import fold, unfold

__all__ = [
    "HYPER_HALO",
    "HYPER_LIMIT",
    "LOG2_SCALE_LIMIT",
    "Prior",
    "analysis",
    "hyper_analysis",
    "hyper_bits",
    "hyper_synthesis",
    "init",
    "latent_bits",
    "synthesis",
    "trunk",
]

GREY = 127.5
PIXEL_UNIT = 64.0
"""Networks see pixel values as (x - GREY) / PIXEL_UNIT."""
HYPER_LIMIT = 31
"""Largest magnitude of a hyper-latent."""
HYPER_UNIT = 4.0
"""h_s sees z divided by it."""
HYPER_HALO = 2
"""Places of z around one that h_s depends on."""
LOG2_SCALE_LIMIT = 4.0
"""Scales are between 2^-4 and 2^4, those of channel_sim.split_tables."""
_BASIS_UNIT = np.float32(np.sqrt(3 * BLOCK**2))
"""Transforms are stored as so many times an orthonormal one, so that Adam's steps are small beside their numbers."""
_CORRECTION = np.float32(0.1)
"""What f_a and f_s add is so much of what their last layers say, for the same reason."""
COMPONENTS = 3
"""Of the density of a hyper-latent."""


class Prior(NamedTuple):
    """Eq. 2: what is expected of latents (n, h, w, M), in widths."""

    mean: Any
    log2_scale: Any


def init(config: TransformConfig, basis: np.ndarray, key: PRNGKeyArray) -> Parameters:
    """Fresh parameters.

    Args:
      config: the shape.
      basis: principal components of blocks, float32 (192, M), of length 1.
      key: of random weights.
    """
    return once(functools.partial(_init, config), jnp.asarray(basis, jnp.float32), key)


def _init(config: TransformConfig, basis: Array, key: PRNGKeyArray) -> Parameters:
    keys = iter(jax.random.split(key, 32 + 4 * config.blocks))
    latents, width, hyper = config.latents, config.width, config.hyper_width

    def network(inputs: int, outputs: int) -> Parameters:
        blocks = {
            f"block_{i}": {
                "first": fresh(next(keys), 3, width, width),
                "second": fresh(next(keys), 3, width, width, 0.2),
            }
            for i in range(config.blocks)
        }
        return {
            "entry": fresh(next(keys), 1, inputs, width),
            **blocks,
            "head": fresh(next(keys), 1, width, outputs, 0.0),
        }

    parameters: Parameters = {
        "analysis": network(3 * BLOCK**2, latents),
        "synthesis": network(latents, 3 * BLOCK**2),
        "transform": basis * _BASIS_UNIT,
        "inverse": basis.T * _BASIS_UNIT,
        "hyper_analysis": {
            "first": fresh(next(keys), 1, PHASES * latents, hyper),
            "second": fresh(next(keys), 3, hyper, hyper),
            "head": fresh(next(keys), 1, hyper, config.hyper_latents, 2.0),
        },
        "hyper_synthesis": {
            "first": fresh(next(keys), 3, config.hyper_latents, hyper) | {"ceiling": jnp.array(4.0)},
            "second": fresh(next(keys), 3, hyper, hyper) | {"ceiling": jnp.array(4.0)},
            "head": fresh(next(keys), 1, hyper, PHASES * 2 * latents, 0.1),
            "direct": fresh(next(keys), 1, config.hyper_latents, PHASES * 2 * latents, 0.1),
        },
        "prior": {
            "mean": jnp.tile(jnp.array([-3.0, 0.0, 3.0])[None], (config.hyper_latents, 1)),
            "log_scale": jnp.zeros((config.hyper_latents, COMPONENTS)),
            "logit": jnp.zeros((config.hyper_latents, COMPONENTS)),
        },
    }
    # Scales begin as those of the latents, of logistic densities with their standard deviations.
    scale = jnp.log2(jnp.asarray(config.spread, jnp.float32) * np.float32(np.sqrt(3) / np.pi))
    start = jnp.stack([jnp.zeros_like(scale), jnp.clip(scale, -2.0, LOG2_SCALE_LIMIT)])
    parameters["hyper_synthesis"]["head"]["bias"] = jnp.tile(start.reshape(-1), PHASES)
    return parameters


def _through(network: Parameters, x: Array, inside: Array | None) -> Array:
    """The last activation of a network of residual blocks."""
    h = kept(convolved(network["entry"], x), inside)
    for i in range(sum(name.startswith("block_") for name in network)):
        h = residual(network[f"block_{i}"], h, inside)
    return leaky(h)


def _product(x: Array, matrix: Array) -> Array:
    return jax.lax.dot_general(x, matrix, (((3,), (0,)), ((), ())))


def _relative(config: TransformConfig, y: Array) -> Array:
    """Latents in standard deviations."""
    return y / (jnp.asarray(config.spread, jnp.float32) + 0.3)[None, None, None]


def analysis(
    config: TransformConfig, parameters: Parameters, x: Float[Array, "n H W 3"], inside: Array | None = None
) -> Float[Array, "n h w M"]:
    """Eq. 1: latents of pictures in pixel values, whose sides are multiples of 8; `inside` is about blocks."""
    blocks = kept(fold(x - GREY, BLOCK), inside)
    network = parameters["analysis"]
    hidden = _through(network, blocks / PIXEL_UNIT, inside)
    linear = _product(blocks, parameters["transform"]) / (_BASIS_UNIT * np.float32(config.step))
    return linear + _CORRECTION * convolved(network["head"], hidden)


def trunk(config: TransformConfig, parameters: Parameters, y: Float[Array, "n h w M"], inside: Array | None) -> Array:
    """The last activation of f_s, which a denoiser is told as well."""
    return _through(parameters["synthesis"], kept(_relative(config, y), inside), inside)


def synthesis(
    config: TransformConfig, parameters: Parameters, y: Float[Array, "n h w M"], inside: Array | None = None
) -> Float[Array, "n H W 3"]:
    """Eq. 1: pictures in pixel values, not clipped."""
    hidden = trunk(config, parameters, y, inside)
    linear = _product(y, parameters["inverse"]) / _BASIS_UNIT
    blocks = linear + _CORRECTION * convolved(parameters["synthesis"]["head"], hidden)
    return unfold(np.float32(config.step) * blocks, BLOCK) + GREY


def hyper_analysis(
    config: TransformConfig, parameters: Parameters, y: Float[Array, "n h w M"], inside: Array | None = None
) -> Float[Array, "n h2 w2 Z"]:
    """z = h_a(y), not rounded; `inside` is about the grid of z."""
    network = parameters["hyper_analysis"]
    h = kept(leaky(convolved(network["first"], fold(_relative(config, y), 2))), inside)
    h = leaky(convolved(network["second"], h))
    return convolved(network["head"], h)


def hyper_synthesis(config: TransformConfig, parameters: Parameters, z: Float[Array, "n h2 w2 Z"]) -> Prior:
    """Eq. 2 from rounded hyper-latents; kernels and activations are rounded, gradients pass straight through."""
    network = round_kernels(parameters["hyper_synthesis"])
    hidden = z = z / HYPER_UNIT
    for name in ("first", "second"):
        layer = network[name]
        ceiling = jnp.maximum(layer["ceiling"], 0.1)
        share = jnp.clip(convolved(layer, hidden) / ceiling, 0, 1)
        hidden = straight_through(share, jnp.round(share * ACTIVATION_LIMIT) / ACTIVATION_LIMIT) * ceiling
    outputs = unfold(convolved(network["head"], hidden) + convolved(network["direct"], z), 2)
    mean, log2_scale = jnp.split(outputs, 2, axis=-1)
    spread = jnp.asarray(config.spread, jnp.float32) + 0.3
    return Prior(mean * spread[None, None, None], jnp.clip(log2_scale, -LOG2_SCALE_LIMIT, LOG2_SCALE_LIMIT))


def _log_mass(v: Array, scale: Array) -> Array:
    """Natural logarithm of the logistic mass of (v - 1/2, v + 1/2): F(a) - F(b) = F(a) F(-b) (1 - e^(b - a))."""
    a, b = (v + 0.5) / scale, (v - 0.5) / scale
    return jax.nn.log_sigmoid(a) + jax.nn.log_sigmoid(-b) + jnp.log(-jnp.expm1(-1 / scale))


def latent_bits(y: Float[Array, "n h w M"], prior: Prior) -> Float[Array, "n h w M"]:
    """Eq. 3."""
    return -_log_mass(y - prior.mean, jnp.exp2(prior.log2_scale)) / np.float32(np.log(2))


def hyper_bits(parameters: Parameters, z: Float[Array, "n h w Z"]) -> Float[Array, "n h w Z"]:
    """The same for hyper-latents."""
    mean, log_scale, logit = (parameters["prior"][name][None, None, None] for name in ("mean", "log_scale", "logit"))
    masses = _log_mass(z[..., None] - mean, jnp.exp(jnp.clip(log_scale, -3.0, 4.0)))
    mixed = jax.nn.logsumexp(masses + jax.nn.log_softmax(logit, axis=-1), axis=-1)
    return -mixed / np.float32(np.log(2))
