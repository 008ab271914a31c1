"""Training of conditional flows and diffusions (uqdm.training.loop): crops of pictures, in states at random steps.

Everything random is a pure function of (seed, step).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uqdm.conditional import network as networks
from uqdm.conditional.errors import Errors, fitted, kinds
from uqdm.conditional.flow import mean_velocity
from uqdm.conditional.loss import Ends, Prefixes, path_loss
from uqdm.conditional.model import ConditionalModel
from uqdm.conditional.network import Condition, ConditionalConfig
from uqdm.conditional.paths import point
from uqdm.nested import network as nested_networks
from uqdm.nested.loss import NestedLoss
from uqdm.nested.model import NestedModel
from uqdm.nested.network import Inputs, Outputs
from uqdm.nested.stored_network import StoredNetwork
from uqdm.training.batches import Crops, random_crops
from uqdm.training.dataset import PictureSet, load_pictures
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state

__all__ = ["Recipe", "Trainer", "fit", "measure_errors"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    path: Literal["flow", "diffusion"] = "flow"
    """From previews in noise of their cells straight to pictures, or from white noise around previews."""
    widths: tuple[int, ...] = (48, 96, 128)
    blocks_in: tuple[int, ...] = (1, 1, 2)
    blocks_out: tuple[int, ...] = (2, 2, 2)
    bfloat16: bool = False
    """Compute in bfloat16: for GPUs and TPUs."""
    crops: tuple[tuple[int, int], ...] = ((128, 8),)
    """(side, count) of the crops of one batch."""
    steps: int = 5_000
    learning_rate: float = 8e-4
    """Peak of the cosine schedule."""
    warm_up: int = 200
    """Steps of linear warm-up."""
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is exported."""
    at_start: float = 0.3
    """Share of pictures at t = 0."""
    shortcuts: float = 0.25
    """Share of pictures that learn where several steps lead; a diffusion has none of these."""
    often: tuple[int, int] = (3, 17)
    """States between these steps are drawn, each four times as often as others: those of 0.05 to 1 bit per pixel."""
    seed: int = 0


def measure_errors(prefixes: Prefixes, pictures: Sequence[np.ndarray], side: int, *, count: int, seed: int) -> Errors:
    """Tables from random crops, `count` of them for every step."""
    batches = random_crops(pictures, side, seed=seed).batch(count)
    measure, rows = jax.jit(prefixes.errors), []
    for step in range(prefixes.terms.steps + 1):
        crops = jnp.asarray(batches[step], jnp.float32)
        error, log_scale, squared = measure(crops, jnp.full((count,), step), jax.random.key(step))
        offset, slope = fitted(np.asarray(error), np.asarray(log_scale), kinds(prefixes.block))
        rows.append((offset, slope, np.sqrt(np.mean(squared))))
    return Errors(*(np.asarray(column, np.float32) for column in zip(*rows, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The jitted step of one recipe (uqdm.training.loop.Trainer).

    Attributes:
      recipe: what to train.
      model: makes the prefixes.
      errors: of its previews.
      start_from: parameters to start from instead of fresh ones.
    """

    recipe: Recipe
    model: NestedModel
    errors: Errors
    start_from: dict | None = field(default=None)

    @cached_property
    def network(self) -> ConditionalConfig:
        """Shape of the network."""
        recipe = self.recipe
        return ConditionalConfig(
            steps=self.model.steps,
            widths=recipe.widths,
            blocks_in=recipe.blocks_in,
            blocks_out=recipe.blocks_out,
            bfloat16=recipe.bfloat16,
            path=recipe.path,
        )

    @cached_property
    def prefixes(self) -> Prefixes:
        """Draws states."""
        return prefixes_of(self.model)

    def _ends(self, pictures, step, key) -> Ends:
        draw = self.prefixes.ends if self.recipe.path == "flow" else self.prefixes.diffused
        return draw(pictures, step, self.errors, key)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        recipe = self.recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up, recipe.steps, 0.0)
        return optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optax.adam(rate, b2=0.99))

    def init(self) -> TrainState:
        """The state before the first step."""
        fresh = networks.init(self.network, jax.random.key(self.recipe.seed))
        parameters = fresh if self.start_from is None else jax.tree.map(jnp.array, self.start_from)
        return first_state(parameters, self.optimizer)

    def _given(self, count: int, key) -> Condition:
        """Steps and times of pictures, spread evenly."""
        first, last = self.recipe.often
        times = [4 if first <= step <= last else 1 for step in range(self.model.steps + 1)]
        draws = jnp.asarray(np.repeat(np.arange(self.model.steps + 1), times))
        order, start, moment, early = jax.random.split(key, 4)
        spread = jax.random.permutation(order, count) * len(draws) // count
        step = draws[(spread + jax.random.randint(start, (), 0, len(draws))) % len(draws)]
        t = (jax.random.permutation(moment, count) + jax.random.uniform(early, (count,))) / count
        t = jnp.maximum(0.0, t - self.recipe.at_start) / (1 - self.recipe.at_start)
        return Condition(step, t, t, jnp.asarray(self.errors.of_pixels)[step])

    def loss(self, parameters, average, crops, key):
        """Eq. 1 of uqdm.conditional.loss, averaged; `average` are the averaged parameters, for shortcuts."""
        conditions, states, spans = jax.random.split(key, 3)
        pictures = crops.astype(jnp.float32)
        given = self._given(len(crops), conditions)
        ends = self._ends(pictures, given.step, states)
        path, predict = self.recipe.path, partial(networks.apply, self.network, parameters)
        taught = round(self.recipe.shortcuts * len(crops)) if path == "flow" else 0
        if not taught:
            return jnp.mean(path_loss(predict, path, ends, given))
        first = jax.tree.map(lambda x: x[:taught], (ends, given))
        rest = jax.tree.map(lambda x: x[taught:], (ends, given))
        teacher = partial(networks.apply, self.network, jax.lax.stop_gradient(average))
        shortcut, target = self._shortcut(teacher, first[0], first[1], spans)
        losses = [path_loss(predict, path, first[0], shortcut, target), path_loss(predict, path, *rest)]
        return jnp.mean(jnp.concatenate(losses))

    def _shortcut(self, teacher, ends: Ends, given: Condition, key) -> tuple[Condition, jax.Array]:
        """Times from t to s, halves, quarters, ... of the flow, and what two steps of half the length predict."""
        depth, place = jax.random.split(key)
        count = len(ends.picture)
        length = 2.0 ** -jax.random.randint(depth, (count,), 0, 4)
        t = length * jnp.floor(jax.random.uniform(place, (count,)) / length)
        t = jnp.where(jnp.arange(count) % 2 == 0, 0.0, t)  # what begins at the beginning is shown
        m, s = t + length / 2, t + length
        x = point("flow", ends.start, ends.preview, ends.picture, t)

        def moved(x, t, s):
            # The shortest steps follow the velocity of the moment.
            told = jnp.where(length > 2.0**-3, s, t)
            predicted = teacher(x, ends.preview, Condition(given.step, t, told, given.error))
            return x + mean_velocity(x, predicted, t) * (s - t)[:, None, None, None]

        end = moved(moved(x, t, m), m, s)
        stretch = ((1 - t) / length)[:, None, None, None]
        target = x + (end - x) * stretch
        return Condition(given.step, t, s, given.error), jax.lax.stop_gradient(target)

    def step(self, state: TrainState, batch: tuple[jax.Array, ...]):
        """One optimisation step: the next state, and the loss."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed + 2), state.step)

        def loss(parameters):
            keys = jax.random.split(key, len(batch))
            votes = [crops.size for crops in batch]
            parts = [self.loss(parameters, state.average, crops, key) for crops, key in zip(batch, keys, strict=True)]
            return sum(part * vote for part, vote in zip(parts, votes, strict=True)) / sum(votes)

        value, gradients = jax.value_and_grad(loss)(state.parameters)
        return next_state(state, gradients, self.optimizer, self.recipe.ema), {"loss": value}

    @cached_property
    def _jitted_step(self):
        return jax.jit(self.step, donate_argnums=0)

    def update(
        self, state: TrainState, batch: tuple[np.ndarray, ...], step: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on crops (n, side, side, 3) of every size."""
        return self._jitted_step(state, tuple(batch))

    @cached_property
    def _jitted_errors(self):
        def errors(parameters, pictures, step, key):
            """Mean squared errors of the preview, of the first prediction, and of a draw in two steps."""
            steps = jnp.full((len(pictures),), step)
            ends = self._ends(pictures, steps, key)
            error, t = jnp.asarray(self.errors.of_pixels)[steps], jnp.zeros((len(pictures),))

            def predict(x, t):
                return networks.apply(self.network, parameters, x, ends.preview, Condition(steps, t, t, error))

            mean = predict(ends.start, t)
            drawn = predict(point(self.recipe.path, ends.start, ends.preview, mean, t + 0.5), t + 0.5)
            shown = [jnp.clip(x, 0, 255) for x in (ends.preview, mean, drawn)]
            return [jnp.mean(jnp.square(x - pictures), axis=(1, 2, 3)) for x in shown]

        return jax.jit(errors)

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """PSNR in dB (means over pictures) of previews, of first predictions, and of draws in two steps."""
        rows = []
        for sent in range(self.recipe.often[0] - 1, self.recipe.often[1], 2):
            found = self._jitted_errors(parameters, jnp.asarray(pictures, jnp.float32), sent, jax.random.key(sent))
            psnr = [float(np.mean(10 * np.log10(255**2 / np.asarray(squared)))) for squared in found]
            names = ("preview_db", "first_db", "second_db")
            rows.append({"sent": sent} | {name: round(value, 4) for name, value in zip(names, psnr, strict=True)})
        return rows


def prefixes_of(model: NestedModel) -> Prefixes:
    """States as prefixes of a model's streams leave them."""

    def ask(stored: StoredNetwork, inputs: Inputs) -> Outputs:
        """One network, about pictures of which some may be in other sections; 0 for what it does not have."""
        last, config = len(stored.section.steps), stored.config
        step = jnp.clip(inputs.step - stored.section.range.start, 0, last)
        own = inputs._replace(units=inputs.units[..., : config.channels], step=step)
        parameters = jax.tree.map(jnp.asarray, stored.parameters)
        outputs = nested_networks.apply(config, parameters, own, quantized=True)
        left_out = ((0, 0), (0, 0), (0, 0), (0, inputs.units.shape[-1] - config.channels))
        return Outputs(*(jnp.pad(output, left_out) for output in outputs))

    def network(inputs: Inputs) -> Outputs:
        outputs = ask(model.networks[-1], inputs)
        for stored in model.networks[:-1]:
            here = (inputs.step < stored.section.range.stop)[:, None, None, None]
            outputs = Outputs(*(jnp.where(here, a, b) for a, b in zip(ask(stored, inputs), outputs, strict=True)))
        return outputs

    return Prefixes(NestedLoss(model.schedule), network)


def fit(
    recipe: Recipe,
    model: NestedModel,
    sources: Sequence[str | Path | np.ndarray | PictureSet],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    start_from: ConditionalModel | None = None,
) -> ConditionalModel:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the averaged flow (or diffusion).

    Args:
      recipe: what to train.
      model: makes the prefixes.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      start_from: one to train further.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
    """
    pictures = load_pictures(*sources)
    side = max(side for side, _ in recipe.crops)
    errors = (
        start_from.errors
        if start_from
        else measure_errors(prefixes_of(model), pictures, side, count=64, seed=recipe.seed + 1)
    )
    start = start_from.parameters if start_from else None
    trainer = Trainer(recipe=recipe, model=model, errors=errors, start_from=start)
    with closing(Crops(pictures, recipe.crops, seed=recipe.seed)) as crops:
        state = train(trainer, crops, validation, folder, steps=recipe.steps, run=run)
    return ConditionalModel.from_training(model=model, network=trainer.network, errors=errors, parameters=state.average)
