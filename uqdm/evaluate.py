"""Rate and distortion of the codec on pictures, measured on real files."""

import csv
import io
from collections.abc import Iterable

import numpy as np

from uqdm.codec import encode, previews
from uqdm.metrics import bpp, psnr_db
from uqdm.rivals import Point
from uqdm.state import ProgressiveModel

__all__ = ["progressive_points", "write_csv"]


def progressive_points(picture: np.ndarray, model: ProgressiveModel) -> list[Point]:
    """One progressive stream of a picture, cut at the end of every step: real bytes and the decoded picture's PSNR."""
    points = []
    for preview in previews(encode(picture, model=model), model=model):
        size = preview.file_bytes
        points.append(Point("uqdm", str(preview.step), size, bpp(size, picture), psnr_db(picture, preview.picture)))
    return points


def write_csv(rows: Iterable[tuple[str, Point]]) -> str:
    """A table with the columns picture, codec, setting, file_bytes, bpp, psnr_db."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["picture", *Point._fields])
    for picture, point in rows:
        writer.writerow([picture, *point[:3], f"{point.bpp:.6f}", f"{point.psnr_db:.4f}"])
    return buffer.getvalue()
