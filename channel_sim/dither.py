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

Partitions may have a dead zone, a zero cell twice as wide as the others; the *last split* cuts it. Both channels walk
to their cells by `channel_sim.refinement`.
"""

from dataclasses import dataclass

import numpy as np

from channel_sim import checks
from channel_sim.channel import Gaussian, Logistic, Uniform
from channel_sim.entropy import Reader, Sampler, Writer
from channel_sim.randomness import SharedRandomness
from channel_sim.refinement import (
    OPEN,
    DensityReference,
    Interval,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)

__all__ = ["DitheredQuantization", "NestedDitheredQuantization"]

_TICKS_LOG2 = 20
_PLAIN_UNIT = 1 << _TICKS_LOG2
_MOST_LEVELS = 42
"""Widths of up to 2^61 ticks."""
_WIDEST = 2.0**48
"""Standard deviation of a Gaussian reference, in widths: beyond, log Phi does not tell the ends of a cell apart."""


@dataclass(frozen=True, kw_only=True)
class NestedDitheredQuantization:
    """The channel X -> X + U(-w/2, w/2), w the last width, reached by refinements under one shift.

    Attributes:
      width: the last width w > 0.
      levels: how many widths, w 2^(levels - 1) down to w; at most 42.
      shift_amplitude: the shift is uniform on +-shift_amplitude / 2, in units of w; below 1 the channel is not exact.
      last_split: whether the last partition is made regular, as exactness needs; without it the sample is the
        midpoint of a dead-zone cell.
      regular: whether the partitions of all levels are regular lattices: the last split then comes first.

    Raises:
      TypeError: a field is of another kind.
      ValueError: the width is not positive and finite, `levels` not from 1 to 42, or the amplitude not from 0 to 1.
    """

    width: float
    levels: int = 1
    shift_amplitude: float = 1.0
    last_split: bool = True
    regular: bool = False

    def __post_init__(self):
        object.__setattr__(self, "width", checks.number("width", self.width))
        object.__setattr__(self, "levels", checks.integer("levels", self.levels, 1, _MOST_LEVELS))
        checks.number("shift_amplitude", self.shift_amplitude, 0.0, 1.0)
        checks.flag("last_split", self.last_split)
        checks.flag("regular", self.regular)

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

        Raises:
          TypeError: the target is not `Uniform`, or the reference neither `Logistic` nor `Gaussian`.
          ValueError: the target's width is not the channel's, a parameter is none (channel_sim.checks), or a center
            or location is 2^40 widths from 0.
        """
        center, reference = _checked(self.width, target, reference, shared)
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
        reference = _checked_reference(self.width, reference, shared)
        count = checks.coordinates(reference=reference)
        shift = self._shift(count, shared)
        psi, cells = self._reference(reference, shift), whole_line(count)
        for level, unit in enumerate(self._units()):
            cells, complete = receive_refinement(reader, psi, cells, unit)
            if complete and level == self._split_after():
                cells, complete = receive_last_split(reader, psi, cells)
            if not complete:
                raise EOFError("the message ends before the sample is determined")
        return self._sample(cells, shift)


@dataclass(frozen=True, kw_only=True)
class DitheredQuantization:
    """Plain dithered quantization (Eq. 1): the channel X -> X + U(-width/2, width/2), exactly.

    The lattice does not depend on the reference; the walk to a cell begins at the one that holds psi's location.

    Raises:
      TypeError: the width is not a number.
      ValueError: it is not positive and finite.
    """

    width: float

    def __post_init__(self):
        object.__setattr__(self, "width", checks.number("width", self.width))

    def encode(
        self, writer: Writer, target: Uniform, reference: Logistic | Gaussian, shared: SharedRandomness
    ) -> np.ndarray:
        """As `NestedDitheredQuantization.encode`."""
        center, reference = _checked(self.width, target, reference, shared)
        start, shift, psi = self._around(reference, len(center), shared)
        y = np.floor(center * (_PLAIN_UNIT / self.width)).astype(np.int64) - shift - start * _PLAIN_UNIT
        checks.within("target.center", center, y, "widths from the reference")
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
        reference = _checked_reference(self.width, reference, shared)
        count = checks.coordinates(reference=reference)
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


def _checked_reference(width: float, reference: Logistic | Gaussian, shared: SharedRandomness) -> Logistic | Gaussian:
    """What both sides refuse."""
    checks.source(shared)
    reference = checks.distribution("reference", reference, Logistic, Gaussian)
    place, scale = reference
    field = f"reference.{reference._fields[0]}"
    checks.within(field, place, np.asarray(place, np.float64) * (_PLAIN_UNIT / width), "widths from 0")
    if isinstance(reference, Gaussian) and np.size(scale) and np.max(scale) > _WIDEST * width:
        raise ValueError(f"reference.std must be at most 2^48 widths, {_WIDEST * width:.6g}, got {np.max(scale):.6g}")
    return reference


def _checked(
    width: float, target: Uniform, reference: Logistic | Gaussian, shared: SharedRandomness
) -> tuple[np.ndarray, Logistic | Gaussian]:
    """What the sender refuses; the centers (n,) and the reference."""
    reference = _checked_reference(width, reference, shared)
    target = checks.distribution("target", target, Uniform)
    if (np.asarray(target.width) != width).any():
        raise ValueError(f"this channel adds noise of width {width}, target.width is {checks.told(target.width)}")
    center = checks.spread(target.center, (checks.coordinates(target=target, reference=reference),))
    checks.within("target.center", target.center, center * (_PLAIN_UNIT / width), "widths from 0")
    return center, reference
