"""How one step of a diffusion process is sent: the channel that takes z_t to z_s.

Sender and receiver know the reference, Moments of p(z_s | z_t); the sender knows the target's as well
(uqdm.diffusion.process).

*Uniform process.* The target is uniform, and dithered quantization (channel_sim.dither) simulates it exactly. The
lattice of width Delta has a shift from the common randomness and does not depend on the network, so z_s is a function
of integers and the seed, and the network only decides what they cost. (The published code centres the lattice on the
network's mean: the law is the same, but every rounding error of the network goes into the state.) A step that is known
in part tells of every mean m(z_t, x) that it lies in some interval; there psi is cut off, and its mean moves.

*Gaussian process.* Target and reference are Gaussians of one standard deviation, and channel_sim.gaussian simulates the
target in chunks, or by layers where these are cheaper, to a stated error. Of a step that is cut nothing is known.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, PRNGKeyArray

from channel_sim.channel import Gaussian, Logistic, Uniform
from channel_sim.dither import DitheredQuantization
from channel_sim.entropy import Reader, Writer
from channel_sim.gaussian import GaussianChannel
from channel_sim.randomness import SharedRandomness
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.process import Moments

__all__ = ["GaussianStep", "Received", "StepChannel", "UniformStep"]


class Received(NamedTuple):
    """What the bytes say of a step."""

    sample: np.ndarray | None
    """z_s, float64 (d,); None where they determine a part of it only."""
    mean_shift: np.ndarray | None = None
    """How far that part moves the mean of the reference, float64 (d,)."""


@runtime_checkable
class StepChannel(Protocol):
    """The contract. Moments have means (d,); a target's std is a scalar that both sides know."""

    def send(self, writer: Writer, target: Moments, reference: Moments, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample of the target, float64 (d,)."""
        ...

    def receive(self, reader: Reader, target_std: float, reference: Moments, shared: SharedRandomness) -> Received:
        """Mirror image of `send`."""
        ...

    def draw(self, reference: Moments, target_std: float, key: PRNGKeyArray) -> Array:
        """A sample of the reference with private randomness."""
        ...


@dataclass(frozen=True, kw_only=True)
class UniformStep:
    """Of the uniform process.

    Attributes:
      logistic: whether psi is logistic, else Gaussian.
    """

    logistic: bool = True

    def send(self, writer: Writer, target: Moments, reference: Moments, shared: SharedRandomness) -> np.ndarray:
        channel = DitheredQuantization(width=float(target.width))
        return channel.encode(writer, Uniform(_flat(target.mean), channel.width), self.psi(reference), shared)

    def receive(self, reader: Reader, target_std: float, reference: Moments, shared: SharedRandomness) -> Received:
        channel = DitheredQuantization(width=_width(target_std))
        sample, known = channel.decode_prefix(reader, self.psi(reference), shared)
        if sample is not None:
            return Received(sample)
        mean, std = _flat(reference.mean), _flat(reference.std)
        truncated = diffusion.truncated_logistic_mean if self.logistic else diffusion.truncated_gaussian_mean
        return Received(None, std * truncated(*((end - mean) / std for end in known)))

    def draw(self, reference: Moments, target_std: float, key: PRNGKeyArray) -> Array:
        return diffusion.sample_reference(reference, _width(target_std), key, logistic=self.logistic)

    def psi(self, reference: Moments) -> Logistic | Gaussian:
        """The density of a mean m(z_t, x), parameters (d,)."""
        mean, std = _flat(reference.mean), _flat(reference.std)
        return Logistic(mean, std * (3**0.5 / np.pi)) if self.logistic else Gaussian(mean, std)


@dataclass(frozen=True, kw_only=True)
class GaussianStep:
    """Of the Gaussian process.

    Attributes:
      channel: what simulates it.
    """

    channel: GaussianChannel = GaussianChannel()

    def send(self, writer: Writer, target: Moments, reference: Moments, shared: SharedRandomness) -> np.ndarray:
        std = float(target.std)
        return self.channel.encode(
            writer, Gaussian(_flat(target.mean), std), Gaussian(_flat(reference.mean), std), shared
        )

    def receive(self, reader: Reader, target_std: float, reference: Moments, shared: SharedRandomness) -> Received:
        try:
            return Received(self.channel.decode(reader, Gaussian(_flat(reference.mean), target_std), shared))
        except EOFError:
            return Received(None)

    def draw(self, reference: Moments, target_std: float, key: PRNGKeyArray) -> Array:
        return diffusion.sample_reference(reference, 0.0, key, logistic=False, uniform=False)


def _flat(array) -> np.ndarray:
    return np.asarray(array, np.float64).reshape(-1)


def _width(std: float) -> float:
    """Delta of uqdm.diffusion.process, Eq. 3, in the precision in which `Moments.width` has it."""
    return float(np.float32(std) * np.float32(12**0.5))
