"""The mean of what a picture may be: the reconstruction of least squared error."""

from dataclasses import dataclass

import numpy as np

from uqdm.contract import Model, State

__all__ = ["Denoise"]


@dataclass(frozen=True, kw_only=True)
class Denoise:
    """E[X | Y], as the model estimates it."""

    @property
    def name(self) -> str:
        return "denoise"

    def show(self, model: Model, state: State, step: int) -> np.ndarray:
        return model.picture(state, step)
