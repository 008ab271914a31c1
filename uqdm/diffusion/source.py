"""What a diffusion process sends of a picture: the contract of sources.

The steps transmit an array x of about unit scale (uqdm.diffusion.process). A *source* says what x is: its shape, how it
is made of a picture, and which picture an estimate of it shows.

    uqdm.transforms.pixels     x = 2 (v + 1/2) / 256 - 1, in [-1, 1]
    uqdm.transforms.latents    x = encode(picture), shown as decode(x)
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

__all__ = ["Source"]


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
