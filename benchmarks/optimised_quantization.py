"""What rate-distortion optimised quantization is worth: the same pictures at the same targets, with and without it.

    python benchmarks/optimised_quantization.py PICTURES [--count 12] [--side 256]

Centres of the pictures are encoded to eight rates from 0.1 to 1 bit per pixel, whole files. Prints the mean PSNR at
each rate, and the mean over pictures of the BD-rate.
"""

import argparse

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.metrics import bd_rate_percent, psnr_db
from uqdm.training.dataset import load_pictures

RATES_BPP = np.geomspace(0.1, 1.0, 8).round(3).tolist()


def centre(picture: np.ndarray, side: int) -> np.ndarray:
    """At most `side` pixels high and wide."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("--count", type=int)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    quality, differences = {False: [], True: []}, []
    for picture in tqdm(load_pictures(options.pictures, count=options.count)):
        crop, curves = centre(picture, options.side), {}
        for rdoq in (False, True):
            streams = [uqdm.encode(crop, bpp=rate, rdoq=rdoq, model="photo") for rate in RATES_BPP]
            quality[rdoq].append([psnr_db(crop, uqdm.decode(data)) for data in streams])
            curves[rdoq] = list(zip((len(data) for data in streams), quality[rdoq][-1], strict=True))
        differences.append(bd_rate_percent(curves[True], curves[False]))
    print("| | " + " | ".join(f"{rate:g} bpp" for rate in RATES_BPP) + " |\n" + "|---" * (len(RATES_BPP) + 1) + "|")
    for rdoq, name in ((False, "plain"), (True, "optimised")):
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in np.mean(quality[rdoq], 0)) + " |")
    error = np.std(differences) / len(differences) ** 0.5
    print(f"BD-rate {np.mean(differences):+.2f} % (standard error {error:.2f}), worst {max(differences):+.2f} %")


if __name__ == "__main__":
    main()
