"""What the conditional diffusion decoder of a transform code draws (uqdm.transform_coding.denoiser)."""

from dataclasses import dataclass

import numpy as np

from uqdm.transform_coding.model import TransformModel
from uqdm.transform_coding.state import TransformState

__all__ = ["Diffuse"]


@dataclass(frozen=True, kw_only=True)
class Diffuse:
    """A draw by DDIM, given the latents that were sent and the means of the others (review, Eq. 22).

    The latents of a whole stream leave something open as well, and that is drawn.

    Attributes:
      seed: of the private randomness: the same draw on one machine.
      evaluations: of the network; one gives nearly the mean.
      start_noise: gamma, what the normal noise at the start is multiplied by; with 0 nothing is random.

    Raises:
      ValueError: evaluations is below 1, or start_noise not in [0, 1].
    """

    seed: int = 0
    evaluations: int = 4
    start_noise: float = 0.8

    def __post_init__(self):
        if self.evaluations < 1:
            raise ValueError(f"the number of evaluations must be at least 1, got {self.evaluations}")
        if not 0 <= self.start_noise <= 1:
            raise ValueError(f"start_noise must lie in [0, 1], got {self.start_noise}")

    @property
    def name(self) -> str:
        return "diffuse"

    def show(self, model: TransformModel, state: TransformState, step: int) -> np.ndarray:
        return model.drawn(state, step, evaluations=self.evaluations, seed=self.seed, start_noise=self.start_noise)
