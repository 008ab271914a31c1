"""Rate-distortion tables of the shipped model on the validation pictures, beside the other codecs.

    python benchmarks/rate_distortion.py SHARED [--out benchmarks/results] [--measured]

SHARED is the folder with `data/` and `reference/` (pictures, measured points of other codecs). Every picture is encoded
once; its stream is cut at the end of every step, and real file bytes are counted. Writes `photos_val.csv`, `val64.csv`
(one row per picture and step) and `photos_val_others.csv` (the same of the codecs that Pillow writes, whole files), and
prints Markdown tables; with `--measured` it reads the three files instead of encoding.

Three BD-rates are given, over the rates of the table:

    fixed rate     PSNR of ours is read at common rates and averaged over pictures, that of others at fixed settings. At
                   equal rates easy pictures are much better than hard ones, and the mean of dB is higher than at fixed
                   settings: this flatters ours.
    like for like  bits and PSNR are averaged at the end of each step, as the others' are at fixed settings.
    per picture    the mean over pictures of the BD-rates against a codec that was measured on the very same pictures.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.evaluation import progressive_points, write_points
from uqdm.evaluation.baselines import BASELINES, baseline_points
from uqdm.evaluation.points import OURS, Point, read_points
from uqdm.metrics import bd_rate_percent
from uqdm.training.dataset import load_pictures

Curve = list[tuple[float, float]]
"""(bits per pixel, PSNR in dB), by rising rate."""

RESULTS = Path(__file__).parent / "results"
PHOTO_RATES = (0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0)
VIEW_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
PUBLISHED = {
    "jpeg2000-ffmpeg": "JPEG 2000 (ffmpeg)",
    "bpg-444-x265": "BPG 4:4:4",
    "av1-avif(444)": "AVIF 4:4:4",
    "vtm": "VTM",
    "dpict": "DPICT (progressive, learned)",
}

STORED = {
    "jpeg444": "JPEG 4:4:4",
    "jpeg444prog": "JPEG 4:4:4 progressive",
    "webp": "WebP",
    "jxl": "JPEG XL",
    "jp2": "JPEG 2000 (no colour transform)",
    "avif444": "AVIF 4:4:4",
}


def read_at(curve: Curve, rates: Sequence[float] | np.ndarray) -> np.ndarray:
    """PSNR at given rates, linear between points; NaN below the curve, its last value above: a smaller file will do."""
    bpp, psnr_db = zip(*curve, strict=True)
    return np.asarray(np.interp(rates, bpp, psnr_db, left=np.nan))


def within(curve: Curve, rates: Sequence[float]) -> Curve:
    """The part of a curve from the first to the last of some rates, with ends of its own, linear in log(rate)."""
    bpp, psnr_db = np.array(curve).T
    low, high = max(rates[0], bpp[0]), min(rates[-1], bpp[-1])
    kept = np.array([low, *bpp[(bpp > low) & (bpp < high)], high])
    return list(zip(kept.tolist(), np.interp(np.log(kept), np.log(bpp), psnr_db).tolist(), strict=True))


def curves_of(rows: Sequence[tuple[str, Point]]) -> dict[str, list[Curve]]:
    """Of every codec one curve per picture."""
    found: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(list))
    for picture, point in rows:
        found[point.codec][picture].append((point.bpp, point.quality["psnr_db"]))
    return {codec: [sorted(curve) for curve in curves.values()] for codec, curves in found.items()}


def measure(name: str, pictures: Sequence[np.ndarray], path: Path, *, measured: bool) -> list[Curve]:
    """Curves of our codec, one per picture; written to a CSV, or read from it."""
    if not measured:
        model, rows = uqdm.load_model(), []  # the same for both sets
        for index, picture in enumerate(tqdm(pictures, desc=name)):
            rows += [(f"{name}_{index:03d}", point) for point in progressive_points(picture, model)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_points(rows))
    return curves_of(read_points(path.read_text()))[OURS]


def measure_others(name: str, pictures: Sequence[np.ndarray], path: Path, *, measured: bool) -> dict[str, list[Curve]]:
    """The same of the codecs that Pillow writes at fixed settings; JPEG 2000 is given rates, and left out."""
    if not measured:
        codecs = [codec for codec in BASELINES if codec != "jp2"]
        path.write_text(
            write_points(
                (f"{name}_{index:03d}", point)
                for index, picture in enumerate(tqdm(pictures, desc=path.stem))
                for codec in codecs
                for point in baseline_points(codec, picture)
            )
        )
    return curves_of(read_points(path.read_text()))


def stored_means(path: Path) -> dict[str, Curve]:
    """Mean points of other codecs, payload only, lossless ones left out."""
    curves = defaultdict(list)
    for point in json.loads(path.read_text()):
        if np.isfinite(point["psnr"]) and point["psnr"] < 90:
            curves[point["codec"]].append((point["bpp_payload"], point["psnr"]))
    return {STORED[codec]: sorted(curve) for codec, curve in curves.items() if codec in STORED}


def published_means(path: Path) -> dict[str, Curve]:
    """Published means over all 24 Kodak pictures."""
    curves = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["dataset"] == "kodak" and row["psnr_db"] and (name := PUBLISHED.get(row["codec"].lower())):
                curves[name].append((float(row["bpp"]), float(row["psnr_db"])))
    with (RESULTS / "kodak_published.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            curves[row["codec"]].append((float(row["bpp"]), float(row["psnr_db"])))
    return {codec: sorted(curve) for codec, curve in curves.items()}


def bd_rate(ours: Curve, others: Curve, rates: Sequence[float]) -> str:
    """For a table: over the part of the other's curve between the first and the last rate."""
    return f"{bd_rate_percent([point for point in ours if point[1] > 0], within(others, rates)):+.1f} %"


def table(
    title: str,
    rates: Sequence[float],
    ours: list[Curve],
    means: dict[str, Curve],
    single: dict[str, list[Curve]] | None = None,
) -> None:
    """Prints PSNR at rates, and BD-rates of ours.

    Args:
      title: of the table.
      rates: its columns, in bits per pixel.
      ours: of every picture.
      means: of other codecs.
      single: of those that were measured on the same pictures, by picture.
    """
    by_step: Curve = [tuple(point) for point in np.mean(ours, axis=0)]
    dense = np.geomspace(rates[0], rates[-1], 60)
    by_rate = list(
        zip(dense.tolist(), np.mean([read_at(curve, dense) for curve in ours], axis=0).tolist(), strict=True)
    )
    print(f"\n{title}\n\n| codec | " + " | ".join(f"{r:g} bpp" for r in rates), end="")
    print(" | BD-rate at fixed rates | like for like | per picture |\n" + "|---" * (len(rates) + 4) + "|")
    for name, values in (
        ("at fixed rates", np.mean([read_at(curve, rates) for curve in ours], 0)),
        ("like for like", read_at(by_step, rates)),
    ):
        print(f"| **uqdm** {name} | " + " | ".join(f"**{v:.2f}**" for v in values) + " | | | |")
    single = single or {}
    for codec in [*means, *(codec for codec in single if codec not in means)]:
        curve = means.get(codec) or [tuple(point) for point in np.mean(single[codec], axis=0)]
        cells = ["" if np.isnan(v) else f"{v:.2f}" for v in read_at(curve, rates)]
        cells = [cell if rate <= curve[-1][0] else "" for cell, rate in zip(cells, rates, strict=True)]
        cells += [bd_rate(mean, curve, rates) for mean in (by_rate, by_step)]
        pairs = zip(ours, single.get(codec, ()), strict=codec in single)
        differences = [bd_rate_percent(a, within(b, rates)) for a, b in pairs]
        print(f"| {codec} | " + " | ".join(cells) + f" | {f'{np.mean(differences):+.1f} %' if differences else ''} |")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--measured", action="store_true", help="read the points in OUT instead of encoding")
    options = parser.parse_args()
    data, reference, out = options.shared / "data", options.shared / "reference", options.out
    photos, views = load_pictures(data / "photos_val"), load_pictures(data / "val64.npz", count=128)
    ours = measure("photos_val", photos, out / "photos_val.csv", measured=options.measured)
    others = measure_others("photos_val", photos, out / "photos_val_others.csv", measured=options.measured)
    of_views = measure("val64", views, out / "val64.csv", measured=options.measured)
    is_kodak = [path.name.startswith("kodak") for path in sorted((data / "photos_val").glob("*.png"))]

    def kodak_of(curves: list[Curve]) -> list[Curve]:
        return [curve for curve, wanted in zip(curves, is_kodak, strict=True) if wanted]

    stored = stored_means(reference / "codecs_photos_val.json")
    table("photos_val, 24 photographs, means measured elsewhere", PHOTO_RATES, ours, stored)
    table("photos_val, 24 photographs, whole files of Pillow", PHOTO_RATES, ours, {}, others)
    kodak, of_kodak = kodak_of(ours), {codec: kodak_of(curves) for codec, curves in others.items()}
    published = published_means(reference / "published_rd.csv")
    table("Kodak, our 12 pictures against published means of all 24", PHOTO_RATES, kodak, published)
    table("Kodak, 12 pictures, whole files of Pillow", PHOTO_RATES, kodak, {}, of_kodak)
    table("val64, first 128 views", VIEW_RATES, of_views, stored_means(reference / "codecs_val64_first128.json"))


if __name__ == "__main__":
    main()
