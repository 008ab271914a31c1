"""Training of the latent network (uqdm.training.loop): crops of latents under noise of quantization of random widths.

Half of them are under uniform noise, as dithered quantization leaves it; the others are rounded, less the means of
channels, as streams have them, and then moved towards the latent by a random part of the way, as the flow does
(uqdm.latent.denoising, Eq. 3), or not. With d and the weights of uqdm.latent.network, Eq. 1, the loss of a latent
under noise of standard deviation s is

    |E[x | y] - x|^2 (d^2 + s^2) / (d^2 s^2) / elements,                                    (1)

the squared error of f, alike for all s. Everything random is a pure function of (seed, step).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from uqdm.latent import network as networks
from uqdm.latent.network import LatentNetworkConfig
from uqdm.training.batches import random_crops
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state
from uqdm.transforms.autoencoder import Autoencoder, encode_values

__all__ = ["Recipe", "Trainer", "fit", "latents_of", "uniform_noise"]

_ENCODED_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    widths: tuple[int, int] = (64, 128)
    """Channels of the network."""
    blocks: tuple[int, int] = (2, 2)
    """Residual blocks of each resolution."""
    latents: int = 640
    """Latents of random crops, made once."""
    pixels: int = 256
    """Sides of these crops."""
    side: int = 24
    """Of the pieces of latents in a batch."""
    batch: int = 12
    steps: int = 3_000
    learning_rate: float = 1.5e-3
    """Peak of the cosine schedule."""
    warm_up: int = 100
    """Steps of linear warm-up."""
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is exported."""
    noise_widths: tuple[float, float] = (0.25, 8.0)
    """Widths of quantization are drawn between these, log-uniformly."""
    seed: int = 0


def latents_of(
    autoencoder: Autoencoder,
    pictures: Sequence[np.ndarray],
    *,
    side: int,
    count: int,
    seed: int,
    on_batch: Callable[[], object] = lambda: None,
) -> Float[np.ndarray, "n h w c"]:
    """Latents of random crops (uqdm.training.batches.random_crops), float16.

    Args:
      autoencoder: makes them.
      pictures: uint8 (H, W, 3) each.
      side: of crops in pixels, a multiple of 8.
      count: of crops.
      seed: of crops.
      on_batch: called after a few of them.
    """
    crops = random_crops(pictures, side, seed=seed)
    encode = jax.jit(encode_values)
    parts = []
    for start in range(0, count, _ENCODED_AT_ONCE):
        batch = np.stack([crops[i] for i in range(start, min(start + _ENCODED_AT_ONCE, count))])
        parts.append(np.asarray(encode(autoencoder.encoder, batch.astype(np.float32) / 255), np.float16))
        on_batch()
    return np.concatenate(parts)


def uniform_noise(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Uniform, of unit variance."""
    return jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The jitted step of one recipe (uqdm.training.loop.Trainer).

    Attributes:
      recipe: what to train.
      channels: of latents.
      std: of their elements.
      mean: of every channel, (c,).
    """

    recipe: Recipe
    channels: int
    std: float
    mean: Float[np.ndarray, " c"]

    @property
    def network(self) -> LatentNetworkConfig:
        """Shape of the network."""
        recipe = self.recipe
        return LatentNetworkConfig(channels=self.channels, widths=recipe.widths, blocks=recipe.blocks, std=self.std)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        recipe = self.recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up, recipe.steps, 0.0)
        return optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optax.adam(rate, b2=0.99))

    def init(self) -> TrainState:
        """The state before the first step."""
        return first_state(networks.init(self.network, jax.random.key(self.recipe.seed)), self.optimizer)

    def loss(self, parameters: Any, latents: Float[Array, "n h w c"], key: PRNGKeyArray) -> Float[Array, ""]:
        """Eq. 1, averaged; widths are spread evenly over the batch."""
        noise, order, place, early = jax.random.split(key, 4)
        low, high = (np.log(width) for width in self.recipe.noise_widths)
        count = len(latents)
        shuffled = jax.random.permutation(order, count).astype(jnp.float32)
        spread = (shuffled + jax.random.uniform(place, (count,))) / count
        width = jnp.exp(low + (high - low) * spread)
        rounded = jnp.arange(count) % 2 == 1
        left = jnp.where(rounded, jnp.minimum(1.0, 2 * jax.random.uniform(early, (count,)) + 0.02), 1.0)
        s, w = left * width / 12**0.5, width[:, None, None, None]
        centred = latents - jnp.asarray(self.mean, jnp.float32)[None, None, None]
        error = jnp.where(
            rounded[:, None, None, None],
            left[:, None, None, None] * (w * jnp.round(centred / w) - centred),
            w / 12**0.5 * uniform_noise(noise, latents.shape),
        )
        estimate = networks.apply(self.network, parameters, latents + error, s, rounded)
        squared = jnp.mean(jnp.square(estimate - latents), (1, 2, 3))
        return jnp.mean(squared * (1 / jnp.square(s) + 1 / self.std**2))

    @cached_property
    def _jitted_step(self):
        def step(state: TrainState, latents: Array):
            key = jax.random.fold_in(jax.random.key(self.recipe.seed + 1), state.step)
            value, gradients = jax.value_and_grad(self.loss)(state.parameters, latents, key)
            return next_state(state, gradients, self.optimizer, self.recipe.ema), {"loss": value}

        return jax.jit(step, donate_argnums=0)

    def update(self, state: TrainState, batch: np.ndarray, step: int) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on latents (n, h, w, c)."""
        return self._jitted_step(state, batch)

    @cached_property
    def _jitted_loss(self):
        return jax.jit(self.loss)

    def validate(
        self, parameters: Any, pictures: Shaped[np.ndarray, "n h w c"], step: int
    ) -> list[dict[str, int | float]]:
        """The loss of latents that were not trained on, under the same noise every time."""
        return [{"loss": float(self._jitted_loss(parameters, np.asarray(pictures, np.float32), jax.random.key(0)))}]


def _pieces(latents: np.ndarray, recipe: Recipe) -> Callable[[int], np.ndarray]:
    """The batch of a step, by its number."""

    def batch(step: int) -> np.ndarray:
        rng = np.random.default_rng((recipe.seed, step))
        rows, columns = (rng.integers(0, side - recipe.side + 1, recipe.batch) for side in latents.shape[1:3])
        chosen = rng.integers(0, len(latents), recipe.batch)
        places = zip(chosen, rows, columns, strict=True)
        pieces = [latents[i, row : row + recipe.side, column : column + recipe.side] for i, row, column in places]
        return np.stack(pieces).astype(np.float32)

    return batch


def fit(
    recipe: Recipe,
    latents: Float[np.ndarray, "n h w c"],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
) -> tuple[LatentNetworkConfig, dict[str, Any]]:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the network with averaged parameters.

    Args:
      recipe: what to train.
      latents: to train on.
      validation: named latents (n, h, w, c).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.

    Raises:
      ValueError: pieces of latents would be larger than the latents, or of odd sides.
      FloatingPointError: the loss became infinite or undefined.
    """
    if recipe.side > min(latents.shape[1:3]) or recipe.side % 2:
        raise ValueError(f"side must be even and at most that of latents {latents.shape[1:3]}, got {recipe.side}")
    values = latents.astype(np.float32)
    mean, std = values.mean((0, 1, 2)), round(float(values.std()), 4)
    trainer = Trainer(recipe=recipe, channels=latents.shape[3], std=std, mean=mean)
    state = train(trainer, _pieces(latents, recipe), validation, folder, steps=recipe.steps, run=run)
    return trainer.network, jax.device_get(state.average)
