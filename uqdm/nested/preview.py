"""What a prefix of the nested process shows: estimates of the coefficients, moved into the cells that are known.

After a step there are two estimates, a fresh one and the one from before the step, moved into the cells that the step
sent; what is shown is their mean with the weights of the model (uqdm.nested.preview_weights, Eq. 1), moved into the
cells that are known of the next step already. Nothing that is transmitted depends on it.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from channel_sim.refinement import OPEN, Interval
from uqdm.nested.process import TICKS
from uqdm.nested.state import NestedState, cells_of

__all__ = ["Denoiser", "earlier_estimate", "fresh_estimate", "mean_estimate"]


@runtime_checkable
class Denoiser(Protocol):
    """What estimates ask of a model."""

    @property
    def preview_weights(self) -> np.ndarray:
        """Weights of fresh estimates, (steps + 1,)."""
        ...

    def estimate(self, units: np.ndarray, midpoint: np.ndarray, shift: np.ndarray, step: int) -> np.ndarray:
        """Denoised coefficients of a state, float32 (h, w, C)."""
        ...


def mean_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """The coefficients that are shown after so many steps and a part of the next, float32 (h, w, C).

    The weight of the fresh estimate grows to 1 while the next step arrives.
    """
    estimate, weight = fresh_estimate(model, state, step), float(model.preview_weights[step])
    weight += (1 - weight) * state.known_share
    if weight < 1:
        earlier = earlier_estimate(model, state, step)
        estimate = earlier + np.float32(weight) * (estimate - earlier)
    return estimate if state.known is None else _moved(state, estimate, *state.known)


def fresh_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """Denoised coefficients of a state, float32 (h, w, C)."""
    if state.estimates.fresh is None:
        state.estimates.fresh = _denoised(model, state, state.units, state.midpoint, step)
    return state.estimates.fresh


def earlier_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """What was estimated before the last step, moved into the cells that it sent, float32 (h, w, C)."""
    if state.before is None:
        return fresh_estimate(model, state, step)
    members, midpoint, units = state.before
    if state.estimates.earlier is None:
        state.estimates.earlier = _denoised(model, state, units, midpoint, step - 1)
    width = 1 << (state.code.schedule.steps[step - 1].level + 8)
    return _moved(state, state.estimates.earlier, members, cells_of(state.midpoint[members], width))


def _denoised(model: Denoiser, state: NestedState, units: np.ndarray, midpoint: np.ndarray, step: int) -> np.ndarray:
    units, midpoint, shift = (x.reshape(state.grid.shape) for x in (units, midpoint, state.shift))
    return model.estimate(units, midpoint, shift, step)


def _moved(state: NestedState, estimate: np.ndarray, members: np.ndarray, cells: Interval) -> np.ndarray:
    """An estimate that knows nothing of a step, moved into the cells that the step sent."""
    estimate = np.array(estimate)
    flat = estimate.reshape(-1)
    tick = state.code.schedule.finest_width / TICKS
    flat[members] = _into(cells, flat[members], state.shift[members], tick)
    return estimate


def _into(cells: Interval, values: np.ndarray, shift: np.ndarray, tick: float) -> np.ndarray:
    """Moves coefficients into their cells."""
    width = np.where(cells.high == OPEN, cells.low, cells.high - cells.low)
    # Not to the very edge of a cell: its inner 60 % holds the mean for any density that is not extreme.
    margin = np.where(cells.sign == 0, 0.0, 0.2) * width
    near, far = cells.low + margin, np.where(cells.high == OPEN, np.inf, cells.high - margin)
    low = np.where(cells.sign == 0, -far, np.where(cells.sign > 0, near, -far))
    high = np.where(cells.sign == 0, far, np.where(cells.sign > 0, far, -near))
    untouched = (cells.sign == 0) & (cells.high == OPEN)
    moved = np.clip(values, (low + shift) * tick, (high + shift) * tick)
    return np.where(untouched, values, moved).astype(np.float32)
