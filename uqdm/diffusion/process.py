"""The Gaussian and the universally quantized diffusion process, as closed forms.

Pictures have values x in [-1, 1] (uqdm.transforms.pixels). The forward process (review, Eq. 23) is

    z_t = alpha_t x + sigma_t N,      alpha_t^2 = sigmoid(-gamma_t),  sigma_t^2 = sigmoid(gamma_t),          (1)

where gamma_t, the negative logarithm of the signal-to-noise ratio, is linear in the time t in [0, 1] (Kingma, Salimans,
Poole and Ho, "Variational diffusion models", 2021). With c = 1 - exp(gamma_s - gamma_t) the posterior of an earlier
state, s < t, has

    mean  m(z_t, x) = alpha_s ((1 - c) z_t / alpha_t + c x),     variance  sigma_s^2 c.                      (2)

*Gaussian process* (VDM, DiffC). The target of a step is N(m(z_t, x), sigma_s^2 c), the reference is the same with the
network's estimate for x.

*Uniform process* (UQDM; Yang, Will and Mandt, "Progressive compression with universally quantized diffusion models",
2025; review, Section IV-B). The target has the same mean and variance, but it is uniform, of width

    Delta = sigma_s sqrt(12 c),                                                                              (3)

so that dithered quantization simulates it exactly. The reference is psi * U(-Delta/2, Delta/2), with psi logistic or
Gaussian around m(z_t, x_hat) and of a standard deviation that the network scales,

    std = f sigma_t sqrt(c)   (or f sigma_s sqrt(c), `forward_kernel_scale` = False),                        (4)

and a step costs -log2 of psi's mass on (z_s - Delta/2, z_s + Delta/2).

The network predicts the noise, eps_hat, hence x_hat = (z_t - sigma_t eps_hat) / alpha_t, clipped to [-1, 1]. At the end
p(x | z_0) is proportional to N(z_0; alpha_0 x, sigma_0^2) over the 256 values. All rates are in bits unless a name says
nats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from channel_sim.channel import Gaussian
from uqdm.training import densities
from uqdm.transforms.pixels import values_of

__all__ = [
    "MOST_STEPS",
    "Moments",
    "NoiseSchedule",
    "Prediction",
    "denoised",
    "falling_gammas",
    "flow",
    "gaussian_kl_bits",
    "log_p_of_x",
    "log_psi_mass",
    "posterior",
    "posterior_std",
    "reference",
    "sample_reference",
    "step_gammas",
    "truncated_gaussian_mean",
    "truncated_logistic_mean",
]

MOST_STEPS = 255
"""Of a stream."""
_LOGISTIC = 3**0.5 / jnp.pi
"""Scale of a logistic density of standard deviation 1."""


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """gamma_t = gamma_max - (gamma_max - gamma_min) (1 - t): -log SNR, linear in time."""

    gamma_min: float
    gamma_max: float

    def __post_init__(self):
        if not self.gamma_min < self.gamma_max:
            raise ValueError(f"gamma_min must be below gamma_max, got {self.gamma_min} and {self.gamma_max}")

    def times(self, steps: int) -> list[float]:
        """steps + 1 times from 1 to 0."""
        return [1 - i / steps for i in range(steps + 1)]

    def gammas(self, steps: int) -> list[float]:
        """gamma at these times."""
        span = self.gamma_max - self.gamma_min
        return [self.gamma_max + span * (t - 1) for t in self.times(steps)]


def falling_gammas(gammas: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Noise levels, checked.

    Raises:
      ValueError: they are fewer than two, not finite, or do not fall from noise to signal.
    """
    levels = np.asarray(gammas, np.float64)
    if levels.ndim != 1 or len(levels) < 2 or not np.isfinite(levels).all() or not (np.diff(levels) < 0).all():
        raise ValueError(f"gammas must be two or more finite numbers that fall from noise to signal, got {levels}")
    return tuple(levels.tolist())


def step_gammas(gammas: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """The levels before every step of a stream and after the last, checked: headers have one byte for their number."""
    levels = falling_gammas(gammas)
    if len(levels) > MOST_STEPS + 1:
        raise ValueError(f"there can be {MOST_STEPS} steps at most, got {len(levels) - 1}")
    return levels


class Prediction(NamedTuple):
    """What a network says of z_t."""

    noise: Float[Array, "..."]
    """eps_hat."""
    factor: Float[Array, "..."]
    """f > 0 of Eq. 4."""

    def denoised(self, z: ArrayLike, gamma: ArrayLike, *, clip: bool = True) -> Array:
        """x_hat."""
        x = denoised(z, self.noise, gamma)
        return jnp.clip(x, -1.0, 1.0) if clip else x


class Moments(NamedTuple):
    """Mean and standard deviation of a target or a reference."""

    mean: Array | np.ndarray
    std: Array | np.ndarray

    @property
    def width(self) -> Array | np.ndarray:
        """Delta of Eq. 3, of a target."""
        return self.std * 12**0.5


def alpha(gamma: ArrayLike) -> Array:
    """Eq. 1."""
    return jnp.sqrt(jax.nn.sigmoid(-jnp.asarray(gamma, jnp.float32)))


def sigma(gamma: ArrayLike) -> Array:
    """Eq. 1."""
    return jnp.sqrt(jax.nn.sigmoid(jnp.asarray(gamma, jnp.float32)))


def _share(gamma_t, gamma_s) -> Array:
    """c of Eq. 2."""
    return -jnp.expm1(jnp.asarray(gamma_s, jnp.float32) - jnp.asarray(gamma_t, jnp.float32))


def denoised(z: ArrayLike, noise: ArrayLike, gamma: ArrayLike) -> Array:
    """x_hat of eps_hat, not clipped."""
    return (jnp.asarray(z) - sigma(gamma) * jnp.asarray(noise)) / alpha(gamma)


def posterior(z: ArrayLike, x: ArrayLike, gamma_t: ArrayLike, gamma_s: ArrayLike) -> Moments:
    """Eq. 2."""
    c = _share(gamma_t, gamma_s)
    mean = alpha(gamma_s) * ((1 - c) / alpha(gamma_t) * jnp.asarray(z) + c * jnp.asarray(x))
    return Moments(mean, sigma(gamma_s) * jnp.sqrt(c))


def posterior_std(gamma_t: float, gamma_s: float) -> float:
    """Standard deviation of the posterior (Eq. 2), the same for every x."""
    return float(posterior(np.float32(0), np.float32(0), gamma_t, gamma_s).std)


def reference(
    z: ArrayLike,
    prediction: Prediction,
    gamma_t: ArrayLike,
    gamma_s: ArrayLike,
    *,
    forward_kernel_scale: bool = True,
    clip: bool = True,
) -> Moments:
    """Mean and standard deviation of the reference (Eqs. 2 and 4)."""
    mean, own_std = posterior(z, prediction.denoised(z, gamma_t, clip=clip), gamma_t, gamma_s)
    std = sigma(gamma_t) * jnp.sqrt(_share(gamma_t, gamma_s)) if forward_kernel_scale else own_std
    return Moments(mean, std * prediction.factor)


def flow(z: ArrayLike, x_hat: ArrayLike, gamma_t: ArrayLike, gamma_s: ArrayLike) -> Array:
    """z_s on the probability-flow ODE's path, one step of DDIM (Song, Meng and Ermon 2021, Eq. 12)."""
    ratio = sigma(gamma_s) / sigma(gamma_t)
    return ratio * jnp.asarray(z) + (alpha(gamma_s) - alpha(gamma_t) * ratio) * jnp.asarray(x_hat)


def log_psi_mass(low: ArrayLike, high: ArrayLike, moments: Moments, *, logistic: bool = True) -> Array:
    """log of psi's mass between two points, accurate in both tails (nats)."""
    if logistic:
        low, high = ((end - moments.mean) / (moments.std * _LOGISTIC) for end in (low, high))
        return densities.logistic_log_mass(low, high)
    low, high = ((end - moments.mean) / moments.std for end in (low, high))
    return densities.gaussian_log_mass(low, high)


def truncated_logistic_mean(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mean of a logistic density of mean 0 and standard deviation 1 within an interval, by its distribution function.

    With F the standard logistic distribution function, whose integral is log(1 + e^x), the mean on (a, b) is

        (b F(b) - a F(a) - log(1 + e^b) + log(1 + e^a)) / (F(b) - F(a)).
    """
    a, b = (np.clip(end / _LOGISTIC, -1e4, 1e4) for end in (low, high))
    # In the left tail, and relative to e^b there, nothing cancels.
    flip = a + b > 0
    a, b = np.where(flip, -b, a), np.minimum(np.where(flip, -a, b), 500.0)
    top = np.minimum(b, 0.0)

    def distribution(x):
        return np.exp(x - top) / (1 + np.exp(x))

    def integral(x):
        return np.where(x < -30, np.exp(x - top), np.logaddexp(0, x) * np.exp(-np.maximum(top, -30.0)))

    mass = distribution(b) - distribution(a)
    mean = (b * distribution(b) - a * distribution(a) - integral(b) + integral(a)) / np.maximum(mass, 1e-12)
    mean = np.where(mass > 1e-6, np.clip(mean, a, b), (a + b) / 2)
    return np.where(flip, -mean, mean) * _LOGISTIC


def truncated_gaussian_mean(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mean of the standard normal density within an interval, (phi(a) - phi(b)) / (Phi(b) - Phi(a))."""
    log_mass = Gaussian(0.0, 1.0).log_mass(low, high)
    ends = (np.exp(-np.square(end) / 2 - 0.5 * np.log(2 * np.pi) - log_mass) for end in (low, high))
    mean = np.subtract(*ends)
    middle = np.clip((np.clip(low, -1e4, 1e4) + np.clip(high, -1e4, 1e4)) / 2, low, high)
    return np.where(np.isfinite(mean), np.clip(mean, low, high), middle)


def gaussian_kl_bits(target: Moments, reference: Moments) -> Array:
    """KL(target || reference) of Gaussians, per coordinate."""
    shift, ratio = (target.mean - reference.mean) / reference.std, target.std / reference.std
    return densities.gaussian_kl_bits(shift, ratio)


def log_p_of_x(z: Float[Array, "..."], gamma_0: ArrayLike) -> Float[Array, "... 256"]:
    """log p(x | z_0) of all 256 values (nats)."""
    values = values_of(jnp.arange(256))
    distance = (z / alpha(gamma_0))[..., None] - values.reshape((1,) * z.ndim + (256,))
    return jax.nn.log_softmax(-0.5 * jnp.exp(-jnp.asarray(gamma_0, jnp.float32)) * jnp.square(distance), axis=-1)


def sample_reference(
    moments: Moments, width: ArrayLike, key: PRNGKeyArray, *, logistic: bool = True, uniform: bool = True
) -> Array:
    """A draw of z_s from the reference: the reverse process as a stochastic differential equation, one step.

    Args:
      moments: of the reference.
      width: Delta of Eq. 3.
      key: private randomness.
      logistic: whether psi is logistic, else Gaussian.
      uniform: whether the process is the uniform one, so that the reference is psi * U(-Delta/2, Delta/2).
    """
    own, box = jax.random.split(key)
    draw = jax.random.logistic if logistic else jax.random.normal
    z = jnp.asarray(moments.mean) + moments.std * (_LOGISTIC if logistic else 1.0) * draw(own, moments.mean.shape)
    return z + width * jax.random.uniform(box, z.shape, minval=-0.5, maxval=0.5) if uniform else z
