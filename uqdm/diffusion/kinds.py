"""The two kinds of diffusion process, and the record of what a model of one is besides its weights.

A kind says how a step is distributed, what it costs, and what sends it (closed forms: uqdm.diffusion.process):

                 GaussianProcess                        UniformProcess
    target       N(m(z_t, x), sigma_s^2 c)              uniform around m(z_t, x), of width Delta
    states       alpha_t x + sigma_t N                  sample after sample of the targets, from z_1 ~ N(0, I)
    reference    N(m(z_t, x_hat), std^2)                psi * U(-Delta/2, Delta/2), psi around m(z_t, x_hat)
    cost         KL(target || reference)                -log2 of psi's mass on (z_s - Delta/2, z_s + Delta/2)
    channel      GaussianStep                           UniformStep

The record's configuration, which stands in model files, is

    process, logistic, forward_kernel_scale    the kind, by its name, and its parameters
    steps, gamma_min, gamma_max                of the noise schedule
    gammas                                     the levels, where they are not equally spaced
    network                                    the shape of the network
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from operator import index
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm import archive
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import Moments, NoiseSchedule, Prediction
from uqdm.diffusion.step_channel import GaussianStep, StepChannel, UniformStep

__all__ = ["DiffusionConfig", "GaussianProcess", "Process", "UniformProcess", "process_named"]


@runtime_checkable
class Process(Protocol):
    """A kind of process."""

    @property
    def name(self) -> str:
        """In files, and of the family of models (uqdm.library)."""
        ...

    @property
    def channel(self) -> StepChannel:
        """What sends a step."""
        ...

    def to_config(self) -> dict[str, Any]:
        """Name and parameters."""
        ...

    def states(self, x: Array, gammas: Float[Array, " t"], key: PRNGKeyArray) -> Float[Array, "t ..."]:
        """z_t at all times, drawn for x from the forward process."""
        ...

    def reference(
        self, z: ArrayLike, prediction: Prediction, gamma_t: ArrayLike, gamma_s: ArrayLike, *, learned_scale: bool
    ) -> Moments:
        """Moments of the reference, for the Gaussian process, or of psi.

        Args:
          z: z_t.
          prediction: what the network says of it.
          gamma_t: -log SNR before the step.
          gamma_s: after it.
          learned_scale: whether the network scales the standard deviation.
        """
        ...

    def cost_bits(self, target: Moments, reference: Moments, after: Array) -> Array:
        """What each coordinate of a step costs; `after` is z_s."""
        ...

    def require_channel(self, network: UNetConfig) -> None:
        """Raises a ValueError where the channel cannot send the steps of such a network."""
        ...


@dataclass(frozen=True, kw_only=True)
class UniformProcess:
    """UQDM: dithered quantization sends its steps.

    Attributes:
      logistic: whether psi is logistic, else Gaussian.
      forward_kernel_scale: see `uqdm.diffusion.process`, Eq. 4.
    """

    logistic: bool = True
    forward_kernel_scale: bool = True

    @property
    def name(self) -> str:
        return "uniform"

    @property
    def channel(self) -> UniformStep:
        return UniformStep(logistic=self.logistic)

    def to_config(self) -> dict[str, Any]:
        return {"process": self.name, **asdict(self)}

    def states(self, x: Array, gammas: Float[Array, " t"], key: PRNGKeyArray) -> Float[Array, "t ..."]:
        first, *keys = jax.random.split(key, len(gammas))
        states = [jax.random.normal(first, x.shape)]
        for i, own in enumerate(keys):
            target = diffusion.posterior(states[-1], x, gammas[i], gammas[i + 1])
            box = jax.random.uniform(own, x.shape, minval=-0.5, maxval=0.5)
            states.append(jnp.asarray(target.mean + target.width * box))
        return jnp.stack(states)

    def reference(
        self, z: ArrayLike, prediction: Prediction, gamma_t: ArrayLike, gamma_s: ArrayLike, *, learned_scale: bool
    ) -> Moments:
        return diffusion.reference(z, prediction, gamma_t, gamma_s, forward_kernel_scale=self.forward_kernel_scale)

    def cost_bits(self, target: Moments, reference: Moments, after: Array) -> Array:
        half = target.width / 2
        return -diffusion.log_psi_mass(after - half, after + half, reference, logistic=self.logistic) / jnp.log(2)

    def require_channel(self, network: UNetConfig) -> None:
        """Any network has one."""


@dataclass(frozen=True, kw_only=True)
class GaussianProcess:
    """VDM, DiffC: the simulation of Gaussian channels sends its steps.

    The reference that costs least has the target's standard deviation. A network with a learned scale is given Eq. 4 of
    uqdm.diffusion.process instead, which can be trained and measured but not sent.

    Attributes:
      logistic: says nothing here, where there is no psi; files have it all the same.
      forward_kernel_scale: of Eq. 4.
    """

    logistic: bool = True
    forward_kernel_scale: bool = True

    @property
    def name(self) -> str:
        return "gaussian"

    @property
    def channel(self) -> GaussianStep:
        return GaussianStep()

    def to_config(self) -> dict[str, Any]:
        return {"process": self.name, **asdict(self)}

    def states(self, x: Array, gammas: Float[Array, " t"], key: PRNGKeyArray) -> Float[Array, "t ..."]:
        noise, at = jax.random.normal(key, (len(gammas), *x.shape)), gammas.reshape(-1, *(1,) * x.ndim)
        return diffusion.alpha(at) * x[None] + diffusion.sigma(at) * noise

    def reference(
        self, z: ArrayLike, prediction: Prediction, gamma_t: ArrayLike, gamma_s: ArrayLike, *, learned_scale: bool
    ) -> Moments:
        forward = learned_scale and self.forward_kernel_scale
        return diffusion.reference(z, prediction, gamma_t, gamma_s, forward_kernel_scale=forward)

    def cost_bits(self, target: Moments, reference: Moments, after: Array) -> Array:
        return diffusion.gaussian_kl_bits(target, reference)

    def require_channel(self, network: UNetConfig) -> None:
        if network.learned_scale:
            raise ValueError(
                "this Gaussian model cannot encode, since its references have not their targets' standard deviation: "
                "train it with --recipe.network.no-learned-scale"
            )


def process_named(name: str, *, logistic: bool = True, forward_kernel_scale: bool = True) -> Process:
    """The kind of a name: "uniform" or "gaussian".

    Args:
      name: of the kind.
      logistic: whether psi is logistic, where there is one.
      forward_kernel_scale: see `uqdm.diffusion.process`, Eq. 4.

    Raises:
      ValueError: there is no kind of that name.
    """
    match name:
        case "uniform":
            return UniformProcess(logistic=logistic, forward_kernel_scale=forward_kernel_scale)
        case "gaussian":
            return GaussianProcess(logistic=logistic, forward_kernel_scale=forward_kernel_scale)
    raise ValueError(f"process must be uniform or gaussian, got {name!r}")


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """What a model of a diffusion process is besides its weights.

    Attributes:
      process: the kind.
      noise: gamma_t.
      steps: T, how many steps Algorithm 1 takes from t = 1 to 0, 1 to 255.
      network: shape of the network.
      levels: gamma before every step and after the last, falling, where they are not equally spaced.

    Raises:
      ValueError: there are no such steps.
    """

    process: Process
    noise: NoiseSchedule
    steps: int
    network: UNetConfig
    levels: tuple[float, ...] | None = None

    def __post_init__(self):
        if not 1 <= self.steps <= diffusion.MOST_STEPS:
            raise ValueError(f"steps must be 1 to {diffusion.MOST_STEPS}, got {self.steps}")
        if self.levels is not None and len(diffusion.step_gammas(self.levels)) != self.steps + 1:
            raise ValueError(f"{self.steps} steps have {self.steps + 1} levels, got {len(self.levels)}")

    @property
    def gammas(self) -> list[float]:
        """gamma before every step and after the last."""
        return self.noise.gammas(self.steps) if self.levels is None else list(self.levels)

    def with_gammas(self, gammas: Sequence[float] | np.ndarray) -> "DiffusionConfig":
        """The same at other levels, 2 to 256 of them."""
        levels = diffusion.step_gammas(gammas)
        return replace(self, steps=len(levels) - 1, levels=levels)

    def to_config(self) -> dict[str, Any]:
        """Plain numbers, for a file (module docstring)."""
        config = self.process.to_config() | {
            "steps": self.steps,
            "gamma_min": self.noise.gamma_min,
            "gamma_max": self.noise.gamma_max,
            "network": unet.to_config(self.network),
        }
        return config if self.levels is None else config | {"gammas": list(self.levels)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DiffusionConfig":
        """Mirror image of `to_config`.

        Raises:
          ValueError: the process is unknown, a value is of the wrong kind, or there are no such steps.
        """
        kind = type(process_named(config["process"]))
        return cls(
            process=archive.record(kind, {name: config[name] for name in ("logistic", "forward_kernel_scale")}),
            noise=archive.record(NoiseSchedule, {name: config[name] for name in ("gamma_min", "gamma_max")}),
            steps=index(config["steps"]),
            network=unet.from_config(config["network"]),
            levels=tuple(config["gammas"]) if "gammas" in config else None,
        )
