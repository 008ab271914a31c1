"""Convolutions of integers, held as float32: exact while all sums stay below 2^24, if the backend computes sums.

Products and sums of integers below 2^24 are exact in float32 in any order, so an ordinary convolution gives the same on
every backend that computes sums of products. A backend may do something else (Winograd's and Fourier's convolutions
round), so `proven_convolution` tries before anything is coded, and falls back to products with matrices of patches,
and in the end to those in int32, which are exact by their type.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from uqdm.exact.programs import remembered

__all__ = ["CONVOLUTIONS", "SUM_LIMIT", "probe", "proven_convolution"]

SUM_LIMIT = 2**24
"""Sums of products stay below: they are exact in float32 in any order."""

_LARGEST_INPUT, _LARGEST_WEIGHT = 255, 127


def _by_convolution(x: Array, kernel: Array) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _by_patches(x: Array, kernel: Array) -> Array:
    side, margin = kernel.shape[0], kernel.shape[0] // 2
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    places = [(row, column) for row in range(side) for column in range(side)]
    patches = [padded[:, row : row + height, column : column + width] for row, column in places]
    return jnp.concatenate(patches, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _by_integers(x: Array, kernel: Array) -> Array:
    return _by_patches(x.astype(jnp.int32), kernel.astype(jnp.int32))


CONVOLUTIONS = {"convolution": _by_convolution, "patches": _by_patches, "integers": _by_integers}
"""Ways to convolve float32 pictures (n, h, w, in) of integers, fastest first; equal if the backend is exact."""

_PROBES = ((6, 4, 256, 256, 3), (17, 9, 36, 32, 3), (6, 4, 256, 96, 1))
"""Rows, columns, channels in and out, and window of the convolutions that are tried."""


def probe(convolution: str) -> bool:
    """Whether a way to convolve is exact on the default backend, for sums up to 2^24.

    The result is compared with 64-bit integers. Inputs are spread over all activations and kernels over all weights, a
    part of the output channels so that the largest sums come near 2^24.
    """
    rng = np.random.default_rng(0)
    for rows, columns, inputs, outputs, window in _PROBES:
        x = rng.integers(0, _LARGEST_INPUT + 1, (1, rows, columns, inputs))
        kernel = rng.integers(-_LARGEST_WEIGHT, _LARGEST_WEIGHT + 1, (window, window, inputs, outputs))
        kernel[..., ::2] = np.abs(kernel[..., ::2])
        largest = np.abs(kernel).sum((0, 1, 2)) * _LARGEST_INPUT
        kernel = np.sign(kernel) * (np.abs(kernel) * np.minimum(1.0, 0.999 * SUM_LIMIT / largest)).astype(np.int64)
        margin = window // 2
        padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        expected = sum(
            padded[:, row : row + rows, column : column + columns] @ kernel[row, column]
            for row in range(window)
            for column in range(window)
        )
        convolve = jax.jit(CONVOLUTIONS[convolution])
        got = convolve(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
        if not np.array_equal(np.asarray(got).astype(np.int64), expected):
            return False
    return True


@functools.cache
def proven_convolution() -> str:
    """The fastest way to convolve that `probe` finds exact here.

    Libraries for accelerators choose algorithms by shape, so that a probe of some shapes proves nothing about others:
    convolutions proper are used on CPUs only, and matrix products elsewhere.

    It is found once per environment, and then remembered (uqdm.exact.programs).

    Raises:
      RuntimeError: none is, not even with 32-bit integers.
    """
    return remembered("convolution", _fastest_exact)


def _fastest_exact() -> str:
    for name in CONVOLUTIONS:
        if (name != "convolution" or jax.default_backend() == "cpu") and probe(name):
            return name
    raise RuntimeError(
        f"sums of integers are wrong on this backend ({jax.default_backend()}): streams made here would be unreadable"
    )
