"""Shape of the network of the nested process, and the units of its input: what its float and its integer form share."""

from dataclasses import asdict, dataclass

import numpy as np

from uqdm import archive
from uqdm.nested.layout import layout_of
from uqdm.nested.schedule import BLOCK_CLASSES

__all__ = [
    "INPUT_LIMIT",
    "INPUT_UNITS",
    "LEAST_SUM",
    "MAGNITUDE_LIMIT",
    "TRUNK_MAGNITUDE_LIMIT",
    "VALUE_LIMIT",
    "NetworkConfig",
    "from_config",
    "to_config",
]

INPUT_UNITS = 16
"""Units of the input per standard deviation."""
INPUT_LIMIT = 127
"""Largest input, in these units."""
TRUNK_MAGNITUDE_LIMIT = 48
MAGNITUDE_LIMIT = 64
VALUE_LIMIT = 96
"""Largest magnitude that the trunk, the sums of Eq. 1 and the sums of values see, in these units."""

_LARGEST_BLOCK, _MOST_BLOCKS = 64, 32
LEAST_SUM = 0.05
"""Least argument of the logarithm in Eq. 1."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network.

    Attributes:
      block: side of a block; it has colours x block^2 coefficients (uqdm.nested.layout).
      steps: number of steps of the schedule; tables hold one row more, for the state after the last.
      width: channels of the residual stream.
      blocks: number of residual blocks.
      local_width: channels of the local networks.
      colours: numbers per position.
      classes: of blocks that it tells apart, 4 or all of them (uqdm.nested.schedule.block_classes).
    """

    block: int
    steps: int
    width: int = 256
    blocks: int = 3
    local_width: int = 32
    colours: int = 3
    classes: int = 4

    def __post_init__(self):
        if self.block == 1 and self.colours == 9:
            raise ValueError(
                "latents of 9 channels cannot be told from bands of pictures: give another channel to them"
            )
        if self.classes not in (4, BLOCK_CLASSES):
            raise ValueError(f"classes must be 4 or {BLOCK_CLASSES}, got {self.classes}")
        if not (1 <= self.block <= _LARGEST_BLOCK and self.block.bit_count() == 1 and self.blocks <= _MOST_BLOCKS):
            raise ValueError(
                f"block must be a power of two up to {_LARGEST_BLOCK}, with at most {_MOST_BLOCKS} blocks of layers, "
                f"got {self.block} and {self.blocks}"
            )

    @property
    def channels(self) -> int:
        return self.colours * self.block**2

    @property
    def bands(self) -> int:
        """The low-pass band and one of three orientations per octave."""
        return self.block.bit_length()

    @property
    def local_bands(self) -> range:
        """Indices of the bands that have a local network: those of the two finest octaves."""
        return range(max(1, self.bands - 2), self.bands)

    @property
    def kind(self) -> np.ndarray:
        """Kind of every channel, int32 (C,)."""
        channels = layout_of(self.block, self.colours)
        return 3 * channels.band + channels.colour

    def channel_range(self, chosen: range) -> tuple[int, int]:
        """First channel of neighbouring bands, and one after the last."""
        first, last = (4 ** max(end - 1, 0) * (end > 0) for end in (chosen.start, chosen.stop))
        return self.colours * first, self.colours * last

    def kind_range(self, band: int) -> slice:
        """Kinds of the channels of a band."""
        return slice(0, self.colours) if band == 0 else slice(9 * band - 6, 9 * band + 3)

    @property
    def kinds(self) -> int:
        return self.colours * (3 * self.bands - 2)


def to_config(config: NetworkConfig) -> dict:
    """Plain numbers, for a file; three colours and four classes are not mentioned."""
    usual = {"colours": 3, "classes": 4}
    return {name: value for name, value in asdict(config).items() if usual.get(name) != value}


def from_config(values: dict) -> NetworkConfig:
    """Mirror image of `to_config`.

    Raises:
      ValueError: these are no such numbers.
    """
    return archive.record(NetworkConfig, values)
