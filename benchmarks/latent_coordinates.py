"""What coordinates of a latent are worth: rounded latents at equal entropies, in several coordinates.

    python benchmarks/latent_coordinates.py SHARED --autoencoder taef2.npz [--count 6]

Latents of the middles (256 x 256) of some photographs are rounded to multiples of one width, in coordinates A (z - m)
(uqdm.nested.source, Eq. 1) that were measured on other photographs with several values of lambda
(uqdm.nested.latent_training, Eq. 2); the largest stands for coordinates that know nothing of pixels. The width is the
one at which the entropies of all channels, each of its own histogram over these pictures, add up to the rate. No bits
are sent: the figures compare coordinates, and are no codec's.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from uqdm.metrics import lpips, psnr_db
from uqdm.nested.latent_training import coordinates_of, metric_of
from uqdm.transforms.autoencoder import Autoencoder, decode_values

SIDE, RATES = 256, (0.8, 0.4, 0.2)
EVENNESS = (0.01, 0.1, 0.5, 2.0, 1000.0)


def middles(folder: Path, every: int) -> list[np.ndarray]:
    """Of every so many pictures that are large enough."""
    pictures = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".png", ".webp"))[::every]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        top, left = ((length - SIDE) // 2 for length in picture.shape[:2])
        if min(top, left) >= 0:
            pictures.append(picture[top : top + SIDE, left : left + SIDE])
    return pictures


def entropy_bits(numbers: np.ndarray) -> float:
    """Of all channels (..., c)."""
    total = 0.0
    for channel in numbers.reshape(-1, numbers.shape[-1]).T:
        counts = np.unique(channel, return_counts=True)[1]
        total -= float((counts * np.log2(counts / counts.sum())).sum())
    return total


def width_at(y: np.ndarray, bits: float) -> float:
    """The width at which rounding takes so many bits."""
    low, high = 1e-3 * float(y.std()), 100 * float(y.std())
    for _ in range(24):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if entropy_bits(np.rint(y / middle)) > bits else (low, middle)
    return high


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6, help="of pictures")
    options = parser.parse_args()
    autoencoder = Autoencoder.from_bytes(options.autoencoder.read_bytes())
    learned = [autoencoder.encode(picture) for picture in middles(options.shared / "data" / "photos_train", 9)]
    pictures = middles(options.shared / "data" / "photos_val", 24 // options.count)
    z = np.stack([autoencoder.encode(picture) for picture in pictures])

    def decode(latent):
        return 255 * decode_values(autoencoder.decoder, latent)

    metric = np.mean([metric_of(decode, one[None], jax.random.key(i)) for i, one in enumerate(learned)], axis=0)
    weights = options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"
    print("| lambda |" + "".join(f" {rate:g} bpp: PSNR, LPIPS |" for rate in RATES))
    print("|" + "---|" * (1 + len(RATES)))
    for evenness in EVENNESS:
        coordinates, cells = coordinates_of(np.stack(learned), metric, evenness), []
        y = coordinates.of(z)
        for rate in RATES:
            width = width_at(y, rate * len(pictures) * SIDE**2)
            rounded = np.rint(y / width) * width @ np.linalg.inv(coordinates.matrix).T + coordinates.mean
            shown = [autoencoder.decode(one.astype(np.float32), SIDE, SIDE) for one in rounded]
            psnr = np.mean([psnr_db(a, b) for a, b in zip(pictures, shown, strict=True)])
            distance = np.mean([lpips(a, b, weights) for a, b in zip(pictures, shown, strict=True)])
            cells.append(f" {psnr:.2f} dB, {distance:.3f} |")
        print(f"| {evenness:g} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
