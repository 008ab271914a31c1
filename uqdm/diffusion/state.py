"""The state of a diffusion process: z_t, shared by sender and receiver.

z_1 is drawn from the common randomness (review, Section IV-B: the first channel simulation is skipped). A step takes
z_t to a sample of the posterior of z_s (uqdm.diffusion.process, Eq. 2), by a channel that the model names
(uqdm.diffusion.step_channel); what x is, pixels or a latent, the model's source says (uqdm.diffusion.source).

Previews denoise z_t. Where a step is known in part, m(z_t, x) = a z_t + b x has moved by a known distance, and x_hat
moves by that over b.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from channel_sim.entropy import Reader, Sampler, Writer
from channel_sim.quantile import normals
from channel_sim.randomness import SharedRandomness
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.process import Moments
from uqdm.diffusion.source import Source
from uqdm.diffusion.step_channel import StepChannel

__all__ = ["DiffusionState", "Expectation", "ReverseProcess"]

_LARGEST = 64.0
"""No state of the forward process, which has about unit variance, comes near this."""


class Expectation(NamedTuple):
    """What the network says before a step."""

    unclipped: np.ndarray
    """x_hat before it is clipped to possible values."""
    denoised: np.ndarray
    """x_hat."""
    reference: Moments
    """Of z_s."""


@runtime_checkable
class ReverseProcess(Protocol):
    """What a state asks of its model."""

    @property
    def gammas(self) -> Sequence[float]:
        """gamma before every step and after the last."""
        ...

    @property
    def source(self) -> Source:
        """What is sent of a picture."""
        ...

    @property
    def step_channel(self) -> StepChannel:
        """What sends a step."""
        ...

    def expect(self, z: np.ndarray, gamma_t: float, gamma_s: float) -> Expectation:
        """What the network says of z_t and of the step from t to s."""
        ...

    def last_estimate(self, z: np.ndarray) -> np.ndarray:
        """x_hat of z after the last step."""
        ...


class DiffusionState:
    """State of one picture (uqdm.contract.State).

    Attributes:
      z: z_t, float32, of the source's shape.
      expectation: of the next step, once the model has been asked.
    """

    def __init__(self, model: ReverseProcess, height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self.model, self.size, self.seed = model, (height, width), seed
        shape = model.source.shape(height, width)
        count = int(np.prod(shape))
        self.z = normals(SharedRandomness(seed), np.arange(count)).astype(np.float32).reshape(shape)
        self.expectation: Expectation | None = None
        self._before = self.z
        self._source = None if picture is None else model.source.values(picture)
        self._mean_shift: np.ndarray | None = None
        if self._source is not None and not np.abs(self._source).max() < _LARGEST / 2:
            raise ValueError(
                f"x must be of about unit scale, but the source gave values up to {np.abs(self._source).max():.3g}: "
                "let the source scale them"
            )

    def refer(self, step: int) -> None:
        """Asks the model what to expect of a step."""
        self.expectation = self.model.expect(self.z, *self._gammas(step))

    def send(self, writer: Writer, step: int) -> None:
        """Sends a sample of the posterior."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        assert self.expectation is not None, "the model must be asked before a step"
        target = diffusion.posterior(self.z, self._source, *self._gammas(step))
        shared = SharedRandomness(self.seed, step + 1)
        self._update(self.model.step_channel.send(writer, target, self.expectation.reference, shared))

    def receive(self, reader: Reader | Sampler, step: int) -> bool:
        """Mirror image of `send`."""
        assert self.expectation is not None, "the model must be asked before a step"
        target_std = _target_std(*self._gammas(step))
        shared = SharedRandomness(self.seed, step + 1)
        sample, self._mean_shift = self.model.step_channel.receive(
            reader, target_std, self.expectation.reference, shared
        )
        if sample is None:
            return False
        self._update(sample)
        return True

    def _gammas(self, step: int) -> tuple[float, float]:
        """gamma before and after a step."""
        return self.model.gammas[step], self.model.gammas[step + 1]

    def _update(self, sample: np.ndarray) -> None:
        if not np.abs(sample).max() < _LARGEST:
            raise OverflowError("a state is larger than any picture's")
        self._before, self.z = self.z, sample.astype(np.float32).reshape(self.z.shape)
        self.expectation = self._mean_shift = None

    def _coefficients(self, step: int) -> tuple[float, float]:
        """a and b of m(z_t, x) = a z_t + b x."""
        zero, one = np.zeros((), np.float32), np.ones((), np.float32)
        a, b = (diffusion.posterior(*pair, *self._gammas(step)).mean for pair in ((one, zero), (zero, one)))
        return float(a), float(b)

    def support(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Between which ends x lies after so many steps of the uniform process, float64, each of z_t's shape."""
        if step == 0:
            return np.full(self.z.shape, -1.0), np.full(self.z.shape, 1.0)
        a, b = self._coefficients(step - 1)
        # A thousandth is added for what rounding did to the states.
        half = 0.501 * 12**0.5 * _target_std(*self._gammas(step - 1)) / b
        middle = (self.z.astype(np.float64) - a * self._before) / b
        return middle - half, middle + half

    def moments_of_source(self, step: int) -> Moments | None:
        """Mean and standard deviation of psi of the next step as a density of x, float64; None after the last step."""
        if step == len(self.model.gammas) - 1:
            return None
        if self.expectation is None:
            self.refer(step)
        assert self.expectation is not None
        std = np.asarray(self.expectation.reference.std, np.float64) / self._coefficients(step)[1]
        return Moments(self.expectation.denoised.astype(np.float64), std)

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of z_t."""
        crc = zlib.crc32(self.z.astype("<f4").tobytes())
        return np.array([crc >> 8 & 255, crc & 255])

    @property
    def begun(self) -> bool:
        """Whether a part of the next step is known."""
        return self._mean_shift is not None

    def estimate(self, step: int) -> np.ndarray:
        """x_hat of what is known, float32."""
        if step == len(self.model.gammas) - 1:
            return self.model.last_estimate(self.z)
        if self.expectation is None:
            self.refer(step)
        assert self.expectation is not None
        x_hat = self.expectation.denoised
        if self._mean_shift is None:
            return x_hat
        _, b = self._coefficients(step)
        moved = (self._mean_shift / b).reshape(x_hat.shape)
        return self.model.source.clip(x_hat + moved).astype(np.float32)

    def picture(self, step: int) -> np.ndarray:
        """The denoised picture."""
        return self.model.source.picture(self.estimate(step), *self.size)

    methods = ("denoise", "ancestral", "flow")

    def reconstruct(self, step: int, method: str, remaining_steps: int | None, seed: int) -> np.ndarray:
        """What is known, continued in the steps that were not sent, or in so many of equal length in gamma.

        "ancestral" draws from the references, the reverse process as a stochastic differential equation (DiffC-A of
        Theis et al. 2022); "flow" follows the probability-flow ordinary differential equation (DiffC-F). Both begin at
        the last complete step (review, Section IV-B).
        """
        gammas = self.model.gammas[step:]
        if method == "denoise" or len(gammas) == 1:
            return self.picture(step)
        if remaining_steps is not None:
            gammas = np.linspace(gammas[0], gammas[-1], remaining_steps + 1).tolist()
        z, key = self.z, jax.random.key(seed)
        for i, (gamma_t, gamma_s) in enumerate(zip(gammas, gammas[1:], strict=False)):
            expectation = self.model.expect(z, gamma_t, gamma_s)
            if method == "flow":
                z = diffusion.flow(z, expectation.unclipped, gamma_t, gamma_s)
            else:
                own = jax.random.fold_in(key, i)
                z = self.model.step_channel.draw(expectation.reference, _target_std(gamma_t, gamma_s), own)
            z = np.asarray(z)
        return self.model.source.picture(self.model.last_estimate(z), *self.size)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether z_t lies where a picture's can: within eight standard deviations of alpha_t x everywhere."""
        gamma = self.model.gammas[step]
        distance = self.z - np.asarray(diffusion.alpha(gamma)) * self.model.source.values(picture)
        return bool(np.abs(distance).max() < 8 * np.asarray(diffusion.sigma(gamma)))


def _target_std(gamma_t: float, gamma_s: float) -> float:
    """Standard deviation of the posterior (uqdm.diffusion.process, Eq. 2)."""
    return float(diffusion.posterior(np.float32(0), np.float32(0), gamma_t, gamma_s).std)
