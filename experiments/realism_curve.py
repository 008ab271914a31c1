"""Between mean and draw: squared error against realism, beside the theory (review, Eqs. 17 and 19), at one rate.

    python experiments/realism_curve.py SHARED KEPT OUT.png [--bpp 0.2]

KEPT is the folder of benchmarks/restoration.py, whose refined means m and draws d are mixed, (1 - r) m + r d (Eq. 17,
with r = 1 - gamma / gamma*). Were m the conditional mean and d a draw from the posterior, the mixture would have the
squared error

    D(r) = D + r^2 D,       D = E |x - m|^2,                                                            (1)

which is Eq. 19 along the line from gamma = sqrt(D) to 0. In general |x - m - r (d - m)|^2 has two more numbers:

    D(r) = D - 2 r C + r^2 S,      C = E (x - m)(d - m),   S = E |d - m|^2.                             (2)

C is 0 if m is the conditional mean and d depends on x through the stream alone, S is D if draws vary as pictures
do. Printed are D, C and S, and per realism PSNR of the mean squared error, LPIPS and Wasserstein distortion.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from tqdm import tqdm

from uqdm.metrics import lpips, wasserstein_distortion
from uqdm.training.dataset import load_pictures

REALISM = (0.0, 0.25, 0.5, 0.75, 1.0)
LABELS = ("LPIPS (SqueezeNet)", "Wasserstein distortion, sigma 4")


def in_db(error):
    """PSNR of a mean squared error."""
    return 10 * np.log10(255**2 / error)


def draw(measured: np.ndarray, shown: np.ndarray, other: np.ndarray, out: Path) -> None:
    """Squared errors and both measures of looks, a row per realism; the latter of AVIF as well."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    r = np.linspace(0, 1)
    left.plot(r, in_db(measured[0] * (1 + r**2)), "--", color="0.45", label="theory, Eq. 19: D + r² D")
    left.plot(REALISM, in_db(measured), "o-", color="#0072b2", label="measured")
    left.set(xlabel="realism r", ylabel="PSNR of the mean squared error, dB")
    for values, rival, label, marker, colour in zip(shown.T, other, LABELS, "os", ("#0072b2", "#b87600"), strict=True):
        right.plot(REALISM, values / values[0], f"{marker}-", color=colour, label=label)
        right.axhline(rival / values[0], color=colour, ls=":", label="the same of AVIF")
    right.set(xlabel="realism r", ylabel="relative to r = 0, lower is better", ylim=(0, None))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=130)


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bpp", type=float, default=0.2)
    options = parser.parse_args()
    weights = options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"
    pictures = load_pictures(options.shared / "data" / "photos_val")
    terms, looks, rivals = [], [], []
    for number, picture in enumerate(tqdm(pictures)):
        mean, drawn, avif = (
            options.kept / f"{options.bpp:g}" / f"{number:02}-{way}.png" for way in ("refined", "drawn-1", "AVIF")
        )
        if not drawn.exists():
            continue

        def looks_of(shown: np.ndarray, picture=picture) -> tuple[float, float]:
            return lpips(picture, shown, weights), wasserstein_distortion(picture, shown, 4.0)

        x, m, d = (np.asarray(one, np.float64) for one in (picture, Image.open(mean), Image.open(drawn)))
        mixtures = [np.rint((1 - r) * m + r * d).astype(np.uint8) for r in REALISM]
        terms.append([np.mean((x - m) ** 2), np.mean((x - m) * (d - m)), np.mean((d - m) ** 2)]
                     + [np.mean((x - mixture) ** 2) for mixture in mixtures])  # fmt: skip
        looks.append([looks_of(mixture) for mixture in mixtures])
        if avif.exists():
            rivals.append(looks_of(np.asarray(Image.open(avif))))
    error, cross, spread, *measured = np.mean(terms, 0)
    shown, other = np.mean(looks, 0), np.mean(rivals, 0)
    print(f"{len(terms)} pictures at {options.bpp} bpp: D {error:.2f}, C {cross:.2f}, S {spread:.2f}")
    for r, own, look in zip(REALISM, measured, shown, strict=True):
        theory = in_db(error * (1 + r**2))
        print(f"{r:g} | {own:.2f} | {in_db(own):.2f} | {theory:.2f} | {look[0]:.4f} | {look[1]:.2f}")
    print(f"AVIF, {len(rivals)} pictures | {other[0]:.4f} | {other[1]:.2f}")
    draw(np.array(measured), shown, other, options.out)


if __name__ == "__main__":
    main()
