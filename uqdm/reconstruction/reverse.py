"""The reverse process of a diffusion model, from the last complete step to the end (review, Section IV-B).

Steps that were not sent are taken without bytes: z_s is drawn from the reference, the reverse process as a stochastic
differential equation (DiffC-A of Theis et al. 2022), or moves along the probability-flow ordinary differential equation
(DiffC-F). In the end the estimate of z_0 is shown.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax.typing import ArrayLike

from uqdm.diffusion import process as diffusion
from uqdm.diffusion.state import DiffusionState, Expectation, ReverseProcess, picture
from uqdm.reconstruction.sample import check_steps

__all__ = ["Ancestral", "Flow"]

Move = Callable[[int, np.ndarray, Expectation, float, float], ArrayLike]
"""z_s from the number of the step, z_t, what the model says of it, gamma_t and gamma_s."""


def _reverse(model: ReverseProcess, state: DiffusionState, step: int, count: int | None, move: Move) -> np.ndarray:
    """The picture at the end of the steps that were not sent, or of `count` steps of equal length in gamma."""
    gammas = model.course.gammas[step:]
    if len(gammas) == 1:
        return picture(model, state, step)
    if count is not None:
        gammas = np.linspace(gammas[0], gammas[-1], count + 1).tolist()
    z = state.z
    for i, (gamma_t, gamma_s) in enumerate(zip(gammas, gammas[1:], strict=False)):
        z = np.asarray(move(i, z, model.expectation(z, gamma_t, gamma_s), gamma_t, gamma_s))
    return model.course.source.picture(model.last_estimate(z), *state.size)


@dataclass(frozen=True, kw_only=True)
class Ancestral:
    """Draws from the references.

    Attributes:
      seed: of the private randomness.
      remaining_steps: steps of equal length in gamma to take, instead of those that were not sent.
    """

    seed: int = 0
    remaining_steps: int | None = None

    def __post_init__(self):
        check_steps(self.remaining_steps)

    @property
    def name(self) -> str:
        return "ancestral"

    def show(self, model: ReverseProcess, state: DiffusionState, step: int) -> np.ndarray:
        key = jax.random.key(self.seed)

        def move(i, z, expectation, gamma_t, gamma_s):
            std = diffusion.posterior_std(gamma_t, gamma_s)
            return model.course.channel.draw(expectation.reference, std, jax.random.fold_in(key, i))

        return _reverse(model, state, step, self.remaining_steps, move)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Follows the differential equation.

    Attributes:
      remaining_steps: steps of equal length in gamma to take, instead of those that were not sent.
    """

    remaining_steps: int | None = None

    def __post_init__(self):
        check_steps(self.remaining_steps)

    @property
    def name(self) -> str:
        return "flow"

    def show(self, model: ReverseProcess, state: DiffusionState, step: int) -> np.ndarray:
        def move(i, z, expectation, gamma_t, gamma_s):
            return diffusion.flow(z, expectation.unclipped, gamma_t, gamma_s)

        return _reverse(model, state, step, self.remaining_steps, move)
