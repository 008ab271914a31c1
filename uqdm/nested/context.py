"""Neighbourhoods of coefficients in their bands: what wavelet coders look at around the one they code.

All functions are sums, minima and shifts, so that they mean the same for floating-point numbers and for integers.
Bands are pictures (n, H, W, orientations, 3 colours), coarsest first; the low-pass band has one orientation. A latent
is a low-pass band of as many colours as it has channels.
"""

import jax.numpy as jnp
from jaxtyping import Array

from uqdm.transforms.wavelet import unpack

__all__ = [
    "SUMS",
    "VALUES",
    "bands_of",
    "local_features",
    "pack_bands",
    "signed_neighbours",
    "sums_of_magnitudes",
]

SUMS = (1.0, 0.5, 0.5, 0.25, 0.04, 1.0, 0.15, 0.5, 0.5, 0.25)
"""Typical weights of `sums_of_magnitudes`, one over the number of terms or less."""
VALUES = 3
"""Pictures of `signed_neighbours`."""


def bands_of(blocks: Array, block: int) -> list[Array]:
    """Blocks (n, h, w, C) as bands."""
    if block == 1:
        return [blocks[..., None, :]]
    low, *details = unpack(blocks, block)
    return [low[..., None, :], *details]


def pack_bands(bands: list[Array], chosen: range) -> Array:
    """Mirror image of `bands_of` for neighbouring bands: their channels of all blocks, (n, h, w, c)."""
    parts = []
    for index, band in zip(chosen, bands, strict=True):
        n, height, width, orientations, colours = band.shape
        side = 1 if index == 0 else 1 << (index - 1)
        cells = band.reshape(n, height // side, side, width // side, side, orientations * colours)
        shape = (n, height // side, width // side, side * side * orientations * colours)
        parts.append(cells.transpose(0, 1, 3, 2, 4, 5).reshape(shape))
    return jnp.concatenate(parts, axis=-1)


def _beside(x: Array, axis: int) -> tuple[Array, Array]:
    """x shifted by one in both directions along an axis, with zeros coming in."""
    margins = [(0, 0)] * x.ndim
    margins[axis] = (1, 1)
    padded = jnp.pad(x, margins)
    low, high = [slice(None)] * x.ndim, [slice(None)] * x.ndim
    low[axis], high[axis] = slice(0, x.shape[axis]), slice(2, x.shape[axis] + 2)
    return padded[tuple(low)], padded[tuple(high)]


def _pair(x: Array, axis: int) -> Array:
    before, after = _beside(x, axis)
    return before + after


def _box(x: Array) -> Array:
    """Sum over the 3 x 3 positions around each."""
    for axis in (1, 2):
        x = x + _pair(x, axis)
    return x


def _enlarge(x: Array) -> Array:
    """Every position becomes 2 x 2."""
    n, height, width, *rest = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, width, 2, *rest))
    return spread.reshape(n, 2 * height, 2 * width, *rest)


def _inherited(parent: Array) -> Array:
    """Every coefficient of a detail band gets the value of its parent."""
    if parent.shape[3] == 1:
        return jnp.broadcast_to(parent, (*parent.shape[:3], 3, 3))
    return _enlarge(parent)


def _shrink(x: Array) -> Array:
    """Sum over 2 x 2 positions."""
    n, height, width, *rest = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, *rest)
    return (x[:, :, 0, :, 0] + x[:, :, 0, :, 1]) + (x[:, :, 1, :, 0] + x[:, :, 1, :, 1])


def _others(x: Array, axis: int) -> Array:
    """Sum over the other entries along an axis of length 3; channels of a latent have none that are special to them."""
    if x.shape[axis] != 3:
        return jnp.zeros_like(x)
    first, second, third = (jnp.take(x, i, axis) for i in range(3))
    return jnp.stack([second + third, first + third, first + second], axis)


def sums_of_magnitudes(magnitudes: list[Array], chosen: range) -> list[tuple[Array, ...]]:
    """For every chosen band: its magnitude, and sums around each coefficient.

    The coefficient itself; left and right of it; above and below; its 4 diagonal neighbours; the 16 around those 8; its
    parent (the same place, orientation and colour one octave coarser); the parent and its 8 neighbours; the other
    orientations; the other colours; its 4 children. The low-pass band is the parent of all orientations of the
    coarsest octave, which are all its children (each summed over orientations, for one position).
    """
    terms = []
    for index in chosen:
        own = magnitudes[index]
        across, along = _pair(own, 2), _pair(own, 1)
        around = _box(own)
        if index == 0:
            parent = near_parents = jnp.zeros_like(own)
        else:
            parent, near_parents = (_inherited(p) for p in (magnitudes[index - 1], _box(magnitudes[index - 1])))
        if index + 1 == len(magnitudes):
            children = jnp.zeros_like(own)
        elif index == 0:
            one, two, three = (magnitudes[1][..., i : i + 1, :] for i in range(3))
            children = one + two + three
        else:
            children = _shrink(magnitudes[index + 1])
        diagonals, ring = around - own - across - along, _box(around) - around
        others = _others(own, -2), _others(own, -1)
        terms.append((own, across, along, diagonals, ring, parent, near_parents, *others, children))
    return terms


def local_features(values: Array, magnitudes: Array, parent: Array, children: Array | None) -> Array:
    """What the local network of a detail band looks at: (n, H, W, features).

    The values and magnitudes of all orientations and colours, the magnitudes of their parents, and the largest of each
    one's 4 children, where there are any.
    """
    parts = [values, magnitudes, _inherited(parent)]
    if children is not None:
        n, height, width, *rest = children.shape
        parts.append(children.reshape(n, height // 2, 2, width // 2, 2, *rest).max((2, 4)))
    return jnp.concatenate([part.reshape(*part.shape[:3], -1) for part in parts], axis=-1)


def signed_neighbours(values: list[Array], chosen: range) -> list[tuple[Array, ...]]:
    """For every chosen band: sums of the values left and right, above and below, and in the other colours."""
    return [(_pair(values[i], 2), _pair(values[i], 1), _others(values[i], -1)) for i in chosen]
