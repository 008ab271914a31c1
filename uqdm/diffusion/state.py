"""The state of a diffusion process: z_t, shared by sender and receiver.

z_1 is drawn from the common randomness (review, Section IV-B: the first channel simulation is skipped). A step takes
z_t to a sample of the posterior of z_s (uqdm.diffusion.process, Eq. 2), by the channel of a `Course`
(uqdm.diffusion.step_channel); what x is, pixels or a latent, its source says (uqdm.diffusion.source).

Previews denoise z_t. Where a step is known in part, m(z_t, x) = a z_t + b x has moved by a known distance, and x_hat
moves by that over b.
"""

import copy
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from channel_sim.entropy import Reader, Writer
from channel_sim.quantile import normals
from channel_sim.randomness import SharedRandomness
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.process import Moments
from uqdm.diffusion.source import Source
from uqdm.diffusion.step_channel import StepChannel

__all__ = ["Course", "DiffusionState", "Expectation", "ReverseProcess", "expect", "picture"]

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


class Course(NamedTuple):
    """What the steps of a model are about, all that a state needs to know of it."""

    gammas: Sequence[float]
    """gamma before every step and after the last."""
    source: Source
    """What is sent of a picture."""
    channel: StepChannel
    """What sends a step."""


@runtime_checkable
class ReverseProcess(Protocol):
    """What previews, reconstructions and the choice of noise levels ask of a model."""

    @property
    def course(self) -> Course:
        """What its steps are about."""
        ...

    def expectation(self, z: np.ndarray, gamma_t: float, gamma_s: float) -> Expectation:
        """What the network says of z_t and of the step from t to s."""
        ...

    def last_estimate(self, z: np.ndarray) -> np.ndarray:
        """x_hat of z after the last step."""
        ...


class DiffusionState:
    """State of one picture (uqdm.contract.State).

    Attributes:
      course: what the steps are about.
      size: height and width of the picture.
      z: z_t, float32, of the source's shape.
      expectation: of the next step, once the model has been asked.
    """

    def __init__(self, course: Course, height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self.course, self.size, self.seed = course, (height, width), seed
        shape = course.source.shape(height, width)
        count = int(np.prod(shape))
        self.z = normals(SharedRandomness(seed), np.arange(count)).astype(np.float32).reshape(shape)
        self.expectation: Expectation | None = None
        self._before = self.z
        self._x = None if picture is None else course.source.values(picture)
        self._mean_shift: np.ndarray | None = None
        if self._x is not None and not np.abs(self._x).max() < _LARGEST / 2:
            raise ValueError(
                f"x must be of about unit scale, but the source gave values up to {np.abs(self._x).max():.3g}: "
                "let the source scale them"
            )

    def send(self, writer: Writer, step: int) -> None:
        """Sends a sample of the posterior."""
        assert self._x is not None, "only a state that was begun with a picture can send"
        assert self.expectation is not None, "the model must be asked before a step"
        target = diffusion.posterior(self.z, self._x, *self._gammas(step))
        shared = SharedRandomness(self.seed, step + 1)
        self._update(self.course.channel.send(writer, target, self.expectation.reference, shared))

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        assert self.expectation is not None, "the model must be asked before a step"
        target_std = diffusion.posterior_std(*self._gammas(step))
        shared = SharedRandomness(self.seed, step + 1)
        sample, self._mean_shift = self.course.channel.receive(reader, target_std, self.expectation.reference, shared)
        if sample is None:
            return False
        self._update(sample)
        return True

    def _gammas(self, step: int) -> tuple[float, float]:
        """gamma before and after a step."""
        return self.course.gammas[step], self.course.gammas[step + 1]

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
        half = 0.501 * 12**0.5 * diffusion.posterior_std(*self._gammas(step - 1)) / b
        middle = (self.z.astype(np.float64) - a * self._before) / b
        return middle - half, middle + half

    def moments_of_source(self, step: int) -> Moments | None:
        """Mean and standard deviation of psi of the next step as a density of x, float64; None after the last step."""
        if step == len(self.course.gammas) - 1:
            return None
        assert self.expectation is not None, "the model must be asked before a step"
        std = np.asarray(self.expectation.reference.std, np.float64) / self._coefficients(step)[1]
        return Moments(self.expectation.denoised.astype(np.float64), std)

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of z_t."""
        crc = zlib.crc32(self.z.astype("<f4").tobytes())
        return np.array([crc >> 8 & 255, crc & 255])

    @property
    def partly_known(self) -> bool:
        """Whether a part of the next step is known."""
        return self._mean_shift is not None

    def branch(self) -> "DiffusionState":
        """A copy that can go its own way: arrays are replaced, never written into."""
        return copy.copy(self)

    def estimate(self, step: int) -> np.ndarray:
        """x_hat of what is known, float32, before a step that the model has been asked about."""
        assert self.expectation is not None, "the model must be asked before a step"
        x_hat = self.expectation.denoised
        if self._mean_shift is None:
            return x_hat
        _, b = self._coefficients(step)
        moved = (self._mean_shift / b).reshape(x_hat.shape)
        return self.course.source.clip(x_hat + moved).astype(np.float32)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether z_t lies where a picture's can: within eight standard deviations of alpha_t x everywhere."""
        gamma = self.course.gammas[step]
        distance = self.z - np.asarray(diffusion.alpha(gamma)) * self.course.source.values(picture)
        return bool(np.abs(distance).max() < 8 * np.asarray(diffusion.sigma(gamma)))


def expect(model: ReverseProcess, states: Sequence[DiffusionState], step: int) -> None:
    """Tells states what to expect of a step, one after the other: results must not depend on batches."""
    gammas = model.course.gammas[step : step + 2]
    for state in states:
        state.expectation = model.expectation(state.z, *gammas)


def picture(model: ReverseProcess, state: DiffusionState, step: int) -> np.ndarray:
    """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
    if step == len(model.course.gammas) - 1:
        x_hat = model.last_estimate(state.z)
    else:
        if state.expectation is None:
            expect(model, [state], step)
        x_hat = state.estimate(step)
    return state.course.source.picture(x_hat, *state.size)
