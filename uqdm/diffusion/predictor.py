"""DiffC: progressive coding with any predictor of noise (Theis, Salimans, Hoffman and Mentzer 2022; review, IV-B).

A diffusion model that was trained for something else is a codec as it is. All that Algorithm 1 asks of it is

    eps_hat = predict(z_t, gamma_t),        z_t = alpha_t x + sigma_t eps,                                 (1)

with alpha, sigma and gamma = -log SNR of uqdm.diffusion.process: the estimate x_hat = (z_t - sigma_t eps_hat) / alpha_t
puts the reference of a step at m(z_t, x_hat), the target is at m(z_t, x), both with variance sigma_s^2 c, and the
Gaussian channel (channel_sim.gaussian) sends a sample of the target. With xi = exp(-gamma) and the estimate's squared
error

    C = KL(target || reference) = (xi_s - xi_t) |x - x_hat|^2 / (2 ln 2)    bits,                          (2)

the I-MMSE relation (review, Eq. 26) by its left sum.

    model = PredictorModel(predict=..., source=Pixels(), gammas=..., identity=weights)
    data = uqdm.encode(picture, model=model)
    picture = uqdm.decode(data, model=model, method="flow")

The stream names the model by an id, so `identity` must change whenever the predictor does; the noise levels `gammas`,
the kind of source and the channel are hashed into the id with it. A predictor computes in floating point: a stream
decodes where its results are the same to the last bit, on the same kind of machine with the same versions of the
libraries. Check values (uqdm.codec.api) report everything else as damage, they do not repair it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from jax.typing import ArrayLike

from channel_sim.gaussian import GaussianChannel
from uqdm import archive
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.source import Source
from uqdm.diffusion.state import Course, DiffusionState, Expectation, expect, picture
from uqdm.diffusion.step_channel import GaussianStep
from uqdm.transforms.pixels import Pixels

__all__ = ["PredictorModel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictorModel:
    """A predictor of noise as a model (uqdm.contract.Model).

    Attributes:
      predict: Eq. 1: of z_t, float32 of the source's shape, and gamma_t, an array of that shape. Equal arguments must
        give equal results.
      gammas: gamma before every step and after the last, falling. At the first, z should know next to nothing of x:
        the receiver draws it from N(0, I).
      identity: what names the predictor, for example the bytes of its weights, or their hash.
      source: what x is.
      channel: what sends a step, and how well.
      name: for people.
    """

    predict: Callable[[np.ndarray, float], ArrayLike]
    gammas: Sequence[float]
    identity: bytes
    source: Source = Pixels()
    channel: GaussianChannel = GaussianChannel()
    name: str = "predictor"

    def __post_init__(self):
        object.__setattr__(self, "gammas", diffusion.step_gammas(self.gammas))

    @property
    def id(self) -> bytes:
        """SHA-256 over identity, gammas, source and channel, 32 bytes."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        config = {"source": self.source.config, "channel": asdict(self.channel), "gammas": self.gammas}
        identity = np.frombuffer(self.identity, np.uint8)
        return archive.digest({"config": archive.pack_config(config), "identity": identity})

    @property
    def steps(self) -> int:
        """Steps of Algorithm 1."""
        return len(self.gammas) - 1

    @property
    def family(self) -> str:
        """Of all predictors."""
        return "predictor"

    @property
    def course(self) -> Course:
        """What the steps are about."""
        return Course(self.gammas, self.source, GaussianStep(channel=self.channel))

    def expectation(self, z: np.ndarray, gamma_t: float, gamma_s: float) -> Expectation:
        """What the predictor says of z_t and of the step from t to s.

        Raises:
          ValueError: it gave another shape, or something that is no number.
        """
        unclipped = self._denoise(z, gamma_t)
        x_hat = self.source.clip(unclipped)
        return Expectation(unclipped, x_hat, diffusion.posterior(z, x_hat, gamma_t, gamma_s))

    def last_estimate(self, z: np.ndarray) -> np.ndarray:
        """x_hat of z_0: the noise that is left is predicted once more."""
        return self.source.clip(self._denoise(z, self.gammas[-1]))

    def _denoise(self, z: np.ndarray, gamma: float) -> np.ndarray:
        noise = np.asarray(self.predict(z, gamma), np.float32)
        if noise.shape != z.shape or not np.isfinite(noise).all():
            what = f"shape {noise.shape}" if noise.shape != z.shape else "infinite or undefined values"
            raise ValueError(
                f"the predictor must give finite noise of shape {z.shape}, got {what} at gamma {gamma:.4f}"
            )
        return np.asarray(diffusion.denoised(z, noise, gamma))

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> DiffusionState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        return DiffusionState(self.course, height, width, seed, picture)

    def expect(self, states: Sequence[DiffusionState], step: int) -> None:
        """Tells states what to expect of a step."""
        expect(self, states, step)

    def picture(self, state: DiffusionState, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
        return picture(self, state, step)
