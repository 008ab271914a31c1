"""Taking the noise of dithered quantization from a latent, by a flow (uqdm.latent.denoising)."""

from dataclasses import dataclass

import numpy as np

from uqdm.latent.model import LatentModel
from uqdm.latent.state import LatentState
from uqdm.reconstruction.sample import check_steps

__all__ = ["LatentFlow"]

_EVALUATIONS = 4


@dataclass(frozen=True, kw_only=True)
class LatentFlow:
    """Follows the flow from the latent that was sent to one without noise.

    Attributes:
      remaining_steps: evaluations of the predictor; 1 gives the mean, None stands for 4.
    """

    remaining_steps: int | None = None

    def __post_init__(self):
        check_steps(self.remaining_steps)

    @property
    def name(self) -> str:
        return "latent_flow"

    def show(self, model: LatentModel, state: LatentState, step: int) -> np.ndarray:
        return model.denoised(state, step, self.remaining_steps or _EVALUATIONS)
