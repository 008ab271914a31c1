"""Logistic and normal densities for JAX, differentiable: the twin of the methods of channel_sim.channel.

With F(x) = 1 / (1 + e^-x) and Phi the normal distribution function, an interval has the mass

    F(high) - F(low) = F(high) F(-low) (1 - e^(low - high)),                                                (1)
    Phi(high) - Phi(low) = Phi(high) (1 - Phi(low) / Phi(high)),    high <= -low or low <= 0,               (2)

in which nothing cancels: intervals right of 0 are mirrored into the left tail for Eq. 2. All is standardised: ends are
given in scales (or standard deviations) around the location. Differences of logarithms below 1e-6 are taken for 1e-6,
so that the gradients of training stay finite: an interval counts as at least that wide.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

__all__ = ["gaussian_kl_bits", "gaussian_log_mass", "logistic_log_mass"]

_LEAST = 1e-6


def _log_gap(log_ratio: Array) -> Array:
    """log(1 - e^log_ratio), log_ratio <= 0."""
    return jnp.log(-jnp.expm1(jnp.minimum(log_ratio, -_LEAST)))


def logistic_log_mass(low: ArrayLike, high: ArrayLike) -> Array:
    """log of the standard logistic's mass on (low, high), Eq. 1, accurate in both tails (nats)."""
    low, high = jnp.asarray(low), jnp.asarray(high)
    return jax.nn.log_sigmoid(high) + jax.nn.log_sigmoid(-low) + _log_gap(low - high)


def gaussian_log_mass(low: ArrayLike, high: ArrayLike) -> Array:
    """log of the standard normal mass on (low, high), Eq. 2, accurate in both tails (nats)."""
    low, high = jnp.asarray(low), jnp.asarray(high)
    low, high = jnp.where(low > 0, -high, low), jnp.where(low > 0, -low, high)
    upper = jax.scipy.special.log_ndtr(high)
    return upper + _log_gap(jax.scipy.special.log_ndtr(low) - upper)


def gaussian_kl_bits(shift: ArrayLike, ratio: ArrayLike) -> Array:
    """KL(N(shift, ratio^2) || N(0, 1)) in bits, per coordinate."""
    square = jnp.asarray(ratio) ** 2
    return 0.5 * (square + jnp.asarray(shift) ** 2 - 1 - jnp.log(square)) / jnp.log(2)
