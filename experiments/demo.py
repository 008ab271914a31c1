"""The main job on a real photograph: encode it, look at previews from prefixes of the file, draw the curve.

    python experiments/demo.py [PICTURE] [--folder demo]

Writes `stream.uqdm`, `previews.png` (contact sheet), `curve.png` and `curve.csv`, and prints a table.
"""

import argparse
import time
from pathlib import Path

import uqdm
from uqdm.evaluation import BASELINES, METRICS, OURS, baseline_points, curves, point_of, write_points
from uqdm.evaluation.plots import contact_sheet, plot_curves
from uqdm.pictures import read_picture

PHOTOGRAPH = Path(__file__).parent / "pictures" / "kodim23.webp"


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path, default=PHOTOGRAPH)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the results go (demo/)")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    picture = read_picture(options.picture.read_bytes())
    uqdm.load_model()

    began = time.perf_counter()
    data = uqdm.encode(picture)
    print(f"{options.picture.name}: {picture.shape[1]} x {picture.shape[0]} pixels, encoded in ", end="")
    print(f"{time.perf_counter() - began:.1f} s to {len(data)} bytes (compilation included)\n")
    (options.folder / "stream.uqdm").write_bytes(data)

    print(f"{'step':>4} {'bytes':>8} {'bpp':>8} {'PSNR':>9}")
    shown, points = [], []
    for preview in uqdm.previews(data):
        setting = f"step {preview.step}"
        point = point_of(OURS, setting, preview.file_bytes, picture, preview.picture, ["psnr_db"])
        print(f"{preview.step:4d} {point.file_bytes:8d} {point.bpp:8.4f} {point.quality['psnr_db']:6.2f} dB")
        points.append(point)
        shown.append(preview)

    chosen = [shown[round(i * (len(shown) - 1) / 10)] for i in range(11)]
    (options.folder / "previews.png").write_bytes(contact_sheet(picture, chosen))
    name = options.picture.name
    rows = [(name, point) for point in points]
    rows += [(name, point) for codec in BASELINES for point in baseline_points(codec, picture)]
    (options.folder / "curve.png").write_bytes(plot_curves(curves(rows), METRICS["psnr_db"].label))
    (options.folder / "curve.csv").write_text(write_points(rows))
    print(f"\nwritten: {', '.join(str(options.folder / n) for n in ('stream.uqdm', 'previews.png', 'curve.png'))}")


if __name__ == "__main__":
    main()
