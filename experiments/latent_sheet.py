"""A contact sheet of a model of latents: beside the original, draws of `photo`, and AVIF of equal bytes.

    python experiments/latent_sheet.py SHARED taef2.npz OUT.jpg [--bpp 0.2 0.4]

Whole photographs are coded; a row per rate and crop shows squares of them, those of experiments/draws_sheet.py. The
file takes at most 400 kB.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from draws_sheet import CROPS, GAP, HEAD, MOST_BYTES, SIDE
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import uqdm
from uqdm.evaluation.equal_rates import baseline_within
from uqdm.training.dataset import load_pictures


def main() -> None:
    """Codes, and lays it out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.2, 0.4])
    options = parser.parse_args()
    pictures, model = load_pictures(options.shared / "data" / "photos_val"), uqdm.load_model(options.model)
    rows = [(crop, rate) for crop in CROPS for rate in options.bpp]
    sheet = Image.new("RGB", (4 * (SIDE + GAP) - GAP, len(rows) * (SIDE + HEAD + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, (crop, rate) in enumerate(tqdm(rows)):
        number, top, left = CROPS[crop]
        picture = np.asarray(pictures[number])
        latent, pixels = uqdm.encode(picture, bpp=rate, model=model), uqdm.encode(picture, bpp=rate)
        avif = baseline_within("avif", picture, len(latent))
        shown = {
            f"{crop}: original": picture,
            f"draw (restore), {rate:g} bpp": uqdm.decode(pixels, reconstruction="restore"),
            f"nested latents, {rate:g} bpp": uqdm.decode(latent, model=model),
            f"AVIF, {rate:g} bpp": avif and avif[1],
        }
        for column, (label, tile) in enumerate(shown.items()):
            x, y = column * (SIDE + GAP), row * (SIDE + HEAD + GAP)
            draw.text((x + 2, y + 3), label if tile is not None else f"{label}: none so small", "black", font)
            if tile is not None:
                sheet.paste(Image.fromarray(tile[top : top + SIDE, left : left + SIDE]), (x, y + HEAD))
    for quality in range(95, 20, -1):
        sheet.save(buffer := io.BytesIO(), "JPEG", quality=quality, optimize=True, progressive=True)
        if len(buffer.getvalue()) <= MOST_BYTES:
            options.out.write_bytes(buffer.getvalue())
            print(f"{options.out}: quality {quality}, {len(buffer.getvalue())} bytes")
            break


if __name__ == "__main__":
    main()
