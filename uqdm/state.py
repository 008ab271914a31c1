"""What sender and receiver both know while a stream is sent, and how a step changes it.

The order of symbols is decided here: a step is about its members, channels by falling prior deviation and blocks in
raster order; those that its kind of step leaves alone (uqdm.schedule) are left out.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from channel_sim.dither import OPEN, Interval, TableReference
from channel_sim.randomness import SharedRandomness
from uqdm.model import Model
from uqdm.process import TICKS
from uqdm.schedule import UNSEEN, Schedule, phase_classes
from uqdm.transform import grid_shape

__all__ = ["Part", "PictureState", "refer"]


class Part(NamedTuple):
    """What a step is about."""

    members: np.ndarray
    """Flat indices of coefficients, in the order of transmission."""
    cells: Interval
    """What is known of them."""
    unit: int
    """Width that their cells will have, in ticks."""
    reference: TableReference
    """psi."""


class _Members(NamedTuple):
    """Coefficients, each array (members,)."""

    places: np.ndarray
    """Flat indices."""
    block: np.ndarray
    channel: np.ndarray
    level: np.ndarray
    """Before the step, of the cells that it changes."""


@lru_cache(maxsize=16)
def _grid(schedule: Schedule, height: int, width: int) -> "_Grid":
    return _Grid(schedule, height, width)


class _Grid:
    """Geometry of one size of picture: which coefficients a step may be about."""

    def __init__(self, schedule: Schedule, height: int, width: int):
        self.schedule = schedule
        self.shape = (*grid_shape(height, width, schedule.block), schedule.channels)
        self._classes = phase_classes(*self.shape[:2]).reshape(-1)
        self._every = np.arange(len(self._classes), dtype=np.int32)
        self._order = np.argsort(-np.asarray(schedule.prior_std), kind="stable").astype(np.int32)
        # Small pictures are many: remember what their steps are about.
        if np.prod(self.shape) < 2**18:
            self.members = lru_cache(self.members)

    def shift(self, seed: int) -> np.ndarray:
        """The common randomness: bytes in the order of (row, column, channel), less 128; flat int16."""
        count = int(np.prod(self.shape))
        return SharedRandomness(seed).bytes(count).astype(np.int16) - np.int16(TICKS // 2)

    def members(self, step: int) -> "_Members":
        """Members of a step in the order of transmission."""
        _, members, halving = self.schedule.steps[step]
        levels = (self.schedule.levels.other if halving else self.schedule.levels.zero)[step]
        blocks, channels, level = [], [], []
        order = self._order[members[:, self._order].any(0)]
        # Neighbours in the order that have the same blocks make rectangles of channels and blocks.
        changes = np.flatnonzero((members[:, order[1:]] != members[:, order[:-1]]).any(0)) + 1
        for group in np.split(order, changes):
            classes = members[:, group[0]]
            inside = self._every if classes.all() else np.flatnonzero(classes[self._classes]).astype(np.int32)
            blocks.append(np.broadcast_to(inside, (len(group), len(inside))).reshape(-1))
            channels.append(np.repeat(group, len(inside)))
            level.append(np.repeat(levels[np.flatnonzero(classes)[0], group], len(inside)))
        block, channel = np.concatenate(blocks), np.concatenate(channels)
        return _Members(channel + block * np.int32(self.shape[2]), block, channel, np.concatenate(level))

    def levels(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Both levels (uqdm.schedule.Levels) of every coefficient before a step, flat."""
        zero, other = (levels[step][self._classes].reshape(-1) for levels in self.schedule.levels)
        return zero, other


_WIDTHS = np.int64(1) << (np.minimum(np.arange(UNSEEN + 1), 40) + 8)


def _width(level: np.ndarray) -> np.ndarray:
    """Widths of cells in ticks; of unseen levels, more than any coefficient."""
    return _WIDTHS.take(level)


class PictureState:
    """State of one picture: doubled midpoints of cells, the network's input, references, and a check value."""

    def __init__(self, model: Model, height: int, width: int, seed: int):
        self.model, self.grid = model, _grid(model.schedule, height, width)
        count = int(np.prod(self.grid.shape))
        self.shift = self.grid.shift(seed)
        self.midpoint = np.zeros(count, np.int32)
        self.units = np.zeros(count, np.int8)
        self._location = np.zeros(count, np.int32)
        self._scale_class = np.zeros(count, np.int16)
        self.crc = 0

    def begin(self, step: int, a: np.ndarray, b: np.ndarray, first: int) -> None:
        """Takes the network's outputs before a step (Model.reference, of this picture) as references."""
        members, block, channel, level = self.grid.members(step)
        places = block * np.int32(a.shape[-1]) + (channel - np.int32(first))
        midpoint = self.midpoint.take(members)
        origin = np.where(midpoint == 0, -self.shift.take(members).astype(np.int32), midpoint >> 1)
        location, scale_class = self.model.levels.reference(level, channel, origin, a.take(places), b.take(places))
        self._location[members], self._scale_class[members] = location, scale_class

    def part(self, step: int) -> Part:
        """What the step is about; its references must have been taken."""
        target, _, halving = self.model.schedule.steps[step]
        members, _, _, level = self.grid.members(step)
        midpoint = self.midpoint.take(members)
        chosen = np.flatnonzero(np.abs(midpoint) >= 2 * _width(level) if halving else midpoint == 0)
        members, midpoint, width = members[chosen], midpoint[chosen], _width(level[chosen])
        if halving:
            magnitude = np.abs(midpoint).astype(np.int64)
            cells = Interval(np.sign(midpoint).astype(np.int8), (magnitude - width) >> 1, (magnitude + width) >> 1)
        else:
            high = np.where(level[chosen] == UNSEEN, OPEN, width)
            cells = Interval(np.zeros(len(chosen), np.int8), np.zeros(len(chosen), np.int64), high)
        reference = TableReference(self.model.tables, self._location.take(members), self._scale_class.take(members))
        return Part(members, cells, 1 << (target + 8), reference)

    def update(self, step: int, members: np.ndarray, cells: Interval) -> None:
        """The cells of `part` became these (uqdm.process, Eq. 3 for the inputs)."""
        midpoint = cells.doubled_midpoint.astype(np.int32)
        self.midpoint[members] = midpoint
        self.crc = zlib.crc32(midpoint.astype("<i4").tobytes(), self.crc)
        left = np.flatnonzero(midpoint)
        members, midpoint = members[left], midpoint[left]
        doubled_z = midpoint + 2 * self.shift[members].astype(np.int64)
        level, channel = self.model.schedule.steps[step].level, members % self.grid.shape[2]
        self.units[members] = self.model.levels.input(level, channel, np.sign(midpoint), doubled_z)

    def contains(self, step: int, y: np.ndarray) -> bool:
        """Whether all cells before a step hold these integers, flat."""
        zero, other = (_width(level) for level in self.grid.levels(step))
        magnitude = np.abs(self.midpoint.astype(np.int64))
        width = np.where(magnitude >= 2 * other, other, zero)
        inside = (np.abs(y) < width) | (zero > 2**40)
        doubled = 2 * np.sign(self.midpoint) * y
        in_cell = (magnitude - width <= doubled) & (doubled < magnitude + width)
        return bool(np.where(magnitude == 0, inside, in_cell).all())

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of a running CRC-32 over all midpoints as they were sent."""
        return np.array([self.crc >> 8 & 255, self.crc & 255])

    def estimate(self, step: int) -> np.ndarray:
        """Denoised coefficients, float32 (h, w, C)."""
        units, midpoint, shift = (x.reshape(self.grid.shape) for x in (self.units, self.midpoint, self.shift))
        return self.model.estimate(units, midpoint, shift, step)


def refer(model: Model, states: Sequence[PictureState], step: int) -> None:
    """Asks the network about pictures of one size, all at once, where the step needs it."""
    if model.schedule.steps[step].halving:
        return
    units = np.stack([state.units.reshape(state.grid.shape) for state in states])
    a, b, first = model.reference(units, step)
    for state, own_a, own_b in zip(states, a, b, strict=True):
        state.begin(step, own_a, own_b, first)
