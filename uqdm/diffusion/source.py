"""What a diffusion process sends of a picture: its pixels, or the latent of an autoencoder.

The steps transmit an array x of about unit scale (uqdm.diffusion.process). A *source* says what x is: its shape, how it
is made of a picture, and which picture an estimate of it shows.

    Pixels     x = 2 (v + 1/2) / 256 - 1, in [-1, 1]
    Latents    x = encode(picture), shown as decode(x): latent diffusion models (Rombach et al. 2022). What the
               autoencoder loses no step brings back.

Pictures are extended to the sides that a network takes by repeating their last row and column, and cut after decoding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from uqdm.diffusion import process as diffusion
from uqdm.transforms.wavelet import pad_to_blocks

__all__ = ["Latents", "Pixels", "Source"]


@runtime_checkable
class Source(Protocol):
    """The contract."""

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Of x, for pictures of a size."""
        ...

    def values(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "..."]:
        """x of a picture, float32."""
        ...

    def picture(self, x: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        """Mirror image of `values`: what an estimate of x shows."""
        ...

    def clip(self, x: ArrayLike) -> np.ndarray:
        """The nearest possible value of x."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """What is not a function, for an identity."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Values of pixels.

    Attributes:
      stride: sides are multiples of it.
    """

    stride: int = 1

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        return (_multiple(height, self.stride), _multiple(width, self.stride), 3)

    def values(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w 3"]:
        return np.asarray(diffusion.values_of(pad_to_blocks(picture, self.stride)))

    def picture(self, x: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        return np.asarray(diffusion.pixels_of(x))[:height, :width]

    def clip(self, x: ArrayLike) -> np.ndarray:
        return np.clip(np.asarray(x), -1.0, 1.0)

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "pixels", "stride": self.stride}


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
        return (_multiple(height, pixels) // self.factor, _multiple(width, pixels) // self.factor, self.channels)

    def values(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w c"]:
        x = np.asarray(self.encode(pad_to_blocks(picture, self.factor * self.stride)), np.float32)
        expected = self.shape(*picture.shape[:2])
        if x.shape != expected:
            raise ValueError(f"the autoencoder gave a latent of shape {x.shape} where {expected} was announced")
        return x

    def picture(self, x: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        return np.asarray(self.decode(x), np.uint8)[:height, :width]

    def clip(self, x: ArrayLike) -> np.ndarray:
        return np.asarray(x)

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "latents", "channels": self.channels, "factor": self.factor, "stride": self.stride}


def _multiple(side: int, of: int) -> int:
    """The smallest multiple that is not below a side."""
    return -(-side // of) * of
