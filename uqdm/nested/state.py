"""The state of the nested process: what sender and receiver both know, and how a step changes it.

The order of symbols is decided here: a step is about its members, channels by falling prior deviation and blocks in
raster order; those that its kind of step leaves alone (uqdm.nested.schedule) are left out.
"""

import copy
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from channel_sim.entropy import Reader, Sampler, Writer
from channel_sim.randomness import SharedRandomness
from channel_sim.refinement import OPEN, Interval, TableReference, receive_refinement, refinement_bits, send_refinement
from uqdm.nested.process import TICKS
from uqdm.nested.schedule import UNSEEN, Schedule, phase_classes
from uqdm.transforms.wavelet import grid_shape, pad_to_blocks

if TYPE_CHECKING:
    from uqdm.nested.model import NestedModel

__all__ = ["NestedState", "Part", "refer"]

_LARGEST = 2**30
"""No coefficient of a picture comes near so many ticks."""


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
        """Both levels (uqdm.nested.schedule.Levels) of every coefficient before a step, flat."""
        zero, other = (levels[step][self._classes].reshape(-1) for levels in self.schedule.levels)
        return zero, other


class _Before(NamedTuple):
    """The state before the last step."""

    members: np.ndarray
    """Flat indices of what the step changed."""
    midpoint: np.ndarray
    """Doubled midpoints of all coefficients."""
    units: np.ndarray
    """The network's input."""


_WIDTHS = np.int64(1) << (np.minimum(np.arange(UNSEEN + 1), 40) + 8)


def _width(level: np.ndarray) -> np.ndarray:
    """Widths of cells in ticks; of unseen levels, more than any coefficient."""
    return _WIDTHS.take(level)


def _cells(midpoint: np.ndarray, width: int | np.ndarray) -> Interval:
    """Cells of doubled midpoints, in ticks; zero cells reach from -width to width."""
    magnitude, zero = np.abs(midpoint).astype(np.int64), midpoint == 0
    low = np.where(zero, 0, (magnitude - width) >> 1)
    return Interval(np.sign(midpoint).astype(np.int8), low, np.where(zero, width, (magnitude + width) >> 1))


class NestedState:
    """State of one picture (uqdm.contract.State): doubled midpoints of cells, the network's input, and references."""

    def __init__(self, model: "NestedModel", height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self.model, self.grid, self.size = model, _grid(model.schedule, height, width), (height, width)
        count = int(np.prod(self.grid.shape))
        self.shift = self.grid.shift(seed)
        self.midpoint = np.zeros(count, np.int32)
        self.units = np.zeros(count, np.int8)
        self._location = np.zeros(count, np.int32)
        self._scale_class = np.zeros(count, np.int16)
        self.crc = 0
        self._source = None if picture is None else self._ticks(picture)
        self._part: Part | None = None
        self._known: tuple[np.ndarray, Interval] | None = None
        self._before: _Before | None = None
        self._estimate: np.ndarray | None = None
        self._earlier: np.ndarray | None = None

    def _ticks(self, picture: np.ndarray) -> np.ndarray:
        """X - o of a picture, flat."""
        return self.model.ticks(pad_to_blocks(picture, self.model.block)).reshape(-1) - self.shift

    def begin(self, step: int, a: np.ndarray, b: np.ndarray, first: int) -> None:
        """Takes the network's outputs before a step (NestedModel.reference, of this picture) as references."""
        members, block, channel, level = self.grid.members(step)
        places = block * np.int32(a.shape[-1]) + (channel - np.int32(first))
        midpoint = self.midpoint.take(members)
        origin = np.where(midpoint == 0, -self.shift.take(members).astype(np.int32), midpoint >> 1)
        location, scale_class = self.model.levels.reference(level, channel, origin, a.take(places), b.take(places))
        self._location[members], self._scale_class[members] = location, scale_class

    def send(self, writer: Writer, step: int) -> None:
        """Sends the child cells of a step that the source lies in."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        members, cells, unit, reference = self.part(step)
        self.update(step, members, send_refinement(writer, reference, cells, unit, self._source[members]))

    def block_bits(self, step: int) -> np.ndarray:
        """The ideal bits that `send` would spend on every block, float64 (h, w)."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        members, cells, unit, reference = self.part(step)
        bits = refinement_bits(reference, cells, unit, self._source[members])
        rows, columns, channels = self.grid.shape
        return np.bincount(members // channels, bits, minlength=rows * columns).reshape(rows, columns)

    def receive(self, reader: Reader | Sampler, step: int) -> bool:
        """Mirror image of `send`."""
        # Kept until the step is complete, however many pieces its bytes arrive in.
        self._part = self._part or self.part(step)
        members, before, unit, reference = self._part
        if isinstance(reader, Sampler) and self._known is not None:
            before = self._known[1]
        cells, complete = receive_refinement(reader, reference, before, unit)
        if np.where(cells.high == OPEN, cells.low, cells.high).max(initial=0) >= _LARGEST:
            raise OverflowError("a coefficient is larger than any picture's")
        if complete:
            self.update(step, members, cells)
        else:
            self._known = members, cells
        return complete

    def part(self, step: int) -> Part:
        """What the step is about; its references must have been taken."""
        target, _, halving = self.model.schedule.steps[step]
        members, _, _, level = self.grid.members(step)
        midpoint = self.midpoint.take(members)
        chosen = np.flatnonzero(np.abs(midpoint) >= 2 * _width(level) if halving else midpoint == 0)
        members, midpoint, width = members[chosen], midpoint[chosen], _width(level[chosen])
        if halving:
            cells = _cells(midpoint, width)
        else:
            high = np.where(level[chosen] == UNSEEN, OPEN, width)
            cells = Interval(np.zeros(len(chosen), np.int8), np.zeros(len(chosen), np.int64), high)
        reference = TableReference(self.model.tables, self._location.take(members), self._scale_class.take(members))
        return Part(members, cells, 1 << (target + 8), reference)

    def update(self, step: int, members: np.ndarray, cells: Interval) -> None:
        """The cells of `part` became these (uqdm.nested.process, Eq. 3 for the inputs)."""
        self._part = self._known = self._before = None
        self._before = _Before(members, self.midpoint.copy(), self.units.copy())
        self._earlier, self._estimate = self._estimate, None
        midpoint = cells.doubled_midpoint.astype(np.int32)
        self.midpoint[members] = midpoint
        self.crc = zlib.crc32(midpoint.astype("<i4").tobytes(), self.crc)
        left = np.flatnonzero(midpoint)
        members, midpoint = members[left], midpoint[left]
        doubled_z = midpoint + 2 * self.shift[members].astype(np.int64)
        level, channel = self.model.schedule.steps[step].level, members % self.grid.shape[2]
        self.units[members] = self.model.levels.input(level, channel, np.sign(midpoint), doubled_z)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether all cells before a step hold the coefficients of a picture."""
        y = self._ticks(picture)
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

    @property
    def begun(self) -> bool:
        """Whether a part of the next step is known."""
        return self._known is not None

    def estimate(self, step: int) -> np.ndarray:
        """Denoised coefficients, float32 (h, w, C)."""
        if self._estimate is None:
            self._estimate = self._denoised(self.units, self.midpoint, step)
        return self._estimate

    def earlier_estimate(self, step: int) -> np.ndarray:
        """What was estimated before the last step, moved into the cells that it sent, float32 (h, w, C)."""
        if self._before is None:
            return self.estimate(step)
        members, midpoint, units = self._before
        if self._earlier is None:
            self._earlier = self._denoised(units, midpoint, step - 1)
        width = 1 << (self.model.schedule.steps[step - 1].level + 8)
        return self._moved(self._earlier, members, _cells(self.midpoint[members], width))

    def _denoised(self, units: np.ndarray, midpoint: np.ndarray, step: int) -> np.ndarray:
        units, midpoint, shift = (x.reshape(self.grid.shape) for x in (units, midpoint, self.shift))
        return self.model.estimate(units, midpoint, shift, step)

    def picture(self, step: int) -> np.ndarray:
        """The denoised estimate, moved into the cells that are known of the next step already.

        What is denoised is the mean of the estimates after and before the last step with weights
        `NestedModel.preview_weights` (uqdm.nested.preview_weights, Eq. 1); the weight of the fresh one grows to 1 while
        the next step arrives.
        """
        estimate, trust = self.estimate(step), float(self.model.preview_weights[step])
        if self._known is not None and self._part is not None:
            trust += (1 - trust) * _changed(self._part.cells, self._known[1])
        if trust < 1:
            earlier = self.earlier_estimate(step)
            estimate = earlier + np.float32(trust) * (estimate - earlier)
        if self._known is not None:
            estimate = self._moved(estimate, *self._known)
        height, width = self.size
        return self.model.picture(estimate)[:height, :width]

    methods = ("denoise", "sample")

    def reconstruct(self, step: int, method: str, remaining_steps: int | None, seed: int) -> np.ndarray:
        """What is known, continued.

        "sample" draws the symbols of the remaining steps from the references instead of receiving them, so that the
        result is a picture as the model imagines it; after the last of them, what is left is denoised.
        """
        if method == "denoise":
            return self.picture(step)
        branch, sampler = self._branch(), Sampler(np.random.default_rng(seed))
        last = self.model.steps if remaining_steps is None else min(self.model.steps, step + remaining_steps)
        for coming in range(step, last):
            refer(self.model, [branch], coming)
            branch.receive(sampler, coming)
        return branch.picture(last)

    def _branch(self) -> "NestedState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        for name in ("midpoint", "units", "_location", "_scale_class"):
            setattr(branch, name, getattr(self, name).copy())
        return branch

    def _moved(self, estimate: np.ndarray, members: np.ndarray, cells: Interval) -> np.ndarray:
        """An estimate that knows nothing of a step, moved into the cells that the step sent."""
        estimate = np.array(estimate)
        flat = estimate.reshape(-1)
        flat[members] = self._into(cells, flat[members], self.shift[members])
        return estimate

    def _into(self, cells: Interval, values: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Moves coefficients into their cells."""
        tick = self.model.schedule.finest_width / TICKS
        width = np.where(cells.high == OPEN, cells.low, cells.high - cells.low)
        # Not to the very edge of a cell: its inner 60 % holds the mean for any density that is not extreme.
        margin = np.where(cells.sign == 0, 0.0, 0.2) * width
        near, far = cells.low + margin, np.where(cells.high == OPEN, np.inf, cells.high - margin)
        low = np.where(cells.sign == 0, -far, np.where(cells.sign > 0, near, -far))
        high = np.where(cells.sign == 0, far, np.where(cells.sign > 0, far, -near))
        untouched = (cells.sign == 0) & (cells.high == OPEN)
        moved = np.clip(values, (low + shift) * tick, (high + shift) * tick)
        return np.where(untouched, values, moved).astype(np.float32)


def _changed(before: Interval, after: Interval) -> float:
    """The share of cells that became smaller."""
    same = (before.sign == after.sign) & (before.low == after.low) & (before.high == after.high)
    return 1 - float(same.mean())


def refer(model: "NestedModel", states: Sequence[NestedState], step: int) -> None:
    """Asks the network about pictures of one size, all at once, where the step needs it."""
    if model.schedule.steps[step].halving:
        return
    units = np.stack([state.units.reshape(state.grid.shape) for state in states])
    a, b, first = model.reference(units, step)
    for state, own_a, own_b in zip(states, a, b, strict=True):
        state.begin(step, own_a, own_b, first)
