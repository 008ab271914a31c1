"""Layered dithered quantization: exact simulation of additive noise with any symmetric unimodal density.

A unimodal density is a mixture of uniform ones: with (Z, H) uniform under the graph of f, Z given the height H is
uniform on the layer {z: f(z) >= H} = [-A, A] (Wilson 2000; the direct layered quantizer of Hegazy and Li 2022). Both
sides draw the half width A, which has the density

    -2 a f'(a),    distribution function  2 (F(a) - 1/2) - 2 a f(a),                                       (1)

and send X by dithered quantization of width W = 2 A (channel_sim.dither): Y - X is uniform on [-A, A] given A, so it
has the density f and is independent of X. The cost with reference density psi for X is

    I(X; Y | A) = E_A[h(X + U(-A, A)) - log2(2 A)],                                                        (2)

which exceeds I(X; Y) at high rates by h(f) - E log2(2 A): 0.52 bit for Gaussian noise. At low rates it goes with the
standard deviation of X where the mutual information goes with its square: nothing for less than 0.3 bit.

Noise laws, in units of their scale s. Gaussian: A = sqrt(g_1^2 + g_2^2 + g_3^2) with standard normal g_i, since Eq. 1
is the chi distribution with three degrees of freedom. Logistic: A from integer tables of the quantiles of Eq. 1,

    tanh(a / 2) - (a / 2) sech^2(a / 2).                                                                   (3)

The widths are the same on every machine (IEEE square root, integer tables). The probabilities of the cells come from
densities in floating point, as in `DitheredQuantization` with such a reference: equal only on equal machines.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from channel_sim.channel import Gaussian, Logistic, Uniform
from channel_sim.dither import DitheredQuantization
from channel_sim.entropy import Reader, Writer
from channel_sim.quantile import TICKS, QuantileTable, normals
from channel_sim.randomness import SharedRandomness

__all__ = ["LayeredQuantization"]

_WIDTHS_FROM = 2**40
_SMALLEST = 2.0**-20


@dataclass(frozen=True, kw_only=True)
class LayeredQuantization:
    """The channel X -> X + Z with Z distributed as `noise`, exactly.

    Attributes:
      noise: `Gaussian(0, s)` or `Logistic(0, s)` with a scalar s > 0.
    """

    noise: Gaussian | Logistic

    def encode(
        self, writer: Writer, target: Gaussian | Logistic, reference: Gaussian | Logistic, shared: SharedRandomness
    ) -> np.ndarray:
        """Sends a sample of X + Z given X = target[0].

        Args:
          writer: takes the message.
          target: of the kind and scale of `noise`.
          reference: density psi of X, (n,) parameters or scalars.
          shared: common randomness of this use.

        Returns:
          float64 (n,).
        """
        if type(target) is not type(self.noise) or (np.asarray(target[1]) != self.noise[1]).any():
            raise ValueError(
                f"this channel adds the noise {self.noise}, the target is {type(target).__name__} around x"
            )
        center = np.asarray(target[0], np.float64)
        width = self._widths(len(center), shared)
        unit = DitheredQuantization(width=1.0)
        return width * unit.encode(writer, Uniform(center / width, 1.0), _scaled(reference, width), shared)

    def decode(self, reader: Reader, reference: Gaussian | Logistic, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`; the parameters of `reference` give the number of coordinates."""
        count = len(np.broadcast_to(reference[0], np.broadcast_shapes(*(np.shape(part) for part in reference))))
        width = self._widths(count, shared)
        return width * DitheredQuantization(width=1.0).decode(reader, _scaled(reference, width), shared)

    def _widths(self, count: int, shared: SharedRandomness) -> np.ndarray:
        """W = 2 A of every coordinate."""
        place = np.uint64(_WIDTHS_FROM) + np.arange(3 * count, dtype=np.uint64)
        if isinstance(self.noise, Gaussian):
            first, second, third = normals(shared, place).reshape(3, count)
            half = np.sqrt(first * first + second * second + third * third)
        else:
            words = shared.words_at(place[:count])
            lower, upper = _logistic_tables()
            half = np.where(words >> np.uint32(31), upper.lookup_words(words), lower.lookup_words(words)) / TICKS
        return 2 * np.float64(self.noise[1]) * np.maximum(half, _SMALLEST)


def _scaled(density: Gaussian | Logistic, width: np.ndarray) -> Gaussian | Logistic:
    """The density of X / W."""
    return type(density)(density[0] / width, density[1] / width)


@cache
def _logistic_tables() -> tuple[QuantileTable, QuantileTable]:
    """Quantiles of Eq. 3 below and above the median."""

    def below(a):
        x = a / 2
        series = x**3 * (2 / 3 - x**2 * (8 / 15 - x**2 * (34 / 105 - x**2 * 496 / 2835)))
        return np.where(x < 0.02, series, np.tanh(x) - x / np.cosh(x) ** 2)

    def above(a):
        decay = np.exp(-a)
        return 2 * decay / (1 + decay) + 2 * a * decay / (1 + decay) ** 2

    def inverse(increasing):
        def quantile(u):
            low, high = np.zeros_like(u), np.full_like(u, 64.0)
            for _ in range(70):
                middle = (low + high) / 2
                beyond = increasing(middle, u)
                low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
            return high

        return quantile

    return (
        QuantileTable(inverse(lambda a, u: below(a) > u), crc=0x19A9C3F1),
        QuantileTable(inverse(lambda a, u: above(a) < u), crc=0x9C4A191D),
    )
