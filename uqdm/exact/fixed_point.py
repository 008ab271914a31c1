"""Kernels and activations on 8-bit grids, and multiplication by real numbers in integers.

A network whose results must be the same everywhere has kernels of 255 values per output channel and activations of
256. Training rounds both while gradients pass straight through; evaluation has integers only, and multiplies by a real
number r as

    rescale(x; M, B, s) = floor((x M + B) / 2^s),      M = round(r 2^s),                              (1)

with B holding 2^(s-1) for rounding to nearest, and a bias if there is one; M is chosen per output channel as precise as
|x M + B| < 2^31 allows for the largest |x| that can occur.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from uqdm.exact.convolution import SUM_LIMIT

__all__ = [
    "ACTIVATION_LIMIT",
    "KERNEL_LIMIT",
    "Parameters",
    "kernel_scales",
    "kernel_steps",
    "rescaling",
    "round_kernels",
    "straight_through",
]

Parameters = dict
"""Nested dictionary of float32 arrays."""

ACTIVATION_LIMIT = 255
KERNEL_LIMIT = 127


def straight_through(x: Array, rounded: Array) -> Array:
    """`rounded`, with the gradient of x."""
    return x + jax.lax.stop_gradient(rounded - x)


def kernel_scales(kernel: Array) -> Array:
    """Grid of a kernel, one step size per output channel (1, 1, 1, out).

    127 steps reach the largest weight, and the magnitudes of a channel's weights, in steps, times the top activation
    sum to less than 2^24. Step sizes have 12 significant bits, so that weights on the grid are exact in float32.
    """
    axes = tuple(range(kernel.ndim - 1))
    largest = jnp.max(jnp.abs(kernel), axis=axes, keepdims=True) / KERNEL_LIMIT
    total = jnp.sum(jnp.abs(kernel), axis=axes, keepdims=True) * np.float32(1.04 * ACTIVATION_LIMIT / SUM_LIMIT)
    scale = jnp.maximum(jnp.maximum(largest, total), 1e-12)
    return jax.lax.reduce_precision(scale, exponent_bits=8, mantissa_bits=11)


def kernel_steps(kernel: np.ndarray) -> np.ndarray:
    """A kernel in steps of its grid, int8."""
    scale = np.asarray(kernel_scales(jnp.asarray(kernel, jnp.float32)))
    return np.clip(np.rint(kernel / scale), -KERNEL_LIMIT, KERNEL_LIMIT).astype(np.int8)


def round_kernels(parameters: Parameters) -> Parameters:
    """Puts every convolution kernel on its 8-bit grid; gradients pass straight through."""

    def on_grid(path, leaf):
        if path[-1].key != "kernel":
            return leaf
        leaf = jnp.asarray(leaf)
        scale = kernel_scales(jax.lax.stop_gradient(leaf))
        rounded = jnp.clip(jnp.round(leaf / scale), -KERNEL_LIMIT, KERNEL_LIMIT) * scale
        return straight_through(leaf, rounded)

    return jax.tree_util.tree_map_with_path(on_grid, parameters)


def rescaling(real: np.ndarray, largest: np.ndarray | int, bias: np.ndarray | float = 0.0) -> dict[str, np.ndarray]:
    """M, B and s of Eq. 1 for |x| <= largest; `bias` may have axes in front of those of `real`."""
    real, bias = np.asarray(real, np.float64), np.asarray(bias, np.float64)
    extra = tuple(range(max(0, bias.ndim - real.ndim)))
    need = np.abs(real) * largest + np.max(np.abs(bias), axis=extra)
    # |x M + B| < 2^31, with a half in B for rounding to nearest, and a hundredth for rounding M.
    # 31 - log2(...), rounded down: by the exponent, since libraries round logarithms differently.
    mantissa, exponent = np.frexp(1.01 * (need + 0.5))
    shift = np.clip(31 - exponent + (mantissa == 0.5), 4, 30)
    multiplier, offset = np.rint(real * 2.0**shift), np.rint(bias * 2.0**shift + 2.0 ** (shift - 1))
    if max(np.abs(multiplier).max(), np.abs(offset).max()) >= 2**31:
        raise ValueError("the integer network is not exact: a gain or a bias is too large, the training went astray")
    return {
        "multiplier": multiplier.astype(np.int32),
        "offset": offset.astype(np.int32),
        "shift": shift.astype(np.int8),
    }
