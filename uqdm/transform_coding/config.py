"""Shapes of the networks of transform coding, and the constants that they are scaled by."""

from dataclasses import asdict, dataclass, field
from typing import Any

from uqdm import archive

__all__ = ["BLOCK", "PHASES", "DenoiserConfig", "TransformConfig", "from_config", "groups_of", "to_config"]

BLOCK = 8
"""Side of the square of pixels that a vector of latents stands for; a vector of hyper-latents has 2 x 2 of them."""
PHASES = 4
"""Vectors of latents per vector of hyper-latents, in the order of rows."""
_FIRST_GROUP = 4
_MOST_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Shape of the network of the conditional diffusion decoder (uqdm.transform_coding.denoiser).

    Attributes:
      widths: channels at a half, a quarter and an eighth of the side.
      blocks: residual blocks at each of them, on the way out.
      condition: channels that the time is embedded in.
      error: e, the root mean square of what the mean decoder leaves open, in pixel values.
    """

    widths: tuple[int, int, int] = (24, 48, 96)
    blocks: tuple[int, int, int] = (1, 1, 1)
    condition: int = 64
    error: float = 8.0

    def __post_init__(self):
        if not self.error > 0 or not all(1 <= count <= _MOST_BLOCKS for count in self.blocks):
            raise ValueError(f"a denoiser has 1 to {_MOST_BLOCKS} blocks and a positive error, got {self}")

    @property
    def halo(self) -> int:
        """Blocks around one that its pixels depend on: 2 convolutions of 3 x 3 in a block of layers."""
        half, quarter, eighth = self.blocks
        return 2 * (1 + eighth) + (1 + quarter) + (2 + half) // 2


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """Shape of the transforms and of the entropy model.

    Attributes:
      spread: standard deviations of the latents before training, in widths, falling; there are as many latents.
      step: what one width of a latent was before training, in pixel values.
      universal: latents are quantized under a shared shift (review, Section II-C), not rounded about their means.
      width: channels of the transforms.
      blocks: residual blocks of each transform.
      hyper_latents: how many there are in a vector.
      hyper_width: channels of the hyper-transforms.
      denoiser: of the conditional diffusion decoder, where there is one.
    """

    spread: tuple[float, ...]
    step: float
    universal: bool = False
    width: int = 128
    blocks: int = 2
    hyper_latents: int = 32
    hyper_width: int = 64
    denoiser: DenoiserConfig | None = field(default=None)

    def __post_init__(self):
        if list(self.spread) != sorted(self.spread, reverse=True) or not self.spread:
            raise ValueError("spread must hold one falling number for every latent")
        if not 1 <= len(self.spread) <= 3 * BLOCK**2:
            raise ValueError(f"a block of {BLOCK} x {BLOCK} pixels has 1 to {3 * BLOCK**2} latents")
        if not 0 <= self.blocks <= _MOST_BLOCKS or not self.step > 0:
            raise ValueError(f"there are at most {_MOST_BLOCKS} blocks, of a positive step: {self.blocks}, {self.step}")

    @property
    def latents(self) -> int:
        """In a vector."""
        return len(self.spread)


def groups_of(latents: int) -> tuple[range, ...]:
    """The groups that are steps of Algorithm 1: 4, 4, 8, 16, ... latents in the order of falling variance."""
    ends = [0]
    while ends[-1] < latents:
        ends.append(min(latents, max(_FIRST_GROUP, 2 * ends[-1])))
    return tuple(range(first, last) for first, last in zip(ends, ends[1:], strict=False))


def to_config(config: TransformConfig) -> dict[str, Any]:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict[str, Any]) -> TransformConfig:
    """Mirror image of `to_config`.

    Raises:
      ValueError: these are no such numbers.
    """
    return archive.record(TransformConfig, values)
