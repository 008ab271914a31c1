"""Lossless coding of pictures beside PNG, lossless WebP and JPEG XL at effort 9, in the same run.

    pip install .[eval]
    python benchmarks/lossless.py SHARED [--sets small crops ...] [--views 128] [--photographs 6] [--out FILE.csv]
    python benchmarks/lossless.py SHARED --sizes 768x512 4000x3000

SHARED is the folder with `data/` and `golden/`. The first command prints mean bits per pixel of files, headers
included: of PNG (Pillow, optimize), of WebP (Pillow, lossless, quality 100, method 6), of JPEG XL (pillow-jxl-plugin,
lossless, effort 9; without the plug-in there is no such column), and of uqdm, in all and at the residual's start; and
how much larger ours are than JPEG XL, by sums of bytes. Every stream of ours and of JPEG XL is decoded and compared
with the picture. The photographic sets are those of SHARED: `small` (whole pictures at 64 x 64), `crops`, `val64`,
`photos_val`. The others, of `--side` pixels, are made here: screens (experiments/draw_screens.py, one of each kind),
line art, a flat megapixel, gradients, noise.

The second command prints seconds and peak memory of one picture of each size, lossy with all steps and lossless, each
in a process of its own that has compiled before.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.drawn.model import DrawnModel
from uqdm.evaluation.baselines import available
from uqdm.metrics import bpp
from uqdm.training.dataset import load_pictures

BASELINES = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
    "JPEG XL": {"format": "JXL", "lossless": True, "effort": 9},
}
UQDM, BEFORE = "uqdm", "uqdm before the residual"


def anchors(name: str) -> Callable[[argparse.Namespace], Iterable[np.ndarray]]:
    """A set of SHARED/golden."""

    def load(options: argparse.Namespace) -> Iterable[np.ndarray]:
        with np.load(options.shared / "golden" / "uqdm_tiny" / "anchor_sets.npz") as arrays:
            return arrays[name]

    return load


def screens(options: argparse.Namespace) -> Iterable[np.ndarray]:
    """Pages, code, windows, charts, tables, pixel art, captions."""
    sys.path.append(str(Path(__file__).parents[1] / "experiments"))
    drawing = import_module("draw_screens")
    return [np.asarray(drawing.screen(1001 + number, options.side)) for number in range(len(drawing.KINDS))]


def line_art(options: argparse.Namespace) -> Iterable[np.ndarray]:
    """Dark curves and circles on white, smooth at their edges: drawn four times as large and reduced."""
    pictures = []
    for seed in range(4):
        rng, side = np.random.default_rng(seed), 4 * options.side
        image = Image.new("L", (side, side), 255)
        draw = ImageDraw.Draw(image)
        for _ in range(30):
            t, width = np.linspace(0, 1, 200)[:, None], int(rng.integers(4, 17))
            a, b, c, d = rng.uniform(0, side, (4, 2))
            curve = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
            draw.line([tuple(point) for point in curve], fill=int(rng.integers(0, 90)), width=width)
            x, y, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(20, 300)
            draw.ellipse((x - r, y - r, x + r, y + r), outline=0, width=width)
        grey = image.resize((options.side, options.side), Image.Resampling.BOX)
        pictures.append(np.asarray(grey.convert("RGB")))
    return pictures


def flat(options: argparse.Namespace) -> Iterable[np.ndarray]:
    """A megapixel of one colour."""
    return [np.full((1000, 1000, 3), [200, 30, 50], np.uint8)]


def gradients(options: argparse.Namespace) -> Iterable[np.ndarray]:
    """Along the sides, along the diagonal, around the middle, and the first with a little noise, as cameras have it."""
    y, x = np.mgrid[: options.side, : options.side] / (options.side - 1)
    fields = [np.stack([x, y, (x + y) / 2], -1), np.stack([(x + y) / 2] * 3, -1)]
    fields.append(np.stack([np.hypot(x - 0.5, y - 0.5) * scale for scale in (1.0, 1.2, 1.4)], -1))
    fields.append(fields[0] + np.random.default_rng(0).normal(0, 1 / 255, fields[0].shape))
    return [np.rint(np.clip(255 * field, 0, 255)).astype(np.uint8) for field in fields]


def noise(options: argparse.Namespace) -> Iterable[np.ndarray]:
    """Bytes of which none tells anything of another."""
    return [np.random.default_rng(1).integers(0, 256, (options.side, options.side, 3), dtype=np.uint8)]


SETS: dict[str, Callable[[argparse.Namespace], Iterable[np.ndarray]]] = {
    "small": anchors("small"),
    "crops": anchors("crops"),
    "val64": lambda options: load_pictures(options.shared / "data" / "val64.npz", count=options.views),
    "photos_val": lambda options: load_pictures(options.shared / "data" / "photos_val", count=options.photographs),
    "screens": screens,
    "line art": line_art,
    "flat": flat,
    "gradients": gradients,
    "noise": noise,
}


def file_bytes(picture: np.ndarray, settings: dict, name: str) -> int:
    """Of another codec; what JPEG XL writes must decode to the picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **settings)
    if name == "JPEG XL" and not np.array_equal(np.asarray(Image.open(buffer).convert("RGB")), picture):
        raise AssertionError("JPEG XL was not lossless")
    return len(buffer.getvalue())


def measure(picture: np.ndarray, rivals: Iterable[str]) -> list[float]:
    """Bits per pixel of the rivals, of our file, and of its part before the residual (nan if it has none)."""
    sizes = [file_bytes(picture, BASELINES[name], name) for name in rivals]
    data = uqdm.encode(picture, lossless=True)
    if not np.array_equal(uqdm.decode(data), picture):
        raise AssertionError("the decoded picture is not the one that was encoded")
    facts, figures = uqdm.info(data), [bpp(size, picture) for size in (*sizes, len(data))]
    if facts["model_id"] == DrawnModel().id[:4].hex():
        return [*figures, float("nan")]
    costs = encode_with_costs(picture, lossless=True)[1]
    return [*figures, bpp(costs[facts["steps"]].file_bytes, picture)]


def table(options: argparse.Namespace) -> None:
    """Measures and prints the sets."""
    rivals = [name for name in BASELINES if name != "JPEG XL" or available("jxl")]
    if "JPEG XL" not in rivals:
        print("JPEG XL is left out: pip install pillow-jxl-plugin\n")
    columns = [*rivals, UQDM, BEFORE]
    rows = ["set,picture,pixels," + ",".join(columns)]
    ahead = ["uqdm / JPEG XL"] if "JPEG XL" in rivals else []
    print(f"| pictures | {' | '.join(columns + ahead)} |\n|---|{'---|' * len(columns + ahead)}", flush=True)
    for name in options.sets:
        pictures = [np.ascontiguousarray(picture) for picture in SETS[name](options)]
        figures = np.array([measure(picture, rivals) for picture in tqdm(pictures, name, leave=False)])
        pixels = np.array([picture[..., 0].size for picture in pictures])
        rows += [
            f"{name},{i},{size}," + ",".join(f"{x:.4f}" for x in row)
            for i, (size, row) in enumerate(zip(pixels, figures, strict=True))
        ]
        cells = ["" if np.isnan(x) else f"{x:.4g}" if x < 0.1 else f"{x:.2f}" for x in figures.mean(0)]
        if ahead:
            ours, theirs = (pixels @ figures[:, columns.index(column)] for column in (UQDM, "JPEG XL"))
            cells.append(f"{100 * (ours / theirs - 1):+.1f} %")
        print(f"| {name} ({len(figures)}) | {' | '.join(cells)} |", flush=True)
    if options.out:
        options.out.write_text("\n".join(rows) + "\n")


def times_of(size: str, shared: Path) -> list[float]:
    """Seconds to encode and to decode, lossy with all steps and lossless, and the peak of memory so far in MiB."""
    width, height = (int(side) for side in size.split("x"))
    picture = load_pictures(shared / "data" / "photos_val", count=1)[0]
    missing = [max(0, wanted - have) for wanted, have in zip((height, width), picture.shape, strict=False)]
    picture = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")[:height, :width]
    picture, figures = np.ascontiguousarray(picture), []
    uqdm.decode(uqdm.encode(picture[:64, :72], lossless=True))
    uqdm.decode(uqdm.encode(picture[: min(height, 200), : min(width, 200)], lossless=True))
    for lossless in (False, True):
        began = time.perf_counter()
        data = uqdm.encode(picture, lossless=lossless)
        encoded = time.perf_counter()
        uqdm.decode(data)
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        figures += [encoded - began, time.perf_counter() - encoded, kibibytes / 1024]
    return figures


def times(options: argparse.Namespace) -> None:
    """Measures and prints sizes."""
    columns = [
        "pixels",
        *(f"{kind} {what}" for kind in ("lossy", "lossless") for what in ("encode s", "decode s", "MiB")),
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for size in options.sizes:
        command = [sys.executable, __file__, str(options.shared), "--one", size]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        cells = [f"{x:.0f}" if i % 3 == 2 else f"{x:.1f}" for i, x in enumerate(figures)]
        print(f"| {size} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--photographs", type=int, default=6)
    parser.add_argument("--side", type=int, default=512, help="of the pictures that are made here")
    parser.add_argument("--out", type=Path, help="a file of comma-separated values of every picture")
    parser.add_argument("--sizes", nargs="+", metavar="WIDTHxHEIGHT", help="measure times instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(times_of(options.one, options.shared)))
    elif options.sizes:
        times(options)
    else:
        table(options)


if __name__ == "__main__":
    main()
