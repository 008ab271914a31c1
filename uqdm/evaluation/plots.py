"""Figures: rate-distortion curves, contact sheets of previews, maps of bits; as bytes of a file."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"figures need {error.name}: pip install 'uqdm[plot]'", name=error.name) from None

from uqdm.codec.api import Preview
from uqdm.evaluation import BASELINES, OURS
from uqdm.metrics import bpp, psnr_db

__all__ = ["contact_sheet", "plot_allocation", "plot_curves"]

_COLOURS = {OURS: "#000000"} | {baseline.name: baseline.colour for baseline in BASELINES.values()}
_DASHES: dict[str, Any] = {"WebP": "--", "JPEG 2000": "-.", "JPEG XL": (0, (5, 1.5))}
_SPARE = ("#000000", "#D55E00", "#56B4E9", "#009E73", "#CC79A7")
_STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def _save(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight")
    return buffer.getvalue()


def plot_curves(curves: Mapping[str, Sequence[tuple[float, float]]], label: str, kind: str = "png") -> bytes:
    """A metric against bits per pixel on a logarithmic scale, one curve per codec, labelled at its end.

    Args:
      curves: points (bits per pixel, metric) by rising rate, by codec; of our own those below a hundredth of a bit per
        pixel, where nothing can be seen yet, are left out.
      label: of the metric, with its unit.
      kind: "png", "pdf" or "svg".
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.8))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        labels = []
        for place, (codec, points) in enumerate(sorted(curves.items(), key=lambda item: item[0].startswith(OURS))):
            x, y = np.array([point for point in points if point[0] > 0.01]).reshape(-1, 2).T
            if not len(x):
                continue
            ours = codec.startswith(OURS)
            colour, dashes = _COLOURS.get(codec, _SPARE[place % len(_SPARE)]), _DASHES.get(codec, "-")
            axes.plot(x, y, color=colour, linestyle=dashes, linewidth=2.2 if ours else 1.3, zorder=3 if ours else 2)
            labels.append((y[-1], x[-1], codec, colour))
        axes.set_xlabel("bits per pixel (whole file)")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25, linewidth=0.6)
        _label_ends(axes, labels)
        return _save(figure, kind)


def _label_ends(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Writes (height, rate, codec, colour) at the right edge, pushed apart where they would overlap."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    gap = 0.06 * (top - bottom)
    heights, order = [], sorted(labels)
    for height, *_ in order:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    over = max(0.0, heights[-1] - top) if heights else 0.0
    for place in reversed(range(len(heights))):
        ceiling = heights[place + 1] - gap if place + 1 < len(heights) else np.inf
        heights[place] = min(heights[place], ceiling, top if over else np.inf)
    for height, (value, rate, codec, colour) in zip(heights, order, strict=True):
        axes.annotate(
            codec,
            (rate, value),
            (right * 1.04, height),
            textcoords="data",
            annotation_clip=False,
            color=colour,
            va="center",
            fontweight="bold" if codec.startswith(OURS) else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 1, "shrinkB": 1},
        )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def contact_sheet(picture: np.ndarray, previews: Sequence[Preview], columns: int = 3) -> bytes:
    """A PNG of previews in reading order, each with its bytes, rate and PSNR; the original comes last."""
    tiles = [(p.picture, _caption(picture, p)) for p in previews]
    tiles.append((picture, "original"))
    rows = -(-len(tiles) // columns)
    ratio = picture.shape[0] / picture.shape[1]
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3 * columns, rows * (3 * ratio + 0.28)))
        for place, (tile, caption) in enumerate(tiles):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(tile, interpolation="nearest" if tile.shape[0] < 200 else "antialiased")
            axes.set_title(caption, fontsize=8, pad=3)
            axes.set_axis_off()
        figure.subplots_adjust(left=0, right=1, bottom=0, top=0.97, wspace=0.02, hspace=0.12)
        return _save(figure, "png")


def plot_allocation(picture: np.ndarray, bits: np.ndarray, block: int, kind: str = "png", columns: int = 6) -> bytes:
    """Where bits go: the picture, and heat maps of all steps together and of every step, on one logarithmic scale.

    Args:
      picture: uint8 (H, W, 3).
      bits: of every step and block (uqdm.nested.allocation), float64 (steps, h, w).
      block: side of a block in pixels.
      kind: "png", "pdf" or "svg".
      columns: of the maps of single steps; picture and sum take a row of their own.
    """
    height, width = picture.shape[:2]
    density = bits / block**2
    total = density.sum(0)
    rows, ratio = -(-len(bits) // columns), height / width
    norm = LogNorm(max(total.max() / 2000, 1e-4), max(total.max(), 2e-4), clip=True)
    with matplotlib.rc_context(_STYLE | {"font.size": 8}):
        tile = 7.2 / columns
        tall = 3.6 * ratio
        figure = Figure(figsize=(7.2, tall + 0.25 + rows * (tile * ratio + 0.22) + 0.5))
        grid = figure.add_gridspec(rows + 2, columns, height_ratios=[tall, *[tile * ratio] * rows, 0.12],
                                   left=0.005, right=0.995, top=0.97, bottom=0.06, wspace=0.04, hspace=0.3)  # fmt: skip

        def draw(place, values, caption: str) -> None:
            axes = figure.add_subplot(place)
            axes.set_axis_off()
            axes.set_title(caption, fontsize=8 if values is picture or values is total else 7, pad=2.5)
            if values.ndim == 3:
                axes.imshow(values, extent=(0, width, height, 0))
            else:
                reach = (0, values.shape[1] * block, values.shape[0] * block, 0)
                axes.imshow(values, cmap="cividis", norm=norm, extent=reach, interpolation="nearest")
            axes.set(xlim=(0, width), ylim=(height, 0))

        half = columns // 2
        draw(grid[0, :half], picture, f"{width} x {height} pixels")
        draw(grid[0, half:], total, f"all steps: {bits.sum() / (height * width):.3f} bits per pixel")
        for step, values in enumerate(density):
            share = bits[step].sum() / (height * width)
            draw(grid[1 + step // columns, step % columns], values, f"step {step + 1}: {share:.3f}")
        scale = ScalarMappable(norm, "cividis")
        bar = figure.colorbar(scale, cax=figure.add_subplot(grid[-1, 1:-1]), orientation="horizontal")
        bar.set_label("ideal bits per pixel of a block")
        bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return _save(figure, kind)


def _caption(picture: np.ndarray, preview: Preview) -> str:
    size = preview.file_bytes
    return f"{size:,} bytes, {bpp(size, picture):.3f} bpp, {psnr_db(picture, preview.picture):.1f} dB"
