"""A report of one picture as a single HTML file: a slider shows it as bytes arrive.

The file is static and asks nothing of any server: previews are WebP pictures inside it, numbers are JSON, and its own
security policy forbids loading anything else. Without JavaScript it shows the last preview, the curve and the table.
"""

import base64
import html
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from string import Template

import numpy as np
from PIL import Image

from uqdm.codec.api import Preview, encode, previews
from uqdm.contract import Model
from uqdm.evaluation import BASELINES, OURS, baseline_points, curves
from uqdm.metrics import bpp, psnr_db

__all__ = ["page", "report"]

_LONGEST_SIDE = 1024
_QUALITY = 85
_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 540, 16, 262
_DASHES = ("7 3", "2 3", "10 3 2 3", "12 4", "4 2", "6 2 2 2 2 2")
"""Of the curves of other codecs, in their order: they are told apart without colour."""
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


class _Axes:
    """Where rates (logarithmic) and PSNRs are in the drawing of the curve.

    What lies below a hundredth of a bit per pixel, where nothing can be seen yet, is drawn at the edge.
    """

    def __init__(self, found: Mapping[str, Sequence[tuple[float, float]]]):
        drawn = [point for points in found.values() for point in points if point[0] >= 0.01] or found[OURS]
        rates, values = zip(*drawn, strict=True)
        self.rates = max(min(rates), 0.01), max(rates)
        self.values = 5 * math.floor(min(values) / 5), 5 * math.ceil(max(values) / 5 + 1e-9)

    def x(self, rate: float) -> float:
        low, high = (math.log(end) for end in self.rates)
        share = (math.log(max(rate, self.rates[0])) - low) / max(high - low, 1e-9)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(self, value: float) -> float:
        low, high = self.values
        share = (min(max(value, low), high) - low) / max(high - low, 1e-9)
        return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)


def _data_uri(picture: np.ndarray) -> str:
    """A picture inside an address; large ones are shrunk."""
    image = Image.fromarray(picture)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _curve(axes: _Axes, found: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """The drawing, as SVG, with a marker that the programme moves."""
    parts = [
        f'  <svg id="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="PSNR in dB against bits per pixel, with a marker at the bytes received">'
    ]
    for rate in _TICKS:
        if axes.rates[0] <= rate <= axes.rates[1]:
            x = axes.x(rate)
            parts.append(f'    <line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_BOTTOM}"/>')
            parts.append(f'    <text x="{x}" y="{_BOTTOM + 16}" text-anchor="middle">{rate:g}</text>')
    for value in range(axes.values[0], axes.values[1] + 1, 5 if axes.values[1] - axes.values[0] <= 45 else 10):
        y = axes.y(float(value))
        parts.append(f'    <line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'    <text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'    <text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">bits per pixel (whole file)</text>')
    parts.append(f'    <text x="{_LEFT + 8}" y="{_TOP + 16}">PSNR in dB</text>')
    below, colours = -math.inf, {baseline.name: baseline.colour for baseline in BASELINES.values()}
    order = list(colours)
    for codec, points in sorted(found.items(), key=lambda item: -item[1][-1][1]):
        places = " ".join(f"{axes.x(rate)},{axes.y(value)}" for rate, value in points if rate >= axes.rates[0])
        kind, colour = ("ours", "var(--ink)") if codec == OURS else ("baseline", colours[codec])
        end = axes.y(points[-1][1])
        below = max(end + 4, below + 15)
        dashes = "none" if codec == OURS else _DASHES[order.index(codec) % len(_DASHES)]
        style = f"stroke: {colour}; stroke-dasharray: {dashes}"
        parts.append(f'    <polyline class="{kind}" points="{places}" style="{style}"/>')
        # A piece of the line beside the name, and the name in the colour of text, which every curve's colour is not.
        mark = f"{_RIGHT + 4},{below - 4} {_RIGHT + 28},{below - 4}"
        parts.append(f'    <polyline class="{kind} key" points="{mark}" style="{style}"/>')
        parts.append(f'    <text class="name" x="{_RIGHT + 32}" y="{below}">{codec}</text>')
    parts.append('    <circle id="marker" r="7"/>\n  </svg>')
    return "\n".join(parts)


def _frame(picture: np.ndarray, preview: Preview, axes: _Axes) -> dict:
    """What the programme knows of a preview."""
    rate, psnr = bpp(preview.file_bytes, picture), psnr_db(picture, preview.picture)
    return {
        "step": preview.step,
        "bytes": preview.file_bytes,
        "bpp": round(rate, 6),
        "psnr": round(psnr, 4) if math.isfinite(psnr) else None,
        "x": axes.x(rate),
        "y": axes.y(psnr),
        "src": _data_uri(preview.picture),
    }


def _row(frame: dict) -> str:
    psnr = "exact" if frame["psnr"] is None else f"{frame['psnr']:.2f}"
    cells = "".join(f"<td>{text}</td>" for text in (f"{frame['bytes']:,}", f"{frame['bpp']:.4f}", psnr))
    return f'        <tr><th scope="row">{frame["step"]}</th>{cells}</tr>'


def page(name: str, picture: np.ndarray, shown: Sequence[Preview], made_with: str) -> str:
    """The text of the file.

    Args:
      name: of the picture, for people.
      picture: uint8 (H, W, 3).
      shown: its previews (`uqdm.previews`), of which the last is of the whole stream.
      made_with: the model, for people.
    """
    own = [(bpp(preview.file_bytes, picture), psnr_db(picture, preview.picture)) for preview in shown]
    baselines = ((name, point) for codec in BASELINES for point in baseline_points(codec, picture))
    found = {OURS: [point for point in own if math.isfinite(point[1])]} | curves(baselines)
    found = {codec: points for codec, points in found.items() if points}
    axes = _Axes(found)
    frames = [_frame(picture, preview, axes) for preview in shown]
    height, width = picture.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    shrunk = "" if scale == 1 else f"; shown at {scale:.0%} of its size, measured at full size"
    content = {"frames": frames, "original": _data_uri(picture), "steps": shown[-1].steps}
    return Template((resources.files("uqdm") / "evaluation" / "report.html").read_text(encoding="utf-8")).substitute(
        name=html.escape(name),
        facts=f"{width} × {height} pixels, {shown[-1].file_bytes:,} bytes in all, {html.escape(made_with)}{shrunk}",
        last=frames[-1]["src"],
        last_number=len(frames) - 1,
        width=width,
        height=height,
        rendering="image-rendering: pixelated;" if max(height, width) <= 256 else "",
        curve=_curve(axes, found),
        table="\n".join(map(_row, frames)),
        frames=json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
    )


def report(name: str, picture: np.ndarray, model: Model, *, on_step: Callable[[], object] = lambda: None) -> str:
    """Encodes a picture, and shows it step by step (`page`).

    Args:
      name: of the picture, for people.
      picture: uint8 (H, W, 3).
      model: what to encode with.
      on_step: called after every step of encoding and of decoding, to show progress.
    """
    data = encode(picture, model=model, on_step=on_step)
    shown = []
    for preview in previews(data, model=model):
        shown.append(preview)
        on_step()
    return page(name, picture, shown, f"model {model.name} ({model.id[:4].hex()})")
