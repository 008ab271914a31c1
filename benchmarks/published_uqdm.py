"""The published UQDM-tiny, imported: rates and PSNR beside the authors' programme, real bytes, and time.

    python benchmarks/published_uqdm.py SHARED [--pictures 8]

SHARED is the folder with `golden/uqdm_tiny`. The first table has model code lengths and PSNR, means over the 24 `small`
and the 48 `crops` pictures, with the figures measured with the authors' programme (PyTorch, one thread) in parentheses;
then come real files and seconds of the first pictures, and lossless files of all of them, decoded and compared.
"""

import argparse
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.diffusion.loss import DiffusionLoss
from uqdm.metrics import bpp
from uqdm.pretrained.published_uqdm import Published, read_published

# shared/reference/official_uqdm.md, Section 4: bits per pixel after each step and lossless, PSNR of each state.
OFFICIAL = {
    ("small", False): ((0.496, 2.363, 7.511, 16.079, 16.495), (13.52, 21.21, 30.17, 43.12, 72.46)),
    ("small", True): ((0.476, 2.098, 6.693, 14.742, 15.787), (13.50, 21.55, 30.09, 42.53, 58.18)),
    ("crops", False): ((0.497, 1.968, 6.398, 14.737, 15.156), (14.07, 23.86, 32.82, 43.95, 72.34)),
    ("crops", True): ((0.480, 1.719, 5.501, 13.252, 14.306), (14.13, 24.65, 33.24, 43.57, 58.14)),
}


def progression(published: Published, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits per pixel after every step and lossless, and PSNR of every state, means over pictures."""
    loss, gamma_min = DiffusionLoss(config=published.config), published.config.noise.gamma_min
    parameters = {"network": published.parameters, "gamma_min": jnp.float32(gamma_min)}
    evaluate = jax.jit(loss.progression)
    parts = [evaluate(parameters, pictures[i : i + 4], jax.random.key(i)) for i in range(0, len(pictures), 4)]
    rates, psnr, rest = (np.concatenate(part).mean(0) for part in zip(*jax.device_get(parts), strict=True))
    return np.append(np.cumsum(rates), rates.sum() + rest), psnr


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--pictures", type=int, default=8, help="how many to make real files of")
    options = parser.parse_args()
    folder = options.shared / "golden" / "uqdm_tiny"
    sets = np.load(folder / "anchor_sets.npz")
    print("| set | weights | bpp after steps 1 to 4, lossless | PSNR of z_1 ... z_0 |\n|---|---|---|---|")
    for (name, average), (bits, decibels) in OFFICIAL.items():
        published = read_published(folder / "checkpoint.pt", folder / "config.json", average=average)
        got = progression(published, sets[name])
        cells = [
            ", ".join(f"{ours:.{digits}f} ({theirs})" for ours, theirs in zip(row, official, strict=True))
            for row, official, digits in zip(got, (bits, decibels), (3, 2), strict=True)
        ]
        print(f"| {name} | {'averaged' if average else 'raw'} | {cells[0]} | {cells[1]} |", flush=True)

    model = read_published(folder / "checkpoint.pt", folder / "config.json").model("uqdm-tiny")
    excess, times = [], {"encode": [], "decode": []}
    for picture in sets["small"][: options.pictures]:
        data, costs = encode_with_costs(picture, model=model)
        excess += [cost.file_bytes - cost.ideal_bits / 8 for cost in costs[1:]]
        for job, what in (
            (lambda x=picture: uqdm.encode(x, model=model), "encode"),
            (lambda x=data: uqdm.decode(x, model=model), "decode"),
        ):
            job()
            began = time.perf_counter()
            job()
            times[what].append(time.perf_counter() - began)
    medians = {what: statistics.median(seconds) for what, seconds in times.items()}
    print(f"\nreal bytes beyond the ideal at the ends of steps: {min(excess):.1f} to {max(excess):.1f}")
    print(f"seconds per 64 x 64 picture: encode {medians['encode']:.3f}, decode {medians['decode']:.3f}")
    for name in ("small", "crops"):
        streams = [uqdm.encode(picture, lossless=True, model=model) for picture in sets[name]]
        for picture, data in zip(sets[name], streams, strict=True):
            np.testing.assert_array_equal(uqdm.decode(data, model=model), picture)
        rate = np.mean([bpp(len(data), sets[name][0]) for data in streams])
        print(f"lossless files of {name}: {rate:.3f} ({OFFICIAL[name, True][0][-1]}) bits per pixel")


if __name__ == "__main__":
    main()
