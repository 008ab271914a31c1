"""The latent of an autoencoder as the source of a diffusion process: latent diffusion models (Rombach et al. 2022).

What the autoencoder loses no step brings back. Pictures are extended to the sides that it takes by repeating their last
row and column, and cut after decoding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from uqdm.transforms.pixels import multiple_of
from uqdm.transforms.wavelet import pad_to_blocks

__all__ = ["Latents"]


@dataclass(frozen=True, kw_only=True)
class Latents:
    """The latent of an autoencoder.

    Attributes:
      encode: x of a picture, uint8 (H, W, 3) to (H / factor, W / factor, channels); the same at every call.
      decode: the picture of x, uint8 (H, W, 3).
      channels: of the latent.
      factor: pixels per element along a side.
      stride: sides of the latent are multiples of it.
    """

    encode: Callable[[np.ndarray], ArrayLike]
    decode: Callable[[np.ndarray], ArrayLike]
    channels: int
    factor: int
    stride: int = 1

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        pixels = self.factor * self.stride
        return (multiple_of(pixels, height) // self.factor, multiple_of(pixels, width) // self.factor, self.channels)

    def values(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w c"]:
        x = np.asarray(self.encode(pad_to_blocks(picture, self.factor * self.stride)), np.float32)
        expected = self.shape(*picture.shape[:2])
        if x.shape != expected:
            raise ValueError(f"the autoencoder gave a latent of shape {x.shape} where {expected} was announced")
        return x

    def picture(self, x: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        return np.array(self.decode(x), np.uint8)[:height, :width]

    def clip(self, x: ArrayLike) -> np.ndarray:
        return np.asarray(x)

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "latents", "channels": self.channels, "factor": self.factor, "stride": self.stride}
