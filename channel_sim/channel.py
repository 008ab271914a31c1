"""The contract of one-shot channel simulation, and the distributions it is about.

A channel P_{Y|X} is simulated when a sender who knows x and a receiver who does not come to hold the same sample
y ~ P_{Y|X=x}, from common randomness W and a message whose expected length is close to I(X; Y). In the review's
notation (Section II-C), Y = OCS(P_{Y|X}, P^theta_Y, X). Here the sender's side is `Channel.encode` and the receiver's
`Channel.decode`; both return the sample.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from channel_sim.entropy import Reader, Writer
from channel_sim.randomness import SharedRandomness

__all__ = ["Channel", "Gaussian", "Logistic", "Uniform", "kl_bits"]


class Uniform(NamedTuple):
    """Uniform distributions on [center - width / 2, center + width / 2), one per coordinate."""

    center: np.ndarray
    width: float


class Logistic(NamedTuple):
    """Logistic distributions, one per coordinate; the standard deviation is pi / sqrt(3) times the scale."""

    location: np.ndarray
    scale: np.ndarray


class Gaussian(NamedTuple):
    """Normal distributions, one per coordinate."""

    mean: np.ndarray
    std: np.ndarray


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


def kl_bits(target: Gaussian, reference: Gaussian) -> np.ndarray:
    """KL(target || reference) per coordinate, in bits."""
    ratio = (target.std / reference.std) ** 2
    shift = ((target.mean - reference.mean) / reference.std) ** 2
    return 0.5 * (ratio + shift - 1 - np.log(ratio)) / np.log(2)
