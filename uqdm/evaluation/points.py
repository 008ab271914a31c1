"""Points of rate-distortion curves, and the metrics of distortion they have."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from uqdm.codec.api import StepCost, container, encode_with_costs
from uqdm.codec.rate_control import pictures_at
from uqdm.contract import Model
from uqdm.metrics import bpp, lpips, ms_ssim, psnr_db, wasserstein_distortion

__all__ = [
    "METRICS",
    "OURS",
    "Metric",
    "Point",
    "columns",
    "cut_points",
    "fields",
    "point_of",
    "progressive_points",
    "read_points",
    "write_points",
]

OURS = "uqdm"
"""What tables and figures call this codec."""


class Metric(NamedTuple):
    """One way to compare a decoded picture with the original."""

    label: str
    """For people, with its unit."""
    higher_is_better: bool
    measure: Callable[[np.ndarray, np.ndarray], float]
    """Of the original and the decoded picture, both uint8 (H, W, 3)."""


LPIPS_WEIGHTS = "UQDM_LPIPS_WEIGHTS"
"""Environment variable that names the file with the weights of LPIPS, which no package may bring along."""


def _lpips(x: np.ndarray, y: np.ndarray) -> float:
    if not (weights := os.environ.get(LPIPS_WEIGHTS)):
        raise ValueError(f"lpips_squeezenet needs weights: let {LPIPS_WEIGHTS} name their file (uqdm.metrics.lpips)")
    return lpips(x, y, weights)


METRICS: dict[str, Metric] = {
    "psnr_db": Metric("PSNR of RGB in dB", True, psnr_db),
    "ms_ssim": Metric("MS-SSIM", True, ms_ssim),
    "lpips_squeezenet": Metric("LPIPS (SqueezeNet)", False, _lpips),
    "wasserstein_distortion_sigma_4": Metric(
        "Wasserstein distortion, sigma 4 pixels", False, lambda x, y: wasserstein_distortion(x, y, 4.0)
    ),
}
"""By the name of their columns."""


class Point(NamedTuple):
    """One truncation or one setting of a codec on one picture."""

    codec: str
    setting: str
    """Of our own codec "step 7" for the end of a step, "0.5 bpp" for a stream that was cut; of others what they were
    given."""
    file_bytes: int
    bpp: float
    """Of the whole file."""
    quality: dict[str, float]
    """By metric (METRICS)."""
    spread: dict[str, float] = {}
    """Where the quality is a mean over seeds of draws, the standard deviation of one draw, by metric."""


def point_of(
    codec: str, setting: str, file_bytes: int, picture: np.ndarray, decoded: np.ndarray, metrics: Iterable[str]
) -> Point:
    """Measures a decoded picture, both uint8 (H, W, 3)."""
    quality = {name: float(METRICS[name].measure(picture, decoded)) for name in metrics}
    return Point(codec, setting, file_bytes, bpp(file_bytes, picture), quality)


def cut_points(
    picture: np.ndarray,
    data: bytes,
    costs: Sequence[StepCost],
    model: Model,
    *,
    metrics: Sequence[str],
    rates_bpp: Sequence[float] = (),
    steps: bool = True,
) -> list[Point]:
    """Points of one stream, as `uqdm.codec.api.encode_with_costs` gave it.

    A rate below the header's gives no point; at one above the whole stream's, the whole stream is taken.

    Args:
      picture: uint8 (H, W, 3).
      data: its stream.
      costs: where its steps end.
      model: what it was made with.
      metrics: names of metrics.
      rates_bpp: where to cut, in bits per pixel of the file.
      steps: whether to cut at the end of every step.
    """
    _, header_bytes = container.unpack(data)
    cuts = [(f"step {step}", cost.file_bytes) for step, cost in enumerate(costs)] if steps else []
    for rate in rates_bpp:
        size = int(rate * picture.shape[0] * picture.shape[1] / 8)
        if size >= header_bytes:
            cuts.append((f"{rate:g} bpp", min(size, len(data))))
    sizes = sorted({size for _, size in cuts})
    quality = {}
    for size, decoded in zip(sizes, pictures_at(data, sizes, model), strict=True):
        quality[size] = point_of(OURS, "", size, picture, decoded, metrics)
    return [quality[size]._replace(setting=setting) for setting, size in cuts]


def progressive_points(
    picture: np.ndarray,
    model: Model,
    *,
    metrics: Sequence[str] = ("psnr_db",),
    rates_bpp: Sequence[float] = (),
    steps: bool = True,
) -> list[Point]:
    """Encodes a picture and measures its stream (`cut_points`)."""
    data, costs = encode_with_costs(picture, model=model)
    return cut_points(picture, data, costs, model, metrics=metrics, rates_bpp=rates_bpp, steps=steps)


def columns(metrics: Sequence[str]) -> list[str]:
    """Names of the columns of a table of points."""
    return ["picture", "codec", "setting", "file_bytes", "bpp", *metrics]


def fields(picture: str, point: Point, metrics: Sequence[str]) -> list[str]:
    """A row of it."""
    quality = [f"{point.quality[name]:.4f}" for name in metrics]
    return [picture, point.codec, point.setting, str(point.file_bytes), f"{point.bpp:.6f}", *quality]


def write_points(rows: Iterable[tuple[str, Point]], metrics: Sequence[str] = ("psnr_db",)) -> str:
    """A CSV table of (picture, point) pairs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns(metrics))
    writer.writerows(fields(picture, point, metrics) for picture, point in rows)
    return buffer.getvalue()


def read_points(text: str) -> list[tuple[str, Point]]:
    """Mirror image of `write_points`.

    A table of means (uqdm.evaluation.summary) is read as of one picture, without the settings that only some pictures
    had.

    Raises:
      ValueError: it is no such table.
    """
    reader = csv.DictReader(io.StringIO(text))
    names = reader.fieldnames or ()
    metrics = [name for name in METRICS if name in names]
    if not metrics or not {"codec", "setting", "bpp"} <= set(names):
        raise ValueError(
            f"not a table of points: it needs the columns codec, setting, bpp and one of {', '.join(METRICS)}"
        )
    rows, pictures = [], {}
    try:
        for row in reader:
            pictures[len(rows)] = int(row.get("pictures") or 1)
            quality = {name: float(row[name]) for name in metrics}
            size = int(float(row.get("file_bytes") or 0))
            rows.append((row.get("picture", ""), Point(row["codec"], row["setting"], size, float(row["bpp"]), quality)))
    except (TypeError, ValueError):
        raise ValueError(f"line {reader.line_num} of the table has a missing or wrong number") from None
    return [row for place, row in enumerate(rows) if pictures[place] == max(pictures.values())]
