"""What a prefix of the nested process shows: estimates of the coefficients, moved into the cells that are known.

After a step there are two estimates, a fresh one and the one from before the step, moved into the cells that the step
sent; what is shown is their mean with the weights of the model (uqdm.nested.preview_weights, Eq. 1). While the next
step arrives, it is moved into the cells that are known of it already, and what the network says of the state with
these cells, as if the step were complete, is faded in with its share and its weight: so a step changes little when
its last byte arrives. Coefficients are integers, in ticks, so that pictures are the same everywhere; nothing that is
transmitted depends on them.

Pictures unlike those that the model learned from can look worse after a step than before. A sender that has looked
says so (uqdm.contract.HoldingState): after such a step is shown what was shown before it.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from channel_sim.refinement import OPEN, Interval
from uqdm.nested.state import NestedState, cells_of

_FAR = 2**30
"""No coefficient of a picture comes near so many ticks."""

__all__ = ["Denoiser", "earlier_estimate", "fresh_estimate", "mean_estimate", "shown_state"]


@runtime_checkable
class Denoiser(Protocol):
    """What estimates ask of a model."""

    @property
    def preview_weights(self) -> np.ndarray:
        """Weights of fresh estimates, (steps + 1,)."""
        ...

    def estimate(self, units: np.ndarray, midpoint: np.ndarray, shift: np.ndarray, step: int) -> np.ndarray:
        """Denoised coefficients of a state in ticks, int32 (h, w, C)."""
        ...


_PIECE = 2**20
"""Coefficients that are worked on at a time."""
_ONE = 2**15
"""Weights are whole multiples of 2^-15."""


def mean_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """The coefficients that are shown after so many steps and a part of the next, int32 (h, w, C), in ticks.

    While the next step arrives, the weight of the fresh estimate grows to 1, and so does that of the one ahead.
    """
    held, (shown, shown_step) = state.held or frozenset(), shown_state(state, step)
    if shown is not state:
        estimate = mean_estimate(model, shown, shown_step)
    else:
        estimate, weight = fresh_estimate(model, state, step), round(_ONE * float(model.preview_weights[step]))
        weight += ((_ONE - weight) * round(_ONE * state.known_share)) // _ONE
        if weight < _ONE:
            estimate = _mixed(estimate, earlier_estimate(model, state, step), weight)
    if state.known is None or step + 1 in held:
        return estimate
    moved = _moved(state, estimate, *state.known, to_the_edge=bool(held))
    weight = round(_ONE * float(model.preview_weights[step + 1])) * round(_ONE * state.known_share) // _ONE
    if not weight or not state.code.schedule.low_pass_known(step):
        return moved
    ahead = _denoised(model, state, *state.ahead(step), step + 1)
    return _moved(state, _mixed(ahead, moved, weight), *state.known, to_the_edge=True)


def shown_state(state: NestedState, step: int) -> tuple[NestedState, int]:
    """The state, and its step, whose estimate is shown after so many steps: the last that the sender does not hold."""
    if step not in (state.held or ()):
        return state, step
    assert state.kept is not None, "no stream holds what is shown before its first step"
    kept_step, kept = state.kept
    return kept, kept_step


def _mixed(fresh: np.ndarray, earlier: np.ndarray, weight: int) -> np.ndarray:
    """Between both, a few rows at a time so that memory stays bounded."""
    mixed, rows = np.empty_like(fresh), max(1, _PIECE // fresh[0].size)
    for start in range(0, len(fresh), rows):
        part = slice(start, start + rows)
        change = (fresh[part].astype(np.int64) - earlier[part]) * weight + _ONE // 2
        mixed[part] = earlier[part] + (change // _ONE).astype(np.int32)
    return mixed


def fresh_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """Denoised coefficients of a state, int32 (h, w, C), in ticks."""
    if state.estimates.fresh is None:
        state.estimates.fresh = _denoised(model, state, state.units, state.midpoint, step)
    return state.estimates.fresh


def earlier_estimate(model: Denoiser, state: NestedState, step: int) -> np.ndarray:
    """What was estimated before the last step, moved into the cells that it sent, int32 (h, w, C), in ticks."""
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


def _moved(
    state: NestedState, estimate: np.ndarray, members: np.ndarray, cells: Interval, *, to_the_edge: bool = False
) -> np.ndarray:
    """An estimate that knows nothing of a step, moved into the cells that the step sent."""
    estimate = np.array(estimate)
    flat = estimate.reshape(-1)
    for start in range(0, len(members), _PIECE):
        part = slice(start, start + _PIECE)
        own, own_cells = members[part], Interval(*(values[part] for values in cells))
        flat[own] = _into(own_cells, flat[own], state.shift[own], to_the_edge)
    return estimate


def _into(cells: Interval, values: np.ndarray, shift: np.ndarray, to_the_edge: bool) -> np.ndarray:
    """Moves coefficients, in ticks, into their cells."""
    bounded = cells.high != OPEN
    width = np.where(bounded, cells.high - cells.low, cells.low)
    # Not to the very edge of a cell: its inner 60 % holds the mean for any density that is not extreme.
    margin = np.where((cells.sign == 0) | to_the_edge, 0, width // 5)
    near, far = cells.low + margin, np.where(bounded, cells.high - margin, _FAR)
    low = np.where(cells.sign > 0, near, -far)
    high = np.where(cells.sign < 0, -near, far)
    untouched = (cells.sign == 0) & ~bounded
    return np.where(untouched, values, np.clip(values, low + shift, high + shift)).astype(np.int32)
