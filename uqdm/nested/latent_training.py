"""The nested process on latents: which coordinates are sent (uqdm.nested.source, Eq. 1), and what a training sees.

The metric G of one position is measured by random signs v over the pixels that the decoder D shows: for g = J^T v,

    E[g g^T] = E[J^T J],                                                                    (1)

and the block of that matrix that belongs to a position, averaged over positions and pictures, is G. Directions of the
latent that pixels hardly depend on can matter for what is seen, so that G is mixed with its own mean eigenvalue,

    G + lambda (tr G / d) 1.                                                                (2)

Autoencoders do not commute with mirroring or with shifts by less than a position, and encoding costs more than a step
of the training: latents of whole pictures are made once, and a step takes windows of them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm.nested.model import NestedModel
from uqdm.nested.source import Coordinates
from uqdm.nested.train import Recipe, Trainer
from uqdm.training.loop import Run, train

__all__ = ["LATENT_RECIPE", "LatentCrops", "coordinates_of", "fit_latents", "metric_of"]


LATENT_RECIPE = Recipe(
    block=1,
    colours=32,
    factor=8,
    finest_width=24.0,
    phases=((4, 0), (4, 0), (2, 2), (2, 2), (2, 2), (2, 0)),
    width=128,
    local_width=1,
    crops=((16, 16), (32, 4)),
    steps=2_200,
    quantize_from=1_474,
    learning_rate=2e-3,
    warm_up=100,
    ema=0.998,
)
"""For autoencoders of 32 channels at an eighth of the sides."""


def metric_of(
    decode: Callable[[Array], Array], latents: Float[np.ndarray, "n h w d"], key: PRNGKeyArray
) -> Float[np.ndarray, "d d"]:
    """G of Eq. 1, in squared pixel values.

    Args:
      decode: D, from latents to pixels (n, H, W, 3) in pixel values; differentiable.
      latents: to measure at.
      key: of v.
    """
    pixels, backward = jax.vjp(decode, jnp.asarray(latents, jnp.float32))
    (g,) = backward(jax.random.rademacher(key, pixels.shape, pixels.dtype))
    flat = np.asarray(g, np.float64).reshape(-1, g.shape[-1])
    return flat.T @ flat / len(flat)


def coordinates_of(
    latents: Float[np.ndarray, "... d"], metric: Float[np.ndarray, "d d"], evenness: float = 0.01
) -> Coordinates:
    """A and m for latents like some.

    Args:
      latents: to take mean and covariance of.
      metric: G.
      evenness: lambda of Eq. 2.
    """
    flat = np.asarray(latents, np.float64).reshape(-1, latents.shape[-1])
    mean, covariance = flat.mean(0), np.cov(flat.T)
    values, vectors = np.linalg.eigh(metric)
    root = (vectors * np.sqrt(values + evenness * values.mean())) @ vectors.T
    _, rotation = np.linalg.eigh(root @ covariance @ root.T)
    return Coordinates((rotation.T[::-1] @ root).astype(np.float32), mean.astype(np.float32))


class LatentCrops:
    """Windows of coefficients, of several sizes per step: a pure function of (seed, step).

    A picture is drawn with probability proportional to the square root of its area, among those large enough.

    Args:
      coefficients: (h, w, d) of each picture.
      sizes: (side, count) of the windows of one step.
      seed: of everything random.

    Raises:
      ValueError: a window is larger than all pictures.
    """

    def __init__(self, coefficients: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]], *, seed: int):
        self._sizes, self._seed = sizes, seed
        self._eligible = {side: [y for y in coefficients if min(y.shape[:2]) >= side] for side, _ in sizes}
        if not all(self._eligible.values()):
            raise ValueError(
                f"no latent has windows of all sides: {', '.join(str(side) for side, _ in sizes)} positions"
            )
        areas = {side: np.sqrt([y.shape[0] * y.shape[1] for y in large]) for side, large in self._eligible.items()}
        self._ends = {side: np.cumsum(area) / area.sum() for side, area in areas.items()}

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        """The windows of a step, float32 (count, side, side, d) for each size."""
        rng = np.random.default_rng((self._seed, step))

        def window(side: int) -> np.ndarray:
            eligible = self._eligible[side]
            y = eligible[min(int(np.searchsorted(self._ends[side], rng.random(), side="right")), len(eligible) - 1)]
            top, left = (int(rng.integers(length - side + 1)) for length in y.shape[:2])
            return y[top : top + side, left : left + side].astype(np.float32)

        return tuple(np.stack([window(side) for _ in range(count)]) for side, count in self._sizes)


def fit_latents(
    recipe: Recipe,
    coefficients: Sequence[np.ndarray],
    validation: Mapping[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    name: str = "unnamed",
) -> NestedModel:
    """Trains on coefficients of latents, or goes on where a checkpoint in `folder` left off (uqdm.nested.train.fit).

    Args:
      recipe: with blocks of one position, and sizes of crops in positions.
      coefficients: y of pictures (uqdm.nested.source, Eq. 1), (h, w, d) each, of any floating-point type.
      validation: named arrays of some, (n, h, w, d).
      folder: where checkpoints and logs go.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      name: goes into the model file.

    Returns:
      The averaged model, still without its autoencoder.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
    """
    total = sum(np.square(y, dtype=np.float64).sum((0, 1)) for y in coefficients)
    std = np.sqrt(total / sum(y.shape[0] * y.shape[1] for y in coefficients))
    schedule = recipe.schedule(tuple(float(f"{value:.6g}") for value in std))
    trainer = Trainer(recipe=recipe, section=schedule.sections[0])
    crops = LatentCrops(coefficients, recipe.crops, seed=recipe.seed)
    state = train(trainer, crops, validation, folder, steps=recipe.steps, run=run)
    return NestedModel.from_training(schedule=schedule, network=trainer.network, parameters=state.average, name=name)
