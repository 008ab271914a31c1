"""Sliced Wasserstein distance of local patches: realism without a network, lower is better.

For every level of the Laplacian pyramid, patches of 7 x 7 pixels and 3 colours are drawn from both sets of pictures,
and every colour is shifted and scaled to mean 0 and standard deviation 1 over the patches of its set. The distance of
the two clouds A and B of N points in 147 dimensions is that of their projections, mean over random directions u of
length 1:

    SWD = mean_u W_1(u^T A, u^T B),   W_1 = mean |sorted u^T A - sorted u^T B|                      (1)

(Karras, Aila, Laine and Lehtinen, "Progressive growing of GANs", 2018, section 5). The finest level sees noise and
sharpness, the coarsest (16 pixels) large shapes. Each set is scaled by itself, as there, so a change of contrast alone
costs nothing: what counts is the shape of the distribution. Two samples of one distribution have a distance above 0,
which shrinks with N: compare with that of two sets of originals. Tables often show 1000 times the value.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from uqdm.metrics.laplacian import laplacian_pyramid, levels_down_to
from uqdm.metrics.pair import check_pair

__all__ = [
    "LevelDistances",
    "clouds_of",
    "distance_of_clouds",
    "random_directions",
    "sliced_wasserstein",
    "sliced_wasserstein_of_clouds",
]

_PATCH_SIDE, _MIN_SIDE = 7, 16
_DIRECTIONS_AT_ONCE = 64


class LevelDistances(NamedTuple):
    """Distances at the levels of a pyramid, fine to coarse."""

    sides: tuple[int, ...]
    """The shorter side of the level in pixels."""
    distances: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over levels."""
        return float(np.mean(self.distances))


def sliced_wasserstein(
    pictures_a: np.ndarray, pictures_b: np.ndarray, *, patches: int = 128, directions: int = 512, seed: int = 0
) -> LevelDistances:
    """Equation (1) for all levels down to 16 pixels; lower is better.

    Args:
      pictures_a: uint8 (n, H, W, 3), for example originals.
      pictures_b: as many of the same size, for example reconstructions; patches are drawn at other places.
      patches: per picture and level.
      directions: u, per level.
      seed: of places and directions.

    Raises:
      ValueError: the sets are no such pair, or the pictures are smaller than 16 pixels.
    """
    if pictures_a.shape != pictures_b.shape or pictures_a.ndim != 4 or not len(pictures_a):
        raise ValueError(f"both sets must have one shape (n, H, W, 3), got {pictures_a.shape} and {pictures_b.shape}")
    check_pair(pictures_a[0], pictures_b[0])
    height, width = pictures_a.shape[1:3]
    if not levels_down_to(_MIN_SIDE, height, width):
        raise ValueError(f"patches of all levels need at least {_MIN_SIDE} pixels a side, got {height} x {width}")
    rng = np.random.default_rng(seed)
    sets = [clouds_of(pictures, patches, rng) for pictures in (pictures_a, pictures_b)]
    distances = sliced_wasserstein_of_clouds(sets[0], sets[1], directions, rng)
    return LevelDistances(tuple(-(-min(height, width) // 2**level) for level in range(len(distances))), distances)


def sliced_wasserstein_of_clouds(
    clouds_a: list[np.ndarray], clouds_b: list[np.ndarray], directions: int, rng: np.random.Generator
) -> tuple[float, ...]:
    """Equation (1) at every level, for what `clouds_of` drew from all pictures of two sets; as many from either."""
    distances = []
    for a, b in zip(map(_standardized, clouds_a), map(_standardized, clouds_b), strict=True):
        distances.append(distance_of_clouds(a, b, random_directions(a.shape[1], directions, rng)))
    return tuple(distances)


def random_directions(dimensions: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on the sphere, float32 (dimensions, count)."""
    directions = rng.standard_normal((dimensions, count), np.float32)
    return directions / np.linalg.norm(directions, axis=0)


def distance_of_clouds(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Equation (1) for clouds (N, d) and directions (d, count)."""
    distances = []
    for start in range(0, directions.shape[1], _DIRECTIONS_AT_ONCE):
        some = directions[:, start : start + _DIRECTIONS_AT_ONCE]
        sorted_a, sorted_b = (np.sort(some.T @ cloud.T, axis=1) for cloud in (a, b))
        distances.append(np.mean(np.abs(sorted_a - sorted_b), axis=1, dtype=np.float64))
    return float(np.mean(np.concatenate(distances)))


def clouds_of(pictures: np.ndarray, patches: int, rng: np.random.Generator) -> list[np.ndarray]:
    """For every level so many patches of each picture, drawn anywhere: float32 (N, 3, 7, 7), not yet scaled."""
    levels = levels_down_to(_MIN_SIDE, *pictures.shape[1:3])
    drawn = [[] for _ in range(levels)]
    for picture in pictures:
        for level, band in enumerate(laplacian_pyramid(picture.astype(np.float32), levels)):
            windows = sliding_window_view(band, (_PATCH_SIDE, _PATCH_SIDE), (0, 1))
            rows, columns = (rng.integers(0, size, patches) for size in windows.shape[:2])
            drawn[level].append(windows[rows, columns])
    return [np.concatenate(parts) for parts in drawn]


def _standardized(patches: np.ndarray) -> np.ndarray:
    """(N, colours, 7, 7) to (N, 147), every colour with mean 0 and standard deviation 1 (or 0)."""
    centred = patches - patches.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    std = np.sqrt(np.mean(np.square(centred), axis=(0, 2, 3), keepdims=True, dtype=np.float64)).astype(np.float32)
    return (centred / np.where(std > 0, std, 1)).reshape(len(patches), -1)
