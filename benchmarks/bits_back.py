"""Two roads from one Gaussian diffusion model to lossless bits: bits back, and channel simulation with a last step.

    python benchmarks/bits_back.py MODEL VIEWS.npz [--pictures 256] [--simulated 8]

MODEL is a file of a Gaussian model (docs/diffc.md has the command that trains one), VIEWS pictures of one size. Packs
the pictures into one archive, unpacks it and compares, and prints bits per pixel: of the negative ELBO with continuous
states (one draw per picture), of what pictures added to the archive, of the whole file, of the bits it borrowed. A few
pictures are sent by Algorithm 1 as well: real bytes of all steps, and the ideal bits of p(x | z_0) that would follow.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of
from uqdm.lossless.bits_back import negative_elbo_bits, pack, rest_bits, unpack
from uqdm.training.dataset import load_pictures


def simulated(model, picture: np.ndarray) -> tuple[float, float, float]:
    """Bits of a stream of all steps, ideal bits of the rest, and seconds to encode."""
    began = time.perf_counter()
    data = uqdm.encode(picture, model=model)
    seconds, receiver = time.perf_counter() - began, receiver_of(data, model=model)
    while receiver.receive():
        pass
    return 8.0 * len(data), rest_bits(model, picture, receiver.state.z), seconds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("views", type=Path)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--simulated", type=int, default=8)
    options = parser.parse_args()
    model = uqdm.load_model(options.model)
    pictures = [np.ascontiguousarray(picture) for picture in load_pictures(options.views, count=options.pictures)]
    pixels, rng = sum(picture[..., 0].size for picture in pictures), np.random.default_rng(0)
    bound = sum(negative_elbo_bits(model, picture, rng) for picture in tqdm(pictures, "ELBO", leave=False))
    began = time.perf_counter()
    data, costs = pack(pictures, model)
    packed = time.perf_counter() - began
    began = time.perf_counter()
    back = unpack(data, model)
    unpacked = time.perf_counter() - began
    assert all(np.array_equal(a, b) for a, b in zip(back, pictures, strict=True)), "the archive holds other pictures"
    net = sum(costs.pictures)
    print(f"{len(pictures)} pictures, {model.steps} steps, model {model.id[:4].hex()}")
    print("| | bits per pixel | above the ELBO |\n|---|---|---|")
    print(f"| negative ELBO | {bound / pixels:.4f} | |")
    print(f"| bits back, what pictures added | {net / pixels:.4f} | {100 * (net / bound - 1):+.2f} % |")
    file_bits, borrowed = 8 * len(data), costs.borrowed
    print(f"| the archive | {file_bits / pixels:.4f} | {100 * (file_bits / bound - 1):+.2f} % |")
    print(f"| of which borrowed | {borrowed / pixels:.4f} | |")
    accounted = 100 * (file_bits / (bound + borrowed) - 1)
    print(f"\nThe archive is {accounted:+.2f} % from the ELBO plus what was borrowed.")
    print(f"It was packed in {packed:.1f} s and unpacked in {unpacked:.1f} s.")
    if options.simulated:
        some = pictures[: options.simulated]
        steps, rest, seconds = np.array([simulated(model, picture) for picture in tqdm(some, leave=False)]).T
        size = sum(picture[..., 0].size for picture in some)
        sent, last, own = (bits / size for bits in (steps.sum(), rest.sum(), sum(costs.pictures[: len(some)])))
        print(f"\nThe first {len(some)}, bits per pixel: by channel simulation {sent:.4f} and {last:.4f} for the rest,")
        print(f"{sent + last:.4f} in all ({seconds.mean():.1f} s each); by bits back {own:.4f}.")


if __name__ == "__main__":
    main()
