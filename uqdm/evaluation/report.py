"""A report of one picture as a single HTML file: a slider shows it as bytes arrive, a second one mixes mean and draw.

Where draws are asked for, steps at rates at which they make sense have two pictures, the mean m and a draw d, and the
browser shows (1 - r) m + r d for the realism r of the second slider (review, Eq. 17). The squared error against the
original x is quadratic in r,

    |x - (1 - r) m - r d|^2 = (1 - r)^2 |x - m|^2 + 2 r (1 - r) (x - m) (x - d) + r^2 |x - d|^2,         (1)

so three numbers per step tell its PSNR for every r.

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

from uqdm.codec.api import Preview, encode, receiver_of, way_for
from uqdm.contract import Model
from uqdm.evaluation import BASELINES, OURS, baseline_points, curves
from uqdm.library import reconstructions_of
from uqdm.metrics import bpp, psnr_db
from uqdm.reconstruction import Mixture

__all__ = ["can_draw", "page", "report"]

_LONGEST_SIDE = 1024
_QUALITY, _QUALITY_OF_DRAWS = 85, 75
"""Of WebP. Draws have more detail, which takes more bytes and hides more."""
_DRAWN_BPP, _DRAWN_BELOW_DB = (0.02, 1.0), 36.0
"""Steps at these rates whose preview is no better get draws: below there is nothing to go by, above all look alike."""
_OPENED_AT_BPP = 0.15
"""Pages with draws open at about this rate, others at the end."""
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


def _data_uri(picture: np.ndarray, quality: int = _QUALITY) -> str:
    """A picture inside an address; large ones are shrunk."""
    image = Image.fromarray(picture)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
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


def _frame(picture: np.ndarray, preview: Preview, ends: tuple[np.ndarray, np.ndarray] | None, axes: _Axes) -> dict:
    """What the programme knows of a preview, and of the mean and the draw beside it."""
    rate, psnr = bpp(preview.file_bytes, picture), psnr_db(picture, preview.picture)
    frame = {
        "step": preview.step,
        "bytes": preview.file_bytes,
        "bpp": round(rate, 6),
        "psnr": round(psnr, 4) if math.isfinite(psnr) else None,
        "x": axes.x(rate),
        "y": axes.y(psnr),
        "src": _data_uri(preview.picture if ends is None else ends[0]),
    }
    if ends is not None:
        mean, drawn = (picture.astype(np.float64) - end for end in ends)
        errors = [round(float(np.mean(one * other)), 4) for one, other in ((mean, mean), (mean, drawn), (drawn, drawn))]
        frame |= {"drawn": _data_uri(ends[1], _QUALITY_OF_DRAWS), "errors": errors}
    return frame


def _row(frame: dict) -> str:
    psnr = "exact" if frame["psnr"] is None else f"{frame['psnr']:.2f}"
    cells = "".join(f"<td>{text}</td>" for text in (f"{frame['bytes']:,}", f"{frame['bpp']:.4f}", psnr))
    return f'        <tr><th scope="row">{frame["step"]}</th>{cells}</tr>'


def page(
    name: str,
    picture: np.ndarray,
    shown: Sequence[Preview],
    made_with: str,
    draws: Mapping[int, tuple[np.ndarray, np.ndarray]] | None = None,
) -> str:
    """The text of the file.

    Args:
      name: of the picture, for people.
      picture: uint8 (H, W, 3).
      shown: its previews (`uqdm.previews`), of which the last is of the whole stream.
      made_with: the model, for people.
      draws: mean and draw, uint8 (H, W, 3) each, by the steps that have them; without any there is no second slider.
    """
    draws = draws or {}
    own = [(bpp(preview.file_bytes, picture), psnr_db(picture, preview.picture)) for preview in shown]
    baselines = ((name, point) for codec in BASELINES for point in baseline_points(codec, picture))
    found = {OURS: [point for point in own if math.isfinite(point[1])]} | curves(baselines)
    found = {codec: points for codec, points in found.items() if points}
    axes = _Axes(found)
    frames = [_frame(picture, preview, draws.get(preview.step), axes) for preview in shown]
    first = len(frames) - 1
    if drawn := [place for place, frame in enumerate(frames) if "drawn" in frame]:
        first = min(drawn, key=lambda place: abs(math.log(frames[place]["bpp"] / _OPENED_AT_BPP)))
    height, width = picture.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    shrunk = "" if scale == 1 else f"; shown at {scale:.0%} of its size, measured at full size"
    content = {"frames": frames, "original": _data_uri(picture), "steps": shown[-1].steps}
    content |= {"values": axes.values, "heights": [_BOTTOM, _TOP]}
    folder = resources.files("uqdm") / "evaluation"
    realism, text = ((folder / name).read_text(encoding="utf-8") for name in ("report_realism.html", "report.html"))
    return Template(text).substitute(
        name=html.escape(name),
        facts=f"{width} × {height} pixels, {shown[-1].file_bytes:,} bytes in all, {html.escape(made_with)}{shrunk}",
        first_src=frames[first]["src"],
        first=first,
        last=len(frames) - 1,
        width=width,
        height=height,
        rendering="image-rendering: pixelated;" if max(height, width) <= 256 else "",
        curve=_curve(axes, found),
        realism=Template(realism).substitute(first=min(draws), last=max(draws)) if draws else "",
        table="\n".join(map(_row, frames)),
        frames=json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
    )


def _is_drawn(picture: np.ndarray, preview: Preview) -> bool:
    low, high = _DRAWN_BPP
    return low <= bpp(preview.file_bytes, picture) <= high and psnr_db(picture, preview.picture) < _DRAWN_BELOW_DB


def can_draw(model: Model) -> bool:
    """Whether `report` can show draws of a model."""
    return len(reconstructions_of(model)) > 1


def report(
    name: str,
    picture: np.ndarray,
    model: Model,
    *,
    draws: bool = False,
    on_step: Callable[[], object] = lambda: None,
) -> str:
    """Encodes a picture, and shows it step by step (`page`).

    Args:
      name: of the picture, for people.
      picture: uint8 (H, W, 3).
      model: what to encode with.
      draws: whether to draw as well, what `uqdm.decode(realism=1.0)` shows, at steps of at most 1 bit per pixel and
        less than 36 dB; showing takes as long as two draws for every such step.
      on_step: called after every step of encoding and of decoding, to show progress.

    Raises:
      ValueError: draws are asked for, and the model has none.
    """
    way = way_for(model, "denoise", 1.0) if draws else None
    receiver = receiver_of(encode(picture, model=model, on_step=on_step), model=model)
    shown, ends = [], {}
    while not shown or receiver.receive():
        preview = Preview(receiver.picture(), receiver.step, receiver.header.total_steps, receiver.needed_bytes)
        shown.append(preview)
        if isinstance(way, Mixture) and _is_drawn(picture, preview):
            ends[receiver.step] = way.ends(model, receiver.state, receiver.step)
        on_step()
    return page(name, picture, shown, f"model {model.name} ({model.id[:4].hex()})", ends)
