"""Training of the nested process: the loss, and what the loop of all trainings (uqdm.training.loop) asks of it.

The loss of a picture in a state drawn with probability p_t is

    w_t bits_t / (p_t pixels) + distortion_weight log(mse_t + 1),                           (1)

an estimate of the whole stream's length plus a term that makes previews good at all rates alike. bits_t are those of
the step that follows and what its references will cost in the level's halving step; states before a halving step, and
the last one, only have a distortion and are drawn half as often as the others. Since a level twice as fine costs about
twice the bits, w_t = (w_j / w_max)^rate_balance keeps fine levels from drowning coarse ones (rate_balance = 0: bits
count alike; 1: relative savings count alike). Of latents (blocks of one position) batches are coefficients already, and
mse_t is what their errors stand for in pixels (uqdm.nested.source).

Training starts in floating point and ends with kernels and activations rounded as in integer evaluation
(uqdm.nested.network), so that the model that is exported is the one that was trained.

Everything random is a pure function of (seed, step).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uqdm.exact.fixed_point import Parameters, round_kernels
from uqdm.nested import network as networks
from uqdm.nested.loss import NestedLoss, StepTerms
from uqdm.nested.model import NestedModel
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import Schedule, Section
from uqdm.nested.transfer import transferred
from uqdm.training.batches import Crops, random_crops
from uqdm.training.dataset import PictureSet, load_pictures
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state
from uqdm.transforms.wavelet import analysis, layout, pad_to_blocks

__all__ = ["Recipe", "Trainer", "averaged", "fit", "measure_prior"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    block: int = 16
    """Side of the blocks in pixels: 2^octaves of the wavelet transform; 1 for latents."""
    colours: int = 3
    """Numbers per position: 3 of pictures, the channels of a latent."""
    factor: int = 1
    """Pixels per position along a side: more than one for latents."""
    finest_width: float = 3.0
    """Cell width of the last level, in pixel values."""
    phases: tuple[tuple[int, int], ...] = ((2, 0), (2, 2), (2, 2), (2, 2), (2, 2), (2, 0), (2, 0))
    """Phases of the coarse and of the fine bands of each level (uqdm.nested.schedule), coarsest level first."""
    threshold: float = 0.3
    """A channel joins a level when its standard deviation exceeds this many widths."""
    width: int = 256
    """Channels of the network's residual stream."""
    blocks: int = 3
    """Residual blocks."""
    local_width: int = 32
    """Channels of the local networks of the two finest octaves."""
    classes: int = 4
    """Classes of blocks that the network tells apart, 4 or 16."""
    crops: tuple[tuple[int, int], ...] = ((128, 10), (64, 24))
    """(side, count) of the crops of one batch."""
    steps: int = 6_000
    quantize_from: int = 4_000
    """Optimisation step at which rounding of kernels and activations begins."""
    learning_rate: float = 1.5e-3
    """Peak of the cosine schedule."""
    warm_up: int = 200
    """Steps of linear warm-up."""
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is exported."""
    distortion_weight: float = 0.5
    rate_balance: float = 0.5
    seed: int = 0
    prior_crops: int = 2000
    """Crops of the largest size from which the prior's standard deviations are measured."""

    def __post_init__(self):
        if not 0 < self.warm_up < self.steps:
            raise ValueError(f"warm_up must be positive and below steps, got {self.warm_up} and {self.steps}")
        if not 0 <= self.quantize_from < self.steps:
            given = f"{self.quantize_from} and {self.steps}"
            raise ValueError(
                f"quantize_from must be below steps, or the integer network would be untrained, got {given}"
            )

    def schedule(self, prior_std: tuple[float, ...]) -> Schedule:
        """The schedule for pictures of a prior (`measure_prior`)."""
        return Schedule(
            block=self.block,
            finest_width=self.finest_width,
            phases=self.phases,
            prior_std=prior_std,
            threshold=self.threshold,
            colours=self.colours,
        )


def measure_prior(pictures: Sequence[np.ndarray], recipe: Recipe) -> tuple[float, ...]:
    """Root mean square of every channel over random crops, equal within a band and colour, rounded to six digits."""
    size = max(side for side, _ in recipe.crops)
    total, count = np.zeros(3 * recipe.block**2), 0
    batches = random_crops(pictures, size, seed=recipe.seed + 1).batch(100)
    for number in range(-(-recipe.prior_crops // 100)):
        coefficients = np.asarray(analysis(jnp.asarray(batches[number], jnp.float32), recipe.block), np.float64)
        total += np.square(coefficients).sum((0, 1, 2))
        count += coefficients[..., 0].size
    channels = layout(recipe.block)
    kind = 3 * channels.band + channels.colour
    variance = np.bincount(kind, total / count) / np.bincount(kind)
    return tuple(float(f"{std:.6g}") for std in (np.sqrt(variance) + 1e-3)[kind])


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The jitted step of one recipe and schedule (uqdm.training.loop.Trainer).

    Batches are crops of pictures, uint8 (n, side, side, 3), or, for latents, coefficients (n, rows, columns, C).

    Attributes:
      recipe: what to train.
      section: of the schedule, which the network is asked about.
      start_from: weights to start from instead of fresh ones, of any schedule (uqdm.nested.transfer).
    """

    recipe: Recipe
    section: Section
    start_from: NestedModel | None = None

    @cached_property
    def network(self) -> NetworkConfig:
        """Shape of the network."""
        return NetworkConfig(
            block=self.section.block,
            steps=len(self.section.steps),
            width=self.recipe.width,
            blocks=self.recipe.blocks,
            local_width=self.recipe.local_width,
            colours=self.recipe.colours,
            classes=self.recipe.classes,
        )

    def coefficients(self, crops: jax.Array) -> jax.Array:
        """Blocks (n, h, w, C) of crops of a batch."""
        crops = crops.astype(jnp.float32)
        return crops if self.recipe.block == 1 else analysis(crops, self.recipe.block)

    @property
    def block_pixels(self) -> int:
        """Pixels of a block."""
        return (self.recipe.block * self.recipe.factor) ** 2

    def pixel_error(self, terms: StepTerms, coefficients: jax.Array) -> jax.Array:
        """Mean squared errors of pixels, to which those of coefficients add up; what the section leaves out is 0."""
        own, every = self.section.channels, coefficients.shape[-1]
        left_out = jnp.sum(jnp.square(coefficients[..., own:]), -1).mean((1, 2)) if own < every else 0.0
        return (terms.squared_error * own + left_out) / (3 * self.block_pixels)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        recipe = self.recipe
        rate = optax.warmup_cosine_decay_schedule(
            0.0, recipe.learning_rate, recipe.warm_up, recipe.steps, 0.01 * recipe.learning_rate
        )
        return optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optax.adam(rate, b2=0.99))

    @property
    def draws(self) -> np.ndarray:
        """States that are drawn, uniformly: twice those with a rate of their own."""
        steps = self.section.steps
        return np.repeat(np.arange(len(steps) + 1), [1 if step.halving else 2 for step in steps] + [1])

    @property
    def step_weights(self) -> np.ndarray:
        """w_t / p_t of Eq. 1, w_t normalised to mean 1; 0 for states without a rate."""
        weights = np.array(
            [0.0 if s.halving else 2.0 ** (self.recipe.rate_balance * s.level) for s in self.section.steps]
        )
        weights /= weights[weights > 0].mean()
        return np.append(weights * len(self.draws) / 2, 0.0).astype(np.float32)

    def init(self) -> TrainState:
        """The state before the first step."""
        if self.start_from:
            old = self.start_from.schedule.sections[-1]
            parameters = transferred(self.start_from.parameters, self.network, old=old, new=self.section)
            parameters = jax.tree.map(jnp.array, parameters)
        else:
            parameters = networks.init(self.network, jax.random.key(self.recipe.seed))
        return first_state(parameters, self.optimizer)

    def terms(self, parameters, coefficients, step, key, *, quantized: bool):
        """Terms of one step per picture (uqdm.nested.process)."""
        if quantized:
            parameters = round_kernels(parameters)
        network = partial(networks.apply, self.network, parameters, quantized=quantized)
        return NestedLoss(self.section)(network, coefficients[..., : self.section.channels], step, key)

    def loss(self, parameters, batch: tuple[jax.Array, ...], key, *, quantized: bool):
        """Eq. 1, averaged with one pixel as one vote."""
        draws, weights = jnp.asarray(self.draws), jnp.asarray(self.step_weights)
        total, pixels = 0.0, 0
        for crops, crop_key in zip(batch, jax.random.split(key, len(batch)), strict=True):
            coefficients = self.coefficients(crops)
            count, rows, columns, _ = coefficients.shape
            area = rows * columns * self.block_pixels
            order, start, shifts = jax.random.split(crop_key, 3)
            # Stratified: the crops of a batch share the range of states evenly.
            spread = jax.random.permutation(order, count) * len(draws) // count
            when = draws[(spread + jax.random.randint(start, (), 0, len(draws))) % len(draws)]
            terms = self.terms(parameters, coefficients, when, shifts, quantized=quantized)
            rate = weights[when] * (terms.rate_bits + terms.halving_bits) / area
            loss = rate + self.recipe.distortion_weight * jnp.log(self.pixel_error(terms, coefficients) + 1.0)
            total, pixels = total + jnp.sum(loss) * area, pixels + count * area
        return total / pixels

    def step(self, state: TrainState, batch: tuple[jax.Array, ...], *, quantized: bool):
        """One optimisation step: the next state, and the loss."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed + 2), state.step)
        loss, gradients = jax.value_and_grad(self.loss)(state.parameters, batch, key, quantized=quantized)
        return next_state(state, gradients, self.optimizer, self.recipe.ema), {"loss": loss}

    @cached_property
    def _jitted_step(self):
        return jax.jit(self.step, static_argnames="quantized", donate_argnums=0)

    def update(
        self, state: TrainState, batch: tuple[np.ndarray, ...], step: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on crops of every size."""
        return self._jitted_step(state, batch, quantized=step >= self.recipe.quantize_from)

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """Ideal rate and PSNR (mean over pictures of one size) at every truncation point."""
        parameters, quantized = jax.device_put(parameters), step >= self.recipe.quantize_from
        coefficients = self.coefficients(jnp.asarray(pad_to_blocks(pictures, self.recipe.block)))
        pixels = pictures.shape[1] * pictures.shape[2] * self.recipe.factor**2
        evaluate, rows, bpp, waiting = jax.jit(partial(self.terms, quantized=quantized)), [], 0.0, 0.0
        halving = [step.halving for step in self.section.steps] + [False]
        for sent in range(self.network.steps + 1):
            rates, later, psnr = [], [], []
            for one in coefficients:
                terms = evaluate(parameters, one[None], jnp.full((1,), sent), jax.random.key(sent))
                # Orthonormality gives the error in pixels, up to clipping to [0, 255] and the padding.
                psnr.append(10 * np.log10(255**2 / float(self.pixel_error(terms, one[None])[0])))
                rates.append(float(terms.rate_bits[0]) / pixels)
                later.append(float(terms.halving_bits[0]) / pixels)
            rows.append({"sent": sent, "bpp": round(bpp, 5), "psnr_db": round(float(np.mean(psnr)), 4)})
            bpp += waiting if halving[sent] else float(np.mean(rates))
            waiting = 0.0 if halving[sent] else waiting + float(np.mean(later))
        return rows


def fit(
    recipe: Recipe,
    sources: Sequence[str | Path | np.ndarray | PictureSet],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    start_from: NestedModel | None = None,
    name: str = "unnamed",
) -> NestedModel:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the averaged model.

    `folder`/train.csv has the loss, `folder`/validation.csv bpp and PSNR after every step of the schedule.

    Args:
      recipe: what to train.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      start_from: weights and prior to start from instead of fresh ones, for a fine-tuning, also with another schedule;
        with the same one an opening stays what it is, with another there is none any more.
      name: goes into the model file.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
    """
    pictures = load_pictures(*sources)
    schedule = recipe.schedule(start_from.schedule.prior_std if start_from else measure_prior(pictures, recipe))
    if start_from and start_from.schedule == (opened := replace(schedule, opening=start_from.schedule.opening)):
        schedule = opened
    trainer = Trainer(recipe=recipe, section=schedule.sections[-1], start_from=start_from)
    parameters = averaged(trainer, pictures, validation, folder, run=run)
    if start_from and schedule.opening:
        return start_from.with_network(trainer.network, parameters, name)
    return NestedModel.from_training(schedule=schedule, network=trainer.network, parameters=parameters, name=name)


def averaged(
    trainer: Trainer,
    pictures: Sequence[np.ndarray],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
) -> Parameters:
    """The averaged parameters of a training on pictures; the other arguments are those of `fit`."""
    recipe = trainer.recipe
    with closing(Crops(pictures, recipe.crops, seed=recipe.seed)) as crops:
        return train(trainer, crops, validation, folder, steps=recipe.steps, run=run).average
