"""Lossless coding of pictures beside PNG and lossless WebP.

    python benchmarks/lossless.py SHARED [--views 128] [--photographs 6] [--out benchmarks/results/lossless.csv]

SHARED is the folder with `data/` and `golden/`. Every stream is decoded and compared with the picture. Prints mean bits
per pixel of files, headers included: of PNG (Pillow, optimize), of WebP (Pillow, lossless, quality 100, method 6), and
of uqdm with a lossless residual, in all and at the residual's start.
"""

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.metrics import bpp
from uqdm.training.dataset import load_pictures

BASELINES = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}
COLUMNS = (*BASELINES, "uqdm", "uqdm before the residual")


def measure(picture: np.ndarray) -> list[float]:
    """Bits per pixel, in the order of `COLUMNS`."""
    sizes = []
    for options in BASELINES.values():
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, **options)
        sizes.append(len(buffer.getvalue()))
    data, costs = encode_with_costs(picture, lossless=True)
    if not np.array_equal(uqdm.decode(data), picture):
        raise AssertionError("the decoded picture is not the one that was encoded")
    return [bpp(size, picture) for size in (*sizes, len(data), costs[uqdm.info(data)["steps"]].file_bytes)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--photographs", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = ["set,picture," + ",".join(COLUMNS)]
    print(f"| pictures | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}", flush=True)
    with np.load(options.shared / "golden" / "uqdm_tiny" / "anchor_sets.npz") as anchors:
        sets: dict[str, Iterable[np.ndarray]] = {name: anchors[name] for name in ("small", "crops")}
    sets["val64"] = load_pictures(options.shared / "data" / "val64.npz", count=options.views)
    sets["photos_val"] = load_pictures(options.shared / "data" / "photos_val", count=options.photographs)
    for name, pictures in sets.items():
        figures = [measure(np.ascontiguousarray(picture)) for picture in tqdm(pictures, name, leave=False)]
        rows += [f"{name},{i}," + ",".join(f"{x:.4f}" for x in row) for i, row in enumerate(figures)]
        means = " | ".join(f"{x:.2f}" for x in np.mean(figures, 0))
        print(f"| {name} ({len(figures)}) | {means} |", flush=True)
    if options.out:
        options.out.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
