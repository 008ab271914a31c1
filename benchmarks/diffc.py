"""DiffC in real bytes: what every step costs beside the ideal rate of its model, and where the rest goes.

    python benchmarks/diffc.py MODEL.npz SHARED [--pictures 4] [--sweet-spot 8] [--out benchmarks/results/diffc.md]

MODEL is a Gaussian model (experiments/train_imagenet64.py --recipe.process gaussian), SHARED the folder with
`data/val64.npz`. A first table has the model's own equal steps, a second those of uqdm.diffusion.noise_levels, measured
on so many pictures from the end of val64. All figures are bits per pixel from the beginning, means over the first
pictures:

    ideal        sum of the divergences C of the steps at states drawn from the forward process: the NELBO without its
                 last term, the rate of a channel simulation without any overhead (review, Eq. 29)
    truncation   sum of the divergences along the states that were transmitted, less the ideal: finite searches fall
                 short of the target, and later steps pay
    chunking     what any scheme needs that sends the chunks one by one (channel_sim.bounds, Eq. 3), less the divergence
    index coding what the indices of the Poisson functional representation cost above that
    layers       cost of steps that are sent by layers, less their divergence (below 0 where layers, which know the
                 spread of the network's errors, do better than a reference of the target's deviation can)
    ahead        nine bits per step: class of divergence, choice of algorithm
    file         all bytes of the prefix that holds the step, with header and check values
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import uqdm
from channel_sim import GaussianChannel, bounds
from uqdm.codec.api import encode_with_costs
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import GaussianProcess
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.noise_levels import denoising_errors, sweet_spot_schedule
from uqdm.diffusion.state import DiffusionState
from uqdm.metrics import psnr_db

COLUMNS = ("ideal", "truncation", "chunking", "index coding", "layers", "ahead", "file")


class Progress(NamedTuple):
    """Of one picture after every step."""

    bits: np.ndarray
    """As COLUMNS, (steps, 7), sums from the beginning."""
    psnr_db: np.ndarray
    """Of the preview, (steps,)."""


class Observed:
    """A model that notes the divergence of every step of the one picture that is sent (uqdm.contract.Model).

    Attributes:
      divergences: in bits.
    """

    def __init__(self, model: DiffusionModel, x: np.ndarray):
        self._model, self._x = model, x
        self.family, self.name, self.id, self.steps = model.family, model.name, model.id, model.steps
        self.new_state, self.picture = model.new_state, model.picture
        self.divergences: list[float] = []

    def expect(self, states: Sequence[DiffusionState], step: int) -> None:
        """As the model's."""
        self._model.expect(states, step)
        assert states[0].expectation is not None
        self.divergences.append(divergence_bits(self._model, states[0].expectation.denoised, self._x, step))


def divergence_bits(model: DiffusionModel, x_hat: np.ndarray, x: np.ndarray, step: int) -> float:
    """C of a step (uqdm.diffusion.predictor, Eq. 2)."""
    gamma_t, gamma_s = model.gammas[step : step + 2]
    error = float(np.square(x - x_hat, dtype=np.float64).sum())
    return (np.exp(-gamma_s) - np.exp(-gamma_t)) * error / (2 * np.log(2))


def ideal_bits(model: DiffusionModel, x: np.ndarray, seed: int) -> list[float]:
    """C of every step at a state drawn from the forward process."""
    noise, bits = np.random.default_rng(seed), []
    for step, (gamma_t, gamma_s) in enumerate(zip(model.gammas, model.gammas[1:], strict=False)):
        drawn = diffusion.alpha(gamma_t) * x + diffusion.sigma(gamma_t) * noise.standard_normal(x.shape, np.float32)
        bits.append(divergence_bits(model, model.expectation(np.asarray(drawn), gamma_t, gamma_s).denoised, x, step))
    return bits


def progress(model: DiffusionModel, picture: np.ndarray, seed: int) -> Progress:
    """Sends a picture and takes the steps' costs apart."""
    channel, x = GaussianChannel(), model.course.source.values(picture)
    observed = Observed(model, x)
    data, costs = encode_with_costs(picture, model=observed, seed=seed)
    each = []
    sent = np.diff([cost.ideal_bits for cost in costs])
    for ideal, kl, bits in zip(ideal_bits(model, x, seed), observed.divergences, sent, strict=True):
        cost = channel.cost(kl, x.size)
        spent = bits - cost.ahead_bits
        floor = cost.chunks * bounds.gaussian_floor_bits(kl / max(1, cost.chunks))
        parts = (0.0, 0.0, spent - kl) if cost.layered else (floor - kl, spent - floor, 0.0)
        each.append((ideal, kl - ideal, *parts, cost.ahead_bits))
    shown = [psnr_db(picture, preview.picture) for preview in uqdm.previews(data, model=model)]
    file_bits = [8 * cost.file_bytes for cost in costs[1:]]
    return Progress(np.column_stack([np.cumsum(each, 0), file_bits]), np.array(shown[1:]))


def table(model: DiffusionModel, pictures: Sequence[np.ndarray]) -> str:
    """Markdown: a row per step."""
    all_progress = [progress(model, picture, seed) for seed, picture in enumerate(pictures)]
    pixels = pictures[0].shape[0] * pictures[0].shape[1]
    bits = np.mean([one.bits for one in all_progress], 0) / pixels
    psnr = np.mean([one.psnr_db for one in all_progress], 0)
    lines = ["| step | gamma | " + " | ".join(COLUMNS) + " | file / ideal | PSNR |", "|---" * (len(COLUMNS) + 4) + "|"]
    for step, row in enumerate(bits):
        cells = " | ".join(f"{value:.4f}" for value in row)
        ratio = f"{row[-1] / row[0]:.2f}"
        lines.append(f"| {step + 1} | {model.gammas[step + 1]:.3f} | {cells} | {ratio} | {psnr[step]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Prints both tables, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--sweet-spot", type=int, default=8, metavar="N", help="pictures to choose the schedule on")
    parser.add_argument("--side", type=int, default=64, help="of the pixels in the middle of every picture")
    parser.add_argument("--most-steps", type=int, default=64)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = uqdm.load_model(options.model)
    if not isinstance(model, DiffusionModel) or not isinstance(model.process, GaussianProcess):
        parser.error(f"{options.model} is no model of the Gaussian process")
    views = np.load(options.shared / "data" / "val64.npz")["images"]
    edge = (64 - options.side) // 2
    views = views[:, edge : edge + options.side, edge : edge + options.side]
    pictures = list(views[: options.pictures])
    text = (
        f"# DiffC step by step\n\n`python benchmarks/diffc.py`: the middle {options.side} x {options.side} pixels "
        f"of {len(pictures)} pictures of val64, model {model.id[:4].hex()} ({model.name}), chunks of "
        f"{GaussianChannel().chunk_bits:.0f} bits; bits per pixel from the beginning (columns: docstring of the script)"
        f".\n\n## {model.steps} equal steps\n\n{table(model, pictures)}\n"
    )
    print(text, flush=True)
    levels = np.linspace(model.gammas[0], model.gammas[-1], 2 * model.steps + 1)
    errors = denoising_errors(model, views[-options.sweet_spot :], levels)
    chosen = model.with_gammas(sweet_spot_schedule(errors, most_steps=options.most_steps))
    second = f"\n## {chosen.steps} steps at the sweet spot\n\n{table(chosen, pictures)}\n"
    print(second)
    if options.out:
        options.out.write_text(text + second)


if __name__ == "__main__":
    main()
