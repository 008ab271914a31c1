"""One stream, many reconstructions: distortion against realism at several rates (review, Section III-B and Eq. 17).

    python experiments/distortion_perception.py PICTURES OUT_FOLDER [--pictures 32] [--model photo]

Every picture is sent once. The stream is cut at several rates, and every cut is decoded with `realism` from 0 (the
denoised picture, least distortion) to 1 (a draw of all that is missing) and the mixtures between. Measured are the
PSNR, mean over pictures, and two measures of what pictures look like: the Wasserstein distortion that compares local
statistics over about 4 pixels, and the sliced Wasserstein distance of patches between all reconstructions and all
originals (uqdm.metrics; both are better when lower, and the latter is not 0 between originals). All pictures must have
one size. Writes tradeoff.csv and tradeoff.png.
"""

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of, show
from uqdm.metrics import mean_psnr_db, sliced_wasserstein, wasserstein_distortion
from uqdm.training.dataset import load_pictures

RATES_BPP = (0.25, 0.5, 1.0, 2.0, 4.0)
REALISM = (0.0, 0.25, 0.5, 0.75, 1.0)
SIGMA = 4.0
FIELDS = ("bpp", "realism", "psnr_db", "wasserstein_distortion_sigma_4", "sliced_wasserstein")


def reconstructions(data: bytes, rate: float, model) -> list[np.ndarray]:
    """A cut stream, decoded with every realism."""
    header = uqdm.info(data)
    size = max(header["header_bytes"], int(rate * header["width"] * header["height"] / 8))
    receiver = receiver_of(data[:size], model=model)
    while receiver.receive():
        pass
    return [show(receiver, realism=realism) for realism in REALISM]


def measure(pictures: np.ndarray, model) -> list[dict[str, float]]:
    """One row per rate and realism."""
    streams = [uqdm.encode(picture, model=model) for picture in tqdm(pictures, desc="encode", disable=None)]
    rows = []
    for rate in tqdm(RATES_BPP, desc="decode", disable=None):
        decoded = np.stack([reconstructions(data, rate, model) for data in streams], axis=1)
        for realism, shown in zip(REALISM, decoded, strict=True):
            local = [wasserstein_distortion(x, y, SIGMA) for x, y in zip(pictures, shown, strict=True)]
            patches = sliced_wasserstein(pictures, shown).mean
            values = (rate, realism, mean_psnr_db([*pictures], [*shown]), float(np.mean(local)), patches)
            rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """A curve per rate: PSNR across, Wasserstein distortion up; the draw at one end, the mean at the other."""
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    colours = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(RATES_BPP)))
    for rate, colour in zip(RATES_BPP, colours, strict=True):
        curve = [row for row in rows if row["bpp"] == rate]
        across, up = ([row[name] for row in curve] for name in ("psnr_db", "wasserstein_distortion_sigma_4"))
        axes.plot(across, up, "-", color=colour, lw=1.5)
        axes.plot(across[:1], up[:1], "o", color=colour)
        axes.plot(across[-1:], up[-1:], "^", color=colour)
        axes.annotate(f"{rate:g} bpp", (across[0], up[0]), (6, 2), textcoords="offset points", color=colour)
    axes.plot([], [], "o", color="0.4", label="denoised (realism 0)")
    axes.plot([], [], "^", color="0.4", label="drawn (realism 1)")
    axes.legend(frameon=False)
    axes.set(xlabel="PSNR (dB), higher is nearer", ylabel="Wasserstein distortion, lower looks alike", yscale="log")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measures, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--model", default="photo")
    options = parser.parse_args()
    pictures = np.stack(load_pictures(options.source, count=options.pictures))
    rows = measure(pictures, uqdm.load_model(options.model))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "tradeoff.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows([f"{row[name]:.5g}" for name in FIELDS] for row in rows)
    draw(rows, options.out / "tradeoff.png")


if __name__ == "__main__":
    main()
