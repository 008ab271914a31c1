"""Training of transform coding, and of its conditional diffusion decoder (uqdm.transform_coding.loss).

One model has one rate. Training starts from the principal components of blocks of training pictures, with networks that
add nothing: a linear transform codec. A diffusion decoder is trained end to end with everything else, from a model that
was trained without one (CDC's authors report grey pictures otherwise).

Everything random is a pure function of (seed, step).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uqdm.metrics.perceptual_similarity import perceptual_distances
from uqdm.training.batches import Crops, random_crops
from uqdm.training.dataset import PictureSet, load_pictures
from uqdm.training.loop import Run, train
from uqdm.training.state import TrainState, first_state, next_state
from uqdm.transform_coding import denoiser, loss, network
from uqdm.transform_coding.config import BLOCK, DenoiserConfig, TransformConfig
from uqdm.transform_coding.model import TransformModel
from uqdm.transforms.folding import fold

__all__ = ["Recipe", "Trainer", "fit", "principal_components"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training."""

    rate_weight: float = 50.0
    """lambda, in squared pixel values (of all three colours) per bit."""
    universal: bool = False
    """Latents are quantized under a shared shift, in training and in streams."""
    latents: int = 96
    """Of a block of 8 x 8 pixels."""
    width: int = 128
    blocks: int = 2
    hyper_latents: int = 32
    hyper_width: int = 64
    diffusion: bool = False
    """Train a conditional diffusion decoder as well."""
    denoiser_widths: tuple[int, int, int] = (24, 48, 96)
    denoiser_blocks: tuple[int, int, int] = (1, 1, 1)
    perceptual_weight: float = 0.0
    """Of LPIPS of the diffusion decoder's predictions, in bits per pixel."""
    crops: tuple[tuple[int, int], ...] = ((128, 6), (64, 8))
    """(side, count) of the crops of one batch; sides are multiples of 16."""
    steps: int = 4_000
    learning_rate: float = 1e-3
    """Peak of the cosine schedule."""
    warm_up: int = 100
    """Steps of linear warm-up."""
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is exported."""
    seed: int = 0
    component_crops: int = 2_000
    """Crops of the largest size from which principal components are measured."""


def principal_components(pictures: Sequence[np.ndarray], recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Components of blocks of random crops, float32 (192, latents), and their standard deviations in pixel values."""
    side, size = max(side for side, _ in recipe.crops), 3 * BLOCK**2
    total, count = np.zeros((size, size)), 0
    batches = random_crops(pictures, side, seed=recipe.seed + 1).batch(50)
    for number in range(-(-recipe.component_crops // 50)):
        crops = jnp.asarray(batches[number], jnp.float32)
        blocks = np.asarray(fold(crops - network.GREY, BLOCK), np.float64).reshape(-1, size)
        total, count = total + blocks.T @ blocks, count + len(blocks)
    variances, components = np.linalg.eigh(total / count)
    order = np.argsort(variances)[::-1][: recipe.latents]
    components = components[:, order]
    # The sign of a component has no meaning; its largest weight is made positive.
    components = components * np.sign(components[np.abs(components).argmax(0), np.arange(len(order))])
    return components.astype(np.float32), np.sqrt(np.maximum(variances[order], 0.0))


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The jitted step of one recipe (uqdm.training.loop.Trainer).

    Attributes:
      recipe: what to train.
      config: shape of the networks.
      start: parameters before the first step.
      perceptual: path of the weights of LPIPS, where it has a weight.
    """

    recipe: Recipe
    config: TransformConfig
    start: Any = field(repr=False)
    perceptual: str | Path | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        recipe = self.recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up, recipe.steps, 0.0)
        return optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optax.adam(rate, b2=0.99))

    def init(self) -> TrainState:
        """The state before the first step."""
        return first_state(jax.tree.map(jnp.array, self.start), self.optimizer)

    def terms(self, parameters: Any, crops: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Eq. 1 of uqdm.transform_coding.loss and its rate, each in bits per pixel (n,)."""
        x, recipe = crops.astype(jnp.float32), self.recipe
        channel, times, noise = jax.random.split(key, 3)
        sent = loss.coded(self.config, parameters, x, channel, rounded=False)
        rate = sent.bits / (x.shape[1] * x.shape[2])
        if self.config.denoiser is None:
            mean = network.synthesis(self.config, parameters, sent.latents)
            return rate + loss.squared_error(x, mean) / recipe.rate_weight, rate
        # Times of a batch share (0, 1) evenly.
        order, within = jax.random.split(times)
        places = jax.random.permutation(order, jnp.arange(len(x), dtype=jnp.float32))
        t = (places + jax.random.uniform(within, (len(x),))) / len(x)
        shown = loss.denoised(self.config, parameters, x, sent.latents, t, noise)
        error = loss.squared_error(x, shown.mean) + shown.weight * loss.squared_error(x, shown.predicted)
        total = rate + error / (2 * recipe.rate_weight)
        if recipe.perceptual_weight:
            assert self.perceptual is not None, "LPIPS needs weights"
            total = total + recipe.perceptual_weight * perceptual_distances(x, shown.predicted, self.perceptual)
        return total, rate

    def step(self, state: TrainState, batch: tuple[jax.Array, ...]) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step: the next state, loss and rate."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed + 2), state.step)

        def total(parameters: Any) -> tuple[jax.Array, jax.Array]:
            keys, pixels = jax.random.split(key, len(batch)), sum(crops.size for crops in batch)
            sums = [self.terms(parameters, crops, key) for crops, key in zip(batch, keys, strict=True)]
            weights = [crops.size / pixels for crops in batch]
            parts = [
                sum(w * jnp.mean(part) for w, part in zip(weights, column, strict=True))
                for column in zip(*sums, strict=True)
            ]
            return jnp.asarray(parts[0]), jnp.asarray(parts[1])

        (value, rate), gradients = jax.value_and_grad(total, has_aux=True)(state.parameters)
        return next_state(state, gradients, self.optimizer, self.recipe.ema), {"loss": value, "bpp": rate}

    @cached_property
    def _jitted_step(self):
        return jax.jit(self.step, donate_argnums=0)

    def update(
        self, state: TrainState, batch: tuple[np.ndarray, ...], step: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on crops (n, side, side, 3) of every size."""
        return self._jitted_step(state, tuple(batch))

    @cached_property
    def _jitted_shown(self):
        def shown(parameters, x, key):
            """Bits per pixel, and squared errors of the mean and of draws in 1 and 4 evaluations, without noise."""
            sent = loss.coded(self.config, parameters, x, key, rounded=True)
            mean = network.synthesis(self.config, parameters, sent.latents)
            pictures = [mean]
            if (config := self.config.denoiser) is not None:
                features = network.trunk(self.config, parameters, sent.latents, None)

                def predicted(r, t):
                    times = jnp.full((len(x),), t, jnp.float32)
                    return denoiser.predict(config, parameters["denoiser"], r, mean, features, times)

                for evaluations in (1, 4):
                    r = denoiser.ddim(predicted, jnp.zeros_like(mean), evaluations)
                    pictures.append(mean + np.float32(config.error) * r)
            errors = [jnp.mean(jnp.square(jnp.clip(picture, 0, 255) - x), (1, 2, 3)) for picture in pictures]
            return sent.bits / (x.shape[1] * x.shape[2]), errors

        return jax.jit(shown)

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """Ideal rate in bits per pixel and PSNR in dB, means over pictures."""
        height, width = (side // 16 * 16 for side in pictures.shape[1:3])
        x = jnp.asarray(pictures[:, :height, :width], jnp.float32)
        parts = [self._jitted_shown(parameters, one[None], jax.random.key(0)) for one in x]
        row: dict[str, int | float] = {"bpp": round(float(np.mean([bpp for bpp, _ in parts])), 5)}
        for name, errors in zip(
            ("mean_db", "one_db", "four_db"), zip(*(e for _, e in parts), strict=True), strict=False
        ):
            row[name] = round(float(np.mean([10 * np.log10(255**2 / float(e[0])) for e in errors])), 4)
        return [row]


def _fresh(recipe: Recipe, pictures: Sequence[np.ndarray]) -> tuple[TransformConfig, Any]:
    basis, deviations = principal_components(pictures, recipe)
    step = float(f"{loss.best_width(recipe.rate_weight):.6g}")
    config = TransformConfig(
        spread=tuple(float(f"{deviation / step:.6g}") for deviation in deviations),
        step=step,
        universal=recipe.universal,
        width=recipe.width,
        blocks=recipe.blocks,
        hyper_latents=recipe.hyper_latents,
        hyper_width=recipe.hyper_width,
    )
    return config, network.init(config, basis, jax.random.key(recipe.seed))


def _with_denoiser(
    recipe: Recipe, config: TransformConfig, parameters: Any, pictures: Sequence[np.ndarray]
) -> tuple[TransformConfig, Any]:
    """Adds a fresh diffusion decoder, e measured on crops."""
    x = jnp.asarray(random_crops(pictures, 64, seed=recipe.seed + 1).batch(64)[0], jnp.float32)
    sent = jax.jit(lambda x: loss.coded(config, parameters, x, jax.random.key(0), rounded=True).latents)(x)
    mean = jax.jit(lambda y: network.synthesis(config, parameters, y))(sent)
    error = float(f"{float(jnp.sqrt(jnp.mean(jnp.square(x - mean)))):.3g}")
    shape = DenoiserConfig(widths=recipe.denoiser_widths, blocks=recipe.denoiser_blocks, error=error)
    own = denoiser.init(shape, config.width, jax.random.key(recipe.seed + 3))
    return replace(config, denoiser=shape), {**parameters, "denoiser": own}


def fit(
    recipe: Recipe,
    sources: Sequence[str | Path | np.ndarray | PictureSet],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    start_from: TransformModel | None = None,
    perceptual: str | Path | None = None,
    name: str = "unnamed",
) -> TransformModel:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the averaged model.

    Args:
      recipe: what to train.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      start_from: a model to train further, whose shape is kept; a diffusion decoder is added if the recipe has one.
      perceptual: path of weights of LPIPS (uqdm.metrics.perceptual_similarity), where it has a weight.
      name: goes into the model file.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
      ValueError: LPIPS has a weight and no weights.
    """
    if recipe.perceptual_weight and perceptual is None:
        raise ValueError("perceptual_weight needs the weights of LPIPS: give their path")
    pictures = load_pictures(*sources)
    if start_from is not None:
        config, parameters = start_from.network, jax.tree.map(jnp.asarray, start_from.parameters)
    else:
        config, parameters = _fresh(recipe, pictures)
    if recipe.diffusion and config.denoiser is None:
        config, parameters = _with_denoiser(recipe, config, parameters, pictures)
    trainer = Trainer(recipe=recipe, config=config, start=parameters, perceptual=perceptual)
    with closing(Crops(pictures, recipe.crops, seed=recipe.seed)) as crops:
        state = train(trainer, crops, validation, folder, steps=recipe.steps, run=run)
    return TransformModel.from_training(network=config, parameters=state.average, name=name)
