"""A model of the Gaussian or the uniform process: noise schedule, steps and a U-Net, in one file.

The file (uqdm.archive) has

    config       JSON: format, name, and the record of the process (uqdm.diffusion.kinds)
    weight/...   the parameters of the network (uqdm.diffusion.network), float32

The network is evaluated in floating point, so a stream decodes where it was made: on the same kind of machine with the
same versions of the libraries. Anywhere else probabilities differ in their last bits sooner or later, and the decoder
reports damage. Batches do not matter: every picture is evaluated by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from uqdm import archive
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, Process
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import Moments, NoiseSchedule
from uqdm.diffusion.state import Course, DiffusionState, Expectation, expect, picture
from uqdm.transforms.pixels import Pixels

__all__ = ["DiffusionModel"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionModel(archive.Contents):
    """Everything that sender and receiver must share: the contents of a model file.

    Attributes:
      arrays: the contents, by name (module docstring).
    """

    @classmethod
    def from_training(cls, config: DiffusionConfig, parameters: dict, *, name: str = "unnamed") -> "DiffusionModel":
        """A model of trained parameters.

        Args:
          config: process, noise schedule, steps and network.
          parameters: of `uqdm.diffusion.network`.
          name: for people.
        """
        arrays = {"config": archive.pack_config({"format": _FORMAT, "name": name, **config.to_config()})}
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
            arrays["weight/" + "/".join(str(part.key) for part in path)] = np.asarray(leaf, np.float32)
        return cls(arrays=arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DiffusionModel":
        """Takes the contents of a file.

        Raises:
          ValueError: the format is unknown, the configuration none, or the weights do not fit it.
        """
        model = cls(arrays=arrays)
        if (known := model.config.get("format")) != _FORMAT:
            raise ValueError(f"format {known} of diffusion models is unknown here (this program reads {_FORMAT})")
        _ = model.parameters  # checked where they are read
        return model

    @cached_property
    def diffusion_config(self) -> DiffusionConfig:
        """What the model is besides its weights."""
        return DiffusionConfig.from_config(self.config)

    @property
    def process(self) -> Process:
        """The kind of the process."""
        return self.diffusion_config.process

    @property
    def steps(self) -> int:
        """Steps of Algorithm 1."""
        return self.diffusion_config.steps

    @property
    def noise(self) -> NoiseSchedule:
        """gamma_t."""
        return self.diffusion_config.noise

    @property
    def gammas(self) -> list[float]:
        """gamma before every step and after the last."""
        return self.diffusion_config.gammas

    @property
    def network(self) -> UNetConfig:
        """Shape of the network."""
        return self.diffusion_config.network

    def with_gammas(self, gammas: Sequence[float]) -> "DiffusionModel":
        """The same network at other noise levels, for example those of uqdm.diffusion.noise_levels: another model, of
        another id.

        Args:
          gammas: before every step and after the last, falling, 2 to 256 of them.
        """
        config = self.config | self.diffusion_config.with_gammas(gammas).to_config()
        return DiffusionModel(arrays={**self.arrays, "config": archive.pack_config(config)})

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Weights of the network."""
        return archive.parameters(archive.under("weight/", self.arrays), unet.shapes(self.network))

    @cached_property
    def _on_device(self) -> dict[str, Any]:
        return jax.device_put(self.parameters)

    @property
    def family(self) -> str:
        """That of the process."""
        return self.process.name

    @property
    def course(self) -> Course:
        """What the steps are about."""
        return Course(self.gammas, Pixels(stride=self.network.stride), self.process.channel)

    def expectation(self, z: np.ndarray, gamma_t: float, gamma_s: float) -> Expectation:
        """What the network says of one noisy picture z_t (H, W, 3) and of the step from t to s."""
        static = (self.process, self.network)
        outputs = _expect(static, self._on_device, jnp.asarray(z)[None], jnp.float32(gamma_t), jnp.float32(gamma_s))
        unclipped, mean, std = (np.asarray(output[0]) for output in outputs)
        return Expectation(unclipped, self.course.source.clip(unclipped), Moments(mean, std))

    def last_estimate(self, z: np.ndarray) -> np.ndarray:
        """The largest of p(x | z_0), which is at z_0 / alpha_0."""
        return self.course.source.clip(z / np.asarray(diffusion.alpha(self.gammas[-1])))

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> DiffusionState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3).

        Raises:
          ValueError: it is a Gaussian model whose references have other deviations than their targets.
        """
        self.process.require_channel(self.network)
        return DiffusionState(self.course, height, width, seed, picture)

    def expect(self, states: Sequence[DiffusionState], step: int) -> None:
        """Tells states what to expect of a step."""
        expect(self, states, step)

    def picture(self, state: DiffusionState, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
        return picture(self, state, step)


@partial(jax.jit, static_argnums=0)
def _expect(static: tuple[Process, UNetConfig], parameters, z: Array, gamma_t, gamma_s):
    process, network = static
    prediction = unet.apply(network, parameters, z, jnp.full((z.shape[0],), gamma_t))
    moments = process.reference(z, prediction, gamma_t, gamma_s, learned_scale=network.learned_scale)
    unclipped = prediction.denoised(z, gamma_t, clip=False)
    return unclipped, *moments
