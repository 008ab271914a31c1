"""Trains the networks of the lossless residual (uqdm.lossless.pixel_network) on the states of the shipped model.

    python experiments/train_residual.py photographs/ views64.npz --folder run --out uqdm/weights/residual.npz

A training example is a crop, its state at the end of the level whose cells are `--stop-width` wide, which needs no
network (its cells are those of the coefficients under a random shift), and the prediction of its pixels from there.
The loss is the code length of all pixels, each under the discretised logistic density of uqdm.lossless.pixel_network,
Eqs. 3 and 4, in bits per pixel; earlier classes are given as they are. Kernels and activations are rounded from the
first step on. The learning rate restarts with every cycle. A run that was killed goes on when the same command is given
again. The defaults are the recipe of the shipped file, 19 minutes on two busy cores.
"""

import argparse
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from train_photo import validation_sets

from uqdm.library import load_model
from uqdm.lossless import pixel_network as network
from uqdm.lossless.predicted import PredictedResidual
from uqdm.nested.model import NestedModel
from uqdm.nested.network_config import INPUT_LIMIT, INPUT_UNITS
from uqdm.nested.process import TICKS
from uqdm.nested.schedule import Schedule
from uqdm.training.batches import Crops
from uqdm.training.dataset import load_pictures
from uqdm.training.densities import logistic_log_mass
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state
from uqdm.transforms.wavelet import analysis, synthesis, unpack

SIDE = 64
CLASSES = range(len(network.POSITIONS))
BORDERS = ((0, 0), (1, 1), (1, 1), (0, 0))


@partial(jax.jit, static_argnums=0)
def predict(schedule: Schedule, width: float, pixels, shift):
    """P of uqdm.lossless.predicted at the end of a level, up to rounding, and |u| of the two finest octaves (quads)."""
    tick = schedule.finest_width / TICKS
    y = jnp.round(analysis(pixels.astype(jnp.float32), schedule.block) / tick) - shift
    std = jnp.asarray(schedule.prior_std, jnp.float32)[None, None, None]
    seen = (std > schedule.threshold * width) | (width == schedule.finest_width)
    index = jnp.floor(jnp.abs(y) * (tick / width))
    values = jnp.where((index > 0) & seen, jnp.sign(y) * (index + 0.5) * width + shift * tick, 0.0)
    gain = INPUT_UNITS / jnp.sqrt(std**2 + width**2 / 12)
    magnitude = jnp.where(values != 0, jnp.clip(jnp.round(jnp.abs(values) * gain), 1, INPUT_LIMIT), 0)
    *_, parents, finest = (band.reshape(*band.shape[:3], -1) for band in unpack(magnitude, schedule.block))
    cells = jnp.concatenate([finest, parents.repeat(2, 1).repeat(2, 2)], -1)
    return jnp.clip(jnp.round(synthesis(values, schedule.block) * network.TICKS) / network.TICKS, 0, 255), cells


def quads(pictures):
    """Batches of pictures as quads (uqdm.lossless.pixel_network.to_quads)."""
    return jnp.concatenate([pictures[:, row::2, column::2] for row, column in network.POSITIONS], -1)


def features(prediction, cells, residual, index: int):
    """uqdm.lossless.pixel_network, Eq. 1, from P, |u| and x - P (quads) in pixel values, before class `index`."""
    limit = network.FEATURE_LIMIT
    known = jnp.asarray(np.arange(12) < 3 * index, jnp.float32)[None, None, None]
    r = jnp.clip(jnp.floor(4 * residual + 0.5), -limit, limit) * known
    padded = jnp.pad(prediction, BORDERS, mode="edge")
    around = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    q = jnp.floor(quads(4 * prediction - around) / 2)
    own = quads(prediction)
    level = jnp.floor(own.reshape(*own.shape[:3], 4, 3).mean(3)) - 128
    return jnp.concatenate([r, jnp.abs(r), jnp.clip(q, -limit, limit), jnp.clip(level, -limit, limit), cells], -1)


def straight_log2(x):
    """log2 made of straight lines between powers of two."""
    exponent = jnp.floor(jnp.log2(x))
    return exponent + x / 2**exponent - 1


def pixel_bits(error, log2_scale):
    """Code length under the discretised logistic density; scales below 1/16 are not in the tables."""
    limited = jnp.clip(log2_scale, -4.0, 6.0)
    scale = 2.0 ** (log2_scale + jax.lax.stop_gradient(limited - log2_scale))
    log_mass = logistic_log_mass((jnp.abs(error) - 0.5) / scale, (jnp.abs(error) + 0.5) / scale)
    return -log_mass / np.float32(np.log(2))


def class_bits(parameters, index: int, prediction, cells, residual):
    """Bits of the pixels of a class, per pixel of the class."""
    outputs = network.apply(parameters, features(prediction, cells, residual, index))
    location, log2_scale, slope = (outputs[..., 3 * i : 3 * i + 3] for i in range(3))
    red, green, blue = (residual[..., 3 * index + colour] for colour in range(3))

    def adjusted(row, error, scale):
        ratio = 2 * (straight_log2(jnp.abs(error) + 1 / 32) - scale)
        place = jnp.clip(jnp.floor(jax.lax.stop_gradient(ratio)), -network.TABLE_LIMIT, network.TABLE_LIMIT)
        return parameters["table"][row][place.astype(jnp.int32) + network.TABLE_LIMIT]

    green_scale = log2_scale[..., 1]
    green_error = green - location[..., 1]
    red_scale = log2_scale[..., 0] + adjusted(0, green_error, green_scale)
    red_error = red - location[..., 0] - slope[..., 0] * green_error
    blue_scale = log2_scale[..., 2] + adjusted(1, green_error, green_scale) + adjusted(2, red_error, red_scale)
    blue_error = blue - location[..., 2] - slope[..., 1] * green_error - slope[..., 2] * red_error
    pairs = ((green_error, green_scale), (red_error, red_scale), (blue_error, blue_scale))
    return sum(pixel_bits(*pair).mean() for pair in pairs)


def loss(networks, pixels, prediction, cells):
    """Mean bits per pixel."""
    residual = quads(pixels.astype(jnp.float32) - prediction)
    return sum(class_bits(networks[index], index, prediction, cells, residual) for index in CLASSES) / len(CLASSES)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The step of one training (uqdm.training.loop.Trainer)."""

    schedule: Schedule
    stop_width: float
    width: int
    optimizer: optax.GradientTransformation

    def init(self) -> TrainState:
        """The state before the first step."""
        return first_state(network.init(self.width, jax.random.key(0)), self.optimizer)

    @cached_property
    def _jitted_step(self):
        def step(state: TrainState, *example):
            value, gradients = jax.value_and_grad(loss)(state.parameters, *example)
            return next_state(state, gradients, self.optimizer, ema=0.0), {"bits_per_pixel": value}

        return jax.jit(step, donate_argnums=0)

    def update(self, state: TrainState, batch: tuple[np.ndarray, np.ndarray], step: int):
        """One optimisation step on crops and the shifts of their cells, in ticks."""
        pixels, shift = (jnp.asarray(part) for part in batch)
        return self._jitted_step(state, pixels, *predict(self.schedule, self.stop_width, pixels, shift))

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """Mean bits per pixel, without a shift."""
        known = predict(self.schedule, self.stop_width, jnp.asarray(pictures), jnp.float32(0))
        return [{"bits_per_pixel": float(jax.jit(loss)(parameters, jnp.asarray(pictures), *known))}]


def main() -> None:
    """Trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", help="folders, files or npz (uqdm.training.dataset)")
    parser.add_argument("--validate", nargs="*", default=(), help="the same, of which centres are validated on")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints and logs go here")
    parser.add_argument("--out", type=Path, required=True, help="where the residual's file goes")
    parser.add_argument("--stop-width", type=float, default=12.0)
    parser.add_argument("--width", type=int, default=48, help="channels of the layers")
    parser.add_argument("--steps", type=int, default=2200, help="of every cycle")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[2e-3], help="peak of every cycle")
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()

    model = load_model()
    assert isinstance(model, NestedModel)
    schedule, steps, peaks = model.schedule, options.steps, options.learning_rates
    cycles = [optax.warmup_cosine_decay_schedule(0.0, peak, 50, steps, peak / 200) for peak in peaks]
    rate = optax.join_schedules(cycles, [steps * (i + 1) for i in range(len(cycles) - 1)])
    optimizer = optax.chain(optax.clip_by_global_norm(0.3), optax.adam(rate, b2=0.98))
    trainer = Trainer(schedule=schedule, stop_width=options.stop_width, width=options.width, optimizer=optimizer)
    pictures = load_pictures(*options.pictures)
    shape = (options.batch, SIDE // schedule.block, SIDE // schedule.block, schedule.channels)

    validation = validation_sets(options.validate, None, 32, SIDE)
    run = Run(checkpoint_every=200, validate_every=200)
    with closing(Crops(pictures, [(SIDE, options.batch)], seed=0)) as crops:

        def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
            shift = np.random.default_rng([1, step]).integers(-TICKS // 2, TICKS // 2, shape)
            return crops(step)[0], shift.astype(np.float32)

        state = train(trainer, batches, validation, options.folder, steps=steps * len(cycles), run=run)
    residual = PredictedResidual.from_networks(state.parameters, stop_width=options.stop_width)
    options.out.write_bytes(residual.to_bytes())
    print(f"residual {residual.id[:4].hex()}, {len(residual.to_bytes()) / 2**20:.2f} MiB in {options.out}")


if __name__ == "__main__":
    main()
