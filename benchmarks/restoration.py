"""What a trained receiver makes of prefixes: draws and means by the flow of `photo`, beside AVIF at equal bytes.

    python benchmarks/restoration.py SHARED KEPT [--bpp 0.1 0.2 0.3] [--count 24] [--few 4]

Every photograph (SHARED/data/photos_val) is one stream, cut at every rate. KEPT is a folder for what is shown, as
KEPT/RATE/NUMBER-WAY.png, and for rows.csv, a line of measures for each; a run that is given again goes on where it was
stopped. Printed are means over pictures of all measures of `uqdm eval`, seconds, and distances of sets of patches
(uqdm.evaluation.patches): KID of features of MobileNetV2 and the sliced Wasserstein distance. Ways: the preview, the
refined mean, a draw by the flow in one evaluation, and AVIF; of the first --few pictures also draws of the nested model
itself and draws in 2, 4 and 16 evaluations. AVIF is Pillow's, 4:4:4, at the best quality that takes no more bytes. No
measure is the judge: look at KEPT.
"""

import argparse
import csv
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
from uqdm.evaluation.patches import patches_of
from uqdm.evaluation.points import METRICS
from uqdm.metrics import kid, mobilenet_features, sliced_wasserstein
from uqdm.training.dataset import load_pictures

ALL: dict[str, Reconstruction | str] = {"preview": "denoise", "refined": "refine", "drawn-1": "restore"}
FEW: dict[str, Reconstruction | str] = {
    "sample": "sample",
    **{f"drawn-{n}": uqdm.Restore(evaluations=n) for n in (2, 4, 16)},
}
AVIF = "AVIF"
PATCH = 192


def avif_files(picture: np.ndarray):
    """A function from a number of bytes to the AVIF file of the best quality that takes no more; None if none does."""
    files: dict[int, bytes] = {}

    def file_of(quality: int) -> bytes:
        if quality not in files:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, AVIF, quality=quality, subsampling="4:4:4", speed=4)
            files[quality] = buffer.getvalue()
        return files[quality]

    def best(most: int) -> bytes | None:
        low, high = -1, 101
        while high - low > 1:
            quality = (low + high) // 2
            low, high = (quality, high) if len(file_of(quality)) <= most else (low, quality)
        return file_of(low) if low >= 0 else None

    return best


def make(picture: np.ndarray, number: int, rates: list[float], few: int, kept: Path) -> None:
    """Shows a picture in all ways that are not kept yet, and keeps them with their measures."""
    stream, best = None, avif_files(picture)
    for rate in rates:
        folder = kept / f"{rate:g}"
        folder.mkdir(parents=True, exist_ok=True)
        ways = ALL | (FEW if number < few else {})
        missing = [way for way in [*ways, AVIF] if not (folder / f"{number:02}-{way}.png").exists()]
        if not missing:
            continue
        if stream is None:
            stream = uqdm.encode(picture, bpp=max(rates), model="photo")
        data = stream[: int(rate * picture.shape[0] * picture.shape[1] / 8)]
        receiver = receiver_of(data)
        while receiver.receive():
            pass
        receiver.picture()
        for way in missing:
            began = time.perf_counter()
            if way == AVIF:
                file = best(len(data))
                if file is None:
                    continue
                size, shown = len(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
            else:
                size, shown = len(data), show(receiver, ways[way])
            seconds = time.perf_counter() - began
            values = [float(metric.measure(picture, shown)) for metric in METRICS.values()]
            with (kept / "rows.csv").open("a", newline="") as table:
                csv.writer(table).writerow([rate, number, way, size, *values, seconds])
            partial = folder / f".{number:02}-{way}.png"
            Image.fromarray(shown).save(partial, compress_level=1)
            partial.rename(folder / f"{number:02}-{way}.png")


class Sets:
    """Features and patches of pictures, each computed once."""

    def __init__(self, pictures: list[np.ndarray], kept: Path, weights: Path):
        self._pictures, self._kept, self._weights = pictures, kept, weights
        self._found: dict[tuple[float, str, int], tuple[np.ndarray, np.ndarray]] = {}

    def distances(self, rate: float, way: str, count: int) -> tuple[float, float]:
        """KID and the sliced Wasserstein distance between what is shown of the first pictures and their originals."""
        path = self._kept / f"{rate:g}"
        numbers = [number for number in range(count) if (path / f"{number:02}-{way}.png").exists()]
        shown = [self._of(rate, way, n, path / f"{n:02}-{way}.png") for n in numbers]
        originals = [self._of(0.0, "original", n, None) for n in numbers]
        (a, x), (b, y) = ([np.concatenate(parts) for parts in zip(*own, strict=True)] for own in (originals, shown))
        return kid(a, b, paired=True), sliced_wasserstein(x, y, patches=32, directions=256).mean

    def _of(self, rate: float, way: str, number: int, path: Path | None) -> tuple[np.ndarray, np.ndarray]:
        if (rate, way, number) not in self._found:
            picture = self._pictures[number] if path is None else np.asarray(Image.open(path))
            patches = patches_of(picture, PATCH)
            self._found[rate, way, number] = mobilenet_features(patches, self._weights), patches
        return self._found[rate, way, number]


def tables(pictures: list[np.ndarray], rates: list[float], few: int, kept: Path, weights: Path) -> None:
    """Prints a table per rate of all pictures, and one of the few."""
    with (kept / "rows.csv").open(newline="") as table:
        rows = [(float(row[0]), int(row[1]), row[2], [float(value) for value in row[3:]]) for row in csv.reader(table)]
    sets = Sets(pictures, kept, weights)
    for rate in rates:
        for count, ways in ((len(pictures), [*ALL, AVIF]), (few, [*ALL, *FEW, AVIF])):
            print(f"\n{rate} bits per pixel, means over the first {count} photographs")
            labels = [metric.label for metric in METRICS.values()]
            print(" | ".join(["", "bytes", *labels, "seconds", "1000 KID", "sliced Wasserstein", "pictures"]))
            for way in ways:
                values = {number: own for r, number, w, own in rows if (r, w) == (rate, way) and number < count}
                if values:
                    distances = sets.distances(rate, way, count)
                    numbers = [*np.mean([*values.values()], 0), 1000 * distances[0], distances[1]]
                    print(f"{way} | " + " | ".join(f"{n:.4g}" for n in numbers) + f" | {len(values)}", flush=True)


def main() -> None:
    """Makes what is missing, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.3])
    parser.add_argument("--count", type=int, default=24, help="of photographs")
    parser.add_argument("--few", type=int, default=4, help="of photographs that are shown in the slow ways, too")
    options = parser.parse_args()
    weights = options.shared / "weights"
    os.environ.setdefault("UQDM_LPIPS_WEIGHTS", str(weights / "lpips_squeeze_v0.1_fp16backbone.npz"))
    pictures = load_pictures(options.shared / "data" / "photos_val")[: options.count]
    for number, picture in enumerate(tqdm(pictures)):
        make(picture, number, options.bpp, options.few, options.kept)
    network = weights / "mobilenet_v2_1.0_224_qat_dequant.npz"
    tables(pictures, options.bpp, options.few, options.kept, network)


if __name__ == "__main__":
    main()
