"""The nested process: states, references and updates of Algorithm 1 in integers.

One unit is a *tick*, 1/256 of the finest width Delta, so that the width of level j is w_j = 2^(8 + j) ticks. A
coefficient c has

    X = round(256 c / Delta)        the source, an integer,
    o in {-128, ..., 127}           its shift: the common randomness, drawn once, shared by all levels,
    Y = X - o                       what the partitions cut.

State. The state of a coefficient at level j is the index k of the dead-zone cell that Y lies in
(channel_sim.refinement): k = 0 is the open interval (-w_j, w_j), k > 0 is [k w_j, (k + 1) w_j), k < 0 its mirror image.
The estimate that the state itself gives is the midpoint of the cell, shifted back,

    z = m(k) + o,   and 0 for k = 0,                                                        (1)

since a coefficient that may be zero most likely is, whatever its shift. It is 0, too, where nothing has been sent.

Prior. A coefficient is modelled a priori as having standard deviation sigma, and its cell as adding noise of
variance w^2 / 12, so that

    std[z] = sqrt(sigma^2 + w^2 / 12),
    std[c | z] = sigma w / (sqrt(12) std[z]),   or sigma where nothing was sent.            (2)

Input. The network is told |z| in sixteenths of std[z], rounded, but at least 1 and at most 127, with the sign of k; 0
for k = 0. With G = round(2^32 16 / std[z]), std[z] in half ticks,

    u = sign(k) min(127, max(1, floor((2 |z| G + 2^31) / 2^32))).                           (3)

References. The network's outputs a and b (64ths, integers; uqdm.nested.integer_network) are the location and scale of
psi, a logistic density, in units of the prior:

    location = z + a std[c | z] / 64         as  m(k) - [k = 0] o + floor((a S + 2^15) / 2^16)   relative to o,   (4)
    scale    = 0.55 std[c | z] 2^(b / 64)    as  8 log2(scale) = floor((b + L + 4) / 8),                     (5)

S = round(2^10 std[c | z]) and L = round(64 log2(0.55 std[c | z])), std in ticks (0.55 = sqrt(3) / pi: at b = 0 the
density has the prior's deviation). G, S and L of every level and kind of coefficient are stored in the model file.

Estimate. With the network's third output d (64ths, an integer) a preview shows

    z + floor((d S + 2^15) / 2^16)           clipped to the cell,                              (6)

in integers as well, so that pictures are the same everywhere; no symbol depends on it.

Rate. A step sends, for each of its coefficients, the child cell given the parent, at -log2 psi(child) / psi(parent)
bits; the whole line is the parent at the first visit. By the chain rule nothing is lost by sending more steps. A
halving step (uqdm.nested.schedule) is coded under the references that its coefficients had in their step of the same
level.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int, Int32

from uqdm.nested.network_config import INPUT_LIMIT, INPUT_UNITS
from uqdm.nested.schedule import UNSEEN, Schedule, Section

__all__ = ["LOGISTIC_SCALE", "TICKS", "LevelTables", "Prior", "prior_of_levels"]

TICKS = 256
"""Ticks per finest width."""

_FAR = 2**30
"""No coefficient of a picture comes near so many ticks."""

LOGISTIC_SCALE = 0.55
"""Scale of a logistic density of standard deviation 1."""


class Prior(NamedTuple):
    """What Eq. 2 says of a cell, float arrays of one shape, in units of pixel values."""

    width: Array | np.ndarray
    """Width of the cell, or infinity."""
    std: Array | np.ndarray
    """std[c | z]."""
    input_gain: Array | np.ndarray
    """1 / std[z], or 0 where nothing was sent."""


def prior_of_levels(schedule: Schedule | Section, levels: np.ndarray) -> Prior:
    """Eq. 2 for levels of shape (..., C), in float64."""
    levels = np.asarray(levels, np.int64)
    seen = levels != UNSEEN
    width = np.where(seen, schedule.finest_width * 2.0 ** np.where(seen, levels, 0), np.inf)
    variance = np.broadcast_to(np.square(np.asarray(schedule.prior_std)), width.shape)
    total = variance + np.where(seen, width, 0.0) ** 2 / 12
    std = np.sqrt(np.where(seen, variance / total * np.where(seen, width, 0.0) ** 2 / 12, variance))
    return Prior(width, std, np.where(seen, 1 / np.sqrt(total), 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelTables:
    """The integers of Eqs. 3 to 5, int64 (levels + 1, C); the last row is for coefficients never sent.

    Attributes:
      input_gain: G.
      std: S.
      log2_scale: L.
    """

    input_gain: np.ndarray
    std: np.ndarray
    log2_scale: np.ndarray

    @classmethod
    def of_schedule(cls, schedule: Schedule) -> "LevelTables":
        """Computed in double precision, with this machine's libm: what coding reads is what a model file stores."""
        levels = np.append(np.arange(len(schedule.phases)), UNSEEN)[:, None]
        prior = prior_of_levels(schedule, np.broadcast_to(levels, (len(levels), schedule.channels)))
        tick = schedule.finest_width / TICKS

        def integers(values):
            return np.rint(values).astype(np.int64)

        return cls(
            input_gain=integers(prior.input_gain * (tick / 2) * INPUT_UNITS * 2.0**32),
            std=integers(prior.std / tick * 2**10),
            log2_scale=integers(64 * np.log2(LOGISTIC_SCALE * prior.std / tick)),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        return asdict(self)

    def input(self, level: int, channel: np.ndarray, sign: np.ndarray, doubled_z: np.ndarray) -> np.ndarray:
        """Eq. 3: int8 from the signs of k and 2 z in ticks."""
        gain = self.input_gain[level, channel]
        magnitude = (np.abs(doubled_z.astype(np.int64)) * gain + 2**31) >> 32
        return (sign * np.clip(magnitude, 1, INPUT_LIMIT)).astype(np.int8)

    def estimate(
        self,
        levels: tuple[np.ndarray, np.ndarray],
        classes: Int[np.ndarray, "h w"],
        midpoint: Int[np.ndarray, "h w C"],
        shift: Int[np.ndarray, "h w C"],
        d: Int[np.ndarray, "h w C"],
    ) -> Int32[np.ndarray, "h w C"]:
        """Eq. 6, in ticks.

        Args:
          levels: of zero and of other cells (uqdm.nested.schedule.Levels), each (classes, C).
          classes: of the blocks.
          midpoint: doubled midpoints of cells in ticks, relative to the shift; 0 for zero cells and what is unseen.
          shift: o in ticks.
          d: output of the network, in 64ths.
        """
        rows, channels = self.std.shape
        rows_of = (np.minimum(level, rows - 1) for level in levels)
        zero_std, other_std = (self.std[level, np.arange(channels)] for level in rows_of)
        zero_width, other_width = (
            np.where(level == UNSEEN, _FAR, np.int64(256) << np.minimum(level, 40)) for level in levels
        )
        inside, left = midpoint == 0, np.abs(midpoint) >= 2 * other_width[classes]
        std = np.where(left, other_std[classes], zero_std[classes])
        width = np.where(left, other_width[classes], zero_width[classes])
        middle, reach = (midpoint >> 1) + shift.astype(np.int64), np.where(inside, width, width >> 1)
        guess = np.where(inside, 0, middle) + ((d * std + 2**15) >> 16)
        return np.clip(guess, middle - reach, middle + reach).astype(np.int32)

    def reference(
        self, level: np.ndarray, channel: np.ndarray, origin: np.ndarray, a: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Eqs. 4 and 5: the location in ticks relative to the shift, and 8 log2 of the scale.

        Args:
          level: of the cells before the step, or `UNSEEN`.
          channel: of the coefficients.
          origin: the midpoint of the cell in ticks, or -o for zero cells and where nothing was sent.
          a: output of the network, in 64ths.
          b: likewise.
        """
        rows, channels = self.std.shape
        place = np.minimum(level, rows - 1) * np.int32(channels) + channel
        location = origin + ((a * self.std.take(place) + 2**15) >> 16)
        return location.astype(np.int32), (b + self.log2_scale.take(place) + 4) >> 3
