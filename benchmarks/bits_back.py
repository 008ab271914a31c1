"""Two roads from one Gaussian diffusion model to lossless bits: bits back, and channel simulation with a last step.

    python benchmarks/bits_back.py MODEL VIEWS.npz [--pictures 256] [--side 64] [--simulated 8]
    python benchmarks/bits_back.py linear VIEWS.npz --fit OTHERS.npz [--steps 24] ...

MODEL is a file of a Gaussian model (docs/diffc.md has the command that trains one), VIEWS pictures of which
the middles are taken. Packs them into one archive, unpacks it and compares, and prints bits per pixel: of the
negative ELBO with continuous states (one draw per picture), of what pictures added to the archive, of the whole file,
of the bits it borrowed. A few pictures are sent by Algorithm 1 as well: real bytes of all steps, and the ideal bits of
p(x | z_0) that would follow.

The linear model is fitted in seconds, in closed form, to OTHERS: of all predictors that are linear in z, the one of the
least squared error where pictures have independent coefficients C = T x (T: the cosine transform of the whole picture
and the principal axes of its colours) of mean m and variance V,

    C_hat = m + alpha V / (alpha^2 V + sigma^2) (T z - alpha m).                                          (1)
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.fft import dctn, idctn
from tqdm import tqdm

import uqdm
from channel_sim.gaussian import GaussianChannel
from uqdm.codec.api import receiver_of
from uqdm.diffusion.predictor import PredictorModel
from uqdm.lossless.bits_back import negative_elbo_bits, pack, rest_bits, unpack
from uqdm.training.dataset import load_pictures
from uqdm.transforms.pixels import Pixels

FEWER = GaussianChannel(chunk_bits=6.0, candidates_log2=13)
"""Of the linear model: what Algorithm 1 searches."""


def linear_model(pictures: Sequence[np.ndarray], steps: int) -> PredictorModel:
    """Eq. 1, fitted to pictures of one size, with noise levels of equal steps in gamma."""
    x = np.stack([Pixels().values(picture) for picture in pictures]).astype(np.float64)
    axes = np.linalg.eigh(np.cov(x.reshape(-1, 3).T))[1]
    coefficients = np.asarray(dctn(x @ axes, axes=(1, 2), norm="ortho"))
    mean, variance = np.zeros(x.shape[1:]), coefficients.var(0)
    mean[0, 0] = coefficients.mean(0)[0, 0]

    def predict(z: np.ndarray, gamma: float) -> np.ndarray:
        alpha, sigma = (1 / (1 + np.exp(sign * gamma)) ** 0.5 for sign in (1, -1))
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        found = mean + gain * (dctn(z.astype(np.float64) @ axes, axes=(0, 1), norm="ortho") - alpha * mean)
        return (z - alpha * (idctn(found, axes=(0, 1), norm="ortho") @ axes.T)) / sigma

    identity = axes.tobytes() + mean.tobytes() + variance.tobytes()
    gammas = np.linspace(6.0, -9.0, steps + 1).tolist()
    return PredictorModel(predict=predict, gammas=gammas, identity=identity, channel=FEWER, name="linear")


def middles(pictures: Sequence[np.ndarray], side: int) -> list[np.ndarray]:
    """Of pictures, so many pixels high and wide."""
    starts = [((picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2) for picture in pictures]
    cut = [picture[y : y + side, x : x + side] for picture, (y, x) in zip(pictures, starts, strict=True)]
    return [np.ascontiguousarray(picture) for picture in cut]


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
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--fit", type=Path, help="pictures that the linear model is fitted to")
    parser.add_argument("--steps", type=int, default=24, help="of the linear model")
    options = parser.parse_args()
    if options.model == "linear":
        if options.fit is None:
            parser.error("the linear model needs pictures to be fitted to: --fit OTHERS.npz")
        model = linear_model(middles(load_pictures(options.fit, count=4096), options.side), options.steps)
    else:
        model = uqdm.load_model(options.model)
    pictures = middles(load_pictures(options.views, count=options.pictures), options.side)
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
