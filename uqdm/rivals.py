"""Other codecs on the same picture, through Pillow: the curves that ours is drawn beside."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, features

from uqdm.metrics import bpp, psnr_db

__all__ = ["RIVALS", "Point", "rival_curve"]


class Point(NamedTuple):
    """One truncation or one setting of a codec on one picture."""

    codec: str
    setting: str
    file_bytes: int
    bpp: float
    psnr_db: float


_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 87, 93, 97)
_AVIF_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 78, 85, 90, 94, 97)
_RATIOS = (192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4)

RIVALS: dict[str, tuple[tuple[int, ...], Callable[[int], dict]]] = {
    "JPEG": (_QUALITIES, lambda q: {"format": "JPEG", "quality": q, "subsampling": 0, "optimize": True}),
    "WebP": (_QUALITIES, lambda q: {"format": "WEBP", "quality": q, "method": 6}),
    "AVIF": (_AVIF_QUALITIES, lambda q: {"format": "AVIF", "quality": q, "subsampling": "4:4:4"}),
    "JPEG 2000": (
        _RATIOS,
        lambda r: {
            "format": "JPEG2000",
            "quality_mode": "rates",
            "quality_layers": [r],
            "irreversible": True,
            "mct": 1,
        },
    ),
}
"""Name: settings from coarse to fine, and what Pillow's `save` is given for one."""

_FEATURE = {"AVIF": "avif", "WebP": "webp", "JPEG 2000": "jpg_2000"}


def rival_curve(codec: str, picture: np.ndarray) -> list[Point]:
    """Points of a codec on a picture; empty where this Pillow lacks the codec or the picture is too small for it."""
    if codec in _FEATURE and not features.check(_FEATURE[codec]):
        return []
    settings, options = RIVALS[codec]
    points = []
    for setting in settings:
        buffer = io.BytesIO()
        try:
            Image.fromarray(picture).save(buffer, **options(setting))
            decoded = np.asarray(Image.open(buffer).convert("RGB"))
        except (OSError, ValueError):
            continue
        size = len(buffer.getvalue())
        points.append(Point(codec, str(setting), size, bpp(size, picture), psnr_db(picture, decoded)))
    return points
