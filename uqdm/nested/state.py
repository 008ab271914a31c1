"""The state of the nested process: what sender and receiver both know, and how a step changes it.

A state is a cell for every coefficient, and knows nothing of networks: the model tells it what to expect of a step
(`take_references`), previews look at it (uqdm.nested.preview).
"""

import copy
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import Reader, Sampler, Writer
from channel_sim.refinement import OPEN, Interval, TableReference, receive_refinement, refinement_bits, send_refinement
from channel_sim.split_tables import SplitTables
from uqdm.exact.parts import concurrently
from uqdm.nested.grid import grid_of
from uqdm.nested.process import LevelTables
from uqdm.nested.quantization import PRICE_OF_HALVING, PRICE_OF_SPLITTING, stay_if_worth
from uqdm.nested.schedule import UNSEEN, Schedule
from uqdm.nested.slopes import Slopes
from uqdm.nested.source import Source

__all__ = ["Estimates", "NestedCode", "NestedState", "Part", "cells_of"]

_LARGEST = 2**30
"""No coefficient of a picture comes near so many ticks."""
_PIECE = 2**18
"""Coefficients that are worked on at a time."""


class NestedCode(NamedTuple):
    """What of a model decides what symbols mean, all that a state needs to know of it."""

    schedule: Schedule
    levels: LevelTables
    """The integers of every level."""
    tables: SplitTables
    """Integer probabilities of the reference distributions."""
    source: Source
    """Which numbers a picture is sent as."""
    slopes: Slopes | None = None
    """By what splitting steps are ordered; None: as their members are."""


class Part(NamedTuple):
    """What a step is about."""

    members: np.ndarray
    """Flat indices of coefficients, in the order of transmission."""
    cells: Interval
    """What is known of them."""
    unit: int
    """Width that their cells will have, in ticks."""
    first: int
    """Width of the cell that is told first where nothing is known, in ticks."""
    reference: TableReference
    """psi."""


class Before(NamedTuple):
    """The state before the last step."""

    members: np.ndarray
    """Flat indices of what the step changed."""
    midpoint: np.ndarray
    """Doubled midpoints of all coefficients."""
    units: np.ndarray
    """The network's input."""


@dataclass
class Estimates:
    """What previews remember: coefficients in ticks, int32 (h, w, C), or None where nobody has asked."""

    fresh: np.ndarray | None = None
    """Denoised ones of the state."""
    earlier: np.ndarray | None = None
    """Denoised ones of the state before the last step."""
    filtered: np.ndarray | None = None
    """What the filter makes of what is shown of the state."""


_WIDTHS = np.int64(1) << (np.minimum(np.arange(UNSEEN + 1), 40) + 8)


def _width(level: np.ndarray) -> np.ndarray:
    """Widths of cells in ticks; of unseen levels, more than any coefficient."""
    return _WIDTHS.take(level)


def cells_of(midpoint: np.ndarray, width: int | np.ndarray) -> Interval:
    """Cells of doubled midpoints, in ticks; zero cells reach from -width to width."""
    magnitude, zero = np.abs(midpoint).astype(np.int64), midpoint == 0
    low = np.where(zero, 0, (magnitude - width) >> 1)
    return Interval(np.sign(midpoint).astype(np.int8), low, np.where(zero, width, (magnitude + width) >> 1))


class NestedState:
    """State of one picture (uqdm.contract.State).

    Attributes:
      code: what symbols mean.
      size: height and width of the picture.
      grid: geometry of its coefficients.
      shift: o of every coefficient, the common randomness, int16, flat.
      midpoint: doubled midpoints of cells in ticks, relative to the shift, int32, flat; 0 for zero cells and where
        nothing was sent.
      units: the network's input, int8, flat.
      crc: running CRC-32 over all midpoints as they were sent.
      known: members and cells of the next step, as far as they are known already.
      before: the state before the last step.
      estimates: what previews remember.
      held: after which steps an earlier one's picture is shown, if the sender says so (uqdm.contract.HoldingState).
      filtered: whether previews may be filtered (likewise).
      kept: that step, and what was known after it; None before one was sent.
    """

    def __init__(self, code: NestedCode, height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self.code, self.size = code, (height, width)
        self.grid = grid_of(code.schedule, *code.source.grid(height, width))
        count = int(np.prod(self.grid.shape))
        self.shift = self.grid.shift(seed)
        self.midpoint = np.zeros(count, np.int32)
        self.units = np.zeros(count, np.int8)
        self._location = np.zeros(count, np.int32)
        self._scale_class = np.zeros(count, np.int16)
        self.crc = 0
        self._y = None if picture is None else self._shifted_ticks(picture)
        self._price = 0.0
        self._part: Part | None = None
        self.known: tuple[np.ndarray, Interval] | None = None
        self.before: Before | None = None
        self.estimates = Estimates()
        self.held: frozenset[int] | None = None
        self.filtered = True
        self.kept: tuple[int, NestedState] | None = None

    def _shifted_ticks(self, picture: np.ndarray) -> np.ndarray:
        """Y = X - o of a picture, flat."""
        return self.code.source.ticks(picture).reshape(-1) - self.shift

    def take_references(self, step: int, a: np.ndarray, b: np.ndarray, first: int) -> None:
        """Takes the network's outputs before a step (`NestedModel.reference`, of this picture) as references."""
        members, block, channel, level = self.grid.members(step)
        places = block * np.int32(a.shape[-1]) + (channel - np.int32(first))
        midpoint = self.midpoint.take(members)
        origin = np.where(midpoint == 0, -self.shift.take(members).astype(np.int32), midpoint >> 1)
        location, scale_class = self.code.levels.reference(level, channel, origin, a.take(places), b.take(places))
        self._location[members], self._scale_class[members] = location, scale_class

    def send(self, writer: Writer, step: int) -> None:
        """Sends the child cells of a step that the source lies in."""
        assert self._y is not None, "only a state that was begun with a picture can send"
        members, cells, unit, first, reference = self._part_of(step)
        if self._price and not self.code.schedule.steps[step].halving:
            self._y[members] = stay_if_worth(reference, cells, unit, self._y[members], self._price, first=first)
        self._update(step, members, send_refinement(writer, reference, cells, unit, self._y[members], first=first))

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        # Kept until the step is complete, however many pieces its bytes arrive in.
        self._part = self._part or self._part_of(step)
        return self._receive(reader, step, self._part.cells)

    def draw(self, sampler: Sampler, step: int) -> None:
        """As `receive`, with symbols drawn from the references; what is known of the step already is kept."""
        self.held = None  # what the sender said is about what it would have sent
        self._part = self._part or self._part_of(step)
        self._receive(sampler, step, self._part.cells if self.known is None else self.known[1])

    def _receive(self, reader: Reader | Sampler, step: int, before: Interval) -> bool:
        assert self._part is not None
        members, _, unit, first, reference = self._part
        cells, complete = receive_refinement(reader, reference, before, unit, first=first)
        if cells.low.max(initial=0) >= _LARGEST:
            raise OverflowError("a coefficient is larger than any picture's")
        if complete:
            self._update(step, members, cells)
        else:
            self.known = members, cells
        return complete

    def block_bits(self, step: int) -> np.ndarray:
        """The ideal bits that `send` would spend on every block, float64 (h, w)."""
        assert self._y is not None, "only a state that was begun with a picture can send"
        members, cells, unit, first, reference = self._part_of(step)
        bits = refinement_bits(reference, cells, unit, self._y[members], first=first)
        rows, columns, channels = self.grid.shape
        return np.bincount(members // channels, bits, minlength=rows * columns).reshape(rows, columns)

    def _part_of(self, step: int) -> Part:
        """What the step is about; its references must have been taken."""
        target, _, halving, doublings = self.code.schedule.steps[step]
        members, _, _, level = self.grid.members(step)
        midpoint = self.midpoint.take(members)
        chosen = np.flatnonzero(np.abs(midpoint) >= 2 * _width(level) if halving else midpoint == 0)
        members, midpoint, width = members[chosen], midpoint[chosen], _width(level[chosen])
        location, scale_class = self._location.take(members), self._scale_class.take(members)
        if halving:
            cells = cells_of(midpoint, width)
        else:
            unseen = level[chosen] == UNSEEN
            cells = Interval(
                np.zeros(len(chosen), np.int8), np.zeros(len(chosen), np.int64), np.where(unseen, OPEN, width)
            )
            if self.code.slopes and not doublings:
                order = self.code.slopes.order(location, scale_class, target + 8, unseen)
                members, location, scale_class = members[order], location[order], scale_class[order]
                cells = cells._replace(high=cells.high[order])
        reference = TableReference(self.code.tables, location, scale_class)
        return Part(members, cells, 1 << (target + 8), 1 << (target + 8 + doublings), reference)

    def _update(self, step: int, members: np.ndarray, cells: Interval) -> None:
        """The cells of a step's part became these."""
        known = copy.copy(self)
        self._part = self.known = self.before = None
        self.before = Before(members, self.midpoint.copy(), self.units.copy())
        if self.held is not None and step not in self.held:
            known.midpoint, known.units = self.before.midpoint, self.before.units
            known.known = known.kept = None
            self.kept = step, known
        self.estimates = Estimates(earlier=self.estimates.fresh)
        midpoint = cells.doubled_midpoint.astype(np.int32)
        self.crc = zlib.crc32(midpoint.astype("<i4").tobytes(), self.crc)
        self._tell(step, members, midpoint, self.midpoint, self.units)

    def _tell(
        self, step: int, members: np.ndarray, midpoint: np.ndarray, midpoints: np.ndarray, units: np.ndarray
    ) -> None:
        """Writes midpoints that a step gives, and the network's inputs (uqdm.nested.process, Eq. 3), in place."""
        midpoints[members] = midpoint
        left = np.flatnonzero(midpoint)
        members, midpoint = members[left], midpoint[left]
        doubled_z = midpoint + 2 * self.shift[members].astype(np.int64)
        level, channel = self.code.schedule.steps[step].level, members % self.grid.shape[2]
        units[members] = self.code.levels.input(level, channel, np.sign(midpoint), doubled_z)

    def ahead(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The state with those cells of a partly known step that are as small as the step makes them.

        Returns:
          The network's input, int8, and doubled midpoints in ticks, int32, of all coefficients, flat.
        """
        assert self.known is not None
        members, cells = self.known
        width = np.where(cells.sign == 0, cells.high, cells.high - cells.low)
        told = np.flatnonzero(width == 1 << (self.code.schedule.steps[step].level + 8))
        units, midpoints = self.units.copy(), self.midpoint.copy()
        self._tell(step, members[told], cells.doubled_midpoint[told].astype(np.int32), midpoints, units)
        return units, midpoints

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the running CRC-32."""
        return np.array([self.crc >> 8 & 255, self.crc & 255])

    @property
    def partly_known(self) -> bool:
        """Whether a part of the next step is known."""
        return self.known is not None

    @property
    def known_share(self) -> float:
        """The share of the next step's cells that have become smaller already."""
        if self.known is None or self._part is None:
            return 0.0
        before, after = self._part.cells, self.known[1]
        same = (before.sign == after.sign) & (before.low == after.low) & (before.high == after.high)
        return 1 - float(same.mean())

    def branch(self) -> "NestedState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        for name in ("midpoint", "units", "_location", "_scale_class", "estimates"):
            setattr(branch, name, copy.copy(getattr(self, name)))
        return branch

    def optimizes_from(self, step: int) -> int:
        """The first step of the level of a step."""
        steps = self.code.schedule.steps
        while step and steps[step - 1].level == steps[step].level:
            step -= 1
        return step

    def optimized(self, last: int) -> "NestedState":
        """A copy that sends what is best for a stream that ends in step `last` (uqdm.nested.quantization)."""
        branch = self.branch()
        branch._y = copy.copy(self._y)
        branch._price = PRICE_OF_HALVING if self.code.schedule.steps[last].halving else PRICE_OF_SPLITTING
        return branch

    def levels(self, step: int) -> np.ndarray:
        """Levels of all cells before a step, or `UNSEEN`, int8, flat."""
        zero, other = self.grid.levels(step)
        return np.where(np.abs(self.midpoint.astype(np.int64)) >= 2 * _width(other), other, zero)

    def widths(self, step: int) -> np.ndarray:
        """Widths of all cells before a step in ticks, flat; where nothing was sent, more than any coefficient."""
        return _width(self.levels(step))

    def bounds(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The ends of all cells before a step, as far as they are known of the step as well, int64 ticks, flat."""
        low, high = self._ends(slice(None), *self.grid.levels(step))
        if self.known is not None:
            members, ends = self._known_ends
            low[members], high[members] = ends
        return low, high

    def move_into_cells(self, ticks: np.ndarray, step: int) -> None:
        """Limits coefficients to `bounds`, in place and a few at a time so that memory stays bounded."""
        flat, (zero, other) = ticks.reshape(-1), self.grid.levels(step)

        def limit(start: int) -> None:
            part = slice(start, start + _PIECE)
            flat[part] = np.clip(flat[part], *self._ends(part, zero, other))

        concurrently(limit, range(0, len(flat), _PIECE))
        if self.known is not None:
            members, ends = self._known_ends
            flat[members] = np.clip(flat[members], *ends)

    def _ends(self, part: slice, zero: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ends of some cells of these levels (uqdm.nested.schedule.Levels)."""
        midpoint = self.midpoint[part].astype(np.int64)
        zero_width, other_width = _width(zero[part]), _width(other[part])
        width = np.where(np.abs(midpoint) >= 2 * other_width, other_width, zero_width)
        middle, reach = (midpoint >> 1) + self.shift[part], np.where(midpoint == 0, width, width >> 1)
        return middle - reach, middle + reach

    @property
    def _known_ends(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Members of the next step, and the ends of their cells as far as they are known."""
        assert self.known is not None
        members, (sign, near, far) = self.known
        far, shift = np.where(far == OPEN, _WIDTHS[UNSEEN], far), self.shift[members]
        return members, (np.where(sign > 0, near, -far) + shift, np.where(sign < 0, -near, far) + shift)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether all cells before a step hold the coefficients of a picture."""
        y, magnitude, width = self._shifted_ticks(picture), np.abs(self.midpoint.astype(np.int64)), self.widths(step)
        inside = (np.abs(y) < width) | (width > 2**40)
        doubled = 2 * np.sign(self.midpoint) * y
        in_cell = (magnitude - width <= doubled) & (doubled < magnitude + width)
        return bool(np.where(magnitude == 0, inside, in_cell).all())
