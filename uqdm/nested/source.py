"""What the nested process sends of a picture: coefficients in blocks, in units of pixel values, and their ticks.

A picture's source X are integers (uqdm.nested.process). `Wavelet` makes them of bands of pixels; `Latent` of what an
autoencoder makes of a picture, z of d channels at every position,

    y = A (z - m),                                                                          (1)

where m is the mean of z over pictures, and A a d x d matrix such that, to first order, a squared error of y is that of
the pixels that the autoencoder shows: A = R G^(1/2), with G = E[J^T J] for the Jacobian J of its decoder at one
position, and R the rotation that makes components uncorrelated, those of the largest variance first. Widths of cells
then mean the same as for pixels. What the autoencoder itself loses no step brings back.

Sources are floating-point arithmetic: they decide which cell is sent and how it looks, never what a symbol means.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from uqdm.nested.process import TICKS
from uqdm.transforms.integer_wavelet import PIXEL_UNITS, pixels_of, synthesis
from uqdm.transforms.latents import Latents
from uqdm.transforms.wavelet import analysis, grid_shape, pad_to_blocks

__all__ = ["Coordinates", "Latent", "Source", "Wavelet"]


@runtime_checkable
class Source(Protocol):
    """The contract."""

    @property
    def block_pixels(self) -> int:
        """Side of a block in pixels of the picture."""
        ...

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of blocks of a picture."""
        ...

    def ticks(self, picture: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "h w C"]:
        """X of a picture."""
        ...

    def pixels(self, ticks: Int32[np.ndarray, "h w C"]) -> UInt8[np.ndarray, "H W 3"]:
        """Mirror image of `ticks`: the picture, still extended to whole blocks."""
        ...

    def comparable(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "..."]:
        """Numbers whose squared errors add up to those of pixels."""
        ...

    def compared(self, ticks: Int32[np.ndarray, "h w C"]) -> Float[np.ndarray, "..."]:
        """The same numbers as some coefficients have them, in double precision."""
        ...


@dataclass(frozen=True)
class Wavelet:
    """Bands of pixels (uqdm.transforms.wavelet).

    Attributes:
      block: side of the blocks in pixels.
      finest_width: of cells, in pixel values.
    """

    block: int
    finest_width: float

    @property
    def block_pixels(self) -> int:
        return self.block

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return grid_shape(height, width, self.block)

    def ticks(self, picture: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "h w C"]:
        coefficients = analysis(pad_to_blocks(picture, self.block).astype(np.float32)[None], self.block)[0]
        return np.rint(coefficients * np.float32(TICKS / self.finest_width)).astype(np.int32)

    def pixels(self, ticks: Int32[np.ndarray, "h w C"]) -> UInt8[np.ndarray, "H W 3"]:
        return pixels_of(2 * ticks, self.block, self.finest_width)

    def comparable(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
        return pad_to_blocks(picture, self.block).astype(np.float64)

    def compared(self, ticks: Int32[np.ndarray, "h w C"]) -> Float[np.ndarray, "H W 3"]:
        return synthesis(2 * ticks, self.block, self.finest_width) / PIXEL_UNITS


class Coordinates(NamedTuple):
    """What Eq. 1 takes."""

    matrix: Float32[np.ndarray, "d d"]
    """A."""
    mean: Float32[np.ndarray, " d"]
    """m."""

    def of(self, z: Float[np.ndarray, "... d"]) -> Float32[np.ndarray, "... d"]:
        """y of z."""
        return ((z.astype(np.float32) - self.mean) @ self.matrix.T).astype(np.float32)

    def latent(self, y: Float[np.ndarray, "... d"]) -> Float32[np.ndarray, "... d"]:
        """Mirror image of `of`: z of y."""
        inverse = np.linalg.inv(self.matrix.astype(np.float64))
        return (y @ inverse.T + self.mean).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Latent:
    """The latent of an autoencoder; a block is one position.

    Attributes:
      latents: the autoencoder.
      coordinates: of Eq. 1.
      finest_width: of cells, in pixel values.
    """

    latents: Latents
    coordinates: Coordinates
    finest_width: float

    @property
    def block_pixels(self) -> int:
        return self.latents.factor

    def grid(self, height: int, width: int) -> tuple[int, int]:
        rows, columns, _ = self.latents.shape(height, width)
        return rows, columns

    def ticks(self, picture: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "h w C"]:
        y = self.coordinates.of(self.latents.values(picture))
        return np.rint(y * (TICKS / self.finest_width)).astype(np.int32)

    def pixels(self, ticks: Int32[np.ndarray, "h w C"]) -> UInt8[np.ndarray, "H W 3"]:
        rows, columns, _ = ticks.shape
        z = self.coordinates.latent(ticks * (self.finest_width / TICKS))
        return self.latents.picture(z, rows * self.block_pixels, columns * self.block_pixels)

    def comparable(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w d"]:
        return self.coordinates.of(self.latents.values(picture)).astype(np.float64)

    def compared(self, ticks: Int32[np.ndarray, "h w C"]) -> Float[np.ndarray, "h w d"]:
        return ticks * (self.finest_width / TICKS)
