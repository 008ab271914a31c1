"""Space to depth and back: squares of a grid as channels of a coarser one."""

from jaxtyping import Array

__all__ = ["fold", "unfold"]


def fold(x: Array, side: int) -> Array:
    """(n, side h, side w, c) to (n, h, w, side side c), in the order row, column, channel."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // side, side, width // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height // side, width // side, side * side * channels)


def unfold(x: Array, side: int) -> Array:
    """Mirror image of `fold`."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, side, side, channels // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, side * height, side * width, channels // side**2)
