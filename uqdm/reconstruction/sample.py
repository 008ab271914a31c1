"""Draws of what is missing by the nested process: symbols that were not sent are drawn from their references."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from channel_sim.entropy import Sampler
from uqdm.contract import Model, State

__all__ = ["DrawableState", "Sample", "check_steps"]


@runtime_checkable
class DrawableState(State, Protocol):
    """A state that can go on without bytes."""

    def branch(self) -> "DrawableState":
        """A copy that can go its own way."""
        ...

    def draw(self, sampler: Sampler, step: int) -> None:
        """As `receive`, with symbols drawn from the references; what is known of the step already is kept."""
        ...


def check_steps(remaining_steps: int | None) -> None:
    """Raises ValueError where a number of steps to take is none."""
    if remaining_steps is not None and remaining_steps < 1:
        raise ValueError(f"the number of remaining steps must be at least 1, got {remaining_steps}")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture as the model imagines it, given what is known.

    Attributes:
      seed: of the private randomness.
      remaining_steps: how many steps are drawn, all that were not sent by default; what is left then is denoised.
    """

    seed: int = 0
    remaining_steps: int | None = None

    def __post_init__(self):
        check_steps(self.remaining_steps)

    @property
    def name(self) -> str:
        return "sample"

    def show(self, model: Model, state: DrawableState, step: int) -> np.ndarray:
        branch, sampler = state.branch(), Sampler(np.random.default_rng(self.seed))
        last = model.steps if self.remaining_steps is None else min(model.steps, step + self.remaining_steps)
        for coming in range(step, last):
            model.expect([branch], coming)
            branch.draw(sampler, coming)
        return model.picture(branch, last)
