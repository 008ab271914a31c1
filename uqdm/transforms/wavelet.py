"""Pixels to coefficients and back: an orthonormal colour transform followed by a wavelet transform.

    bands = W (M (x - 127.5)),

where M is the 3 x 3 orthonormal matrix of `COLOUR` (luma-like first, then two differences) and W the two-dimensional
Cohen-Daubechies-Feauveau 9/7 transform over log2(B) octaves, in lifting steps with mirrored borders (Daubechies and
Sweldens, "Factoring wavelet transforms into lifting steps", 1998; the irreversible filter of JPEG 2000). Every band
is scaled so that its synthesis functions have norm 1: the basis is then close to orthonormal, and squared errors of
coefficients add up to those of pixels within a few percent.

A picture whose sides are no multiples of B is first extended by repeating its last row and column. All coefficients
that belong to a B x B square of pixels form one *block* of C = 3 B^2 channels, and networks run on the grid of blocks:

    the low-pass band (3 colours), then for octaves log2(B), ..., 1 the positions inside the block in raster order,
    at each of them the orientations (detail along rows, along columns, along both) and for each of these 3 colours.

Nothing here is part of the bit stream's meaning: the transform decides which cell is sent and how a picture looks,
never what a symbol means, and may be evaluated in floating point.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["COLOUR", "Layout", "analysis", "grid_shape", "layout", "pack", "pad_to_blocks", "synthesis", "unpack"]

COLOUR = np.array([[3**-0.5] * 3, [2**-0.5, 0.0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]])

_LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_LOW_GAIN = 1.149604398860241
# Squared norms of the one-dimensional synthesis functions of octaves 1, 2, ...: low-pass and detail.
_LOW_ENERGY = (0.982954, 1.030602, 1.052093, 1.058473, 1.060154, 1.060581)
_DETAIL_ENERGY = (1.040436, 0.967216, 1.039628, 1.075121, 1.085840, 1.088678)


class Layout(NamedTuple):
    """What the channels of a block are, each int32 (C,)."""

    band: np.ndarray
    """0 for the low-pass band, else 1 + 3 (log2(B) - octave) + orientation: channels of one kind and any colour."""
    side: np.ndarray
    """Positions of the band along a side of the block."""
    row: np.ndarray
    column: np.ndarray
    """Position inside the block."""
    colour: np.ndarray


def _octaves(block: int) -> int:
    octaves = block.bit_length() - 1
    if block != 1 << octaves or not 1 <= octaves <= len(_LOW_ENERGY):
        raise ValueError(f"the block must be a power of two from 2 to {1 << len(_LOW_ENERGY)}, got {block}")
    return octaves


def layout(block: int) -> Layout:
    """The order of channels that the module docstring describes."""
    rows = [(0, 1, 0, 0, colour) for colour in range(3)]
    for index in range(_octaves(block)):
        side = 1 << index
        rows += [
            (1 + 3 * index + orientation, side, row, column, colour)
            for row in range(side)
            for column in range(side)
            for orientation in range(3)
            for colour in range(3)
        ]
    return Layout(*np.array(rows, np.int32).T)


def grid_shape(height: int, width: int, block: int) -> tuple[int, int]:
    """Rows and columns of the block grid that covers a picture."""
    return math.ceil(height / block), math.ceil(width / block)


def pad_to_blocks(pixels: np.ndarray, block: int) -> np.ndarray:
    """Extends (..., H, W, 3) to multiples of `block` by repeating the last row and column."""
    height, width = pixels.shape[-3:-1]
    margins = [(0, 0)] * (pixels.ndim - 3) + [(0, -height % block), (0, -width % block), (0, 0)]
    return np.pad(pixels, margins, mode="edge")


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _next(x: Any, axis: int) -> Any:
    """x shifted towards its start; the last element stands for its mirrored successor."""
    parts = [x[_along(axis, slice(1, None))], x[_along(axis, slice(-1, None))]]
    return _library(x).concatenate(parts, axis)


def _previous(x: Any, axis: int) -> Any:
    return _library(x).concatenate([x[_along(axis, slice(1))], x[_along(axis, slice(-1))]], axis)


def _split(x: Any, axis: int) -> tuple[Any, Any]:
    """One analysis step along an axis of even length: low-pass and detail, half as long."""
    low, detail = (x[_along(axis, slice(i, None, 2))] for i in range(2))
    for first, second in (_LIFTING[:2], _LIFTING[2:]):
        detail = detail + first * (low + _next(low, axis))
        low = low + second * (detail + _previous(detail, axis))
    return low * _LOW_GAIN, detail / _LOW_GAIN


def _merge(low: Array, detail: Array, axis: int) -> Array:
    """Mirror image of `_split`."""
    low, detail = low / _LOW_GAIN, detail * _LOW_GAIN
    for first, second in (_LIFTING[2:], _LIFTING[:2]):
        low = low - second * (detail + _previous(detail, axis))
        detail = detail - first * (low + _next(low, axis))
    both = jnp.stack([low, detail], axis + 1)
    return both.reshape(*low.shape[:axis], 2 * low.shape[axis], *low.shape[axis + 1 :])


def _library(x: Any) -> Any:
    """What computes with x: codecs compute with numpy, which compiles nothing, and trainings with JAX."""
    return np if isinstance(x, np.ndarray) else jnp


def _gains(block: int) -> list[np.ndarray]:
    """Norms of the synthesis functions before scaling: one for the low-pass band, three for every octave."""
    octaves = _octaves(block)
    gains = [np.array([_LOW_ENERGY[octaves - 1]])]
    for octave in reversed(range(octaves)):
        low, detail = _LOW_ENERGY[octave], _DETAIL_ENERGY[octave]
        gains.append(np.sqrt([low * detail, low * detail, detail * detail])[:, None])
    return gains


def _scaled(bands: list[Any], gains: list[np.ndarray]) -> list[Any]:
    return [
        band * _library(band).asarray(gain, band.dtype).reshape((1,) * (band.ndim - gain.ndim) + gain.shape)
        for band, gain in zip(bands, gains, strict=True)
    ]


def pack(bands: list[Any], block: int) -> Any:
    """Bands as pictures, coarsest first, to blocks.

    Args:
      bands: (n, h, w, 3), then for every octave from the coarsest (n, h r, w r, 3 orientations, 3 colours).
      block: B.

    Returns:
      (n, h, w, C).
    """
    n, rows, columns = bands[0].shape[:3]
    parts = [bands[0]]
    for index, band in enumerate(bands[1:]):
        side = 1 << index
        cells = band.reshape(n, rows, side, columns, side, 9)
        parts.append(cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, 9 * side * side))
    return _library(parts[0]).concatenate(parts, axis=-1)


def unpack(coefficients: Any, block: int) -> list[Any]:
    """Mirror image of `pack`; of numpy arrays, too."""
    n, rows, columns, _ = coefficients.shape
    bands, start = [coefficients[..., :3]], 3
    for index in range(_octaves(block)):
        side = 1 << index
        cells = coefficients[..., start : start + 9 * side * side].reshape(n, rows, columns, side, side, 9)
        bands.append(cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * side, columns * side, 3, 3))
        start += 9 * side * side
    return bands


def analysis(pixels: Float[Array | np.ndarray, "n H W 3"], block: int) -> Any:
    """Coefficients (n, h, w, C) of pictures with values in [0, 255] whose sides are multiples of `block`.

    They are computed with numpy if the pictures are numpy's, else with JAX.
    """
    library, red_green_blue = _library(pixels), [pixels[..., i] - 127.5 for i in range(3)]
    colours = [sum(float(weight) * part for weight, part in zip(row, red_green_blue, strict=True)) for row in COLOUR]
    low, details = library.stack(colours, -1), []
    for _ in range(_octaves(block)):
        low_rows, detail_rows = _split(low, 1)
        low, along_columns = _split(low_rows, 2)
        along_rows, along_both = _split(detail_rows, 2)
        details.append(library.stack([along_rows, along_columns, along_both], axis=-2))
    return pack(_scaled([low, *reversed(details)], _gains(block)), block)


def synthesis(coefficients: Float[Array, "n h w C"], block: int) -> Float[Array, "n H W 3"]:
    """The inverse of `analysis`, not clipped to [0, 255]."""
    low, *details = _scaled(unpack(coefficients, block), [1 / gain for gain in _gains(block)])
    for band in details:
        along_rows, along_columns, along_both = (band[..., i, :] for i in range(3))
        low = _merge(_merge(low, along_columns, 2), _merge(along_rows, along_both, 2), 1)
    return jnp.einsum("nhwd,dc->nhwc", low, jnp.asarray(COLOUR, coefficients.dtype)) + 127.5
