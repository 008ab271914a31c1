"""SqueezeNet 1.1 (Iandola et al., 2016) as a source of features: seven maps, from edges to parts of objects.

Weights are read from an `.npz` file with the names and layouts of torchvision: `features.I.weight` (out, in, h, w) and
`features.I.bias`, for the fire modules `features.I.{squeeze,expand1x1,expand3x3}.{weight,bias}`. Nothing is
downloaded.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from uqdm.metrics.weight_files import read_arrays

__all__ = ["MIN_SIDE", "feature_maps", "read_weights", "squeezenet_features"]

_FIRES = ((3, 4), (6, 7), (9, 10, 11, 12))
"""Numbers of the fire modules in `features`; before each group the map is halved."""
_TAPS = (4, 7, 9, 10, 11, 12)
"""Modules whose outputs are features, after those of the first convolution."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of RGB in [-1, 1], as in LPIPS."""

MIN_SIDE = 17
"""Smaller pictures vanish in the third pooling."""

Weights = Mapping[str, Array]


@functools.cache
def read_weights(path: str | Path) -> Weights:
    """All arrays of a file in float32, kernels as (h, w, in, out); read once, then kept on the device.

    Raises:
      ValueError: it has no weights of SqueezeNet 1.1.
    """
    found = read_arrays(path)
    if "features.12.expand3x3.weight" not in found:
        raise ValueError(f"{path} holds no weights of SqueezeNet 1.1: give a file with torchvision's names")
    arrays = {name: array.astype(np.float32) for name, array in found.items()}
    kernels = {name: array.transpose(2, 3, 1, 0) for name, array in arrays.items() if name.endswith("weight")}
    return {name: jnp.asarray(array) for name, array in (arrays | kernels).items()}


def squeezenet_features(pictures: np.ndarray, weights: str | Path) -> list[np.ndarray]:
    """The seven maps of pictures.

    Args:
      pictures: uint8 (n, H, W, 3), no side shorter than `MIN_SIDE`.
      weights: path of the weights.

    Returns:
      Maps, each float32 (n, h, w, c) with c = 64, 128, 256, 384, 384, 512, 512 and about a half, a quarter, an eighth
      and five times a sixteenth of the picture's sides.

    Raises:
      ValueError: the pictures are too small, or the file has other weights.
    """
    return [np.asarray(m) for m in feature_maps(read_weights(weights), pictures)]


def feature_maps(weights: Weights, pictures: np.ndarray | Array) -> list[Array]:
    """`squeezenet_features` in JAX, with weights as `read_weights` returns them."""
    if min(pictures.shape[1:3]) < MIN_SIDE:
        height, width = pictures.shape[1:3]
        raise ValueError(f"SqueezeNet needs at least {MIN_SIDE} pixels a side, got {height} x {width}")
    network = {name: array for name, array in weights.items() if name.startswith("features.")}
    return _forward(network, jnp.asarray(pictures, jnp.float32) / 127.5 - 1)


@jax.jit
def _forward(weights: dict[str, Array], x: Float[Array, "n H W 3"]) -> list[Array]:
    x = (x - jnp.array(_SHIFT, x.dtype).reshape(1, 1, 1, 3)) / jnp.array(_SCALE, x.dtype).reshape(1, 1, 1, 3)
    x = _convolve(weights, "features.0", x, stride=2, padding="VALID")
    maps = [x]
    for group in _FIRES:
        x = _halve(x)
        for number in group:
            squeezed = _convolve(weights, f"features.{number}.squeeze", x)
            expanded = [
                _convolve(weights, f"features.{number}.{name}", squeezed) for name in ("expand1x1", "expand3x3")
            ]
            x = jnp.concatenate(expanded, axis=-1)
            if number in _TAPS:
                maps.append(x)
    return maps


def _convolve(weights: dict[str, Array], name: str, x: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """A convolution and a rectifier."""
    y = jax.lax.conv_general_dilated(
        x,
        weights[f"{name}.weight"],
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    return jax.nn.relu(y + weights[f"{name}.bias"].reshape(1, 1, 1, -1))


def _halve(x: Array) -> Array:
    """Maxima over 3 x 3 squares, two apart; the last ones may reach over the border."""
    margins = [(0, -(size - 3) % 2) for size in x.shape[1:3]]
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), *margins, (0, 0)])
