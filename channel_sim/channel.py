"""The contract of one-shot channel simulation, and the distributions it is about.

A channel P_{Y|X} is simulated when a sender who knows x and a receiver who does not come to hold the same sample
y ~ P_{Y|X=x}, from common randomness W and a message whose expected length is close to I(X; Y). In the review's
notation (Section II-C), Y = OCS(P_{Y|X}, P^theta_Y, X). Here the sender's side is `Channel.encode` and the receiver's
`Channel.decode`; both return the sample. They append to a message that may hold other things; `encode` and `decode`
of this module send one sample as bytes.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from channel_sim.entropy import Reader, Writer
from channel_sim.randomness import SharedRandomness

__all__ = ["Categorical", "Channel", "Gaussian", "Logistic", "Uniform", "decode", "encode", "kl_bits", "log_mass"]


Parameter = np.ndarray | float
"""One number per coordinate, or one for all."""


class Uniform(NamedTuple):
    """Uniform distributions on [center - width / 2, center + width / 2), one per coordinate."""

    center: Parameter
    width: float


class Logistic(NamedTuple):
    """Logistic distributions, one per coordinate; the standard deviation is pi / sqrt(3) times the scale."""

    location: Parameter
    scale: Parameter


class Gaussian(NamedTuple):
    """Normal distributions, one per coordinate."""

    mean: Parameter
    std: Parameter


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
        """
        ...

    def decode(self, reader: Reader, reference, shared: SharedRandomness) -> np.ndarray:
        """Receives the sample.

        Raises:
          EOFError: the message is too short to determine all of it.
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

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> x = np.linspace(-1, 1, 1000)
      >>> channel, reference = cs.DitheredQuantization(width=0.5), cs.Gaussian(np.zeros(1000), 0.6)
      >>> data, sample = cs.encode(channel, cs.Uniform(x, 0.5), reference, seed=1)
      >>> bool(np.abs(sample - x).max() <= 0.25)
      True
    """
    writer = Writer()
    sample = channel.encode(writer, target, reference, SharedRandomness(seed))
    return writer.getvalue(), sample


def decode(channel: Channel, data: bytes, reference, *, seed: int) -> np.ndarray:
    """Receives the sample that `encode` sent with the same channel, reference and seed.

    Raises:
      EOFError: `data` is too short to determine all of it.

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> reference = cs.Categorical(np.full((3, 4), 0.25))
      >>> target = cs.Categorical(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]]))
      >>> data, sample = cs.encode(cs.GreedyRejection(), target, reference, seed=1)
      >>> bool((cs.decode(cs.GreedyRejection(), data, reference, seed=1) == sample).all())
      True
    """
    return channel.decode(Reader(data), reference, SharedRandomness(seed))


def kl_bits(target, reference) -> np.ndarray:
    """KL(target || reference) in bits: per coordinate, for `Categorical` per row.

    Args:
      target: `Gaussian`, `Uniform` or `Categorical`.
      reference: of the same kind.

    Returns:
      float64; infinite where the target has mass and the reference has none.

    Raises:
      TypeError: the two are not of one kind, or of another one.

    Examples:
      >>> import numpy as np
      >>> import channel_sim as cs
      >>> float(cs.kl_bits(cs.Uniform(0.0, 1.0), cs.Uniform(0.0, 8.0)))
      3.0
    """
    match target, reference:
        case Gaussian(), Gaussian():
            ratio = (target.std / reference.std) ** 2
            shift = ((target.mean - reference.mean) / reference.std) ** 2
            return np.asarray(0.5 * (ratio + shift - 1 - np.log(ratio)) / np.log(2))
        case Uniform(), Uniform():
            distance = np.abs(np.subtract(target.center, reference.center))
            inside = distance <= (reference.width - target.width) / 2 + 1e-12 * reference.width
            return np.where(inside, np.log2(reference.width / target.width), np.inf)
        case Categorical(), Categorical():
            from scipy.special import rel_entr  # here, so that coding does not wait for SciPy

            return np.asarray(rel_entr(target.probabilities, reference.probabilities).sum(-1) / np.log(2))
    kinds = f"{type(target).__name__} and {type(reference).__name__}"
    raise TypeError(f"the divergence is known between two Gaussian, Uniform or Categorical, not between {kinds}")


def log_mass(density: Logistic | Gaussian, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mass of a density on an interval, accurate in both tails.

    Args:
      density: of which family; its parameters are not used.
      low: lower end, less the location, in scales.
      high: upper end, likewise.

    Returns:
      log of the mass, in nats.
    """
    with np.errstate(over="ignore", divide="ignore"):
        if isinstance(density, Logistic):
            gap = np.log(-np.expm1(low - high))
            return -np.logaddexp(0, -high) - np.logaddexp(0, low) + gap
        from scipy.special import log_ndtr

        # Work in the left tail, where log_ndtr is accurate.
        low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
        upper = log_ndtr(high)
        return upper + np.log(-np.expm1(log_ndtr(low) - upper))
