"""The noise schedule of the nested process: which coefficients are refined to which width, and when.

Widths form a halving ladder above the finest one,

    w_j = 2^j Delta,     j = 0, 1, ..., J - 1,                                              (1)

and a *level* j is the moment at which coefficients get to know their cell of width w_j. A channel takes part in
level j once its prior standard deviation sigma_c exceeds `threshold` * w_j (reverse water-filling: below that,
sending it costs more than it is worth); at level 0 all channels take part, so that a whole stream bounds the
error of every coefficient, whatever the picture.

Refinements cost nothing (channel_sim.dither), so a level is sent in several steps, and later ones are predicted with
the earlier ones already known: first the coarse bands, then those of the two finest octaves, and both of them in
*phases*. Phases are made of the four classes of positions in a band

    class(row, column) = 0: both even, 1: both odd, 2: row even, column odd, 3: row odd, column even      (2)

one after the other (4 phases), as the two colours of a checkerboard {0, 1}, {2, 3} (2 phases), or all at once. In
bands with one position per block the class is the block's; in the others it is the channel's, the same in all blocks.
Channels of a latent (uqdm.nested.source), sorted by falling deviation, are sent likewise: the first quarter in place of
the coarse bands, the rest in place of the fine ones.

The first levels may be an *opening*, with steps as fine as pay where little is known and much can be predicted. The
low-pass band is first sent as a pyramid: every 4th block in both directions, the blocks in the middle of four of them,
every 2nd block, those in the middle again, and the rest, all colours together but luma before chroma in the last two of
these. Other bands are sent luma first, too, phase by phase. A network of its own (`Schedule.sections`) is asked about
the steps of the opening, which sees the bands that they are about.

Refining a cell of width 2 w halves its error at a slope of w^2 / 4 per bit, at most; telling whether a coefficient
leaves the zero cell buys between 0.27 w^2 (one in 30 leaves) and 0.7 w^2 (one in two). So the steps of a level first
split zero cells (and the line, where nothing was sent), and one last step *halves* all other cells. It needs no
reference of its own: it is coded under those that its coefficients had in their step.

Time runs as in the review's Algorithm 1: T = 1 at the start, and the state after step i of n is X_t with t = 1 - i / n.
The steps of an opening share the time that its levels would take without it, so that t says as much with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from uqdm.nested.layout import layout_of

__all__ = ["BLOCK_CLASSES", "UNSEEN", "Levels", "Schedule", "Section", "Step", "block_classes"]

UNSEEN = 127
"""Level of a coefficient of which nothing has been sent."""

BLOCK_CLASSES = 16
"""Classes of blocks."""

_PYRAMID = ((0,), (1,), (2, 3), (4, 5, 6, 7), (8, 9, 10, 11, 12, 13, 14, 15))
"""Classes of blocks whose low-pass band a step of the opening sends."""

_DOUBLINGS = 3
"""Of steps of the pyramid: low-pass coefficients lie many widths from zero, where their neighbours say."""

_PHASES = {0: (), 1: ((0, 1, 2, 3),), 2: ((0, 1), (2, 3)), 4: ((0,), (1,), (2,), (3,))}


def _class(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Eq. 2."""
    return np.where(row % 2 == column % 2, row % 2, 2 + row % 2)


def block_classes(rows: int, columns: int, count: int = BLOCK_CLASSES) -> Int32[np.ndarray, "h w"]:
    """The class of every block in the grid.

    4 k + k' of 16 classes, k the class (Eq. 2) of (row, column) and k' that of (row // 2, column // 2); of 4, k alone.
    """
    row, column = np.arange(rows, dtype=np.int32)[:, None], np.arange(columns, dtype=np.int32)[None, :]
    return (4 * _class(row, column) + _class(row // 2, column // 2)) // (BLOCK_CLASSES // count)


class Step(NamedTuple):
    """One step of Algorithm 1: cells of the `members` go to `level`."""

    level: int
    members: np.ndarray
    """bool (16, C): whether a channel takes part in the blocks of each class (`block_classes`)."""
    halving: bool = False
    """False: what is sent are zero cells and coefficients of which nothing was known; True: all other cells."""
    doublings: int = 0
    """A coefficient of which nothing was known is first told its cell of 2^doublings times the width."""


class Levels(NamedTuple):
    """Level of every channel before each step, int8 (steps + 1, 16 classes of blocks, C), or `UNSEEN`."""

    zero: np.ndarray
    """Of coefficients in the zero cell of `other`, which may since have left it."""
    other: np.ndarray
    """Of the rest: at least as coarse as `zero`."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Widths, order and priors.

    Attributes:
      block: side of the blocks in pixels (uqdm.transforms.wavelet); 1 for latents.
      finest_width: Delta of Eq. 1, in units of pixel values (0 to 255).
      phases: of every level, coarsest first: the number of phases (1, 2 or 4) of the coarse bands and of the bands of
        the two finest octaves; 0 for the latter sends all bands together, (0, 0) leaves a level out.
      prior_std: standard deviation of every channel, (C,), in units of pixel values.
      threshold: a channel takes part in level j > 0 if prior_std > threshold * w_j.
      colours: numbers per position: 3 of pictures, the channels of a latent.
      opening: how many of the first levels are the opening.
    """

    block: int
    finest_width: float
    phases: tuple[tuple[int, int], ...]
    prior_std: tuple[float, ...]
    threshold: float = 0.3
    colours: int = 3
    opening: int = 0

    def __post_init__(self):
        if not all(coarse in _PHASES and fine in _PHASES for coarse, fine in self.phases):
            raise ValueError(f"phases must be pairs of 0, 1, 2 or 4, got {self.phases}")
        if not self.phases or not self.phases[-1][0]:
            raise ValueError("the last level must be sent: its first number of phases is 0")
        if not self.finest_width > 0:
            raise ValueError(f"finest_width must be positive, got {self.finest_width}")
        if len(self.prior_std) != self.colours * self.block**2:
            entries = self.colours * self.block**2
            raise ValueError(f"prior_std must have {entries} entries, got {len(self.prior_std)}")
        if not 0 <= self.opening < len(self.phases) or (self.opening and self.block == 1):
            raise ValueError(f"an opening is of pictures and has fewer than all levels, got {self.opening}")
        first, low = self.threshold * self.width(len(self.phases) - 1), self.prior_std[: self.colours]
        if self.opening and not (self.phases[0][0] and min(low) > first):
            raise ValueError("an opening must begin with the low-pass band: it takes no part in the first level")

    @property
    def channels(self) -> int:
        return len(self.prior_std)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps in the order of transmission."""
        return tuple(_steps_of(self))

    def width(self, level: int) -> float:
        """w_j of Eq. 1, in units of pixel values."""
        return self.finest_width * 2**level

    @cached_property
    def levels(self) -> Levels:
        """Which cells are known before each step."""
        zero = other = np.full((BLOCK_CLASSES, self.channels), UNSEEN, np.int8)
        history = [(zero, other)]
        for step in self.steps:
            level = np.int8(step.level)
            if step.halving:
                other = np.where(step.members, level, other)
            else:
                zero = np.where(step.members, level, zero)
                other = np.where(step.members & (other == UNSEEN), level, other)
            history.append((zero, other))
        return Levels(*(np.stack(levels) for levels in zip(*history, strict=True)))

    def low_pass_known(self, step: int) -> bool:
        """Whether something of every low-pass coefficient has been sent before a step."""
        return not (self.levels.zero[step, :, : self.colours] == UNSEEN).any()

    @cached_property
    def times(self) -> tuple[float, ...]:
        """t before the first step and after each."""
        opening, rest = (len(section.range) for section in self.sections) if self.opening else (0, len(self.steps))
        usual = len(replace(self, opening=0).steps) if self.opening else rest
        begun = [1 - (usual - rest) / usual * step / opening for step in range(opening)]
        return (*begun, *((rest - step) / usual for step in range(rest + 1)))

    @cached_property
    def sections(self) -> tuple["Section", ...]:
        """What networks are asked about: the opening, if there is one, and the rest."""
        if not self.opening:
            return (Section(self, range(len(self.steps)), self.block),)
        opening = sum(step.level >= len(self.phases) - self.opening for step in self.steps)
        sides = layout_of(self.block, self.colours).side
        finest = max(int(sides[step.members.any(0)].max()) for step in self.steps[:opening])
        rest = range(opening, len(self.steps))
        return Section(self, range(opening), 2 * finest), Section(self, rest, self.block)


@dataclass(frozen=True, eq=False)
class Section:
    """Neighbouring steps of a schedule, of which it has what one network is told: its steps and channels.

    Attributes:
      whole: the schedule.
      range: of its steps.
      block: side of a block as far as its bands go: channels of finer ones are left out.
    """

    whole: Schedule
    range: range
    block: int

    @property
    def channels(self) -> int:
        """Numbers of a block, the first ones of the schedule's."""
        return self.whole.colours * self.block**2

    @property
    def prior_std(self) -> tuple[float, ...]:
        """Of its channels."""
        return self.whole.prior_std[: self.channels]

    @property
    def finest_width(self) -> float:
        """Delta of the schedule."""
        return self.whole.finest_width

    def width(self, level: int) -> float:
        """w_j of Eq. 1, in units of pixel values."""
        return self.whole.width(level)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Its steps, with its channels."""
        steps = self.whole.steps[self.range.start : self.range.stop]
        return tuple(step._replace(members=step.members[:, : self.channels]) for step in steps)

    @cached_property
    def levels(self) -> Levels:
        """Levels of its channels before each of its steps, and after the last."""
        own = slice(self.range.start, self.range.stop + 1)
        return Levels(*(levels[own, :, : self.channels] for levels in self.whole.levels))


def _steps_of(schedule: Schedule) -> Iterator[Step]:
    """The steps of a schedule in their order."""
    std, channels = np.asarray(schedule.prior_std), layout_of(schedule.block, schedule.colours)
    side, low, luma = channels.side, channels.band == 0, channels.colour == 0
    every, of_block = np.ones(side.shape, bool), np.arange(BLOCK_CLASSES)[:, None]
    class_of = np.where(side == 1, of_block // 4, _class(channels.row, channels.column))
    fine = side >= schedule.block // 4 if schedule.block > 1 else channels.colour >= schedule.colours // 4
    seen = ~every
    for level, (coarse_phases, fine_phases) in zip(reversed(range(len(schedule.phases))), schedule.phases, strict=True):
        taking_part = (std > schedule.threshold * schedule.width(level)) | (level == 0)
        groups = [(~fine, coarse_phases), (fine, fine_phases)] if fine_phases else [(every, coarse_phases)]
        opening = level >= len(schedule.phases) - schedule.opening
        pyramid = opening and not seen.any()
        if pyramid:
            parts = [(low, classes) for classes in _PYRAMID[:3]]
            parts += [(low & colour, classes) for colour in (luma, ~luma) for classes in _PYRAMID[3:]]
            for bands, classes in parts:
                yield Step(level, taking_part & bands & np.isin(of_block, classes), doublings=_DOUBLINGS)
        for group, count in groups:
            bands = group & ~low if pyramid else group
            for colour in (luma, ~luma) if opening else (every,):
                for classes in _PHASES[count]:
                    if (members := taking_part & bands & colour & np.isin(class_of, classes)).any():
                        yield Step(level, members)
        if coarse_phases:
            if seen.any():
                yield Step(level, np.broadcast_to(seen, (BLOCK_CLASSES, schedule.channels)), halving=True)
            seen = seen | taking_part
