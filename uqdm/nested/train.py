"""Training of the nested process: one loss, one jitted step, a loop that can be killed at any time.

The loss of a picture in a state drawn with probability p_t is

    w_t bits_t / (p_t pixels) + distortion_weight log(mse_t + 1),                           (1)

an estimate of the whole stream's length plus a term that makes previews good at all rates alike. bits_t are those of
the step that follows and what its references will cost in the level's halving step; states before a halving step, and
the last one, only have a distortion and are drawn half as often as the others. Since a level twice as fine costs about
twice the bits, w_t = (w_j / w_max)^rate_balance keeps fine levels from drowning coarse ones (rate_balance = 0: bits
count alike; 1: relative savings count alike).

Training starts in floating point and ends with kernels and activations rounded as in integer evaluation
(uqdm.nested.network), so that the model that is exported is the one that was trained.

Everything random is a pure function of (seed, step), so resuming from a checkpoint continues exactly.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from tqdm import tqdm

from uqdm.exact.fixed_point import round_kernels
from uqdm.nested import network as networks
from uqdm.nested.loss import NestedLoss
from uqdm.nested.model import NestedModel
from uqdm.nested.network import NetworkConfig
from uqdm.nested.schedule import Schedule
from uqdm.training.batches import Crops, random_crops
from uqdm.training.dataset import Source, load_pictures
from uqdm.training.records import append_rows
from uqdm.transforms.wavelet import analysis, layout, pad_to_blocks

__all__ = ["Recipe", "State", "Trainer", "fit", "measure_prior"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    block: int = 16
    """Side of the blocks in pixels: 2^octaves of the wavelet transform."""
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


class State(NamedTuple):
    """What a checkpoint holds."""

    parameters: Any
    average: Any
    optimizer: Any
    step: Any


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
    """The jitted step of one recipe and schedule."""

    recipe: Recipe
    schedule: Schedule
    network: NetworkConfig = field(init=False)

    def __post_init__(self):
        config = NetworkConfig(
            block=self.recipe.block,
            steps=len(self.schedule.steps),
            width=self.recipe.width,
            blocks=self.recipe.blocks,
            local_width=self.recipe.local_width,
        )
        object.__setattr__(self, "network", config)

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
        steps = self.schedule.steps
        return np.repeat(np.arange(len(steps) + 1), [1 if step.halving else 2 for step in steps] + [1])

    @property
    def step_weights(self) -> np.ndarray:
        """w_t / p_t of Eq. 1, w_t normalised to mean 1; 0 for states without a rate."""
        weights = np.array(
            [0.0 if s.halving else 2.0 ** (self.recipe.rate_balance * s.level) for s in self.schedule.steps]
        )
        weights /= weights[weights > 0].mean()
        return np.append(weights * len(self.draws) / 2, 0.0).astype(np.float32)

    def init(self) -> State:
        return self.start(networks.init(self.network, jax.random.key(self.recipe.seed)))

    def start(self, parameters) -> State:
        """The state before the first step; the average has its own buffers, since a step gives them away."""
        average = jax.tree.map(jnp.array, parameters)
        return State(parameters, average, self.optimizer.init(parameters), jnp.zeros((), jnp.int32))

    def terms(self, parameters, coefficients, step, key, *, quantized: bool):
        """Terms of one step per picture (uqdm.nested.process)."""
        if quantized:
            parameters = round_kernels(parameters)
        network = partial(networks.apply, self.network, parameters, quantized=quantized)
        return NestedLoss(self.schedule)(network, coefficients, step, key)

    def loss(self, parameters, batch: tuple[jax.Array, ...], key, *, quantized: bool):
        """Eq. 1, averaged with one pixel as one vote."""
        draws, weights = jnp.asarray(self.draws), jnp.asarray(self.step_weights)
        total, pixels = 0.0, 0
        for crops, crop_key in zip(batch, jax.random.split(key, len(batch)), strict=True):
            count, side = crops.shape[:2]
            order, start, shifts = jax.random.split(crop_key, 3)
            # Stratified: the crops of a batch share the range of states evenly.
            spread = jax.random.permutation(order, count) * len(draws) // count
            when = draws[(spread + jax.random.randint(start, (), 0, len(draws))) % len(draws)]
            coefficients = analysis(crops.astype(jnp.float32), self.recipe.block)
            terms = self.terms(parameters, coefficients, when, shifts, quantized=quantized)
            rate = weights[when] * (terms.rate_bits + terms.halving_bits) / side**2
            loss = rate + self.recipe.distortion_weight * jnp.log(terms.squared_error + 1.0)
            total, pixels = total + jnp.sum(loss) * side**2, pixels + count * side**2
        return total / pixels

    def update(self, state: State, batch: tuple[jax.Array, ...], *, quantized: bool) -> tuple[State, jax.Array]:
        """One optimisation step."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed + 2), state.step)
        loss, gradients = jax.value_and_grad(self.loss)(state.parameters, batch, key, quantized=quantized)
        updates, optimizer = self.optimizer.update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        decay = jnp.minimum(self.recipe.ema, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, parameters)
        return State(parameters, average, optimizer, state.step + 1), loss

    def validate(self, parameters, pictures: np.ndarray, *, quantized: bool = True) -> list[dict]:
        """Ideal rate and PSNR (mean over pictures of one size) at every truncation point."""
        coefficients = analysis(jnp.asarray(pad_to_blocks(pictures, self.recipe.block), jnp.float32), self.recipe.block)
        pixels = pictures.shape[1] * pictures.shape[2]
        evaluate, rows, bpp, waiting = jax.jit(partial(self.terms, quantized=quantized)), [], 0.0, 0.0
        halving = [step.halving for step in self.schedule.steps] + [False]
        for step in range(self.network.steps + 1):
            rates, later, psnr = [], [], []
            for one in coefficients:
                terms = evaluate(parameters, one[None], jnp.full((1,), step), jax.random.key(step))
                # Orthonormality gives the error in pixels, up to clipping to [0, 255] and the padding.
                psnr.append(10 * np.log10(255**2 / float(terms.squared_error[0])))
                rates.append(float(terms.rate_bits[0]) / pixels)
                later.append(float(terms.halving_bits[0]) / pixels)
            rows.append({"sent": step, "bpp": round(bpp, 5), "psnr_db": round(float(np.mean(psnr)), 4)})
            bpp += waiting if halving[step] else float(np.mean(rates))
            waiting = 0.0 if halving[step] else waiting + float(np.mean(later))
        return rows


def fit(
    recipe: Recipe,
    sources: Sequence[str | Path | np.ndarray | Source],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    stop_after: int | None = None,
    checkpoint_every: int = 1000,
    validate_every: int = 2000,
    start_from: NestedModel | None = None,
    name: str = "unnamed",
) -> NestedModel:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the averaged model.

    Writes `folder`/train.csv (step, loss, seconds) and `folder`/validation.csv (per step of the schedule: bpp, PSNR).

    Args:
      recipe: what to train.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go.
      stop_after: end early after so many steps in all (the schedule of the learning rate stays `recipe.steps`).
      checkpoint_every: steps between checkpoints.
      validate_every: steps between validations.
      start_from: weights and prior to start from instead of fresh ones, for a fine-tuning.
      name: goes into the model file.
    """
    folder = Path(folder).absolute()
    pictures = load_pictures(*sources)
    prior_std = start_from.schedule.prior_std if start_from else measure_prior(pictures, recipe)
    schedule = Schedule(
        block=recipe.block,
        finest_width=recipe.finest_width,
        phases=recipe.phases,
        prior_std=prior_std,
        threshold=recipe.threshold,
    )
    trainer = Trainer(recipe=recipe, schedule=schedule)
    state = trainer.init()
    if start_from:
        state = trainer.start(jax.tree.map(jnp.array, start_from.parameters))
    update = jax.jit(trainer.update, static_argnames="quantized", donate_argnums=0)
    last = min(recipe.steps, stop_after or recipe.steps)
    batches = Crops(pictures, recipe.crops, seed=recipe.seed)
    with ocp.CheckpointManager(folder / "checkpoints", options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        newest = manager.latest_step()
        if newest is not None:
            state = manager.restore(newest, args=ocp.args.StandardRestore(state))
        first, began = int(state.step), time.monotonic()
        with closing(batches), tqdm(total=last, initial=first, desc="train", mininterval=10) as bar:
            for step in range(first, last):
                state, loss = update(state, batches(step), quantized=step >= recipe.quantize_from)
                bar.update()
                done = step + 1
                if done % 50 == 0 or done == last:
                    if not np.isfinite(loss):
                        raise FloatingPointError(f"the loss became {loss} at step {done}: lower the learning rate")
                    bar.set_postfix(loss=f"{float(loss):.4f}", refresh=False)
                    row = {"step": done, "loss": float(loss), "seconds": round(time.monotonic() - began, 1)}
                    append_rows(folder / "train.csv", [row])
                if done % checkpoint_every == 0 or done == last:
                    manager.save(done, args=ocp.args.StandardSave(_copy(state)))
                if done % validate_every == 0 or done == last:
                    for title, images in validation.items():
                        rows = trainer.validate(state.average, images, quantized=done >= recipe.quantize_from)
                        append_rows(folder / "validation.csv", [{"step": done, "set": title, **row} for row in rows])
        manager.wait_until_finished()
    return NestedModel.from_training(schedule=schedule, network=trainer.network, parameters=state.average, name=name)


def _copy(state: State) -> State:
    """A copy on the host: saving goes on while the next step already overwrites the original's buffers."""
    return jax.tree.map(np.array, state)
