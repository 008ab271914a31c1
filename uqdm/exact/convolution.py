"""Sums of products of integers in floating point: exact while all sums stay below 2^24, if the backend computes sums.

Products and sums of integers below 2^24 are exact in float32 in any order, so matrix products and convolutions give the
same on every backend that computes sums of products. What is multiplied has 8 bits, so that its factors are exact in
bfloat16 as well, which some processors multiply twice as fast; they add up products in float32. A backend may do
something else (Winograd's and Fourier's convolutions round), so `proven_convolution` tries before anything is coded,
and falls back to products with matrices of patches, and in the end to those in int32, which are exact by their type.
"""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from uqdm.exact.programs import Program, ready, remembered

__all__ = ["CONVOLUTIONS", "SUM_LIMIT", "Convolution", "probe", "proven_convolution"]

SUM_LIMIT = 2**24
"""Sums of products stay below: they are exact in float32 in any order."""

_LARGEST_INPUT, _LARGEST_WEIGHT = 255, 127


class Convolution(NamedTuple):
    """A way to sum products of 8-bit integers."""

    dtype: Any
    """What the factors are held as."""
    group: int
    """Positions of a row, at most, whose results are one row of a matrix product (`matrix`)."""

    def kept(self, x: Array) -> Array:
        """Integers, int8 or uint8, as they are best kept for `product`.

        XLA moves numbers in bfloat16 by way of float32; their bits it moves as they are.
        """
        factors = x.astype(self.dtype)
        return jax.lax.bitcast_convert_type(factors, jnp.uint16) if self.dtype == jnp.bfloat16 else factors

    def product(self, x: Array, kernel: Array) -> Int32[Array, "m n"]:
        """Matrix product of integers: (m, k), int8 or uint8 or `kept`, and (k, n)."""
        sums = jnp.int32 if self.dtype == jnp.int32 else jnp.float32
        axes = ((1,), (0,)), ((), ())
        x = jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x.astype(self.dtype)
        kernel = kernel.astype(self.dtype)
        return jax.lax.dot_general(x, kernel, axes, preferred_element_type=sums).astype(jnp.int32)

    def grouped(self, side: int) -> int:
        """Positions of one product in rows of so many (a power of two)."""
        return min(self.group, side)

    def matrix(self, kernel: np.ndarray, side: int) -> np.ndarray:
        """A kernel (3, 3, c, d) as the matrix of `tiles`, for squares of so many positions.

        A row of it is about one number of a window of 3 rows and g + 2 columns, a column about one result of the g
        positions in its middle. Products with zeros are many, but there are few and large products.
        """
        group, (_, _, inputs, outputs) = self.grouped(side), kernel.shape
        matrix = np.zeros((3, group + 2, inputs, group, outputs), kernel.dtype)
        for position in range(group):
            matrix[:, position : position + 3, :, position] = kernel
        return matrix.reshape(-1, group * outputs)

    def tiles(self, tiles: Sequence[Array], matrix: Array) -> Int32[Array, "n s sd"]:
        """Convolution of squares with their margins, each row of positions a row of numbers.

        Args:
          tiles: parts of what is convolved, (n, s + 2, (s + 2) c), int8 or uint8.
          matrix: those of the parts (`matrix`), one below the other.
        """
        count, side = tiles[0].shape[0], tiles[0].shape[1] - 2
        group = self.grouped(side)

        def window(first: int) -> Array:
            parts = []
            for tile in tiles:
                c = tile.shape[2] // (side + 2)
                parts += [tile[:, row : row + side, first * c : (first + group + 2) * c] for row in range(3)]
            return jnp.concatenate(parts, axis=-1)

        windows = jnp.stack([window(first) for first in range(0, side, group)], axis=2)
        return self.product(windows.reshape(-1, windows.shape[-1]), matrix).reshape(count, side, -1)

    def same(self, x: Array, kernel: Array) -> Int32[Array, "n h w d"]:
        """Convolution of pictures (n, h, w, c), int8 or uint8, with (k, k, c, d), k odd, and zeros around them."""
        side, (height, width) = kernel.shape[0], x.shape[1:3]
        margin = side // 2
        x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        # Windows of columns side by side; rows are added up, so that neighbouring rows share them.
        windows = jnp.concatenate([x[:, :, column : column + width] for column in range(side)], -1)
        total = jnp.zeros((), jnp.int32)
        for row in range(side):
            part = windows[:, row : row + height]
            total += self.product(part.reshape(-1, part.shape[-1]), kernel[row].reshape(part.shape[-1], -1))
        return total.reshape(*x.shape[:1], height, width, -1)


CONVOLUTIONS = {
    "bfloat16": Convolution(jnp.bfloat16, 8),
    "float32": Convolution(jnp.float32, 2),
    "int32": Convolution(jnp.int32, 1),
}
"""Ways to sum products, equal if the backend is exact."""

_PROBES = ((6, 4, 256, 256, 3), (17, 9, 36, 32, 3), (6, 4, 256, 96, 1))
"""Rows, columns, channels in and out, and window of the convolutions that are tried."""


def _same(convolution: str, x: Array, kernel: Array) -> tuple[Array]:
    return (CONVOLUTIONS[convolution].same(x, kernel),)


def probe(convolution: str) -> bool:
    """Whether a way to sum products is exact on the default backend, for sums up to 2^24.

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
        # In double precision: exact below 2^53.
        expected = sum(
            padded[:, row : row + rows, column : column + columns].astype(np.float64) @ kernel[row, column]
            for row in range(window)
            for column in range(window)
        )
        arguments = x.astype(np.uint8), kernel.astype(np.int8)
        (result,) = ready(Program(_same, (convolution,), arguments))(*arguments)
        if not np.array_equal(np.asarray(result), expected):
            return False
    return True


@functools.cache
def proven_convolution() -> str:
    """The fastest way to sum products that `probe` finds exact here.

    Raises:
      RuntimeError: none is, not even with 32-bit integers.
    """
    return remembered("product", _fastest_exact)


def _fastest_exact() -> str:
    names = list(CONVOLUTIONS)
    # Accelerators multiply in float32 as fast or choose a faster type themselves.
    if jax.default_backend() != "cpu" or not _bfloat16_is_faster():
        names.remove("bfloat16")
    for name in names:
        if probe(name):
            return name
    raise RuntimeError(
        f"sums of integers are wrong on this backend ({jax.default_backend()}): streams made here would be unreadable"
    )


def _product(convolution: str, x: Array, kernel: Array) -> tuple[Array]:
    return (CONVOLUTIONS[convolution].product(x, kernel),)


def _bfloat16_is_faster() -> bool:
    """Whether this processor multiplies in bfloat16 clearly faster: conversions count as well."""
    x, kernel = np.ones((128, 2304), np.uint8), np.ones((2304, 256), np.int8)
    programs = [ready(Program(_product, (name,), (x, kernel))) for name in ("bfloat16", "float32")]
    times: list[list[float]] = [[], []]
    for _ in range(12):
        for own, program in zip(times, programs, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(program(x, kernel))
            own.append(time.perf_counter() - began)
    return 1.25 * min(times[0]) < min(times[1])
