"""Quantized latents as a model: the codec of Relic et al. (2024: rounded, 2025: dithered).

The sender's autoencoder gives the latent of a picture; its elements are sent under quantization of one width
(uqdm.latent.state), in groups of channels, under densities that both sides predict in integers
(uqdm.latent.prediction). What a prefix leaves open is filled in with what is predicted, and the autoencoder shows the
latent: as it is ("denoise", the name that families give their usual picture), or after a diffusion or flow model has
taken the noise of quantization from it ("latent_flow", uqdm.latent.denoising).

Between bytes and samples all is integer arithmetic, so that streams decode on every machine; the networks only make
latents and show them, in floating point. One width is one rate: another one is another model of the same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, UInt8

from channel_sim.split_tables import SplitTables
from uqdm.latent.denoising import NoisePredictor, denoised
from uqdm.latent.prediction import TICKS, Prediction, chessboard
from uqdm.latent.state import Course, LatentState
from uqdm.transforms.latents import Latents

__all__ = ["LatentModel"]

_LARGEST = 2**40


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentModel:
    """What sender and receiver share (uqdm.contract.Model).

    Attributes:
      latents: the autoencoder.
      width: of quantization, in units of latents.
      dithered: whether it is; else elements are rounded.
      prediction: what to expect.
      tables: of densities.
      predictor: takes noise from latents; None where there is none.
      id: names all of that, 32 bytes.
      name: for people.
    """

    latents: Latents
    width: float
    dithered: bool
    prediction: Prediction
    tables: SplitTables = field(repr=False)
    predictor: NoisePredictor | None
    id: bytes
    name: str = ""

    @property
    def family(self) -> str:
        return "latent"

    @property
    def steps(self) -> int:
        """Two for every group of channels."""
        return self.prediction.steps

    @cached_property
    def _course(self) -> Course:
        return Course(self.latents.shape, self.ticks, self.prediction, self.tables, self.dithered)

    def ticks(self, picture: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "h w c"]:
        """The latent of a picture as states have it."""
        x = self.latents.values(picture)[..., self.prediction.order].astype(np.float64)
        ticks = np.floor(np.clip(x * (TICKS / self.width), -_LARGEST, _LARGEST)).astype(np.int64)
        return ticks - self.prediction.mean

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> LatentState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        return LatentState(self._course, height, width, seed, picture)

    def expect(self, states: Sequence[LatentState], step: int) -> None:
        """Tells states what to expect of a step."""
        for state in states:
            state.expect(step)

    def latent(self, state: LatentState, step: int) -> Float[np.ndarray, "h w c"]:
        """Samples of so many steps, and what is predicted of the rest."""
        y = state.y.copy()
        for later in range(step, self.steps):
            place = chessboard(y.shape, later)
            y[place, self.prediction.channels(later)] = self.prediction.location(y, later)[place]
        x = np.empty(y.shape, np.float32)
        x[..., self.prediction.order] = (y + self.prediction.mean) * (self.width / TICKS)
        return x

    def picture(self, state: LatentState, step: int) -> np.ndarray:
        """The latent after so many steps, as the autoencoder shows it: uint8 (H, W, 3)."""
        return self.latents.picture(self.latent(state, step), *state.size)

    def denoised(self, state: LatentState, step: int, evaluations: int) -> np.ndarray:
        """Likewise, after the noise of quantization was taken from it (uqdm.latent.denoising, Eq. 3).

        Raises:
          ValueError: the model has no predictor of noise.
        """
        if self.predictor is None:
            raise ValueError("this model has no predictor of noise: latents are shown as they were sent only")
        y = denoised(self.predictor, self.latent(state, step), self.width, evaluations)
        return self.latents.picture(y, *state.size)
