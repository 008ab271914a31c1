"""Training of the filter (uqdm.training.loop): crops of pictures, shown as prefixes of random lengths show them.

The loss of a picture x of which the filter makes x' after a step is

    |x' - x|^2 / (c^2 pixels),                                                              (1)

c the root mean square of the preview's error after that step. The process that makes the previews is given as a
function. Training starts in floating point and ends with kernels and activations rounded as in integer evaluation.

Everything random is a pure function of (seed, step).
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from uqdm.exact.fixed_point import Parameters, round_kernels
from uqdm.postfilter import network as networks
from uqdm.postfilter.config import FilterConfig
from uqdm.postfilter.postfilter import Postfilter
from uqdm.training.batches import Crops, random_crops
from uqdm.training.dataset import PictureSet, load_pictures
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state

__all__ = ["Previews", "Recipe", "Trainer", "fit", "measure_errors"]

Previews = Callable[[Array, Array, Array], Array]
"""What prefixes show, (n, H, W, 3) within 0 ... 255: of pictures, after steps (n,), with shifts that a key draws."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    widths: tuple[int, ...] = (32, 64, 128)
    blocks_in: tuple[int, ...] = (1, 1, 2)
    blocks_out: tuple[int, ...] = (1, 1, 0)
    crops: tuple[tuple[int, int], ...] = ((128, 8),)
    """(side, count) of the crops of one batch."""
    steps: int = 5_400
    quantize_from: int = 3_700
    """Optimisation step at which rounding of kernels and activations begins."""
    learning_rate: float = 1.5e-3
    """Peak of the cosine schedule."""
    warm_up: int = 200
    """Steps of linear warm-up."""
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is exported."""
    states: tuple[int, int] = (1, 18)
    """States between these steps are drawn; the others are not filtered."""
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.quantize_from < self.steps:
            raise ValueError(f"quantize_from must be below steps, got {self.quantize_from} and {self.steps}")


def measure_errors(
    previews: Previews, pictures: Sequence[np.ndarray], steps: int, side: int, *, seed: int
) -> np.ndarray:
    """c of Eq. 1 after 0, ..., `steps` steps, float32 (steps + 1,), from random crops, 32 for every step."""
    batches, rows = random_crops(pictures, side, seed=seed).batch(32), []

    def squared(crops: Array, step: Array, key: Array) -> Array:
        return jnp.mean(jnp.square(previews(crops, step, key) - crops))

    measure = jax.jit(squared)
    for step in range(steps + 1):
        crops = jnp.asarray(batches[step], jnp.float32)
        rows.append(np.sqrt(np.asarray(measure(crops, jnp.full((len(crops),), step), jax.random.key(step)))))
    return np.asarray(rows, np.float32)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The jitted step of one recipe (uqdm.training.loop.Trainer).

    Attributes:
      recipe: what to train.
      previews: makes what is filtered.
      errors: of previews (`measure_errors`).
      start_from: a filter to train further, of the recipe's shape.
    """

    recipe: Recipe
    previews: Previews
    errors: np.ndarray
    start_from: Postfilter | None = None

    @cached_property
    def network(self) -> FilterConfig:
        """Shape of the network."""
        recipe = self.recipe
        return FilterConfig(
            steps=len(self.errors) - 1,
            widths=recipe.widths,
            blocks_in=recipe.blocks_in,
            blocks_out=recipe.blocks_out,
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        recipe = self.recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up, recipe.steps, 0.0)
        return optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optax.adam(rate, b2=0.99))

    def init(self) -> TrainState:
        """The state before the first step."""
        if self.start_from is None:
            return first_state(
                networks.init(self.network, self.errors, jax.random.key(self.recipe.seed)), self.optimizer
            )
        if self.start_from.config != self.network:
            raise ValueError(f"the filter to start from is {self.start_from.config}, the recipe's {self.network}")
        return first_state(self.start_from.parameters, self.optimizer)

    def filtered(self, parameters: Parameters, shown: Array, step: Array, *, quantized: bool) -> Array:
        """What the filter makes of previews, within 0 ... 255."""
        if quantized:
            parameters = round_kernels(parameters)
        correction = networks.apply(self.network, parameters, shown, step, quantized=quantized)
        return jnp.clip(shown + correction, 0.0, 255.0)

    def loss(self, parameters: Parameters, crops: Array, key: Array, *, quantized: bool) -> Array:
        """Eq. 1, averaged."""
        pictures, count = crops.astype(jnp.float32), len(crops)
        first, last = self.recipe.states
        order, start, shifts = jax.random.split(key, 3)
        # Stratified: the crops of a batch share the range of states evenly.
        states = last + 1 - first
        spread = jax.random.permutation(order, count) * states // count
        step = first + (spread + jax.random.randint(start, (), 0, states)) % states
        shown = jax.lax.stop_gradient(self.previews(pictures, step, shifts))
        squared = jnp.mean(
            jnp.square(self.filtered(parameters, shown, step, quantized=quantized) - pictures), (1, 2, 3)
        )
        return jnp.mean(squared / jnp.square(jnp.asarray(self.errors)[step]))

    def step(self, state: TrainState, batch: tuple[Array, ...], *, quantized: bool):
        """One optimisation step: the next state, and the loss."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed + 2), state.step)

        def loss(parameters):
            keys, votes = jax.random.split(key, len(batch)), [crops.size for crops in batch]
            parts = [
                self.loss(parameters, crops, key, quantized=quantized) for crops, key in zip(batch, keys, strict=True)
            ]
            return sum(part * vote for part, vote in zip(parts, votes, strict=True)) / sum(votes)

        value, gradients = jax.value_and_grad(loss)(state.parameters)
        return next_state(state, gradients, self.optimizer, self.recipe.ema), {"loss": value}

    @cached_property
    def _jitted_step(self):
        return jax.jit(self.step, static_argnames="quantized", donate_argnums=0)

    def update(
        self, state: TrainState, batch: tuple[np.ndarray, ...], step: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on crops (n, side, side, 3) of every size."""
        return self._jitted_step(state, tuple(batch), quantized=step >= self.recipe.quantize_from)

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """PSNR in dB (means over pictures) of previews and of what the filter makes of them."""
        quantized = step > self.recipe.quantize_from

        def errors(parameters, pictures, sent, key):
            steps = jnp.full((len(pictures),), sent)
            shown = self.previews(pictures, steps, key)
            both = shown, self.filtered(parameters, shown, steps, quantized=quantized)
            return [jnp.mean(jnp.square(x - pictures), axis=(1, 2, 3)) for x in both]

        measure, rows = jax.jit(errors), []
        first, last = self.recipe.states
        for sent in range(first, last + 1):
            squared = [
                measure(parameters, jnp.asarray(picture, jnp.float32)[None], sent, jax.random.key(sent))
                for picture in pictures
            ]
            shown, filtered = (
                round(float(np.mean(10 * np.log10(255**2 / np.asarray(column)))), 4)
                for column in zip(*squared, strict=True)
            )
            rows.append({"sent": sent, "preview_db": shown, "filtered_db": filtered})
        return rows


def fit(
    recipe: Recipe,
    previews: Previews,
    steps: int,
    sources: Sequence[str | Path | np.ndarray | PictureSet],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    start_from: Postfilter | None = None,
) -> tuple[FilterConfig, Parameters]:
    """Trains, or goes on where a checkpoint in `folder` left off; gives the shape and the averaged parameters.

    Args:
      recipe: what to train.
      previews: makes what is filtered.
      steps: of the process that does.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      start_from: as for `Trainer`.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
      ValueError: `start_from` has another shape.
    """
    pictures = load_pictures(*sources)
    side = max(side for side, _ in recipe.crops)
    errors = measure_errors(previews, pictures, steps, side, seed=recipe.seed + 1)
    trainer = Trainer(recipe=recipe, previews=previews, errors=errors, start_from=start_from)
    with closing(Crops(pictures, recipe.crops, seed=recipe.seed)) as crops:
        state = train(trainer, crops, validation, folder, steps=recipe.steps, run=run)
    return trainer.network, state.average
