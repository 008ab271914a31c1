"""The negative ELBO of the Gaussian and the uniform process, differentiably, one random step per picture.

The coding cost of Algorithm 1 and the lossless rest (review, Eqs. 29 and 30) are

    L = sum_i C_i + E[-log2 p(x | z_0)],      C_i the cost of step i.                                       (1)

A step's cost needs the network once and the state before the step, and that needs no network: states of the Gaussian
process are alpha_t x + sigma_t N, and those of the uniform process come from its posteriors, one after the other, from
z_1 ~ N(0, I) as in transmission. So one step i is drawn per picture, and T C_i has the right mean; steps are spread
evenly over a batch. The noise schedule is learned through the same expression: gamma_min is a parameter.

With distillation of few steps in mind the published model trains on all steps of a picture at once; the expectation is
the same at a T-th of the work.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.model import Process
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import Moments, NoiseSchedule
from uqdm.transforms.pixels import pixels_of, values_of

__all__ = ["DiffusionLoss", "Terms"]

_ROWS_PER_REST = 8


class Terms(NamedTuple):
    """Per picture, in bits per pixel."""

    rate: Float[Array, " n"]
    """T C_i of the drawn step: an estimate of all steps' cost."""
    rest: Float[Array, " n"]
    """-log2 p(x | z_0), estimated from some rows."""
    squared_error: Float[Array, " n"]
    """Mean squared error of x_hat before the drawn step, in squared pixel values."""


@dataclass(frozen=True, kw_only=True)
class DiffusionLoss:
    """Eq. 1 of one process.

    Attributes:
      process: "uniform" or "gaussian".
      steps: T.
      gamma_max: -log SNR at t = 1.
      network: shape of the network.
      logistic: whether psi is logistic, else Gaussian.
      forward_kernel_scale: see `uqdm.diffusion.process`, Eq. 4.
    """

    process: Process
    steps: int
    gamma_max: float
    network: UNetConfig
    logistic: bool = True
    forward_kernel_scale: bool = True

    def init(self, key: PRNGKeyArray, gamma_min: float) -> dict:
        """Fresh parameters: the network's, and gamma_min."""
        return {"network": unet.init(self.network, key), "gamma_min": jnp.float32(gamma_min)}

    def noise(self, parameters: dict) -> NoiseSchedule:
        """The schedule that was learned."""
        return NoiseSchedule(gamma_min=float(parameters["gamma_min"]), gamma_max=self.gamma_max)

    def _gammas(self, parameters: dict) -> Float[Array, " t"]:
        span = self.gamma_max - parameters["gamma_min"]
        return self.gamma_max - span * jnp.arange(self.steps + 1, dtype=jnp.float32) / self.steps

    def states(self, parameters: dict, x: Array, key: PRNGKeyArray) -> Float[Array, "t n h w 3"]:
        """z at all steps + 1 times, drawn from the forward process."""
        gammas = self._gammas(parameters)
        if self.process == "gaussian":
            noise = jax.random.normal(key, (self.steps + 1, *x.shape))
            at = gammas.reshape(-1, 1, 1, 1, 1)
            return diffusion.alpha(at) * x[None] + diffusion.sigma(at) * noise
        first, *keys = jax.random.split(key, self.steps + 1)
        states: list[Any] = [jax.random.normal(first, x.shape)]
        for i, own in enumerate(keys):
            target = diffusion.posterior(states[-1], x, gammas[i], gammas[i + 1])
            box = jax.random.uniform(own, x.shape, minval=-0.5, maxval=0.5)
            states.append(target.mean + target.width * box)
        return jnp.stack(states)

    def step_bits(
        self, parameters: dict, x: Array, before: Array, after: Array, step: Array
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Cost of one step per picture in bits, and the mean squared error of x_hat.

        Args:
          parameters: as given by `init`.
          x: values of pictures, (n, h, w, 3).
          before: z_t, of the same shape.
          after: z_s; what a Gaussian step costs does not depend on it.
          step: which, (n,).
        """
        gammas = self._gammas(parameters)
        gamma_t, gamma_s = gammas[step], gammas[step + 1]
        prediction = unet.apply(self.network, parameters["network"], before, gamma_t)
        wide_t, wide_s = (gamma[:, None, None, None] for gamma in (gamma_t, gamma_s))
        options = {"forward_kernel_scale": self.forward_kernel_scale}
        reference = diffusion.reference(before, prediction, wide_t, wide_s, **options)
        target = diffusion.posterior(before, x, wide_t, wide_s)
        if self.process == "gaussian":
            # The exact minimiser of the KL divergence has the target's deviation, or the network's.
            std = reference.std if self.network.learned_scale else target.std
            bits = diffusion.gaussian_kl_bits(target, Moments(reference.mean, std))
        else:
            half = target.width / 2
            bits = -diffusion.log_psi_mass(after - half, after + half, reference, logistic=self.logistic) / jnp.log(2)
        error = jnp.square(128 * (prediction.denoised(before, wide_t) - x)).mean((1, 2, 3))
        return bits.sum((1, 2, 3)), error

    def __call__(self, parameters: dict, pictures: UInt8[Array | np.ndarray, "n h w 3"], key: PRNGKeyArray) -> Terms:
        """Eq. 1, estimated from one step per picture."""
        x = values_of(pictures)
        count, pixels = x.shape[0], x.shape[1] * x.shape[2]
        of_states, of_steps = jax.random.split(key)
        states = self.states(parameters, x, of_states)
        spread = jax.random.permutation(of_steps, count) * self.steps // count
        step = (spread + jax.random.randint(jax.random.fold_in(of_steps, 1), (), 0, self.steps)) % self.steps
        each = jnp.arange(count)
        bits, error = self.step_bits(parameters, x, states[step, each], states[step + 1, each], step)
        # All values of all colours are compared with 256 candidates: a part of the rows is enough to learn one number.
        every = math.gcd(x.shape[1], _ROWS_PER_REST)
        offset = jax.random.randint(jax.random.fold_in(of_steps, 2), (), 0, every)
        rows = offset + every * jnp.arange(x.shape[1] // every)
        rest = every * self.rest_bits(parameters, jnp.asarray(pictures)[:, rows], states[-1][:, rows])
        return Terms(self.steps * bits / pixels, rest / pixels, error)

    def rest_bits(self, parameters: dict, pictures: Array | np.ndarray, z: Array) -> Float[Array, " n"]:
        """-log2 p(x | z_0) per picture."""
        log_p = diffusion.log_p_of_x(z, self._gammas(parameters)[-1])
        chosen = jnp.take_along_axis(log_p, jnp.asarray(pictures, jnp.int32)[..., None], axis=-1)[..., 0]
        return -chosen.sum((1, 2, 3)) / jnp.log(2)

    def progression(
        self, parameters: dict, pictures: UInt8[Array | np.ndarray, "n h w 3"], key: PRNGKeyArray
    ) -> tuple[Float[Array, "n T"], Float[Array, "n t"], Float[Array, " n"]]:
        """Every step's cost and every state's PSNR.

        Returns:
          Bits per pixel of each step (n, T); PSNR in dB of what z_t denoises to, at all T + 1 times; bits per pixel of
          the lossless rest.
        """
        x = values_of(pictures)
        pixels = x.shape[1] * x.shape[2]
        states = self.states(parameters, x, key)
        each = [
            self.step_bits(parameters, x, states[i], states[i + 1], jnp.full((x.shape[0],), i))
            for i in range(self.steps)
        ]
        last = jnp.clip(states[-1] / diffusion.alpha(self._gammas(parameters)[-1]), -1.0, 1.0)
        shown = pixels_of(last).astype(jnp.float32)
        errors = [error for _, error in each] + [jnp.square(shown - jnp.asarray(pictures, jnp.float32)).mean((1, 2, 3))]
        psnr = 10 * jnp.log10(255.0**2 / jnp.maximum(jnp.stack(errors, -1), 1e-4))
        rates = jnp.stack([bits for bits, _ in each], -1) / pixels
        return rates, psnr, self.rest_bits(parameters, pictures, states[-1]) / pixels
