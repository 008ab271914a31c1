"""Pixels as the source of a diffusion process.

Pictures have values x = 2 (v + 1/2) / 256 - 1 for v in {0, ..., 255}. They are extended to the sides that a network
takes by repeating their last row and column, and cut after decoding.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8

from uqdm.transforms.wavelet import pad_to_blocks

__all__ = ["Pixels", "multiple_of", "pixels_of", "values_of"]


def values_of(pixels: ArrayLike) -> Array:
    """x of pixels v."""
    return 2 * (jnp.asarray(pixels, jnp.float32) + 0.5) / 256 - 1


def pixels_of(x: ArrayLike) -> Array:
    """Most probable pixels, uint8; p(v | x) falls with the distance from x."""
    return jnp.clip(jnp.round((jnp.asarray(x) + 1) * 128 - 0.5), 0, 255).astype(jnp.uint8)


def multiple_of(stride: int, side: int) -> int:
    """The smallest multiple of a stride that is not below a side."""
    return -(-side // stride) * stride


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Values of pixels.

    Attributes:
      stride: sides are multiples of it.
    """

    stride: int = 1

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        return (multiple_of(self.stride, height), multiple_of(self.stride, width), 3)

    def values(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w 3"]:
        return np.asarray(values_of(pad_to_blocks(picture, self.stride)))

    def picture(self, x: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        return np.array(pixels_of(x))[:height, :width]

    def clip(self, x: ArrayLike) -> np.ndarray:
        return np.clip(np.asarray(x), -1.0, 1.0)

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "pixels", "stride": self.stride}
