"""Pictures that are no photographs: what they cost exactly, and at a PSNR, beside other codecs.

    python experiments/draw_screens.py SCREENS --count 14 --first 1001
    python benchmarks/drawn.py SCREENS

Besides the pictures of the folder (text, code, windows, charts, tables, pixel art), flat colour, a gradient, noise, a
checkerboard and a halftone are made here. Prints bytes of whole files that decode to the very picture (every one of
ours is decoded and compared), and bytes of the smallest files of at least 30 and 40 dB, which of ours are found by
`psnr_db=`, and of the others by their quality. Others are Pillow's codecs at their best settings.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import uqdm
from uqdm.metrics import psnr_db
from uqdm.pictures import read_picture

EXACT = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
    "AVIF": {"format": "AVIF", "quality": 100, "subsampling": "4:4:4", "speed": 0},
}
"""AVIF is at its best quality, which is not always exact."""
LOSSY = {"WebP": {"format": "WEBP", "method": 6}, "AVIF": {"format": "AVIF", "subsampling": "4:4:4", "speed": 4}}
LEVELS = (30.0, 40.0)


def made(side: int = 256) -> dict[str, np.ndarray]:
    """Pictures by their names."""
    y, x = np.mgrid[:side, :side]
    grey = {
        "checkerboard": 255 * ((x + y) % 2),
        "halftone": 255
        * (x / side * 16 > np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])[y % 4, x % 4]),
    }
    pictures = {name: values.astype(np.uint8)[..., None].repeat(3, 2) for name, values in grey.items()}
    pictures["flat megapixel"] = np.full((1000, 1000, 3), [200, 30, 50], np.uint8)
    pictures["gradient"] = np.stack([x * 255 // side, y * 255 // side, (x + y) * 127 // side], -1).astype(np.uint8)
    pictures["noise"] = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return pictures


def saved(picture: np.ndarray, **options) -> tuple[int, np.ndarray]:
    """Bytes of a file, and what it decodes to."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, **options)
    return file.tell(), np.asarray(Image.open(file).convert("RGB"))


def smallest(picture: np.ndarray, least_db: float, **options) -> int | str:
    """Bytes of the file of the lowest quality that has a PSNR, or that none has."""
    low, high = 0, 100
    while low < high:
        middle = (low + high) // 2
        enough = psnr_db(picture, saved(picture, quality=middle, **options)[1]) >= least_db
        low, high = (low, middle) if enough else (middle + 1, high)
    size, shown = saved(picture, quality=low, **options)
    return size if psnr_db(picture, shown) >= least_db else "not reached"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    pictures = {path.stem: read_picture(path.read_bytes()) for path in sorted(options.folder.glob("*.png"))} | made()
    lossy = [f"{name}, {level:g} dB" for level in LEVELS for name in ("uqdm", *LOSSY)]
    columns = ["uqdm", *EXACT, *lossy]
    print("| picture | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|", flush=True)
    for name, picture in tqdm(pictures.items(), leave=False):
        data = uqdm.encode(picture, lossless=True)
        assert np.array_equal(uqdm.decode(data), picture), "the decoded picture is not the one that was encoded"
        cells = [str(len(data))]
        for settings in EXACT.values():
            size, shown = saved(picture, **settings)
            cells.append(str(size) if np.array_equal(shown, picture) else f"{size} (not exact)")
        for level in LEVELS:
            cells.append(str(len(uqdm.encode(picture, psnr_db=level))))
            cells += [str(smallest(picture, level, **settings)) for settings in LOSSY.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
