"""Other codecs on the same picture, through Pillow: the curves that ours is drawn beside."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

import numpy as np
from PIL import Image, features

from uqdm.evaluation.points import Point, point_of

__all__ = ["BASELINES", "Baseline", "available", "baseline_points", "baseline_within"]


class Baseline(NamedTuple):
    """A codec that Pillow writes."""

    name: str
    """What tables and figures call it."""
    kind: str
    """Pillow's name of the format."""
    settings: tuple[int, ...]
    """From coarse to fine."""
    options: Callable[[int], dict]
    """What `save` is given for a setting."""
    colour: str
    """In figures; together they can be told apart by the colour-blind (after Okabe and Ito)."""


_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 87, 93, 97)
_AVIF_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 78, 85, 90, 94, 97)
_RATIOS = (192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4)

BASELINES: dict[str, Baseline] = {
    "jpeg": Baseline(
        "JPEG", "JPEG", _QUALITIES, lambda q: {"quality": q, "subsampling": 0, "optimize": True}, "#8c8c8c"
    ),
    "webp": Baseline("WebP", "WEBP", _QUALITIES, lambda q: {"quality": q, "method": 6}, "#b87600"),
    "avif": Baseline("AVIF", "AVIF", _AVIF_QUALITIES, lambda q: {"quality": q, "subsampling": "4:4:4"}, "#0072b2"),
    "jp2": Baseline(
        "JPEG 2000",
        "JPEG2000",
        _RATIOS,
        lambda r: {"quality_mode": "rates", "quality_layers": [r], "irreversible": True, "mct": 1},
        "#009e73",
    ),
    "jxl": Baseline("JPEG XL", "JXL", _QUALITIES, lambda q: {"quality": q, "effort": 7}, "#cc4c8c"),
}
"""By their usual suffix."""


def available(codec: str) -> bool:
    """Whether Pillow writes the format here; for JPEG XL it needs the plug-in `pillow-jxl-plugin`."""
    with suppress(ImportError):
        import_module("pillow_jxl")
    Image.init()
    return BASELINES[codec].kind in Image.SAVE and (codec != "jp2" or bool(features.check("jpg_2000")))


def baseline_points(codec: str, picture: np.ndarray, metrics: Sequence[str] = ("psnr_db",)) -> list[Point]:
    """Points of a codec (a key of BASELINES) on a picture; none where Pillow lacks it or the picture is too small."""
    if not available(codec):
        return []
    baseline, points = BASELINES[codec], []
    for setting in baseline.settings:
        buffer = io.BytesIO()
        try:
            Image.fromarray(picture).save(buffer, baseline.kind, **baseline.options(setting))
            decoded = np.asarray(Image.open(buffer).convert("RGB"))
        except (OSError, ValueError):
            continue
        points.append(point_of(baseline.name, str(setting), len(buffer.getvalue()), picture, decoded, metrics))
    return points


def baseline_within(codec: str, picture: np.ndarray, most_bytes: int) -> tuple[int, np.ndarray] | None:
    """The finest file of a codec (a key of BASELINES) that takes at most so many bytes.

    By bisection over all qualities from 0 to 100, or all ratios up to 400: rates of files are taken to rise with them.

    Returns:
      Its bytes and what it decodes to, uint8 (H, W, 3); None where even the coarsest is larger, the codec does not take
      the picture, or Pillow lacks it.
    """
    if not available(codec):
        return None
    baseline, best = BASELINES[codec], None
    settings = range(400, 0, -1) if codec == "jp2" else range(101)
    low, high = -1, len(settings)
    while high - low > 1:
        middle, buffer = (low + high) // 2, io.BytesIO()
        try:
            Image.fromarray(picture).save(buffer, baseline.kind, **baseline.options(settings[middle]))
        except (OSError, ValueError):
            return None
        if len(buffer.getvalue()) <= most_bytes:
            low, best = middle, buffer
        else:
            high = middle
    return None if best is None else (len(best.getvalue()), np.asarray(Image.open(best).convert("RGB")))
