"""Two ways from noise around a preview to a picture: what of both a point on the way has.

With y the preview, x_0 the start, y with noise, and x_1 the picture,

    x_t = y + p(t) (x_1 - y) + q(t) (x_0 - y),      0 <= t <= 1,                            (1)

    flow         p = t,              q = 1 - t              straight (uqdm.conditional.flow)
    diffusion    p = sin(pi t / 2),  q = cos(pi t / 2)      of constant variance (uqdm.conditional.diffusion)
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["PATHS", "point"]

PATHS: Mapping[str, Callable[[Array], tuple[Array, Array]]] = {
    "flow": lambda t: (t, 1 - t),
    "diffusion": lambda t: (jnp.sin(jnp.pi / 2 * t), jnp.cos(jnp.pi / 2 * t)),
}
"""p and q of Eq. 1."""


def point(path: str, start: Array, center: Array, end: Array, t: Float[Array, " n"]) -> Array:
    """x_t of Eq. 1 from x_0, y and x_1, arrays (n, ...)."""
    of_end, of_start = PATHS[path](t.reshape(-1, *[1] * (start.ndim - 1)))
    return center + of_end * (end - center) + of_start * (start - center)
