"""MobileNetV2 (Sandler et al., 2018) at 224 x 224 pixels as a source of features: 1280 numbers per picture.

For FID and KID where Inception-v3 is not at hand; values of different networks do not compare. Pictures of any size are
resized with a bicubic filter that is stretched to the step of the new grid, in floating point (Parmar, Zhang and Zhu,
"On aliased resizing and surprising subtleties in GAN evaluation", 2022).

Weights are read from an `.npz` file of the quantized network: for layer i of kind `conv` or `dw`, in the order of
evaluation, `i.kind`, `i.w` uint8 (out, in or 1, h, w), `i.s` scale, `i.zp` zero point and `i.b` bias, so that the
kernel is s (w - zp). Nothing is downloaded.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from uqdm.metrics.weight_files import read_arrays

__all__ = ["mobilenet_features"]

_STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
"""Expansion of the channels inside a block, blocks, stride of the first one (Table 2 of the paper)."""
_LAYERS = 52
_SIDE, _BATCH = 224, 16

Layers = Sequence[tuple[Array, Array]]


def mobilenet_features(pictures: Sequence[np.ndarray] | np.ndarray, weights: str | Path) -> np.ndarray:
    """Averages of the last map over its positions.

    Args:
      pictures: each uint8 (H, W, 3), of any sizes.
      weights: path of the weights.

    Returns:
      float32 (n, 1280).

    Raises:
      ValueError: there is no picture, or the file has other weights.
    """
    if not len(pictures):
        raise ValueError("no pictures were given")
    layers = _read_layers(weights)
    parts = []
    for start in range(0, len(pictures), _BATCH):
        resized = np.stack([_resize(picture) for picture in pictures[start : start + _BATCH]])
        full = np.pad(resized, [(0, min(_BATCH, len(pictures)) - len(resized)), (0, 0), (0, 0), (0, 0)])
        parts.append(np.asarray(_forward(layers, full / np.float32(128) - 1))[: len(resized)])
    return np.concatenate(parts)


@functools.cache
def _read_layers(path: str | Path) -> Layers:
    arrays = read_arrays(path)
    kinds = [str(arrays.get(f"{i}.kind")) for i in range(int(arrays["n"]))] if "n" in arrays else []
    numbers = [i for i, kind in enumerate(kinds) if kind in ("conv", "dw")]
    if len(numbers) != _LAYERS:
        raise ValueError(f"{path} holds no weights of MobileNetV2: give a file of its {_LAYERS} convolutions")
    layers = []
    for i in numbers:
        kernel = arrays[f"{i}.s"] * (arrays[f"{i}.w"].astype(np.float32) - arrays[f"{i}.zp"].astype(np.float32))
        layers.append((jnp.asarray(kernel.transpose(2, 3, 1, 0)), jnp.asarray(arrays[f"{i}.b"])))
    return layers


def _resize(picture: np.ndarray) -> np.ndarray:
    """To float32 (224, 224, 3) in [0, 255]."""
    colours = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
    resized = [np.asarray(colour.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)) for colour in colours]
    return np.clip(np.stack(resized, axis=-1), 0, 255)


@jax.jit
def _forward(layers: Layers, x: Float[Array, "n 224 224 3"]) -> Float[Array, "n 1280"]:
    rest = iter(layers)
    x = jax.nn.relu6(_convolve(x, rest, stride=2))
    for expansion, blocks, stride in _STAGES:
        for block in range(blocks):
            inner = x if expansion == 1 else jax.nn.relu6(_convolve(x, rest))
            inner = jax.nn.relu6(_convolve(inner, rest, stride=1 if block else stride, groups=inner.shape[-1]))
            projected = _convolve(inner, rest)
            x = x + projected if block else projected
    return jnp.mean(jax.nn.relu6(_convolve(x, rest)), axis=(1, 2))


def _convolve(x: Array, layers: Iterator[tuple[Array, Array]], stride: int = 1, groups: int = 1) -> Array:
    """The next layer."""
    kernel, bias = next(layers)
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision="highest",
    )
    return y + bias.reshape(1, 1, 1, -1)
