"""The contract of one-shot channel simulation, and the distributions it is about.

A channel P_{Y|X} is simulated when a sender who knows x and a receiver who does not come to hold the same sample
y ~ P_{Y|X=x}, from common randomness W and a message whose expected length is close to I(X; Y). In the review's
notation (Section II-C), Y = OCS(P_{Y|X}, P^theta_Y, X). Here the sender's side is `Channel.encode` and the receiver's
`Channel.decode`; both return the sample. They append to a message that may hold other things; `encode` and `decode`
of this module send one sample as bytes.

What a parameter may be is said in channel_sim.checks. Both sides of every channel refuse others before anything is
written or read.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import scipy

from channel_sim import checks
from channel_sim.entropy import Reader, Writer
from channel_sim.randomness import SharedRandomness

__all__ = ["Categorical", "Channel", "Gaussian", "Logistic", "Uniform", "decode", "encode", "kl_bits"]


Parameter = np.ndarray | float
"""One number per coordinate, or one for all."""


class Uniform(NamedTuple):
    """Uniform distributions on [center - width / 2, center + width / 2), one per coordinate."""

    center: Parameter
    width: float

    def log_mass(self, low: Parameter, high: Parameter) -> np.ndarray:
        """As `Logistic.log_mass`."""
        half = np.divide(self.width, 2)
        low, high = np.maximum(low, self.center - half), np.minimum(high, self.center + half)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(high - low, 0) / self.width))

    def contains(self, other: "Uniform") -> np.ndarray:
        """Whether the intervals of `other` lie inside these, up to rounding of their ends."""
        distance = np.abs(np.subtract(other.center, self.center))
        rounding = np.multiply(self.width, 1e-12) + np.abs(self.center) * 2.0**-50
        return np.asarray(distance <= np.subtract(self.width, other.width) / 2 + rounding)


class Logistic(NamedTuple):
    """Logistic distributions, one per coordinate; the standard deviation is pi / sqrt(3) times the scale."""

    location: Parameter
    scale: Parameter

    def log_mass(self, low: Parameter, high: Parameter) -> np.ndarray:
        """log of the mass on an interval, accurate in both tails.

        With F(x) = 1 / (1 + e^-x), ends in scales around the location,

            F(high) - F(low) = F(high) F(-low) (1 - e^(low - high)),

        in which nothing cancels.

        Args:
          low: lower end, any shape that broadcasts with the parameters; may be -infinity.
          high: upper end, not below `low`; may be infinity.

        Returns:
          float64, in nats; -infinity for empty intervals.
        """
        low, high = (low - self.location) / self.scale, (high - self.location) / self.scale
        with np.errstate(over="ignore", divide="ignore"):
            return np.asarray(-np.logaddexp(0, -high) - np.logaddexp(0, low) + np.log(-np.expm1(low - high)))


class Gaussian(NamedTuple):
    """Normal distributions, one per coordinate."""

    mean: Parameter
    std: Parameter

    def mass(self, low: Parameter, high: Parameter) -> np.ndarray:
        """Mass on an interval as a difference of distribution functions, each accurate in its tail.

        Cheaper than `log_mass`, and 0 for ends more than 38 deviations out.
        """
        low, high = (low - self.mean) / self.std, (high - self.mean) / self.std
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        return np.asarray(scipy.special.ndtr(high) - scipy.special.ndtr(low))

    def log_mass(self, low: Parameter, high: Parameter) -> np.ndarray:
        """As `Logistic.log_mass`.

        Intervals right of the mean are mirrored into the left tail, where log Phi is accurate; then the mass is
        Phi(high) (1 - Phi(low) / Phi(high)).
        """
        low, high = (low - self.mean) / self.std, (high - self.mean) / self.std
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        upper = scipy.special.log_ndtr(high)
        with np.errstate(divide="ignore"):
            return np.asarray(upper + np.log(-np.expm1(scipy.special.log_ndtr(low) - upper)))


class Categorical(NamedTuple):
    """Distributions on 0, ..., K - 1, one per row."""

    probabilities: np.ndarray
    """(..., K), non-negative; rows sum to 1."""


@runtime_checkable
class Channel(Protocol):
    """One-shot channel simulation (review, Section II-C)."""

    def encode(self, writer: Writer, target, reference, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample of `target`.

        Args:
          writer: takes the message.
          target: the channel's output distribution given the sender's input.
          reference: what the receiver expects; decides the cost, never the law of the sample.
          shared: the common randomness W; every use of one channel needs its own stream.

        Returns:
          The sample, the same that `decode` will return.

        Raises:
          TypeError: a distribution, or a number, is of a kind that the channel does not know.
          ValueError: a parameter is not finite, a scale not positive, a shape another one (channel_sim.checks), or
            the channel cannot send the target.
        """
        ...

    def decode(self, reader: Reader, reference, shared: SharedRandomness) -> np.ndarray:
        """Receives the sample.

        Raises:
          TypeError: as `encode`.
          ValueError: as `encode`, for the reference.
          EOFError: the message is too short to determine all of it.
          OverflowError: no message says this; it must be damaged.
        """
        ...


def encode(channel: Channel, target, reference, *, seed: int) -> tuple[bytes, np.ndarray]:
    """Sends one sample of `target`.

    Args:
      channel: how.
      target: the distribution that only the sender knows.
      reference: the distribution that the receiver expects; the same for `decode`.
      seed: names the common randomness, in [0, 2^32). Samples sent with one seed depend on each other.

    Returns:
      The message, and the sample that `decode` will return.

    Raises:
      TypeError: `seed` is not an integer, or as `Channel.encode`.
      ValueError: `seed` is outside [0, 2^32), or as `Channel.encode`.

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> x = np.linspace(-1, 1, 1000)
      >>> channel, reference = cs.DitheredQuantization(width=0.5), cs.Gaussian(np.zeros(1000), 0.6)
      >>> data, sample = cs.encode(channel, cs.Uniform(x, 0.5), reference, seed=1)
      >>> bool(np.abs(sample - x).max() <= 0.25)
      True
    """
    shared = _start(channel, seed)
    writer = Writer()
    sample = channel.encode(writer, target, reference, shared)
    return writer.getvalue(), sample


def decode(channel: Channel, data: bytes, reference, *, seed: int) -> np.ndarray:
    """Receives the sample that `encode` sent with the same channel, reference and seed.

    Raises:
      TypeError: `data` is not bytes, `seed` is not an integer, or as `Channel.decode`.
      ValueError: `seed` is outside [0, 2^32), or as `Channel.decode`.
      EOFError: `data` is too short to determine all of it.
      OverflowError: no message says this; it must be damaged.

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> reference = cs.Categorical(np.full((3, 4), 0.25))
      >>> target = cs.Categorical(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]]))
      >>> data, sample = cs.encode(cs.GreedyRejection(), target, reference, seed=1)
      >>> bool((cs.decode(cs.GreedyRejection(), data, reference, seed=1) == sample).all())
      True
    """
    shared = _start(channel, seed)
    return channel.decode(Reader(data), reference, shared)


def _start(channel: Channel, seed: int) -> SharedRandomness:
    """The common randomness of a call."""
    if isinstance(channel, type) or not (hasattr(channel, "encode") and hasattr(channel, "decode")):
        given = f"the class {channel.__name__}" if isinstance(channel, type) else type(channel).__name__
        raise TypeError(f"channel must be a channel such as GaussianChannel(), got {given}")
    return SharedRandomness(checks.integer("seed", seed, 0, 2**32 - 1))


def kl_bits(target, reference) -> np.ndarray:
    """KL(target || reference) in bits: per coordinate, for `Categorical` per row.

    Args:
      target: `Gaussian`, `Uniform` or `Categorical`.
      reference: of the same kind, with a shape that broadcasts with the target's.

    Returns:
      float64; infinite where the target has mass and the reference has none.

    Raises:
      TypeError: the two are not of one kind, or of another one.
      ValueError: parameters are not finite, scales not positive, rows no probabilities, or shapes do not broadcast.

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> float(cs.kl_bits(cs.Uniform(0.0, 1.0), cs.Uniform(0.0, 8.0)))
      3.0
    """
    if type(target) is not type(reference) or type(target) not in (Gaussian, Uniform, Categorical):
        kinds = f"{type(target).__name__} and {type(reference).__name__}"
        raise TypeError(f"the divergence is known between two Gaussian, Uniform or Categorical, not between {kinds}")
    target, reference = _double("target", target), _double("reference", reference)
    checks.broadcast(target, reference)
    match target, reference:
        case Gaussian(), Gaussian():
            ratio = (target.std / reference.std) ** 2
            shift = ((target.mean - reference.mean) / reference.std) ** 2
            return np.asarray(0.5 * (ratio + shift - 1 - np.log(ratio)) / np.log(2))
        case Uniform(), Uniform():
            return np.where(reference.contains(target), np.log2(reference.width / target.width), np.inf)
    return np.asarray(scipy.special.rel_entr(target.probabilities, reference.probabilities).sum(-1) / np.log(2))


def _double(name: str, value) -> Any:
    """A distribution, checked, in double precision."""
    return type(value)._make(np.asarray(part, np.float64) for part in checks.distribution(name, value, type(value)))
