"""Convolutions that the transforms are made of; parameters are nested dictionaries of float32 arrays.

All networks work on grids of blocks of pixels. A grid may be a tile that reaches beyond the picture: `inside` says
where the picture is, and activations outside of it are zeros, which is what a SAME convolution sees beyond a border. So
results do not depend on tiles.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["convolved", "fresh", "kept", "leaky", "residual"]

Parameters = dict
"""Nested dictionary of float32 arrays."""

_SLOPE = 0.1


def fresh(key: Array, size: int, inputs: int, outputs: int, gain: float = 1.0) -> Parameters:
    """A convolution with random weights, of variance gain^2 / (inputs of one output)."""
    kernel = jax.random.normal(key, (size, size, inputs, outputs)) * np.float32(gain / np.sqrt(size * size * inputs))
    return {"kernel": kernel, "bias": jnp.zeros((outputs,))}


def convolved(layer: Parameters, x: Float[Array, "n h w c"]) -> Float[Array, "n h w d"]:
    """A convolution with zeros around, and a bias."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    sums = jax.lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=dimensions)
    return sums + layer["bias"][None, None, None]


def leaky(x: Array) -> Array:
    """The leaky rectifier."""
    return jnp.maximum(x, np.float32(_SLOPE) * x)


def kept(x: Array, inside: Array | None) -> Array:
    """Zeros where a tile is beyond the picture; `inside` is (h, w), of this grid or a coarser one."""
    if inside is None:
        return x
    times = x.shape[1] // inside.shape[0]
    mask = jnp.repeat(jnp.repeat(inside, times, 0), times, 1)
    return jnp.where(mask[None, :, :, None], x, jnp.zeros((), x.dtype))


def residual(block: Parameters, x: Array, inside: Array | None) -> Array:
    """x + K_2 * leaky(K_1 * leaky(x))."""
    h = kept(leaky(convolved(block["first"], leaky(x))), inside)
    return kept(x + convolved(block["second"], h), inside)
