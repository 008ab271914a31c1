"""`uqdm.transforms.wavelet` in integers: pictures that are equal to the last bit on every machine.

Coefficients are integers v, twice their value in ticks (uqdm.nested.process). Numbers with f fractional bits are
written Qf. With N a constant of a band and F = floor(N Delta + 1/2),

    c = lim(floor((v F + 2^19) / 2^20), 2^28),                       Q12                                  (1)

undoes the scaling of bands; the lifting steps of uqdm.transforms.wavelet follow in the same order with 16-bit
constants,

    low -= floor((L (detail + detail before) + 2^15) / 2^16)  and so on,                                  (2)

then the colour transform, P = 127.5 + floor((M^T c) / 2^20) in Q8. The analysis of a picture P goes back the same way,
c = floor((M (P - 127.5) + 2^11) / 2^12) in Q12, the lifting steps with their signs turned, and

    t = floor((2^20 c + F) / 2 F)                                                           (3)

in ticks. The constants are those of docs/format.md, sections 9.3 and 9.4, rounded from the real ones.
"""

import numpy as np
from jaxtyping import Int, Int32, Integer, UInt8, UInt16

from uqdm.exact.parts import concurrently
from uqdm.transforms.wavelet import pack, unpack

__all__ = ["PIXEL_UNITS", "analysis", "exact_of", "pixels_of", "synthesis", "ticks_of", "whole"]

PIXEL_UNITS = 256
"""Units of a pixel value in the results of `synthesis`."""

_HALO = 5
"""Rows of blocks that a row of blocks depends on, above and below: 60 pixels after four octaves, 5 blocks at most."""
_GREY = 127 * PIXEL_UNITS + PIXEL_UNITS // 2

_LOW_GAIN, _DETAIL_GAIN = 57007, 75340
_LIFTING = (-103949, -3472, 57862, 29066)
_COLOUR = np.array([[37837, 37837, 37837], [46341, 0, -46341], [26755, -53510, 26755]])
# 2^23 / gain of a band: the low-pass band after 1, 2, ... octaves; the details (along one axis, both) of octave 1, ...
_LOW_NUMBERS = (8534080, 8139522, 7973257, 7925198, 7912632, 7909446)
_DETAIL_NUMBERS = (
    (8294985, 8062589),
    (8402000, 8672942),
    (8020914, 8068855),
    (7863599, 7802478),
    (7818483, 7725455),
    (7806714, 7705316),
)


def _lift(x: np.ndarray, y: np.ndarray, constant: int, *, back: bool) -> None:
    """x -= floor((constant (y + its neighbour) + 2^15) / 2^16) along the first axis, mirrored at the border."""
    total = y * 2
    if back:
        total[1:] += y[:-1] - y[1:]
    else:
        total[:-1] += y[1:] - y[:-1]
    total *= constant
    total += 2**15
    total >>= 16
    x -= total


def _split(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Low-pass and detail along an axis, int64 Q12: mirror image of `_merge`."""
    both = np.moveaxis(x, axis, 0)
    low, detail = both[0::2].copy(), both[1::2].copy()
    for first, second in (_LIFTING[:2], _LIFTING[2:]):
        _lift(detail, low, -first, back=False)
        _lift(low, detail, -second, back=True)
    low, detail = (low * _DETAIL_GAIN + 2**15) >> 16, (detail * _LOW_GAIN + 2**15) >> 16
    return np.moveaxis(low, 0, axis), np.moveaxis(detail, 0, axis)


def _merge(low: np.ndarray, detail: np.ndarray, axis: int) -> np.ndarray:
    """Eq. 2 along an axis, int64 Q12: the inverse of the lifting steps of uqdm.transforms.wavelet."""
    merged = np.empty([length * (1 + (i == axis)) for i, length in enumerate(low.shape)], np.int64)
    low, detail, both = (np.moveaxis(x, axis, 0) for x in (low, detail, merged))
    low, detail = (low * _LOW_GAIN + 2**15) >> 16, (detail * _DETAIL_GAIN + 2**15) >> 16
    for first, second in (_LIFTING[2:], _LIFTING[:2]):
        _lift(low, detail, second, back=True)
        _lift(detail, low, first, back=False)
    both[0::2], both[1::2] = low, detail
    return merged


def synthesis(doubled: Int[np.ndarray, "h w C"], block: int, finest_width: float) -> Int[np.ndarray, "H W 3"]:
    """P of the module docstring, within 0 ... 255, int64 in units of 1/256 of a pixel value.

    Args:
      doubled: v, twice the coefficients in ticks of 1/256 of the finest width.
      block: B.
      finest_width: Delta, in pixel values.
    """

    def unscaled(band: np.ndarray, number: int) -> np.ndarray:
        factor = _factor(number, finest_width)
        return np.clip((band.astype(np.int64) * factor + 2**19) >> 20, -(2**28), 2**28)

    bands = unpack(doubled[None], block)
    low = unscaled(bands[0][0], _LOW_NUMBERS[len(bands) - 2])
    for band, (single, double) in zip(bands[1:], reversed(_DETAIL_NUMBERS[: len(bands) - 1]), strict=True):
        rows, columns = (unscaled(band[0, :, :, i], single) for i in range(2))
        both = unscaled(band[0, :, :, 2], double)
        low = _merge(_merge(low, columns, 1), _merge(rows, both, 1), 0)
    return np.clip(((low @ _COLOUR + 2**19) >> 20) + _GREY, 0, 255 * PIXEL_UNITS)


def _factor(number: int, finest_width: float) -> int:
    """F of Eq. 1."""
    return int(np.floor(number * finest_width + 0.5))


def analysis(pixels: Integer[np.ndarray, "H W 3"], block: int, finest_width: float) -> Int[np.ndarray, "h w C"]:
    """Coefficients in ticks, int64, of a picture whose sides are multiples of the block.

    Args:
      pixels: P, in units of 1/256 of a pixel value.
      block: B.
      finest_width: Delta, in pixel values.
    """

    def scaled(band: np.ndarray, number: int) -> np.ndarray:
        factor = _factor(number, finest_width)
        return ((band << 20) + factor) // (2 * factor)

    low, details = ((pixels.astype(np.int64) - _GREY) @ _COLOUR.T + 2**11) >> 12, []
    octaves = block.bit_length() - 1
    for single, double in _DETAIL_NUMBERS[:octaves]:
        low_rows, detail_rows = _split(low, 0)
        low, columns = _split(low_rows, 1)
        rows, both = _split(detail_rows, 1)
        details.append(np.stack([scaled(rows, single), scaled(columns, single), scaled(both, double)], axis=-2))
    bands = [scaled(low, _LOW_NUMBERS[octaves - 1]), *reversed(details)]
    return pack([band[None] for band in bands], block)[0]


def exact_of(
    doubled: Int[np.ndarray, "h w C"], block: int, finest_width: float, *, rows: int | None = None
) -> UInt16[np.ndarray, "H W 3"]:
    """`synthesis`, a few rows of blocks at a time so that memory stays bounded.

    Args:
      doubled: as for `synthesis`.
      block: likewise.
      finest_width: likewise.
      rows: of blocks at a time, by default about as many as have half a million coefficients; strips go to the cores.
    """
    height, width, channels = doubled.shape
    pixels = np.empty((height * block, width * block, 3), np.uint16)

    def fill(strip: tuple[slice, slice]) -> None:
        inner, outer = strip
        exact = synthesis(doubled[outer], block, finest_width)
        start = (inner.start - outer.start) * block
        pixels[inner.start * block : inner.stop * block] = exact[start : start + (inner.stop - inner.start) * block]

    concurrently(fill, _strips(height, width * channels, rows))
    return pixels


def pixels_of(
    doubled: Int[np.ndarray, "h w C"], block: int, finest_width: float, *, rows: int | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """`exact_of` rounded to whole pixel values."""
    return whole(exact_of(doubled, block, finest_width, rows=rows))


def whole(pixels: UInt16[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """P rounded to whole pixel values."""
    return ((pixels + np.uint16(PIXEL_UNITS // 2)) >> 8).astype(np.uint8)


def ticks_of(
    pixels: UInt16[np.ndarray, "H W 3"], block: int, finest_width: float, *, rows: int | None = None
) -> Int32[np.ndarray, "h w C"]:
    """`analysis`, a few rows of blocks at a time; mirror image of `exact_of`."""
    height, width, channels = pixels.shape[0] // block, pixels.shape[1] // block, 3 * block**2
    ticks = np.empty((height, width, channels), np.int32)

    def fill(strip: tuple[slice, slice]) -> None:
        inner, outer = strip
        found = analysis(pixels[outer.start * block : outer.stop * block], block, finest_width)
        ticks[inner] = found[inner.start - outer.start :][: inner.stop - inner.start]

    concurrently(fill, _strips(height, width * channels, rows))
    return ticks


def _strips(height: int, coefficients: int, rows: int | None) -> list[tuple[slice, slice]]:
    """Rows of blocks, of so many coefficients each, and the rows that transforms of them depend on."""
    rows = rows or max(8, 2**19 // coefficients)
    starts = range(0, height, rows)
    inner = [slice(start, min(start + rows, height)) for start in starts]
    return [(rows, slice(max(0, rows.start - _HALO), min(height, rows.stop + _HALO))) for rows in inner]
