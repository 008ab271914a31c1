"""A contact sheet of what benchmarks/restoration.py kept: original, mean, draw and AVIF of equal bytes, by rates.

    python experiments/draws_sheet.py SHARED KEPT OUT.jpg [--bpp 0.1 0.2 0.3]

A row per crop and way, a column per rate; the crops are a portrait, a texture, a landscape and letters. The file takes
at most 400 kB.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uqdm.training.dataset import load_pictures

CROPS = {"portrait": (12, 80, 370), "texture": (11, 256, 70), "landscape": (15, 190, 310), "text": (22, 130, 420)}
"""Number of a photograph, top and left of a square."""
SIDE, GAP, HEAD = 224, 6, 22
WAYS = {"mean (refine)": "refined", "draw (restore)": "drawn-1", "AVIF": "AVIF"}
MOST_BYTES = 400_000


class Sheet:
    """Squares of pictures with labels above them, in rows and columns."""

    def __init__(self, rows: int, columns: int):
        self._image = Image.new("RGB", (columns * (SIDE + GAP) - GAP, rows * (SIDE + HEAD + GAP)), "white")
        self._draw, self._font = ImageDraw.Draw(self._image), ImageFont.load_default(14)

    def put(self, row: int, column: int, label: str, picture: np.ndarray | None, top: int, left: int) -> None:
        """A square of a picture, or a label that says that there is none."""
        x, y = column * (SIDE + GAP), row * (SIDE + HEAD + GAP)
        said = label if picture is not None else f"{label}: none so small"
        self._draw.text((x + 2, y + 3), said, "black", self._font)
        if picture is not None:
            self._image.paste(Image.fromarray(picture[top : top + SIDE, left : left + SIDE]), (x, y + HEAD))

    def write(self, path: Path) -> None:
        """As JPEG of the best quality that takes at most `MOST_BYTES`."""
        for quality in range(95, 20, -1):
            self._image.save(buffer := io.BytesIO(), "JPEG", quality=quality, optimize=True, progressive=True)
            if len(buffer.getvalue()) <= MOST_BYTES:
                path.write_bytes(buffer.getvalue())
                print(f"{path}: quality {quality}, {len(buffer.getvalue())} bytes")
                break


def main() -> None:
    """Lays it out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.3])
    options = parser.parse_args()
    pictures = load_pictures(options.shared / "data" / "photos_val")
    columns, rows = 1 + len(options.bpp), len(CROPS) * len(WAYS)
    sheet = Sheet(rows, columns)

    for block, (name, (number, top, left)) in enumerate(CROPS.items()):
        sheet.put(block * len(WAYS), 0, f"{name}: original", pictures[number], top, left)
        for row, (way, file) in enumerate(WAYS.items(), block * len(WAYS)):
            for column, rate in enumerate(options.bpp, 1):
                path = options.kept / f"{rate:g}" / f"{number:02}-{file}.png"
                shown = np.asarray(Image.open(path)) if path.exists() else None
                sheet.put(row, column, f"{way}, {rate:g} bpp", shown, top, left)
    sheet.write(options.out)


if __name__ == "__main__":
    main()
