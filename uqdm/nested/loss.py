"""Rate and distortion of the nested process as training sees them: differentiable, in real numbers.

The integers of `uqdm.nested.process` are replaced by real numbers here (no rounding to ticks or to classes of
references); tests compare the result with the length of real streams.
"""

from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from uqdm.nested.network import Inputs, Outputs
from uqdm.nested.network_config import INPUT_LIMIT, INPUT_UNITS
from uqdm.nested.process import LOGISTIC_SCALE, Prior, prior_of_levels
from uqdm.nested.schedule import Schedule, Section, block_classes
from uqdm.training.densities import logistic_log_mass

__all__ = ["Known", "NestedLoss", "StepTerms", "View", "known_state", "location_and_log2_scale"]

LOCATION_LIMIT = 4.0
SCALE_LIMIT = 16.0
"""References are resolved within +-4 child widths (or widths of what is told first) and for scales from 1/16 to 16
(channel_sim.split_tables)."""


def known_state(z: Float[Array, "n h w C"], input_gain: Array | np.ndarray, classes: Array, step: Array) -> Inputs:
    """The network's input (uqdm.nested.process, Section "Input")."""
    magnitude = jnp.minimum(jnp.round(jnp.abs(z) * (input_gain * INPUT_UNITS)), INPUT_LIMIT)
    units = jnp.sign(z) * jnp.where(input_gain > 0, jnp.maximum(magnitude, 1.0), 0.0)
    return Inputs(units, classes, step)


def location_and_log2_scale(
    z: Array, location: Array, log2_scale: Array, std: Array | np.ndarray
) -> tuple[Array, Array]:
    """psi (uqdm.nested.process, Eqs. 4 and 5), in the units of z and of the prior."""
    return z + location * std, log2_scale + jnp.log2(LOGISTIC_SCALE * std)


def cell_of(y: Array, width: Array) -> tuple[Array, Array]:
    """Ends of the dead-zone cell of `width` around y (uqdm.nested.process)."""
    index = jnp.floor(jnp.abs(y) / width)
    near, far = index * width, (index + 1) * width
    low = jnp.where(index == 0, -width, jnp.where(y > 0, near, -far))
    return low, jnp.where(index == 0, width, jnp.where(y > 0, far, -near))


class StepTerms(NamedTuple):
    """What one step costs and what is known before it, per picture."""

    rate_bits: Float[Array, " n"]
    """Of the step itself."""
    halving_bits: Float[Array, " n"]
    """Of what the level's halving step will send under the references of this one."""
    squared_error: Float[Array, " n"]
    """Mean over coefficients of the squared error of the estimate, before the step."""


class Known(NamedTuple):
    """What a prefix tells of coefficients, each (n, h, w, C) in units of pixel values."""

    y: Array
    """The coefficients less their shift, which the cells are about."""
    shift: Array
    prior: Prior
    seen: Bool[Array, "n h w C"]
    """Whether anything was sent."""
    width: Array
    """Of the cell; 1 where nothing was sent."""
    low: Array
    """Of the cell, relative to the shift."""
    high: Array
    middle: Array
    """Of the cell, relative to the shift; 0 where nothing was sent."""
    z: Array
    """The estimate that the state itself gives (uqdm.nested.process, Eq. 1)."""
    sent: Bool[Array, "n h w C"]
    """Whether the next step asks the network about it."""
    unit: Array
    """Width after the next step, (n, 1, 1, 1)."""
    told_first: Array
    """Width of the cell that the next step tells first where nothing is known, (n, 1, 1, 1)."""
    inputs: Inputs
    """Of the network."""

    @property
    def inside(self) -> Array:
        """Whether the cell is a zero cell."""
        return jnp.abs(self.y) < self.width

    def moved(self, values: Array) -> Array:
        """Values moved into the cells."""
        return jnp.where(self.seen, jnp.clip(values, self.low + self.shift, self.high + self.shift), values)

    def estimate(self, outputs: Outputs) -> Array:
        """The denoised coefficients (uqdm.nested.process, Eq. 6)."""
        return self.moved(self.z + outputs.estimate * self.prior.std)


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
    """Terms of Eq. 1 of `uqdm.nested.train`, for random steps of a schedule or of a section of one."""

    def __init__(self, schedule: Schedule | Section):
        self.schedule = schedule
        self.steps = len(schedule.steps)

    @cached_property
    def _priors(self) -> tuple[Prior, Prior]:
        """Of coefficients that were in the zero cell, and of the others (uqdm.nested.schedule.Levels)."""
        both = (prior_of_levels(self.schedule, levels) for levels in self.schedule.levels)
        zero, other = (Prior(*(table.astype(np.float32) for table in prior)) for prior in both)
        return zero, other

    @cached_property
    def _sent(self) -> np.ndarray:
        """Whether a step asks the network about a channel, (steps + 1, classes, C)."""
        steps = self.schedule.steps
        sent = [step.members & (not step.halving) for step in steps]
        return np.stack([*sent, np.zeros_like(sent[0])])

    @cached_property
    def _unit(self) -> np.ndarray:
        """Width after every step."""
        return np.array([self.schedule.width(step.level) for step in self.schedule.steps] + [1.0], np.float32)

    @cached_property
    def _told_first(self) -> np.ndarray:
        """Width of the cell that a step tells first where nothing is known."""
        return self._unit * np.array([2.0**step.doublings for step in self.schedule.steps] + [1.0], np.float32)

    def tables(
        self, step: Int[Array, " n"], coefficients: Float[Array, "n h w C"], y: Array
    ) -> tuple[Prior, Bool[Array, "n h w C"], Array, Array]:
        """The prior before a step, what takes part in it, its width afterwards (n, 1, 1, 1), and blocks' classes."""
        classes = jnp.asarray(block_classes(*coefficients.shape[1:3]))

        def at(table):
            return jnp.asarray(table)[step][:, classes]

        zero, other = (Prior(*(at(table) for table in prior)) for prior in self._priors)
        left = jnp.abs(y) >= other.width
        prior = Prior(*(jnp.where(left, b, a) for a, b in zip(zero, other, strict=True)))
        return prior, at(self._sent), jnp.asarray(self._unit)[step][:, None, None, None], classes

    def known(self, coefficients: Float[Array, "n h w C"], step: Int[Array, " n"], key: PRNGKeyArray) -> Known:
        """What is known before a step, of pictures whose shifts a key draws."""
        shift = (jax.random.uniform(key, coefficients.shape) - 0.5) * self.schedule.finest_width
        y = coefficients - shift
        prior, sent, unit, classes = self.tables(step, coefficients, y)
        seen = jnp.isfinite(prior.width)
        width = jnp.where(seen, prior.width, 1.0)
        low, high = cell_of(y, width)
        middle = jnp.where(seen, (low + high) / 2, 0.0)
        z = jnp.where(seen & (jnp.abs(y) >= width), middle + shift, 0.0)
        inputs = known_state(z, prior.input_gain, classes, step)
        told_first = jnp.asarray(self._told_first)[step][:, None, None, None]
        return Known(y, shift, prior, seen, width, low, high, middle, z, sent, unit, told_first, inputs)

    def __call__(
        self, network, coefficients: Float[Array, "n h w C"], step: Int[Array, " n"], key: PRNGKeyArray
    ) -> StepTerms:
        """Terms of one step per picture.

        Args:
          network: maps a `Inputs` to `Outputs`.
          coefficients: of n pictures, in units of pixel values.
          step: how many steps are behind us, 0 to `steps` (then the rates are 0).
          key: draws the shifts.
        """
        return self.with_view(network, coefficients, step, key)[0]

    def with_view(self, network, coefficients, step, key) -> tuple[StepTerms, View]:
        """As calling it, and what it saw."""
        known = self.known(coefficients, step, key)
        outputs: Outputs = network(known.inputs)
        squared_error = jnp.mean(jnp.square(known.estimate(outputs) - coefficients), axis=(1, 2, 3))

        sent, seen, inside, low, high = known.sent, known.seen, known.inside, known.low, known.high
        child = jnp.where(sent, known.unit, known.width)
        child_low, child_high = cell_of(known.y, child)
        location, log2_scale = location_and_log2_scale(known.z, outputs.location, outputs.log2_scale, known.prior.std)
        reach = LOCATION_LIMIT * jnp.where(sent & ~seen, known.told_first, child)
        offset = jnp.clip(location - known.shift - known.middle, -reach, reach)
        scale = jnp.clip(2.0**log2_scale, child / SCALE_LIMIT, child * SCALE_LIMIT)
        view = View(known.y, known.shift, known.width, low, high, known.middle + offset, scale)

        parent_log_mass = logistic_log_mass(view.standardised(low), view.standardised(high))
        log_probability = logistic_log_mass(view.standardised(child_low), view.standardised(child_high))
        bits = -(log_probability - jnp.where(seen, parent_log_mass, 0.0)) / np.log(2)

        def total(which):
            return jnp.sum(jnp.where(which, bits, 0.0), axis=(1, 2, 3))

        return StepTerms(total(sent & (inside | ~seen)), total(sent & seen & ~inside), squared_error), view
