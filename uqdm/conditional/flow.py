"""A rectified flow from what a prefix shows to the picture.

Let y be the preview of a prefix after some step, and x_1 the picture. Between a start x_0, y with noise, and x_1 the
flow goes straight (Liu, Gong and Liu 2023, "Flow straight and fast"; from the preview: Hoogeboom et al. 2023, HFD),

    x_t = (1 - t) x_0 + t x_1,      0 <= t <= 1,                                            (1)
    dx_t / dt = v(x_t, y, t) = E[x_1 - x_0 | x_t, y] = (E[x_1 | x_t, y] - x_t) / (1 - t),         (2)

and the end of Eq. 2, followed from a random x_0, has the law of x_1 given y. The network predicts x_1, which makes its
first evaluation useful alone: x_0 says nothing of x_1 that y does not, so that

    E[x_1 | x_0, y] = E[x_1 | y]                                                              (3)

is the reconstruction of least squared error, whatever the noise.

*Noise.* The start is drawn in the wavelet domain, every coefficient with the standard deviation that its preview's
error is expected to have (uqdm.conditional.errors), and then moved into the cells that are known. Cells are convex:
with both ends in the cell of every coefficient, so is all between them.

*Few steps.* The network is told a second time s as well, and gives the mean velocity from t to s (a shortcut: Frans et
al. 2024, "One step diffusion via shortcut models"),

    u(x_t, y, t, s) = (x_s - x_t) / (s - t) along Eq. 2,          u(x, y, t, t) = v(x, y, t).       (4)

*With noise.* What Eq. 2 says of x_0, (x_t - t E[x_1 | x_t, y]) / (1 - t) =: h, is the score of x_t as well, so that for
every churn c >= 0

    dx_t = (v - c (h - y)) dt + (2 c (1 - t))^(1/2) dW,       dW with the covariance of x_0 - y,     (5)

has the same laws as the flow at all t (Song et al. 2021, "Score-based generative modeling through stochastic
differential equations"; for interpolants Albergo et al. 2023): errors of early steps are forgotten, for more steps.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["follow", "follow_with_noise", "mean_velocity", "times"]

_LATEST = 0.95
"""Errors of the network count as at this time, later on."""


def mean_velocity(x: Array, predicted: Array, t: Float[Array, " n"]) -> Array:
    """Eq. 2 and Eq. 4 from the network's prediction, where it is told t and s."""
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    return (predicted - x) / jnp.maximum(1 - t, 1 - _LATEST)


def times(evaluations: int) -> list[float]:
    """0, ..., 1 in equal steps, one for each evaluation."""
    return np.linspace(0.0, 1.0, evaluations + 1).tolist()


def follow(predict: Callable[[Any, float, float], Any], start: Any, evaluations: int, *, shortcuts: bool) -> Any:
    """The end of the flow by Euler's steps.

    Args:
      predict: the network's prediction of x_1 from x_t, t and s.
      start: x_0.
      evaluations: steps.
      shortcuts: whether the network is asked for mean velocities (Eq. 4) rather than those of the moment.
    """
    x, moments = start, times(evaluations)
    for t, s in zip(moments, moments[1:], strict=False):
        predicted = predict(x, t, s if shortcuts else t)
        x = x + (predicted - x) * ((s - t) / (1 - t))
    return x


def follow_with_noise(
    predict: Callable[[Any, float, float], Any],
    start: Any,
    center: Any,
    fresh: Callable[[], Any],
    evaluations: int,
    churn: float,
) -> Any:
    """The end of Eq. 5 by the Euler-Maruyama method.

    Args:
      predict: as for `follow`.
      start: x_0.
      center: y.
      fresh: gives new draws of x_0.
      evaluations: steps.
      churn: c.
    """
    x, moments = start, times(evaluations)
    for t, s in zip(moments, moments[1:], strict=False):
        predicted = predict(x, t, t)
        before = (x - t * predicted) / (1 - t)
        drift = predicted - before - churn * (before - center)
        x = x + drift * (s - t) + np.float32((2 * churn * (1 - t) * (s - t)) ** 0.5) * (fresh() - center)
    return x
