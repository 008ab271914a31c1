"""Learned perceptual image patch similarity, LPIPS: 0 for equal pictures, lower is better.

With maps F_l of a network, normalised to length 1 over the channels at every position, and learned weights w_l >= 0,

    LPIPS(x, y) = sum_l mean over positions of sum over channels c of w_lc (F_lc(x) - F_lc(y))^2

(Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018, Eq. 1; their version 0.1
with the backbone SqueezeNet). Values of different backbones do not compare: most tables of generative compression use
AlexNet or VGG, so name this one LPIPS-SqueezeNet.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from uqdm.metrics.pair import check_pair
from uqdm.metrics.squeezenet import feature_maps, read_weights

__all__ = ["lpips", "perceptual_distances"]


def lpips(x: np.ndarray, y: np.ndarray, weights: str | Path) -> float:
    """LPIPS-SqueezeNet of two pictures; lower is better.

    Args:
      x: picture, uint8 (H, W, 3), no side shorter than 17 pixels.
      y: the other one, of the same shape.
      weights: path of an `.npz` file with SqueezeNet's weights and w_l as `lin0`, ..., `lin6`.

    Raises:
      ValueError: x and y are no such pair, the pictures are too small, or the file has other weights.
    """
    check_pair(x, y)
    arrays = read_weights(weights)
    if "lin6" not in arrays:
        raise ValueError(f"{weights} holds no weights of LPIPS: give a file with lin0, ..., lin6")
    maps_x, maps_y = (feature_maps(arrays, picture[None]) for picture in (x, y))
    return float(_distance(maps_x, maps_y, [arrays[f"lin{i}"] for i in range(len(maps_x))]))


def perceptual_distances(
    x: Float[Array, "n H W 3"], y: Float[Array, "n H W 3"], weights: str | Path
) -> Float[Array, " n"]:
    """LPIPS-SqueezeNet of pairs of pictures in pixel values (0 to 255, not rounded): with gradients, for trainings.

    Raises:
      ValueError: the pictures are too small, or the file has other weights.
    """
    arrays = read_weights(weights)
    if "lin6" not in arrays:
        raise ValueError(f"{weights} holds no weights of LPIPS: give a file with lin0, ..., lin6")
    total = jnp.zeros((len(x),))
    for i, (a, b) in enumerate(zip(*(feature_maps(arrays, pictures) for pictures in (x, y)), strict=True)):
        # With a gradient where all features are zero, unlike `_unit`.
        a, b = (maps * jax.lax.rsqrt(jnp.sum(jnp.square(maps), -1, keepdims=True) + 1e-10) for maps in (a, b))
        difference = jnp.mean(jnp.square(a - b), (1, 2))
        total = total + jnp.matmul(difference, arrays[f"lin{i}"], precision="highest")
    return total


@jax.jit
def _distance(maps_x: list[Array], maps_y: list[Array], linear: list[Array]) -> Float[Array, ""]:
    """The sum over maps, each (1, h, w, c), with weights w_l, each (c,)."""
    total = jnp.zeros(())
    for x, y, weight in zip(map(_unit, maps_x), map(_unit, maps_y), linear, strict=True):
        total += jnp.mean(jnp.matmul(jnp.square(x - y), weight, precision="highest"))
    return total


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
