"""Rate-distortion tables of the shipped model on the validation pictures, beside the other codecs.

    python benchmarks/rate_distortion.py SHARED [--out benchmarks/results]

SHARED is the folder with `data/` and `reference/` (pictures, measured points of other codecs). Every picture is encoded
once; its stream is cut at the end of every step, and real file bytes are counted. Curves are read at common rates by
linear interpolation between their points and averaged over pictures, as the reference points were. Writes
`photos_val.csv`, `val64.csv` (one row per picture and step) and prints Markdown tables.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.evaluation import progressive_points, write_points
from uqdm.metrics import bd_rate_percent
from uqdm.training.dataset import load_pictures

PHOTO_RATES = (0.15, 0.25, 0.5, 1.0, 2.0, 3.0)
VIEW_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def read_at(points: list[tuple[float, float]], rates) -> np.ndarray:
    """PSNR at given rates; NaN below the curve, its last value above: a smaller file will do as well."""
    bpp, psnr = zip(*sorted(points), strict=True)
    return np.interp(rates, bpp, psnr, left=np.nan)


def measure(name: str, pictures: list[np.ndarray], out: Path) -> list[list[tuple[float, float]]]:
    """Curves of our codec, one per picture; written to a CSV."""
    model, rows, curves = uqdm.load_model(), [], []  # the same for both sets
    for index, picture in enumerate(tqdm(pictures, desc=name)):
        points = progressive_points(picture, model)
        rows += [(f"{name}_{index:03d}", point) for point in points]
        curves.append([(point.bpp, point.quality["psnr_db"]) for point in points])
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.csv").write_text(write_points(rows))
    return curves


def baselines(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Mean points of other codecs: (payload bpp, PSNR), lossless ones left out."""
    curves = defaultdict(list)
    for point in json.loads(path.read_text()):
        if np.isfinite(point["psnr"]) and point["psnr"] < 90:
            curves[point["codec"]].append((point["bpp_payload"], point["psnr"]))
    return {codec: points for codec, points in curves.items() if len(points) > 3}


def table(title: str, rates, curves, others: dict[str, list[tuple[float, float]]]) -> None:
    """Prints PSNR at rates, and BD-rates against the others over the range of rates given."""
    ours = np.nanmean([read_at(curve, rates) for curve in curves], axis=0)
    dense = np.geomspace(rates[0], rates[-1], 40)
    mean_curve = list(zip(dense, np.mean([read_at(curve, dense) for curve in curves], axis=0), strict=True))
    mean_curve = [(rate, psnr) for rate, psnr in mean_curve if np.isfinite(psnr)]
    print(f"\n{title}\n\n| codec | " + " | ".join(f"{r:g} bpp" for r in rates) + " | BD-rate of uqdm |")
    print("|---" * (len(rates) + 2) + "|")
    print("| **uqdm** | " + " | ".join(f"**{v:.2f}**" for v in ours) + " | |")
    for codec, points in others.items():
        values = read_at(points, rates)
        inside = [(rate, psnr) for rate, psnr in zip(dense, read_at(points, dense), strict=True) if np.isfinite(psnr)]
        bd = f"{bd_rate_percent(mean_curve, inside):+.1f} %" if len(inside) > 2 else ""
        print(f"| {codec} | " + " | ".join("" if np.isnan(v) else f"{v:.2f}" for v in values) + f" | {bd} |")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    data, reference = options.shared / "data", options.shared / "reference"
    names = [path.name for path in sorted((data / "photos_val").glob("*.png"))]
    photos = load_pictures(data / "photos_val")
    curves = measure("photos_val", photos, options.out)
    views = measure("val64", load_pictures(data / "val64.npz", count=128), options.out)
    table("photos_val, 24 photographs", PHOTO_RATES, curves, baselines(reference / "codecs_photos_val.json"))
    kodak = [curve for name, curve in zip(names, curves, strict=True) if name.startswith("kodak")]
    with (reference / "published_rd.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "kodak" and row["psnr_db"]]
    published = defaultdict(list)
    for row in rows:
        for wanted in ("dpict", "bpg-444-x265", "vtm", "av1-avif(444)", "jpeg2000-ffmpeg"):
            if row["codec"].lower() == wanted:
                published[row["codec"]].append((float(row["bpp"]), float(row["psnr_db"])))
    table("Kodak, our 12 pictures against published means of all 24", PHOTO_RATES, kodak, published)
    table("val64, first 128 views", VIEW_RATES, views, baselines(reference / "codecs_val64_first128.json"))


if __name__ == "__main__":
    main()
