"""A conditional diffusion: what a prefix shows, and white noise, to the picture.

The other variant of Hoogeboom et al. (2023, "High-fidelity image compression with score-based generative models", HFD).
With y the preview of a prefix and x_1 the picture, noise of the same standard deviation c everywhere is taken from

    x_t = y + sin(pi t / 2) (x_1 - y) + cos(pi t / 2) c n,      n ~ N(0, 1),                   (1)

the cosine schedule for the residual x_1 - y. What y shows is known, so the noise is no larger than what it lacks: c is
the root mean square of the error of previews after the step, where a diffusion of pictures would begin with noise as
large as pixels vary, some 64 (HFD shift their schedule to less noise for the same reason). Other than the flow's
(uqdm.conditional.flow), this noise knows nothing of cells or of where the preview is uncertain; what comes out is moved
into the cells at the end.

The network predicts x_1. With x' its prediction, an evaluation leads from t to s > t by (Song, Meng and Ermon 2021,
"Denoising diffusion implicit models", Eq. 12 and 16, for the residual)

    n' = (x_t - y - p_t (x' - y)) / q_t,
    x_s = y + p_s (x' - y) + (q_s^2 - v^2)^(1/2) n' + v c n,    v = churn (q_s / q_t) (1 - p_t^2 / p_s^2)^(1/2),    (2)

p = sin(pi t / 2) and q = cos(pi t / 2); v at most q_s. The first evaluation alone is a mean, no draw.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from uqdm.conditional.flow import times
from uqdm.conditional.paths import PATHS

__all__ = ["denoise"]


def denoise(
    predict: Callable[[Any, float], Any],
    start: Any,
    center: Any,
    fresh: Callable[[], Any],
    evaluations: int,
    churn: float,
) -> Any:
    """The picture that Eq. 2 leads to.

    Args:
      predict: the network's prediction of x_1 from x_t and t.
      start: x_0, y with noise.
      center: y.
      fresh: gives new draws of x_0.
      evaluations: steps, equal in t.
      churn: of Eq. 2: 0 follows the start, with 1 (and more) it is forgotten on the way.
    """
    x, moments = start, times(evaluations)
    for t, s in zip(moments, moments[1:], strict=False):
        predicted = predict(x, t)
        (p, q), (to, left) = ((float(part) for part in PATHS["diffusion"](jnp.float32(moment))) for moment in (t, s))
        left = left if s < 1 else 0.0  # rounding leaves something there
        added = min(left, churn * (left / q) * math.sqrt(1 - (p / to) ** 2))
        noise = (x - center - np.float32(p) * (predicted - center)) / np.float32(q)
        x = center + np.float32(to) * (predicted - center) + np.float32(math.sqrt(left**2 - added**2)) * noise
        if added:
            x = x + np.float32(added) * (fresh() - center)
    return x
