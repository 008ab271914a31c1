"""Geometry of a picture of one size: which coefficients a step may be about, and in which order they are sent.

A step is about its members, channels by falling prior deviation and blocks in raster order; those that its kind of step
leaves alone (uqdm.nested.schedule) are left out by the state.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from channel_sim.randomness import SharedRandomness
from uqdm.nested.process import TICKS
from uqdm.nested.schedule import Schedule, block_classes

__all__ = ["Grid", "Members", "grid_of"]


class Members(NamedTuple):
    """Coefficients, each array (members,)."""

    places: np.ndarray
    """Flat indices."""
    block: np.ndarray
    channel: np.ndarray
    level: np.ndarray
    """Before the step, of the cells that it changes."""


@lru_cache(maxsize=16)
def grid_of(schedule: Schedule, rows: int, columns: int) -> "Grid":
    """The geometry of so many rows and columns of blocks."""
    return Grid(schedule, rows, columns)


class Grid:
    """Geometry of one size of picture: which coefficients a step may be about."""

    def __init__(self, schedule: Schedule, rows: int, columns: int):
        self.schedule = schedule
        self.shape = (rows, columns, schedule.channels)
        self._classes = block_classes(*self.shape[:2]).reshape(-1)
        self._every = np.arange(len(self._classes), dtype=np.int32)
        self._order = np.argsort(-np.asarray(schedule.prior_std), kind="stable").astype(np.int32)
        # Small pictures are many: remember what their steps are about.
        if np.prod(self.shape) < 2**18:
            self.members = lru_cache(self.members)

    def shift(self, seed: int) -> np.ndarray:
        """The common randomness: bytes in the order of (row, column, channel), less 128; flat int16."""
        count = int(np.prod(self.shape))
        return SharedRandomness(seed).bytes(count).astype(np.int16) - np.int16(TICKS // 2)

    def members(self, step: int) -> "Members":
        """Members of a step in the order of transmission."""
        _, members, halving, _ = self.schedule.steps[step]
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
        return Members(channel + block * np.int32(self.shape[2]), block, channel, np.concatenate(level))

    def levels(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Both levels (uqdm.nested.schedule.Levels) of every coefficient before a step, flat."""
        zero, other = (levels[step][self._classes].reshape(-1) for levels in self.schedule.levels)
        return zero, other
