"""The conditional diffusion decoder: a picture drawn from latents (Yang and Mandt 2023, CDC; review, Eq. 22).

The mean decoder leaves r = (x - m) / e open, m its picture and e the root mean square of its errors. The process runs
on r, with t from 0 to 1 and the cosine schedule,

    r_t = alpha r + sigma eps,      alpha = cos(pi t / 2),      sigma = sin(pi t / 2).                     (1)

As a process on x that is CDC's, with the schedule moved towards less noise by 1 / e: what is known from the latents
anyway is not covered again (as in Hoogeboom et al. 2023, HFD). The network predicts x,

    x' = m + e (alpha r_t + sigma f(r_t, m, h, t)),                                                     (2)

what would be right if r were Gaussian of variance 1, and a correction; h are the features that the mean decoder
computes of the latents, which enter the U-Net at each of its scales. The weight of a time in the loss is that of CDC,

    lambda(t) = min(SNR, 5) / 5,          SNR = (alpha / sigma)^2 / (e / 127.5)^2,                       (3)

with the SNR that x itself has in [-1, 1].

Sampling is DDIM's (Song et al. 2021, without noise): with eps' = (r_t - alpha_t r') / sigma_t, from t to s

    r_s = alpha_s r' + sigma_s eps',                                                                    (4)

in equal steps from r_1 = gamma n, n normal noise. CDC takes gamma = 0.8 for quality that is seen, 0 for the smaller
error.
"""

from collections.abc import Callable
from itertools import chain, count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm.transform_coding.config import DenoiserConfig
from uqdm.transform_coding.layers import Parameters, convolved, fresh, kept
from uqdm.transforms.folding import fold, unfold

__all__ = ["ddim", "init", "noised", "predict", "time_weight"]

_FREQUENCIES = 6
_HALF_MAPS = 8
"""Channels of what the latents say at half the side."""
_SNR_LIMIT = 5.0


def init(config: DenoiserConfig, features: int, key: PRNGKeyArray) -> Parameters:
    """Fresh parameters, with f = 0; `features` is the number of channels of h."""
    more = (jax.random.fold_in(key, number) for number in count())
    keys = chain(jax.random.split(key, 64), more)
    half, quarter, eighth = config.widths

    def block(width: int) -> Parameters:
        return {
            "first": fresh(next(keys), 3, width, width),
            "second": fresh(next(keys), 3, width, width, 0.1),
            "condition": dense(config.condition, 2 * width, 0.0),
        }

    def dense(inputs: int, outputs: int, gain: float = 1.0) -> Parameters:
        layer = fresh(next(keys), 1, inputs, outputs, gain)
        return {"kernel": layer["kernel"][0, 0], "bias": layer["bias"]}

    parameters: Parameters = {
        "time_first": dense(2 * _FREQUENCIES, config.condition),
        "time_second": dense(config.condition, config.condition),
        "maps_half": fresh(next(keys), 1, features, 16 * _HALF_MAPS),
        "maps_quarter": fresh(next(keys), 1, features, 4 * quarter),
        "maps_eighth": fresh(next(keys), 1, features, eighth),
        "entry": fresh(next(keys), 3, 24 + _HALF_MAPS, half),
        "down_quarter": fresh(next(keys), 1, 4 * half, quarter),
        "down_eighth": fresh(next(keys), 1, 4 * quarter, eighth),
        "up_quarter": fresh(next(keys), 1, eighth, 4 * quarter),
        "up_half": fresh(next(keys), 1, quarter, 4 * half),
        "head": fresh(next(keys), 3, half, 12, 0.0),
        "in_quarter": block(quarter),
        "in_eighth": block(eighth),
    }
    for name, width, blocks in zip(("half", "quarter", "eighth"), config.widths, config.blocks, strict=True):
        parameters |= {f"out_{name}_{i}": block(width) for i in range(blocks)}
    return parameters


def _waves(t: Float[Array, " n"]) -> Array:
    angles = t[:, None] * (np.pi / 2 * 2.0 ** np.arange(_FREQUENCIES, dtype=np.float32))[None].astype(np.float32)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def _dense(layer: Parameters, x: Array) -> Array:
    return x @ layer["kernel"] + layer["bias"][None]


def _block(block: Parameters, x: Array, condition: Array, inside: Array | None) -> Array:
    scale, shift = jnp.split(_dense(block["condition"], condition)[:, None, None], 2, axis=-1)
    h = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-4)
    h = kept(h * (1 + scale) + shift, inside)
    h = kept(jax.nn.silu(convolved(block["first"], h)), inside)
    return kept(x + convolved(block["second"], h), inside)


def _levels(t: Array) -> tuple[Array, Array]:
    """alpha and sigma of Eq. 1, (n, 1, 1, 1)."""
    angle = (np.float32(np.pi / 2) * t)[:, None, None, None]
    return jnp.cos(angle), jnp.sin(angle)


def noised(
    config: DenoiserConfig, x: Array, mean: Array, t: Float[Array, " n"], noise: Array
) -> Float[Array, "n H W 3"]:
    """r_t of Eq. 1."""
    alpha, sigma = _levels(t)
    return alpha * (x - mean) / np.float32(config.error) + sigma * noise


def time_weight(config: DenoiserConfig, t: Float[Array, " n"]) -> Float[Array, " n"]:
    """Eq. 3."""
    snr = jnp.square(127.5 / (config.error * jnp.maximum(jnp.tan(np.float32(np.pi / 2) * t), 1e-4)))
    return jnp.minimum(snr, _SNR_LIMIT) / _SNR_LIMIT


def predict(
    config: DenoiserConfig,
    parameters: Parameters,
    noisy: Float[Array, "n H W 3"],
    mean: Float[Array, "n H W 3"],
    features: Float[Array, "n h w c"],
    t: Float[Array, " n"],
    inside: Array | None = None,
) -> Float[Array, "n H W 3"]:
    """r', what Eq. 2 adds to m in units of e.

    Args:
      config: the shape.
      parameters: of `init`, trained.
      noisy: r_t.
      mean: m, in pixel values.
      features: h, on the grid of blocks.
      t: times.
      inside: where blocks are in the picture.
    """
    condition = jax.nn.silu(_dense(parameters["time_first"], _waves(t)))
    condition = jax.nn.silu(_dense(parameters["time_second"], condition))

    def maps(scale: str, side: int) -> Array:
        return unfold(convolved(parameters[f"maps_{scale}"], features), side)

    def out(scale: str, h: Array) -> Array:
        for i in range(sum(name.startswith(f"out_{scale}_") for name in parameters)):
            h = _block(parameters[f"out_{scale}_{i}"], h, condition, inside)
        return h

    seen = jnp.concatenate([fold(jnp.concatenate([noisy, (mean - 127.5) / 64.0], -1), 2), maps("half", 4)], -1)
    half = kept(convolved(parameters["entry"], kept(seen, inside)), inside)
    quarter = convolved(parameters["down_quarter"], fold(half, 2)) + maps("quarter", 2)
    quarter = _block(parameters["in_quarter"], kept(quarter, inside), condition, inside)
    eighth = convolved(parameters["down_eighth"], fold(quarter, 2)) + maps("eighth", 1)
    eighth = _block(parameters["in_eighth"], kept(eighth, inside), condition, inside)
    eighth = out("eighth", eighth)
    quarter = kept(quarter + unfold(convolved(parameters["up_quarter"], eighth), 2), inside)
    quarter = out("quarter", quarter)
    half = kept(half + unfold(convolved(parameters["up_half"], quarter), 2), inside)
    half = out("half", half)
    correction = unfold(convolved(parameters["head"], kept(jax.nn.silu(half), inside)), 2)
    alpha, sigma = _levels(t)
    return alpha * noisy + sigma * correction


def ddim(predicted: Callable[[Any, float], Any], start: Any, evaluations: int) -> Any:
    """Eq. 4: r at the end.

    Args:
      predicted: r' from r_t and t.
      start: r_1.
      evaluations: of the network, equal steps of t.
    """
    times, r = np.linspace(1.0, 0.0, evaluations + 1).tolist(), start
    for t, s in zip(times, times[1:], strict=False):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (
            (float(np.cos(np.pi / 2 * at)), float(np.sin(np.pi / 2 * at))) for at in (t, s)
        )
        clean = predicted(r, t)
        r = alpha_s * clean + (sigma_s / sigma_t) * (r - alpha_t * clean)
    return r
