"""A contact sheet of what benchmarks/restoration.py kept: original, mean, draw and AVIF of equal bytes, by rates.

    python experiments/draws_sheet.py SHARED KEPT OUT.jpg [--bpp 0.1 0.2 0.3]

A row per crop and rate; the crops are a portrait, a texture, a landscape and letters. The file takes at most 400 kB.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uqdm.training.dataset import load_pictures

CROPS = {"portrait": (12, 70, 360), "texture": (11, 240, 60), "landscape": (15, 190, 300), "text": (22, 110, 400)}
"""Number of a photograph, top and left of a square."""
SIDE, GAP, HEAD = 256, 6, 24
WAYS = {"mean (refine)": "refined", "draw (restore)": "drawn-1", "AVIF": "AVIF"}
MOST_BYTES = 400_000


def main() -> None:
    """Lays it out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.3])
    options = parser.parse_args()
    pictures = load_pictures(options.shared / "data" / "photos_val")
    rows = [(*crop, rate) for crop in CROPS.items() for rate in options.bpp]
    size = (4 * (SIDE + GAP) - GAP, len(rows) * (SIDE + HEAD + GAP))
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(15)
    draw = ImageDraw.Draw(sheet)
    for row, (name, (number, top, left), rate) in enumerate(rows):
        kept = options.kept / f"{rate:g}"
        tiles: dict[str, np.ndarray | None] = {f"{name}: original": pictures[number]}
        for way, file in WAYS.items():
            path = kept / f"{number:02}-{file}.png"
            tiles[f"{way}, {rate:g} bpp"] = np.asarray(Image.open(path)) if path.exists() else None
        for column, (label, picture) in enumerate(tiles.items()):
            x, y = column * (SIDE + GAP), row * (SIDE + HEAD + GAP)
            draw.text((x + 2, y + 3), label, "black", font)
            if picture is None:
                draw.text((x + 2, y + HEAD + 3), "no file is so small", "black", font)
            else:
                sheet.paste(Image.fromarray(picture[top : top + SIDE, left : left + SIDE]), (x, y + HEAD))
    for quality in range(95, 20, -1):
        sheet.save(buffer := io.BytesIO(), "JPEG", quality=quality, optimize=True, progressive=True)
        if len(buffer.getvalue()) <= MOST_BYTES:
            options.out.write_bytes(buffer.getvalue())
            print(f"{options.out}: quality {quality}, {len(buffer.getvalue())} bytes")
            break


if __name__ == "__main__":
    main()
