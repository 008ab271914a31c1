"""Dithered quantization, plain and nested: exact simulation of additive uniform noise.

Plain (review, Section II-C, Eq. 14). With a shift o ~ U(-Delta/2, Delta/2) that both sides draw, the sender tells the
cell [k Delta, (k + 1) Delta) that x - o lies in; the receiver's sample is the cell's midpoint, shifted back,

    Y = (k + 1/2) Delta + o,                                                                (1)

and Y - X is uniform on (-Delta/2, Delta/2) and independent of X. With a reference density psi for X the message costs
-log2 psi(cell + o) bits, on average I(X; Y) when psi is the truth.

Nested. All levels of widths w_1 > w_2 > ... cut the line under one shift, every level refining the one before it. The
state is the cell; a step sends the child given the parent at

    -log2 psi(child) / psi(parent) bits.                                                    (2)

(a) By the chain rule a sequence of refinements under one psi costs what its last cell costs at once; if psi improves
on the way, more steps cost less. (b) If the last partition is the regular lattice, its midpoint is distributed as in
Eq. 1: nothing that Algorithm 1 asks for is lost. (c) A shift of amplitude Delta_last leaves coarse cells where zero is
inside them, so smooth regions stay cheap.

The dead-zone partition of width w has the cells (-w, w), [k w, (k + 1) w) for k >= 1, and their mirror images
-[k w, (k + 1) w). Halving w splits the zero cell in three and every other cell in two. The *last split* cuts the zero
cell at 0 and makes the lattice regular.

Everything works on integers ("ticks"). A cell is an `Interval`: a sign and the ends of its magnitude. Four kinds of
split (channel_sim.split_tables) lead from the whole line to any cell: `first` tells the sign unless the cell is the
zero cell, `outer` doubles the magnitude until it is bounded (an Elias-gamma walk), `half` halves it down to the width,
and `zero` refines a zero cell. A reference says with which probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from channel_sim.channel import Gaussian, Logistic, Uniform
from channel_sim.entropy import ProbabilityTable, Reader, Sampler, Writer, quantize_probabilities
from channel_sim.randomness import SharedRandomness
from channel_sim.split_tables import SplitTables

__all__ = [
    "OPEN",
    "DitheredQuantization",
    "Interval",
    "NestedDitheredQuantization",
    "TableReference",
    "receive_last_split",
    "receive_refinement",
    "send_last_split",
    "send_refinement",
    "whole_line",
]

OPEN = np.int64(2) ** 62
"""Upper end of an unbounded interval."""


_LARGEST = 2**60


class Interval(NamedTuple):
    """What is known of integers y, one per coordinate: sign 0 means |y| < high, otherwise low <= sign * y < high.

    (For negative signs the ends belong the other way round: the mirror image of [low, high).)
    """

    sign: np.ndarray
    """int8: -1, 0 or 1."""
    low: np.ndarray
    """int64."""
    high: np.ndarray
    """int64; `OPEN` if unbounded."""

    @property
    def doubled_midpoint(self) -> np.ndarray:
        """Twice the midpoint, int64; 0 while the sign is unknown."""
        return self.sign * (self.low + self.high)


def whole_line(count: int) -> Interval:
    """The state before anything was sent."""
    return Interval(np.zeros(count, np.int8), np.zeros(count, np.int64), np.full(count, OPEN))


@runtime_checkable
class Reference(Protocol):
    """Probabilities of the four splits for the coordinates `index`, as a table and a row for each of them."""

    def first(self, index: np.ndarray, unit: np.ndarray) -> tuple[ProbabilityTable, np.ndarray]: ...

    def zero(self, index: np.ndarray, unit: np.ndarray) -> tuple[ProbabilityTable, np.ndarray]: ...

    def outer(self, index, sign, unit) -> tuple[ProbabilityTable, np.ndarray]: ...

    def half(self, index, sign, middle, unit) -> tuple[ProbabilityTable, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class TableReference:
    """Logistic densities whose splits are read from stored integers: equal on every machine.

    Attributes:
      tables: see `channel_sim.split_tables`.
      location: int32, in ticks.
      scale_class: integer, 8 log2 of the scale in ticks.
    """

    tables: SplitTables
    location: np.ndarray
    scale_class: np.ndarray

    def first(self, index, unit):
        return self.tables.first, self._row(self.location[index], index, unit)

    def zero(self, index, unit):
        return self.tables.zero, self._row(self.location[index], index, unit)

    def outer(self, index, sign, unit):
        return self.tables.outer, self._row(sign * self.location[index], index, unit)

    def half(self, index, sign, middle, unit):
        return self.tables.half, self._row(sign * self.location[index] - middle, index, unit)

    def _row(self, location, index, unit):
        return self.tables.row(location, self.scale_class[index], _log2(unit))


@dataclass(frozen=True, eq=False)
class DensityReference:
    """Any logistic or Gaussian densities, in floating point: exact to 2^-24, equal only on equal machines.

    Attributes:
      density: location and scale per coordinate.
      tick: length of a tick in the density's units.
      shift: offset of y's origin in the density's units, per coordinate: y = (x - shift) / tick.
    """

    density: Logistic | Gaussian
    tick: float
    shift: np.ndarray

    def first(self, index, unit):
        return self._split(index, [np.full(len(index), -np.inf), -unit, unit, np.full(len(index), np.inf)])

    def zero(self, index, unit):
        return self._split(index, [-2 * unit, -unit, unit, 2 * unit])

    def outer(self, index, sign, unit):
        return self._split(index, [unit, 2 * unit, np.full(len(index), np.inf)], sign)

    def half(self, index, sign, middle, unit):
        return self._split(index, [middle - unit, middle, middle + unit], sign)

    def _split(self, index, ends, sign=1):
        center, scale = (np.broadcast_to(part, self.shift.shape)[index] for part in self.density)
        points = [sign * (end * self.tick + sign * (self.shift[index] - center)) / scale for end in ends]
        masses = [_log_mass(self.density, *np.sort([a, b], axis=0)) for a, b in zip(points, points[1:], strict=False)]
        shares = np.exp(np.stack(masses, -1) - np.max(masses, axis=0)[:, None])
        return ProbabilityTable(quantize_probabilities(shares)), np.arange(len(index))


def _log_mass(density: Logistic | Gaussian, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """log of the mass of the standardised density on (low, high), accurate in both tails."""
    with np.errstate(over="ignore", divide="ignore"):
        if isinstance(density, Logistic):
            gap = np.log(-np.expm1(low - high))
            return -np.logaddexp(0, -high) - np.logaddexp(0, low) + gap
        from scipy.special import log_ndtr

        # Work in the left tail, where log_ndtr is accurate.
        low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
        upper = log_ndtr(high)
        return upper + np.log(-np.expm1(log_ndtr(low) - upper))


def _log2(unit):
    """Exponent of a power of two below 2^53 (exact)."""
    return np.frexp(np.asarray(unit, np.float64))[1].astype(np.int64) - 1


def _refine(exchange: Callable, reference: Reference, cells: Interval, unit: int) -> tuple[Interval, bool]:
    """Refines every cell until it is a dead-zone cell of width `unit` (or a cell of the regular lattice).

    `exchange(table, rows, index, cut)` gives the symbols of the split of the coordinates `index`: 0, 1 or 2 around
    the two cuts -cut and cut where the sign is unknown, else 0 or 1 for magnitudes below and from `cut` on.

    Returns:
      The cells, and whether all of them were completed: the message may end before.
    """
    sign, low, high = (np.array(part) for part in cells)

    def split(index, kind, cut, *geometry) -> bool:
        symbols = exchange(*kind(index, *geometry), index, cut)
        told, cut = index[: len(symbols)], cut[: len(symbols)]
        if kind in (reference.first, reference.zero):
            inside = symbols == 1
            sign[told] = symbols - 1
            low[told] = np.where(inside, 0, cut)
            high[told] = np.where(inside, cut, high[told])
        else:
            low[told] = np.where(symbols == 1, cut, low[told])
            high[told] = np.where(symbols == 1, high[told], cut)
        return len(symbols) == len(index)

    # Zero cells, and the whole line.
    while len(index := np.flatnonzero((sign == 0) & (high > unit) & (high < OPEN))):
        half = high[index] >> 1
        if not split(index, reference.zero, half, half):
            return Interval(sign, low, high), False
    if len(index := np.flatnonzero((sign == 0) & (high == OPEN))):
        cut = np.full(len(index), unit, np.int64)
        if not split(index, reference.first, cut, cut):
            return Interval(sign, low, high), False
    # Magnitudes: double until bounded, then halve.
    while len(index := np.flatnonzero(high == OPEN)):
        if low[index].max() >= _LARGEST:
            raise OverflowError("a magnitude of 2^60 ticks: no source is that large, the message must be damaged")
        if not split(index, reference.outer, 2 * low[index], sign[index], low[index]):
            return Interval(sign, low, high), False
    while len(index := np.flatnonzero((sign != 0) & (high - low > unit))):
        half = (high[index] - low[index]) >> 1
        middle = low[index] + half
        if not split(index, reference.half, middle, sign[index], middle, half):
            return Interval(sign, low, high), False
    return Interval(sign, low, high), True


def send_refinement(writer: Writer, reference: Reference, cells: Interval, unit: int, y: np.ndarray) -> Interval:
    """Sends, for every coordinate of y, its dead-zone cell of width `unit` given the cell known so far.

    Args:
      writer: takes the message.
      reference: psi.
      cells: what both sides know; must contain y.
      unit: the new width in ticks, a power of two, at most half the present widths.
      y: integers in ticks.

    Returns:
      The new cells.
    """

    def exchange(table, rows, index, cut):
        value = y[index]
        if table.frequencies.shape[1] == 3:
            symbols = (value > -cut).astype(np.int32) + (value >= cut)
        else:
            symbols = (np.abs(value) >= cut).astype(np.int32)
        writer.encode(table, rows, symbols)
        return symbols

    return _refine(exchange, reference, cells, unit)[0]


def receive_refinement(
    reader: Reader | Sampler, reference: Reference, cells: Interval, unit: int
) -> tuple[Interval, bool]:
    """Mirror image of `send_refinement`; the flag says whether the message sufficed for all cells."""

    def exchange(table, rows, index, cut):
        return reader.decode(table, rows)

    return _refine(exchange, reference, cells, unit)


def _last_split(exchange: Callable, reference: Reference, cells: Interval) -> tuple[Interval, bool]:
    """Cuts zero cells at 0: [0, w) gets the sign 1, (-w, 0) the sign -1."""
    sign = np.array(cells.sign)
    index = np.flatnonzero(sign == 0)
    if not len(index):
        return cells, True
    zero = np.zeros(len(index), np.int64)
    symbols = exchange(*reference.half(index, 1, zero, cells.high[index]), index)
    sign[index[: len(symbols)]] = 2 * symbols - 1
    return Interval(sign, cells.low, cells.high), len(symbols) == len(index)


def send_last_split(writer: Writer, reference: Reference, cells: Interval, y: np.ndarray) -> Interval:
    """Sends the split that makes the lattice regular: afterwards zero cells are [0, w) or (-w, 0)."""

    def exchange(table, rows, index):
        symbols = (y[index] >= 0).astype(np.int32)
        writer.encode(table, rows, symbols)
        return symbols

    return _last_split(exchange, reference, cells)[0]


def receive_last_split(reader: Reader | Sampler, reference: Reference, cells: Interval) -> tuple[Interval, bool]:
    """Mirror image of `send_last_split`."""
    return _last_split(lambda table, rows, index: reader.decode(table, rows), reference, cells)


_TICKS_LOG2 = 20
_PLAIN_UNIT = 1 << _TICKS_LOG2


@dataclass(frozen=True, kw_only=True)
class NestedDitheredQuantization:
    """The channel X -> X + U(-w/2, w/2), w the last width, reached by refinements under one shift.

    Attributes:
      width: the last width w > 0.
      levels: how many widths, w 2^(levels - 1) down to w.
      shift_amplitude: the shift is uniform on +-shift_amplitude / 2, in units of w; below 1 the channel is not exact.
      last_split: whether the last partition is made regular, as exactness needs; without it the sample is the
        midpoint of a dead-zone cell.
      regular: whether the partitions of all levels are regular lattices: the last split then comes first.
    """

    width: float
    levels: int = 1
    shift_amplitude: float = 1.0
    last_split: bool = True
    regular: bool = False

    def _split_after(self) -> int:
        """The level after which zero cells are cut at 0, or -1."""
        return 0 if self.regular else self.levels - 1 if self.last_split else -1

    def _units(self) -> list[int]:
        return [1 << (_TICKS_LOG2 + level) for level in reversed(range(self.levels))]

    def _shift(self, count: int, shared: SharedRandomness) -> np.ndarray:
        """Integers in ticks; uniform over [-2^19, 2^19) at amplitude 1."""
        offsets = (shared.words(count) >> np.uint32(32 - _TICKS_LOG2)).astype(np.int64) - (1 << (_TICKS_LOG2 - 1))
        return np.floor(offsets * self.shift_amplitude).astype(np.int64)

    def _sample(self, cells: Interval, shift: np.ndarray) -> np.ndarray:
        return (cells.doubled_midpoint / 2 + shift) * (self.width / 2**_TICKS_LOG2)

    def _reference(self, density: Logistic | Gaussian, shift: np.ndarray) -> DensityReference:
        tick = self.width / 2**_TICKS_LOG2
        return DensityReference(density, tick, shift * tick)

    def encode(
        self, writer: Writer, target: Uniform, reference: Logistic | Gaussian, shared: SharedRandomness
    ) -> np.ndarray:
        """Sends a sample of X + U given X = target.center.

        Args:
          writer: takes the message.
          target: its width must be the channel's.
          reference: density psi of X, (n,) parameters or scalars.
          shared: common randomness of this use.

        Returns:
          float64 (n,).
        """
        if target.width != self.width:
            raise ValueError(f"this channel adds noise of width {self.width}, the target has {target.width}")
        center = np.asarray(target.center, np.float64)
        shift = self._shift(len(center), shared)
        y = np.floor(center * (2**_TICKS_LOG2 / self.width)).astype(np.int64) - shift
        psi, cells = self._reference(reference, shift), whole_line(len(center))
        for level, unit in enumerate(self._units()):
            cells = send_refinement(writer, psi, cells, unit, y)
            if level == self._split_after():
                cells = send_last_split(writer, psi, cells, y)
        return self._sample(cells, shift)

    def decode(self, reader: Reader, reference: Logistic | Gaussian, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`; the parameters of `reference` give the number of coordinates."""
        count = len(np.broadcast_to(reference[0], np.broadcast_shapes(*(np.shape(part) for part in reference))))
        shift = self._shift(count, shared)
        psi, cells, complete = self._reference(reference, shift), whole_line(count), True
        for level, unit in enumerate(self._units()):
            cells, complete = receive_refinement(reader, psi, cells, unit)
            if level == self._split_after():
                cells, complete = receive_last_split(reader, psi, cells)
        if not complete:
            raise EOFError("the message ends before the sample is determined")
        return self._sample(cells, shift)


@dataclass(frozen=True, kw_only=True)
class DitheredQuantization:
    """Plain dithered quantization (Eq. 1): the channel X -> X + U(-width/2, width/2), exactly.

    The lattice does not depend on the reference; the walk to a cell begins at the one that holds psi's location.
    """

    width: float

    def encode(
        self, writer: Writer, target: Uniform, reference: Logistic | Gaussian, shared: SharedRandomness
    ) -> np.ndarray:
        """As `NestedDitheredQuantization.encode`."""
        if target.width != self.width:
            raise ValueError(f"this channel adds noise of width {self.width}, the target has {target.width}")
        center = np.asarray(target.center, np.float64)
        start, shift, psi = self._around(reference, len(center), shared)
        y = np.floor(center * (_PLAIN_UNIT / self.width)).astype(np.int64) - shift - start * _PLAIN_UNIT
        cells = send_refinement(writer, psi, whole_line(len(center)), _PLAIN_UNIT, y)
        return self._sample(send_last_split(writer, psi, cells, y), start, shift)

    def decode(self, reader: Reader, reference: Logistic | Gaussian, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`."""
        sample, _ = self.decode_prefix(reader, reference, shared)
        if sample is None:
            raise EOFError("the message ends before the sample is determined")
        return sample

    def decode_prefix(
        self, reader: Reader | Sampler, reference: Logistic | Gaussian, shared: SharedRandomness
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray]]:
        """What a message that may be cut determines: the sample or None, and the ends of intervals that X lies in."""
        count = len(np.broadcast_to(reference[0], np.broadcast_shapes(*(np.shape(part) for part in reference))))
        start, shift, psi = self._around(reference, count, shared)
        cells, complete = receive_refinement(reader, psi, whole_line(count), _PLAIN_UNIT)
        if complete:
            cells, complete = receive_last_split(reader, psi, cells)
        origin = shift + start * _PLAIN_UNIT
        far, tick = np.where(cells.high == OPEN, np.inf, cells.high), self.width / _PLAIN_UNIT
        low = np.where(cells.sign > 0, cells.low, -far)
        high = np.where(cells.sign < 0, -cells.low, far)
        sample = self._sample(cells, start, shift) if complete else None
        return sample, ((low + origin) * tick, (high + origin) * tick)

    def _around(self, reference: Logistic | Gaussian, count: int, shared: SharedRandomness):
        """The cell that the walk begins at, the shift in ticks, and psi in coordinates around both."""
        tick = self.width / _PLAIN_UNIT
        shift = (shared.words(count) >> np.uint32(32 - _TICKS_LOG2)).astype(np.int64) - _PLAIN_UNIT // 2
        start = np.floor(reference[0] / self.width - shift / _PLAIN_UNIT + 0.5).astype(np.int64)
        return start, shift, DensityReference(reference, tick, shift * tick + start * self.width)

    def _sample(self, cells: Interval, start: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return (cells.doubled_midpoint / 2 + shift + start * _PLAIN_UNIT) * (self.width / _PLAIN_UNIT)
