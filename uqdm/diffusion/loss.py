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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig
from uqdm.diffusion.process import NoiseSchedule
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
      config: process, steps, network and gamma_max, and from where gamma_min starts. Levels are equally spaced in
        between, whatever its own are.
    """

    config: DiffusionConfig

    def init(self, key: PRNGKeyArray) -> dict:
        """Fresh parameters: the network's, and gamma_min."""
        gamma_min = jnp.float32(self.config.noise.gamma_min)
        return {"network": unet.init(self.config.network, key), "gamma_min": gamma_min}

    def noise(self, parameters: dict) -> NoiseSchedule:
        """The schedule that was learned."""
        return NoiseSchedule(gamma_min=float(parameters["gamma_min"]), gamma_max=self.config.noise.gamma_max)

    def _gammas(self, parameters: dict) -> Float[Array, " t"]:
        gamma_max, steps = self.config.noise.gamma_max, self.config.steps
        span = gamma_max - parameters["gamma_min"]
        return gamma_max - span * jnp.arange(steps + 1, dtype=jnp.float32) / steps

    def states(self, parameters: dict, x: Array, key: PRNGKeyArray) -> Float[Array, "t n h w 3"]:
        """z at all steps + 1 times, drawn from the forward process."""
        return self.config.process.states(x, self._gammas(parameters), key)

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
        gammas, network, process = self._gammas(parameters), self.config.network, self.config.process
        gamma_t, gamma_s = gammas[step], gammas[step + 1]
        prediction = unet.apply(network, parameters["network"], before, gamma_t)
        wide_t, wide_s = (gamma[:, None, None, None] for gamma in (gamma_t, gamma_s))
        reference = process.reference(before, prediction, wide_t, wide_s, learned_scale=network.learned_scale)
        bits = process.cost_bits(diffusion.posterior(before, x, wide_t, wide_s), reference, after)
        error = jnp.square(128 * (prediction.denoised(before, wide_t) - x)).mean((1, 2, 3))
        return bits.sum((1, 2, 3)), error

    def __call__(self, parameters: dict, pictures: UInt8[Array | np.ndarray, "n h w 3"], key: PRNGKeyArray) -> Terms:
        """Eq. 1, estimated from one step per picture."""
        x = values_of(pictures)
        count, pixels, steps = x.shape[0], x.shape[1] * x.shape[2], self.config.steps
        of_states, of_steps = jax.random.split(key)
        states = self.states(parameters, x, of_states)
        spread = jax.random.permutation(of_steps, count) * steps // count
        step = (spread + jax.random.randint(jax.random.fold_in(of_steps, 1), (), 0, steps)) % steps
        each = jnp.arange(count)
        bits, error = self.step_bits(parameters, x, states[step, each], states[step + 1, each], step)
        # All values of all colours are compared with 256 candidates: a part of the rows is enough to learn one number.
        every = math.gcd(x.shape[1], _ROWS_PER_REST)
        offset = jax.random.randint(jax.random.fold_in(of_steps, 2), (), 0, every)
        rows = offset + every * jnp.arange(x.shape[1] // every)
        rest = every * self.rest_bits(parameters, jnp.asarray(pictures)[:, rows], states[-1][:, rows])
        return Terms(steps * bits / pixels, rest / pixels, error)

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
            for i in range(self.config.steps)
        ]
        last = jnp.clip(states[-1] / diffusion.alpha(self._gammas(parameters)[-1]), -1.0, 1.0)
        shown = pixels_of(last).astype(jnp.float32)
        errors = [error for _, error in each] + [jnp.square(shown - jnp.asarray(pictures, jnp.float32)).mean((1, 2, 3))]
        psnr = 10 * jnp.log10(255.0**2 / jnp.maximum(jnp.stack(errors, -1), 1e-4))
        rates = jnp.stack([bits for bits, _ in each], -1) / pixels
        return rates, psnr, self.rest_bits(parameters, pictures, states[-1]) / pixels
