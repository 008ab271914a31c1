"""Weights of one model as the start of another with a different schedule.

Whatever of the network depends on time is a table with a row per step (uqdm.nested.network). A row of the new model
starts as the row of that old step which is most like its own: of its kind (halving or not), of the nearest level, with
the most members in common, before the most similar state. What is said about the references of single kinds of
coefficients is taken from where such coefficients were sent to that level, since only there it was trained.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from uqdm.exact.fixed_point import Parameters
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import UNSEEN, Schedule, Section, Step

__all__ = ["rows_of_parameters", "similar_states", "similar_steps", "transferred"]

_AXIS_OF_STEPS = {"gains": 1, "biases": 1, "local_gains": 1, "local_biases": 2}
"""Where tables have their rows, if not first."""
_WITHOUT_STEPS = {"ceilings", "local_ceilings"}
_OF_REFERENCES = {"reference_gain", "reference_bias", "zero_cell_bias"}
"""Tables whose last axis is the kind, and which only coefficients that are sent have trained."""


def similar_steps(old: Schedule | Section, new: Schedule | Section) -> Int[np.ndarray, " t"]:
    """For every state of a schedule, the last one included, the state of another that is most like it: (steps + 1,)."""
    coarsest = max(step.level for step in (*old.steps, *new.steps)) + 1

    def levels_before(schedule: Schedule | Section, step: int) -> np.ndarray:
        both = np.stack([levels[step] for levels in schedule.levels]).astype(int)
        return np.where(both == UNSEEN, coarsest, both)

    def difference(a: int, b: int) -> tuple:
        one, other = new.steps[a], old.steps[b]
        shared = (one.members & other.members).sum() / (one.members | other.members).sum()
        states = np.abs(levels_before(new, a) - levels_before(old, b)).mean()
        return one.halving != other.halving, abs(one.level - other.level), -shared, states

    rows = [min(range(len(old.steps)), key=lambda b: difference(a, b)) for a in range(len(new.steps))]
    return np.array([*rows, len(old.steps)])


def similar_states(old: Schedule, new: Schedule) -> Int[np.ndarray, " t"]:
    """For every state of a schedule the state of another that knows most nearly as much: (steps + 1,).

    Levels are compared, those of channels of large variance above all.
    """
    weights, coarsest = np.square(old.prior_std), max(len(old.phases), len(new.phases)) + 1

    def known(schedule: Schedule) -> np.ndarray:
        both = np.stack(schedule.levels).astype(int)
        return np.where(both == UNSEEN, coarsest, both).sum(0).mean(1)

    difference = np.abs(known(new)[:, None] - known(old)[None]) @ weights
    return difference.argmin(1)


def rows_of_parameters(name: str, table: np.ndarray, rows: Int[np.ndarray, " t"]) -> np.ndarray:
    """The rows of some steps of one of the parameters (uqdm.nested.network) that depend on time; others as they are."""
    if name in _WITHOUT_STEPS or name.endswith("kernel"):
        return table
    return table.take(rows, _AXIS_OF_STEPS.get(name, 0))


def _rows_of_references(
    old: Schedule | Section, new: Schedule | Section, similar: np.ndarray, kind: np.ndarray
) -> np.ndarray:
    """For every state and kind of coefficient, the old step whose references its own are like: (steps + 1, kinds)."""
    rows = np.repeat(similar[:, None], kind.max() + 1, axis=1)

    def kinds_of(step: Step) -> set[int]:
        return set() if step.halving else set(kind[step.members.any(0)].tolist())

    for a, step in enumerate(new.steps):
        for own in kinds_of(step):
            like = [b for b, other in enumerate(old.steps) if other.level == step.level and own in kinds_of(other)]
            if like:
                rows[a, own] = min(like, key=lambda b: abs(b - similar[a]))
    return rows


def transferred(
    parameters: Mapping, network: NetworkConfig, *, old: Schedule | Section, new: Schedule | Section
) -> Parameters:
    """Parameters for a new schedule.

    Args:
      parameters: of the network.
      network: its shape, which stays as it is but for the number of steps.
      old: the schedule that it was trained for.
      new: the one that is wanted, of blocks of the same side.
    """
    similar = similar_steps(old, new)
    of_references = _rows_of_references(old, new, similar, network.kind)
    every_kind = np.arange(network.kinds)

    def start(name: str, values) -> Mapping | np.ndarray:
        if isinstance(values, Mapping):
            return values
        if name in _OF_REFERENCES:
            of_kinds = np.moveaxis(np.asarray(values), -1, 0)
            return np.moveaxis(of_kinds[every_kind, of_references], 1, -1)
        return rows_of_parameters(name, np.asarray(values), similar)

    return {name: start(name, values) for name, values in parameters.items()}
