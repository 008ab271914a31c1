"""The nested process: states, references and updates of Algorithm 1 without the network and without a bit stream.

Integers. One unit is a *tick*, 1/256 of the finest width Delta, so that w_j = 2^(8 + j) ticks. A coefficient c has

    X = round(256 c / Delta)        the source, an integer,
    o in {-128, ..., 127}           its shift: the common randomness, drawn once, shared by all levels,
    Y = X - o                       what the partitions cut.

State. The state of a coefficient at level j is the index k of the dead-zone cell that Y lies in
(channel_sim.dither): k = 0 is the open interval (-w_j, w_j), k > 0 is [k w_j, (k + 1) w_j), k < 0 its mirror image.
The midpoint of the cell, shifted back, is the estimate that the state itself gives,

    z = m(k) + o,                                                                           (1)

and it is 0 where nothing has been sent.

Prior. A coefficient is modelled a priori as having standard deviation sigma, and its cell as adding noise of
variance w^2 / 12, so that with s = sigma^2 / (sigma^2 + w^2 / 12)

    E[c | z] = s z,     std[c | z] = sqrt(s) w / sqrt(12)   (sigma where nothing was sent).         (2)

The network speaks in these units: its outputs (a, b, d) mean

    location of psi = s z + a std[c | z],                                                   (3)
    scale of psi    = 0.55 std[c | z] 2^b,                                                  (4)
    estimate of c   = s z + d std[c | z], clipped to the cell,                              (5)

psi being a logistic density (0.55 = sqrt(3) / pi makes its standard deviation the prior's at b = 0), and its input is
the normalised state z / sqrt(sigma^2 + w^2 / 12).

Rate. A step sends, for each of its coefficients, the child cell given the parent, at -log2 psi(child) / psi(parent)
bits; the whole line is the parent at the first visit. By the chain rule nothing is lost by sending more steps.
"""

from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from uqdm.network import Outputs, State
from uqdm.schedule import UNSEEN, Schedule, phase_classes

__all__ = [
    "TICKS",
    "NestedLoss",
    "Prior",
    "StepTerms",
    "estimate",
    "known_state",
    "location_and_log2_scale",
    "prior_tables",
]

TICKS = 256
"""Ticks per finest width."""

LOCATION_LIMIT = 4.0
SCALE_LIMIT = 16.0
"""References are resolved within +-4 child widths and for scales from 1/16 to 16 (channel_sim.split_tables)."""


class Prior(NamedTuple):
    """Constants of one state per class of block and channel, (steps + 1, 4, C) float32, in units of pixel values."""

    width: Array
    """Width of the cell, or infinity."""
    shrink: Array
    """s of Eq. 2, or 0."""
    std: Array
    """std[c | z] of Eq. 2."""
    log2_std: Array
    """Its logarithm."""
    input_gain: Array
    """1 / sqrt(sigma^2 + w^2 / 12), or 0."""


def prior_tables(schedule: Schedule) -> Prior:
    """Eq. 2 for every state of a schedule (computed in float64, returned as float32)."""
    levels = schedule.levels.astype(np.int64)
    seen = levels != UNSEEN
    width = np.where(seen, schedule.finest_width * 2.0 ** np.where(seen, levels, 0), np.inf)
    variance = np.broadcast_to(np.square(np.asarray(schedule.prior_std)), width.shape)
    noise = np.where(seen, width, 1.0) ** 2 / 12
    shrink = np.where(seen, variance / (variance + noise), 0.0)
    std = np.where(seen, np.sqrt(shrink * noise), np.sqrt(variance))
    gain = np.where(seen, 1 / np.sqrt(variance + noise), 0.0)
    return Prior(*(jnp.asarray(table, jnp.float32) for table in (width, shrink, std, np.log2(std), gain)))


def known_state(z: Float[Array, "n h w C"], prior: Prior, zero_cell: Array, classes: Array, step: Array) -> State:
    """The network's input."""
    return State(z * prior.input_gain, zero_cell, classes, step)


def location_and_log2_scale(z: Array, location: Array, log2_scale: Array, prior: Prior) -> tuple[Array, Array]:
    """psi of Eqs. 3 and 4, in the units of z and of the prior."""
    return prior.shrink * z + location * prior.std, jnp.clip(log2_scale, -7.0, 7.0) + prior.log2_std + np.log2(0.55)


def estimate(z: Array, d: Array, prior: Prior) -> Array:
    """Eq. 5 before clipping."""
    return prior.shrink * z + d * prior.std


def cell_of(y: Array, width: Array) -> tuple[Array, Array]:
    """Ends of the dead-zone cell of `width` around y (Section "State")."""
    index = jnp.floor(jnp.abs(y) / width)
    near, far = index * width, (index + 1) * width
    low = jnp.where(index == 0, -width, jnp.where(y > 0, near, -far))
    return low, jnp.where(index == 0, width, jnp.where(y > 0, far, -near))


def log_mass(low: Array, high: Array) -> Array:
    """log of the standard logistic's mass on (low, high), accurate in both tails."""
    gap = jnp.log(-jnp.expm1(-jnp.maximum(high - low, 1e-6)))
    return jax.nn.log_sigmoid(high) + jax.nn.log_sigmoid(-low) + gap


class StepTerms(NamedTuple):
    """What one step costs and what is known before it, per picture."""

    rate_bits: Float[Array, " n"]
    squared_error: Float[Array, " n"]
    """Mean over coefficients of the squared error of the estimate, before the step."""


class View(NamedTuple):
    """What the loss sees of a state, each (n, h, w, C) in units of pixel values and relative to the shift."""

    y: Array
    shift: Array
    width: Array
    """Of the cell; 1 where nothing was sent."""
    low: Array
    high: Array
    location: Array
    """Of psi, as far as it is resolved (`LOCATION_LIMIT`)."""
    scale: Array

    def standardised(self, end: Array) -> Array:
        """A point of the line in units of psi."""
        return jnp.clip((end - self.location) / self.scale, -60.0, 60.0)


class NestedLoss:
    """Differentiable rate and distortion of random steps, for training.

    The integers of the module docstring are replaced by real numbers here (no rounding to ticks or to table
    classes); `uqdm.codec` measures the difference on real files.
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.steps = len(schedule.steps)
        self._prior = prior_tables(schedule)

    @cached_property
    def _sent(self) -> np.ndarray:
        """Whether a channel takes part in a step, (steps + 1, 4, C)."""
        levels = self.schedule.levels
        return np.concatenate([levels[1:] != levels[:-1], np.zeros_like(levels[:1], bool)])

    def tables(self, step: Int[Array, " n"], grid: tuple[int, int]) -> tuple[Prior, Array, Array, Array]:
        """The prior before a step, what takes part in it, the widths after it, and the classes of blocks."""
        classes = jnp.asarray(phase_classes(*grid))

        def at(table, when):
            return jnp.asarray(table)[when][:, classes]

        prior = Prior(*(at(table, step) for table in self._prior))
        after = at(self._prior.width, jnp.minimum(step + 1, self.steps))
        return prior, at(self._sent, step), after, classes

    def __call__(
        self, network, coefficients: Float[Array, "n h w C"], step: Int[Array, " n"], key: PRNGKeyArray
    ) -> StepTerms:
        """Terms of one step per picture.

        Args:
          network: maps a `State` to `Outputs`.
          coefficients: of n pictures, in units of pixel values.
          step: how many steps are behind us, 0 to `steps` (then the rate is 0).
          key: draws the shifts.
        """
        return self.with_view(network, coefficients, step, key)[0]

    def with_view(self, network, coefficients, step, key) -> tuple[StepTerms, View]:
        """As calling it, and what it saw."""
        prior, sent, after, classes = self.tables(step, coefficients.shape[1:3])
        seen = jnp.isfinite(prior.width)
        width = jnp.where(seen, prior.width, 1.0)
        shift = (jax.random.uniform(key, coefficients.shape) - 0.5) * self.schedule.finest_width
        y = coefficients - shift
        low, high = cell_of(y, width)
        middle = jnp.where(seen, (low + high) / 2, 0.0)
        z = jnp.where(seen, middle + shift, 0.0)
        outputs: Outputs = network(known_state(z, prior, seen & (jnp.abs(y) < width), classes, step))

        guess = estimate(z, outputs.estimate, prior)
        guess = jnp.where(seen, jnp.clip(guess, low + shift, high + shift), guess)
        squared_error = jnp.mean(jnp.square(guess - coefficients), axis=(1, 2, 3))

        child = jnp.where(sent, after, width)
        child_low, child_high = cell_of(y, child)
        location, log2_scale = location_and_log2_scale(z, outputs.location, outputs.log2_scale, prior)
        offset = jnp.clip(location - shift - middle, -LOCATION_LIMIT * child, LOCATION_LIMIT * child)
        scale = jnp.clip(2.0**log2_scale, child / SCALE_LIMIT, child * SCALE_LIMIT)
        view = View(y, shift, width, low, high, middle + offset, scale)

        parent_log_mass = log_mass(view.standardised(low), view.standardised(high))
        log_probability = log_mass(view.standardised(child_low), view.standardised(child_high))
        log_probability = log_probability - jnp.where(seen, parent_log_mass, 0.0)
        rate_bits = -jnp.sum(jnp.where(sent, log_probability, 0.0), axis=(1, 2, 3)) / np.log(2)
        return StepTerms(rate_bits, squared_error), view
