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

Portability. Widths are integers, IEEE square roots and products. The cells of X / W, in ticks of 2^-20, are coded with
the integer tables of channel_sim.split_tables, which round the reference's location to 1/32 of a cell and its scale to
1/8 octave; the class of the scale is found by comparing an IEEE quotient with written-down numbers. So all is equal on
every machine. The tables are computed with libm and rounded; one with another CRC-32 than the one written down here is
refused.
"""

import binascii
from dataclasses import dataclass
from functools import cache

import numpy as np

from channel_sim import checks
from channel_sim.channel import Gaussian, Logistic
from channel_sim.entropy import Reader, Writer
from channel_sim.quantile import TICKS, QuantileTable, normals
from channel_sim.randomness import SharedRandomness
from channel_sim.refinement import (
    Interval,
    TableReference,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)
from channel_sim.split_tables import SplitTables

__all__ = ["LayeredQuantization"]

_WIDTHS_FROM = 2**40
_SMALLEST = 2.0**-20
_TICKS_LOG2 = 20
_UNIT = 1 << _TICKS_LOG2
_TABLE_CRCS = {"gaussian": 0x93786140, "logistic": 0xB0E0A019}
_EDGES = np.array(
    [
        0.5221368912137069,
        0.5693943173783458,
        0.6209289060367420,
        0.6771277734684463,
        0.7384130729697497,
        0.8052451659746272,
        0.8781260801866497,
        0.9576032806985737,
    ]
)
"""Mantissas, from 1/2 to 1, at which the class of a scale changes: 2^((k + 1/2) / 8 - 1)."""


@dataclass(frozen=True, kw_only=True)
class LayeredQuantization:
    """The channel X -> X + Z with Z distributed as `noise`, exactly.

    Attributes:
      noise: `Gaussian(0, s)` or `Logistic(0, s)` with a scalar s > 0.

    Raises:
      TypeError: the noise is of another kind.
      ValueError: it is not around 0, or s is no positive number.
    """

    noise: Gaussian | Logistic

    def __post_init__(self):
        checks.instance("noise", self.noise, Gaussian, Logistic)
        place, scale = self.noise._fields
        if checks.number(f"noise.{place}", self.noise[0], -checks.LARGEST) != 0:
            raise ValueError(f"noise.{place} must be 0, noise is added around x, got {self.noise[0]}")
        checks.number(f"noise.{scale}", self.noise[1])

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

        Raises:
          TypeError: the target is of another kind than the noise, or the reference neither `Gaussian` nor `Logistic`.
          ValueError: the target's scale is not the noise's, a parameter is none (channel_sim.checks), or a location
            is too many widths of layers from 0.
        """
        checks.source(shared)
        reference = checks.distribution("reference", reference, Gaussian, Logistic)
        target = checks.distribution("target", target, type(self.noise))
        scale = target._fields[1]
        if (np.asarray(target[1]) != self.noise[1]).any():
            raise ValueError(
                f"this channel adds noise of {scale} {self.noise[1]}, target.{scale} is {checks.told(target[1])}"
            )
        center = checks.spread(target[0], (checks.coordinates(target=target, reference=reference),))
        width, shift = self._widths(len(center), shared), _shift(len(center), shared)
        ticks = center / width * _UNIT
        checks.within(f"target.{target._fields[0]}", center, ticks, "widths of its layer from 0")
        y = np.floor(ticks).astype(np.int64) - shift
        psi = _reference(reference, width, shift)
        cells = whole_line(len(center))
        for unit in _units(psi):
            cells = send_refinement(writer, psi, cells, unit, y)
        return _sample(send_last_split(writer, psi, cells, y), shift, width)

    def decode(self, reader: Reader, reference: Gaussian | Logistic, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`; the parameters of `reference` give the number of coordinates."""
        checks.source(shared)
        reference = checks.distribution("reference", reference, Gaussian, Logistic)
        count = checks.coordinates(reference=reference)
        width, shift = self._widths(count, shared), _shift(count, shared)
        psi = _reference(reference, width, shift)
        cells, complete = whole_line(count), True
        for unit in _units(psi):
            cells, complete = receive_refinement(reader, psi, cells, unit)
        if complete:
            cells, complete = receive_last_split(reader, psi, cells)
        if not complete:
            raise EOFError("the message ends before the sample is determined")
        return _sample(cells, shift, width)

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


def _shift(count: int, shared: SharedRandomness) -> np.ndarray:
    """The dither in ticks, uniform over [-2^19, 2^19)."""
    return (shared.words(count) >> np.uint32(32 - _TICKS_LOG2)).astype(np.int64) - _UNIT // 2


def _units(psi: TableReference) -> list[int]:
    """Widths of refinements, from the largest scale down to W: the tables resolve scales of up to 16 cells only."""
    largest = int(psi.scale_class.max(initial=0)) // 8
    return [1 << level for level in range(min(max(largest, _TICKS_LOG2), 59), _TICKS_LOG2 - 1, -1)]


def _sample(cells: Interval, shift: np.ndarray, width: np.ndarray) -> np.ndarray:
    return (cells.doubled_midpoint / 2 + shift) * (width / _UNIT)


def _reference(density: Gaussian | Logistic, width: np.ndarray, shift: np.ndarray) -> TableReference:
    """psi of X / W in ticks."""
    ticks = density[0] / width * _UNIT
    checks.within(f"reference.{density._fields[0]}", density[0], ticks, "widths of its layer from 0")
    location = np.rint(ticks).astype(np.int64) - shift
    mantissa, exponent = np.frexp(density[1] / width)
    scale_class = 8 * (exponent.astype(np.int64) - 1 + _TICKS_LOG2) + np.searchsorted(_EDGES, mantissa, "right")
    return TableReference(
        _split_tables("gaussian" if isinstance(density, Gaussian) else "logistic"), location, scale_class
    )


@cache
def _split_tables(law: str) -> SplitTables:
    tables = SplitTables.gaussian() if law == "gaussian" else SplitTables.logistic()
    found = binascii.crc32(b"".join(part.astype("<u2").tobytes() for part in tables.to_arrays().values()))
    if found != _TABLE_CRCS[law]:
        raise ArithmeticError(
            f"the tables of the {law} density have CRC {found:#010x} on this machine and must have "
            f"{_TABLE_CRCS[law]:#010x}: its floating point arithmetic is off; messages would not be understood"
        )
    return tables


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
