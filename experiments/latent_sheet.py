"""A contact sheet of a model of latents: beside the original, draws of `photo`, and AVIF of equal bytes.

    python experiments/latent_sheet.py SHARED taef2.npz OUT.jpg [--bpp 0.2 0.4]

Whole photographs are coded; a row per rate and crop shows squares of them, those of experiments/draws_sheet.py. The
file takes at most 400 kB.
"""

import argparse
from pathlib import Path

import numpy as np
from draws_sheet import CROPS, Sheet
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
    sheet = Sheet(len(rows), 4)
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
            sheet.put(row, column, label, tile, top, left)
    sheet.write(options.out)


if __name__ == "__main__":
    main()
