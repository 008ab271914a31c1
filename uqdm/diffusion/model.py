"""A model of the Gaussian or the uniform process: noise schedule, steps and a U-Net, in one file.

The file (uqdm.archive) has

    config       JSON: format, name, process, steps, gamma_min, gamma_max, logistic, forward_kernel_scale, network;
                 gammas, the noise levels before every step and after the last, where they are not equally spaced
    weight/...   the parameters of the network (uqdm.diffusion.network), float32

The network is evaluated in floating point, so a stream decodes where it was made: on the same kind of machine with the
same versions of the libraries. Anywhere else probabilities differ in their last bits sooner or later, and the decoder
reports damage. Batches do not matter: every picture is evaluated by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from uqdm import archive
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import Moments, NoiseSchedule
from uqdm.diffusion.state import Course, DiffusionState, Expectation, expect, picture
from uqdm.diffusion.step_channel import GaussianStep, StepChannel, UniformStep
from uqdm.transforms.pixels import Pixels

__all__ = ["DiffusionModel"]

_FORMAT = 1
Process = Literal["uniform", "gaussian"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionModel(archive.Contents):
    """Everything that sender and receiver must share: the contents of a model file.

    Attributes:
      arrays: the contents, by name (module docstring).
    """

    @classmethod
    def from_training(
        cls,
        *,
        process: Process,
        noise: NoiseSchedule,
        steps: int,
        network: UNetConfig,
        parameters: dict,
        logistic: bool = True,
        forward_kernel_scale: bool = True,
        name: str = "unnamed",
    ) -> "DiffusionModel":
        """A model of trained parameters.

        Args:
          process: which of the two (uqdm.diffusion.process).
          noise: gamma_t.
          steps: how many steps Algorithm 1 takes from t = 1 to 0, 1 to 255.
          network: shape of the network.
          parameters: of `uqdm.diffusion.network`.
          logistic: whether psi is logistic, else Gaussian.
          forward_kernel_scale: see `uqdm.diffusion.process`, Eq. 4.
          name: for people.
        """
        if process not in ("uniform", "gaussian") or not 1 <= steps <= 255:
            raise ValueError(f"process must be uniform or gaussian and steps 1 to 255, got {process!r} and {steps}")
        config = {
            "format": _FORMAT,
            "name": name,
            "process": process,
            "steps": steps,
            "gamma_min": noise.gamma_min,
            "gamma_max": noise.gamma_max,
            "logistic": logistic,
            "forward_kernel_scale": forward_kernel_scale,
            "network": unet.to_config(network),
        }
        arrays = {"config": archive.pack_config(config)}
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
            arrays["weight/" + "/".join(str(part.key) for part in path)] = np.asarray(leaf, np.float32)
        return cls(arrays=arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DiffusionModel":
        """Takes the contents of a file.

        Raises:
          ValueError: the format is unknown.
        """
        model = cls(arrays=arrays)
        if (known := model.config.get("format")) != _FORMAT:
            raise ValueError(f"format {known} of diffusion models is unknown here (this program reads {_FORMAT})")
        return model

    @property
    def process(self) -> Process:
        """Which of the two processes."""
        return self.config["process"]

    @property
    def steps(self) -> int:
        """Steps of Algorithm 1."""
        return self.config["steps"]

    @cached_property
    def noise(self) -> NoiseSchedule:
        """gamma_t."""
        return NoiseSchedule(gamma_min=self.config["gamma_min"], gamma_max=self.config["gamma_max"])

    @property
    def gammas(self) -> list[float]:
        """gamma before every step and after the last."""
        return self.config.get("gammas") or self.noise.gammas(self.steps)

    def with_gammas(self, gammas: Sequence[float]) -> "DiffusionModel":
        """The same network at other noise levels, for example those of uqdm.diffusion.noise_levels: another model, of
        another id.

        Args:
          gammas: before every step and after the last, falling, 2 to 256 of them.
        """
        levels = list(diffusion.step_gammas(gammas))
        config = self.config | {"steps": len(levels) - 1, "gammas": levels}
        return DiffusionModel(arrays={**self.arrays, "config": archive.pack_config(config)})

    @property
    def logistic(self) -> bool:
        """Whether psi is logistic, else Gaussian."""
        return self.config["logistic"]

    @cached_property
    def network(self) -> UNetConfig:
        """Shape of the network."""
        return unet.from_config(self.config["network"])

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Weights of the network."""
        return archive.nested(archive.under("weight/", self.arrays))

    @cached_property
    def _on_device(self) -> dict[str, Any]:
        return jax.device_put(self.parameters)

    @property
    def family(self) -> str:
        """The process."""
        return self.process

    @property
    def course(self) -> Course:
        """What the steps are about."""
        channel: StepChannel = UniformStep(logistic=self.logistic) if self.process == "uniform" else GaussianStep()
        return Course(self.gammas, Pixels(stride=self.network.stride), channel)

    def expectation(self, z: np.ndarray, gamma_t: float, gamma_s: float) -> Expectation:
        """What the network says of one noisy picture z_t (H, W, 3) and of the step from t to s."""
        # The Gaussian process simulates channels of equal covariance.
        static = (self.network, self.process == "uniform" and self.config["forward_kernel_scale"])
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
        if self.process == "gaussian" and self.network.learned_scale:
            raise ValueError(
                "this Gaussian model cannot encode, since its references have not their targets' standard deviation: "
                "train it with --recipe.network.no-learned-scale"
            )
        return DiffusionState(self.course, height, width, seed, picture)

    def expect(self, states: Sequence[DiffusionState], step: int) -> None:
        """Tells states what to expect of a step."""
        expect(self, states, step)

    def picture(self, state: DiffusionState, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
        return picture(self, state, step)


@partial(jax.jit, static_argnums=0)
def _expect(static: tuple[UNetConfig, bool], parameters, z: Array, gamma_t, gamma_s):
    network, forward_kernel_scale = static
    prediction = unet.apply(network, parameters, z, jnp.full((z.shape[0],), gamma_t))
    moments = diffusion.reference(z, prediction, gamma_t, gamma_s, forward_kernel_scale=forward_kernel_scale)
    unclipped = prediction.denoised(z, gamma_t, clip=False)
    return unclipped, *moments
