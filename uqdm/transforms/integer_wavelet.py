"""The synthesis of `uqdm.transforms.wavelet` in integers: pictures that are equal to the last bit on every machine.

Coefficients are integers v, twice their value in ticks (uqdm.nested.process). Numbers with f fractional bits are
written Qf. With N a constant of a band and F = floor(N Delta + 1/2),

    c = lim(floor((v F + 2^19) / 2^20), 2^28),                       Q12                                  (1)

undoes the scaling of bands; the lifting steps of uqdm.transforms.wavelet follow in the same order with 16-bit
constants,

    low -= floor((L (detail + detail before) + 2^15) / 2^16)  and so on,                                  (2)

then the colour transform, P = 127.5 + floor((M^T c) / 2^20) in Q8. The constants are those of docs/format.md, section
9.3, rounded from the real ones.
"""

import numpy as np
from jaxtyping import Int, UInt8

from uqdm.transforms.wavelet import unpack

__all__ = ["PIXEL_UNITS", "pixels_of", "synthesis"]

PIXEL_UNITS = 256
"""Units of a pixel value in the results of `synthesis`."""

_HALO = 5
"""Rows of blocks that a row of blocks depends on, above and below: 60 pixels after four octaves, 5 blocks at most."""

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
        factor = int(np.floor(number * finest_width + 0.5))
        return np.clip((band.astype(np.int64) * factor + 2**19) >> 20, -(2**28), 2**28)

    bands = unpack(doubled[None], block)
    low = unscaled(bands[0][0], _LOW_NUMBERS[len(bands) - 2])
    for band, (single, double) in zip(bands[1:], reversed(_DETAIL_NUMBERS[: len(bands) - 1]), strict=True):
        rows, columns = (unscaled(band[0, :, :, i], single) for i in range(2))
        both = unscaled(band[0, :, :, 2], double)
        low = _merge(_merge(low, columns, 1), _merge(rows, both, 1), 0)
    pixels = ((low @ _COLOUR + 2**19) >> 20) + (127 * PIXEL_UNITS + PIXEL_UNITS // 2)
    return np.clip(pixels, 0, 255 * PIXEL_UNITS)


def pixels_of(
    doubled: Int[np.ndarray, "h w C"], block: int, finest_width: float, *, rows: int | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """`synthesis` rounded to whole pixel values, a few rows of blocks at a time so that memory stays bounded.

    Args:
      doubled: as for `synthesis`.
      block: likewise.
      finest_width: likewise.
      rows: of blocks at a time, by default about as many as have half a million coefficients.
    """
    height, width, channels = doubled.shape
    rows = rows or max(8, 2**19 // (width * channels))
    pixels = np.empty((height * block, width * block, 3), np.uint8)
    for start in range(0, height, rows):
        stop, above = min(start + rows, height), max(0, start - _HALO)
        exact = synthesis(doubled[above : stop + _HALO], block, finest_width)
        inner = exact[(start - above) * block :][: (stop - start) * block]
        pixels[start * block : stop * block] = (inner + PIXEL_UNITS // 2) >> 8
    return pixels
