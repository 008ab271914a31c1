"""Shape of the filter's network: what its float and its integer form share."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CEILING", "GREY", "PIXEL_UNIT", "FilterConfig", "Unit", "from_config", "to_config"]

GREY = 128
"""What is zero to the network: pixel values are taken relative to it."""
PIXEL_UNIT = 64.0
"""Pixel values per unit of the network's input."""
CEILING = 6.0
"""Where fresh non-linearities clip."""


@dataclass(frozen=True)
class Unit:
    """A residual block of the network.

    Attributes:
      name: of its arrays.
      level: of its resolution.
    """

    name: str
    level: int


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Shape of the network.

    Attributes:
      steps: of the schedule of the process; tables hold one row more, for the state after the last.
      widths: channels at a half, a quarter, ... of the side.
      blocks_in: residual blocks of each resolution on the way to coarser ones.
      blocks_out: on the way back; none at the coarsest.
    """

    steps: int
    widths: tuple[int, ...] = (32, 64, 128)
    blocks_in: tuple[int, ...] = (1, 1, 2)
    blocks_out: tuple[int, ...] = (1, 1, 0)

    def __post_init__(self):
        if not len(self.widths) == len(self.blocks_in) == len(self.blocks_out):
            raise ValueError("widths, blocks_in and blocks_out must have one entry for every resolution")
        if not all(self.widths) or self.blocks_out[-1]:
            raise ValueError("every resolution has channels, and the coarsest no way back")

    @property
    def levels(self) -> int:
        """How many resolutions there are."""
        return len(self.widths)

    @property
    def stride(self) -> int:
        """Sides of pictures must be multiples of this."""
        return 2**self.levels

    def units_in(self, level: int) -> list[Unit]:
        """Blocks on the way in."""
        return [Unit(f"in_{level}_{i}", level) for i in range(self.blocks_in[level])]

    def units_out(self, level: int) -> list[Unit]:
        """Blocks on the way back."""
        return [Unit(f"out_{level}_{i}", level) for i in range(self.blocks_out[level])]

    @property
    def units(self) -> list[Unit]:
        """All blocks, in the order of evaluation."""
        levels = range(self.levels)
        inwards = [unit for level in levels for unit in self.units_in(level)]
        return inwards + [unit for level in reversed(levels) for unit in self.units_out(level)]


def to_config(config: FilterConfig) -> dict[str, Any]:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict[str, Any]) -> FilterConfig:
    """Mirror image of `to_config`."""
    return FilterConfig(
        steps=values["steps"],
        widths=tuple(values["widths"]),
        blocks_in=tuple(values["blocks_in"]),
        blocks_out=tuple(values["blocks_out"]),
    )
