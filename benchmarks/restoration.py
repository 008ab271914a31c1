"""What a trained receiver makes of prefixes: draws and means by the flow of `photo`, beside AVIF at equal bytes.

    python benchmarks/restoration.py SHARED [--bpp 0.1 0.2 0.3] [--count 24] [--sheet sheet.jpg]

Of photographs (SHARED/data/photos_val) and rates, means over pictures of all measures of `uqdm eval`, and seconds. AVIF
is Pillow's, 4:4:4, at the best quality that takes no more bytes. Ways: the preview, the refined mean, draws of the
nested model itself, and draws by the flow in 1, 2, 4 and 16 evaluations. No measure is the judge: look at --sheet.
"""

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of, show
from uqdm.contract import Reconstruction
from uqdm.evaluation.points import METRICS
from uqdm.training.dataset import load_pictures

WAYS: dict[str, Reconstruction | str] = {
    "preview": "denoise",
    "refined": "refine",
    "sample": "sample",
    **{f"drawn, {n}": uqdm.Restore(evaluations=n) for n in (1, 2, 4, 16)},
}


def avif(picture: np.ndarray, most: int) -> np.ndarray | None:
    """The picture at the best quality that takes at most so many bytes."""
    low, high, best = 0, 101, None
    while high - low > 1:
        quality, file = (low + high) // 2, io.BytesIO()
        Image.fromarray(picture).save(file, "AVIF", quality=quality, subsampling="4:4:4", speed=4)
        if len(file.getvalue()) <= most:
            low, best = quality, np.asarray(Image.open(file).convert("RGB"))
        else:
            high = quality
    return best


def main() -> None:
    """Measures and prints a table per rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.3])
    parser.add_argument("--count", type=int, default=24, help="of photographs")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--sheet", type=Path, help="write middles of the first pictures side by side, at the last rate")
    options = parser.parse_args()
    weights = options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"
    os.environ.setdefault("UQDM_LPIPS_WEIGHTS", str(weights))
    pictures = load_pictures(options.shared / "data" / "photos_val")[: options.count]
    for bpp in options.bpp:
        found: dict[str, list[list[float]]] = {}
        rows = []
        for picture in tqdm(pictures, f"{bpp} bpp"):
            data = uqdm.encode(picture, bpp=bpp, model="photo")
            receiver = receiver_of(data)
            while receiver.receive():
                pass
            receiver.picture()
            shown = {"original": picture}
            for name in options.ways:
                began = time.perf_counter()
                shown[name] = show(receiver, WAYS[name])
                seconds = time.perf_counter() - began
                found.setdefault(name, []).append([*measured(picture, shown[name]), seconds])
            other = avif(picture, len(data))
            if other is not None:
                shown["AVIF"] = other
                found.setdefault("AVIF", []).append([*measured(picture, other), float("nan")])
            rows.append(np.concatenate([middle(one) for one in shown.values()], 1))
        print(f"\n{bpp} bits per pixel, means over {len(pictures)} photographs")
        print(" | ".join(["", *(metric.label for metric in METRICS.values()), "seconds"]))
        for name, values in found.items():
            print(f"{name} | " + " | ".join(f"{value:.4g}" for value in np.mean(values, 0)), f"({len(values)})")
        if options.sheet:
            widest = max(row.shape[1] for row in rows[:6])
            rows = [np.pad(row, [(0, 8), (0, widest - row.shape[1]), (0, 0)], constant_values=255) for row in rows[:6]]
            Image.fromarray(np.concatenate(rows)).save(options.sheet, quality=90)


def measured(picture: np.ndarray, shown: np.ndarray) -> list[float]:
    """By all measures."""
    return [float(metric.measure(picture, shown)) for metric in METRICS.values()]


def middle(picture: np.ndarray, side: int = 256) -> np.ndarray:
    """A square from the middle."""
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


if __name__ == "__main__":
    main()
