"""Training of the Gaussian and the uniform process on any number of devices and hosts.

The loss is the negative ELBO (uqdm.diffusion.loss). A batch is spread over all devices of all processes; parameters are
the same everywhere. What a step does depends on (recipe, sources, step) only, not on the number of devices, up to the
order of sums: random numbers are drawn for the whole batch, and pictures come by their number (uqdm.training.batches).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from uqdm.diffusion.kinds import DiffusionConfig, process_named
from uqdm.diffusion.loss import DiffusionLoss
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import NoiseSchedule
from uqdm.training.batches import Batches
from uqdm.training.dataset import PictureSet, open_source
from uqdm.training.loop import Run, train
from uqdm.training.once import once
from uqdm.training.state import TrainState, first_state, next_state

__all__ = ["Recipe", "Trainer", "fit"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a training. The defaults are those of the published UQDM."""

    process: Literal["uniform", "gaussian"] = "uniform"
    """uniform (UQDM) or gaussian (VDM, DiffC)."""
    diffusion_steps: int = 4
    """Steps of Algorithm 1."""
    gamma_min: float = -12.3
    """-log SNR at the end, where training starts from."""
    gamma_max: float = 6.0
    """-log SNR at the beginning."""
    learn_gamma: bool = True
    """Whether gamma_min is learned."""
    logistic: bool = True
    """Whether psi is logistic, else Gaussian."""
    forward_kernel_scale: bool = True
    """Whether the reference's deviation starts from the forward kernel's (uqdm.diffusion.process, Eq. 4)."""
    network: UNetConfig = field(default_factory=UNetConfig)
    """Shape of the network."""
    side: int = 64
    """Side of the pictures in pixels; larger ones are cropped."""
    batch: int = 128
    """Pictures of a step, over all devices."""
    accumulate: int = 1
    """Parts in which gradients of a batch are computed, one after the other."""
    steps: int = 500_000
    learning_rate: float = 2e-4
    """Peak; reached after the warm-up, and kept, or lowered as a cosine."""
    warm_up: int = 1_000
    cosine: bool = False
    """Whether the learning rate falls to a hundredth, as a cosine, until the last step."""
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    """Largest global norm of a gradient."""
    ema: float = 0.9999
    """Decay of the moving average of the weights, which is what is exported."""
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.warm_up < self.steps:
            raise ValueError(f"warm_up must be below steps, got {self.warm_up} and {self.steps}")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate must divide batch, got {self.accumulate} and {self.batch}")

    @property
    def config(self) -> DiffusionConfig:
        """What is trained."""
        return DiffusionConfig(
            process=process_named(self.process, logistic=self.logistic, forward_kernel_scale=self.forward_kernel_scale),
            noise=NoiseSchedule(gamma_min=self.gamma_min, gamma_max=self.gamma_max),
            steps=self.diffusion_steps,
            network=self.network,
        )


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The step of one recipe on some devices (uqdm.training.loop.Trainer).

    Attributes:
      recipe: what to train.
      start_from: a model to begin with; what it fixes is not taken from the recipe.
      devices: among which batches are shared, all by default.

    Raises:
      ValueError: the network does not take pictures of the recipe's size.
    """

    recipe: Recipe
    start_from: DiffusionModel | None = None
    devices: Sequence[Any] | None = None

    def __post_init__(self):
        side, stride = self.recipe.side, self.config.network.stride
        if side % stride:
            raise ValueError(f"side must be a multiple of {stride} for this network, got {side}")

    @cached_property
    def config(self) -> DiffusionConfig:
        """What is trained, at equally spaced levels."""
        return replace(self.start_from.diffusion_config, levels=None) if self.start_from else self.recipe.config

    @property
    def loss(self) -> DiffusionLoss:
        """The negative ELBO."""
        return DiffusionLoss(config=self.config)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW after clipping; a fixed gamma_min gets no update."""
        recipe = self.recipe
        rate = optax.join_schedules(
            [
                optax.linear_schedule(0.0, recipe.learning_rate, max(1, recipe.warm_up)),
                optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps - recipe.warm_up, 0.01)
                if recipe.cosine
                else optax.constant_schedule(recipe.learning_rate),
            ],
            [recipe.warm_up],
        )
        adam = optax.chain(
            optax.clip_by_global_norm(recipe.gradient_clip), optax.adamw(rate, weight_decay=recipe.weight_decay)
        )
        # gamma_min moves as the weights do, but is never decayed.
        gamma = optax.adam(rate) if recipe.learn_gamma else optax.set_to_zero()
        return optax.multi_transform({"weights": adam, "gamma": gamma}, {"network": "weights", "gamma_min": "gamma"})

    @property
    def mesh(self) -> Mesh:
        """All devices in a row."""
        return Mesh(np.asarray(self.devices or jax.devices()), ("pictures",))

    def _replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def init(self) -> TrainState:
        """The state before the first step, the same on all devices."""

        def fresh(key):
            parameters = self.loss.init(key)
            if self.start_from is not None:
                parameters = parameters | {"network": self.start_from.parameters}
            return first_state(parameters, self.optimizer)

        return once(fresh, jax.random.key(self.recipe.seed), out_shardings=self._replicated())

    def place(self, batch: np.ndarray) -> jax.Array:
        """This process's part of a batch, spread over its devices."""
        sharding = NamedSharding(self.mesh, PartitionSpec("pictures"))
        return jax.make_array_from_process_local_data(sharding, batch)

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step: the next state, and means over the batch in bits per pixel."""
        recipe = self.recipe
        key = jax.random.fold_in(jax.random.key(recipe.seed + 1), state.step)

        def objective(parameters, pictures, key):
            terms = self.loss(parameters, pictures, key)
            total = jnp.mean(terms.rate + terms.rest)
            return total, {"bpp": total, "rate_bpp": jnp.mean(terms.rate), "rest_bpp": jnp.mean(terms.rest)}

        def part(total, given):
            pictures, own_key = given
            gradients, metrics = jax.grad(objective, has_aux=True)(state.parameters, pictures, own_key)
            return jax.tree.map(jnp.add, total, (gradients, metrics)), None

        # Parts interleave, so that every device has its share of each.
        count = recipe.accumulate
        parts = jnp.swapaxes(batch.reshape(-1, count, *batch.shape[1:]), 0, 1)
        keys = jax.random.split(key, count)
        shapes = jax.eval_shape(lambda: jax.grad(objective, has_aux=True)(state.parameters, parts[0], keys[0]))
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        if count == 1:  # CPUs take four times as long for convolutions within a loop
            sums, _ = part(sums, (parts[0], keys[0]))
        else:
            sums, _ = jax.lax.scan(part, sums, (parts, keys))
        gradients, metrics = jax.tree.map(lambda leaf: leaf / count, sums)

        following = next_state(state, gradients, self.optimizer, recipe.ema)
        metrics |= {"gradient_norm": optax.tree.norm(gradients), "gamma_min": following.parameters["gamma_min"]}
        return following, metrics

    @cached_property
    def _jitted_step(self):
        return jax.jit(self.step, donate_argnums=0, out_shardings=self._replicated())

    def update(self, state: TrainState, batch: np.ndarray, step: int) -> tuple[TrainState, dict[str, jax.Array]]:
        """One optimisation step on this process's part of a batch, uint8 (n, side, side, 3)."""
        return self._jitted_step(state, self.place(batch))

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """Rate and PSNR after every step, and the rate of lossless coding, means over pictures of one size."""
        evaluate, batch = jax.jit(self.loss.progression), 16
        results = []
        for start in range(0, len(pictures), batch):
            key = jax.random.key(start)
            results.append(jax.device_get(evaluate(parameters, pictures[start : start + batch], key)))
        rates, psnr, rest = (np.concatenate(part) for part in zip(*results, strict=True))
        sent = np.concatenate([[0.0], np.cumsum(rates.mean(0))])
        rows = [
            {"sent": i, "bpp": round(float(sent[i]), 5), "psnr_db": round(float(psnr[:, i].mean()), 4)}
            for i in range(len(sent))
        ]
        return [*rows, {"sent": len(sent), "bpp": round(float(sent[-1] + rest.mean()), 5), "psnr_db": float("inf")}]

    def export(self, state: TrainState, name: str) -> DiffusionModel:
        """The averaged weights as a model."""
        average = jax.device_get(state.average)
        config = replace(self.config, noise=self.loss.noise(average))
        return DiffusionModel.from_training(config, average["network"], name=name)


def fit(
    recipe: Recipe,
    source: str | Path | np.ndarray | PictureSet,
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
    start_from: DiffusionModel | None = None,
    name: str = "unnamed",
) -> DiffusionModel:
    """Trains, or goes on where a checkpoint in `folder` left off, and returns the averaged model.

    `folder`/train.csv has bits per pixel, the norm of the gradient and gamma_min, `folder`/validation.csv bpp and PSNR
    after every step of Algorithm 1.

    Args:
      recipe: what to train.
      source: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go; with several processes, one that all of them see.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.
      start_from: a model to begin with instead of fresh weights; what it fixes is not taken from the recipe.
      name: goes into the model file.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
    """
    trainer, part = Trainer(recipe=recipe, start_from=start_from), (jax.process_index(), jax.process_count())
    pieces = Batches(open_source(source), side=recipe.side, batch=recipe.batch, seed=recipe.seed, part=part)
    with closing(pieces) as batches:
        state = train(trainer, batches, validation, folder, steps=recipe.steps, run=run)
    return trainer.export(state, name)
