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

Refining a cell of width 2 w halves its error at a slope of w^2 / 4 per bit, at most; telling whether a coefficient
leaves the zero cell buys between 0.27 w^2 (one in 30 leaves) and 0.7 w^2 (one in two). So the steps of a level first
split zero cells (and the line, where nothing was sent), and one last step *halves* all other cells. It needs no
reference of its own: it is coded under those that its coefficients had in their step.

Time runs as in the review's Algorithm 1: T = 1 at the start, and the state after step i of n is X_t with
t = 1 - i / n.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from uqdm.nested.layout import layout_of

__all__ = ["UNSEEN", "Levels", "Schedule", "Step", "phase_classes"]

UNSEEN = 127
"""Level of a coefficient of which nothing has been sent."""

_PHASES = {0: (), 1: ((0, 1, 2, 3),), 2: ((0, 1), (2, 3)), 4: ((0,), (1,), (2,), (3,))}


def _class(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Eq. 2."""
    return np.where(row % 2 == column % 2, row % 2, 2 + row % 2)


def phase_classes(rows: int, columns: int) -> np.ndarray:
    """The class (Eq. 2) of every block, int32 of shape (rows, columns)."""
    return _class(np.arange(rows, dtype=np.int32)[:, None], np.arange(columns, dtype=np.int32)[None, :])


class Step(NamedTuple):
    """One step of Algorithm 1: cells of the `members` go to `level`."""

    level: int
    members: np.ndarray
    """bool (4, C): whether a channel takes part in the blocks of each class."""
    halving: bool = False
    """False: what is sent are zero cells and coefficients of which nothing was known; True: all other cells."""


class Levels(NamedTuple):
    """Level of every channel before each step, int8 (steps + 1, 4 classes, C), or `UNSEEN`."""

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
    """

    block: int
    finest_width: float
    phases: tuple[tuple[int, int], ...]
    prior_std: tuple[float, ...]
    threshold: float = 0.3
    colours: int = 3

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

    @property
    def channels(self) -> int:
        return len(self.prior_std)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps in the order of transmission."""
        std, channels = np.asarray(self.prior_std), layout_of(self.block, self.colours)
        of_channel = _class(channels.row, channels.column)
        class_of = np.where(channels.side == 1, np.arange(4)[:, None], of_channel)
        fine = channels.side >= self.block // 4 if self.block > 1 else channels.colour >= self.colours // 4
        steps, seen = [], np.zeros(channels.side.shape, bool)
        for level, (coarse_phases, fine_phases) in zip(reversed(range(len(self.phases))), self.phases, strict=True):
            taking_part = (std > self.threshold * self.width(level)) | (level == 0)
            groups = [(~fine, coarse_phases), (fine, fine_phases)] if fine_phases else [(fine | ~fine, coarse_phases)]
            for group, count in groups:
                for classes in _PHASES[count]:
                    members = taking_part & group & np.isin(class_of, classes)
                    if members.any():
                        steps.append(Step(level, members))
            if coarse_phases:
                if seen.any():
                    steps.append(Step(level, np.broadcast_to(seen, (4, self.channels)), halving=True))
                seen = seen | taking_part
        return tuple(steps)

    def width(self, level: int) -> float:
        """w_j of Eq. 1, in units of pixel values."""
        return self.finest_width * 2**level

    @cached_property
    def levels(self) -> Levels:
        """Which cells are known before each step."""
        zero = other = np.full((4, self.channels), UNSEEN, np.int8)
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
