"""Between the mean and a draw: the whole distortion-perception tradeoff of one stream.

With x_mean the reconstruction of least squared error and x_drawn a draw of the posterior, the best reconstruction at
every degree of realism r lies between them (review, Eq. 17),

    (1 - r) x_mean + r x_drawn,        r in [0, 1].                                                      (1)
"""

from dataclasses import dataclass

import numpy as np

from uqdm.contract import Model, Reconstruction, State
from uqdm.reconstruction.denoise import Denoise

__all__ = ["Mixture"]


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Eq. 1.

    Attributes:
      realism: r.
      drawn: what is mixed with the mean.

    Raises:
      ValueError: realism is no number in [0, 1].
    """

    realism: float
    drawn: Reconstruction

    def __post_init__(self):
        if not 0 <= self.realism <= 1:
            raise ValueError(f"realism must lie in [0, 1] (0 is the denoised picture, 1 a draw), got {self.realism}")

    @property
    def name(self) -> str:
        return self.drawn.name

    def ends(self, model: Model, state: State, step: int) -> tuple[np.ndarray, np.ndarray]:
        """What realism 0 and 1 show, uint8 (H, W, 3) each: all others lie between."""
        means = getattr(self.drawn, "mean", Denoise())  # draws of some kinds have a mean of their own
        return means.show(model, state, step), self.drawn.show(model, state, step)

    def show(self, model: Model, state: State, step: int) -> np.ndarray:
        mean, drawn = (end.astype(np.float64) for end in self.ends(model, state, step))
        return np.rint((1 - self.realism) * mean + self.realism * drawn).astype(np.uint8)
