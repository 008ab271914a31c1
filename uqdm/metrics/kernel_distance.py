"""Kernel distance of features, the KID for any network: 0 in the mean for equal distributions, lower is better.

The squared maximum mean discrepancy for the kernel k(x, y) = (x^T y / d + 1)^3, by the unbiased estimator

    KID = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j)

(Binkowski et al., "Demystifying MMD GANs", 2018, Eq. 4). It may be negative, and unlike FID it can be compared between
sets of different sizes. Tables often show 1000 times the value.

Where b_i is a reconstruction of a_i, the two are no independent samples, and the last mean is over i != j as well:
pairs are alike for another reason than that their distributions are. A set is at distance 0 from itself then.
"""

from typing import NamedTuple

import numpy as np

from uqdm.metrics.pair import check_features

__all__ = ["BlockEstimate", "kid", "kid_in_blocks"]

_ROWS = 1024
"""Rows of the kernel matrix in memory at once."""


class BlockEstimate(NamedTuple):
    """An average over random blocks of pictures."""

    mean: float
    std: float
    """Standard deviation of one block's estimate."""


def kid(features_a: np.ndarray, features_b: np.ndarray, *, paired: bool = False) -> float:
    """The estimate from all pictures; lower is better.

    Args:
      features_a: (n, d), one row per picture.
      features_b: (m, d), from the same network.
      paired: whether rows of equal number belong to each other, as those of a picture and its reconstruction.

    Raises:
      ValueError: shapes do not fit, or a set has fewer than two pictures.
    """
    check_features(features_a, features_b)
    a, b = features_a.astype(np.float64), features_b.astype(np.float64)
    if paired:
        if len(a) != len(b):
            raise ValueError(f"pairs need sets of one size, got {len(a)} and {len(b)} pictures")
        return _mean_of_others(a, a) + _mean_of_others(b, b) - 2 * _mean_of_others(a, b)
    return _mean_of_others(a, a) + _mean_of_others(b, b) - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def kid_in_blocks(
    features_a: np.ndarray, features_b: np.ndarray, *, block_size: int = 1000, blocks: int = 100, seed: int = 0
) -> BlockEstimate:
    """Mean and standard deviation of `kid` over random blocks, drawn without replacement, as tables report it.

    Args:
      features_a: (n, d), one row per picture.
      features_b: (m, d), from the same network.
      block_size: pictures of either set in a block.
      blocks: how many blocks.
      seed: of the choice.

    Raises:
      ValueError: as for `kid`, or a set is smaller than a block.
    """
    fewest = min(len(features_a), len(features_b))
    if fewest < block_size:
        raise ValueError(f"blocks of {block_size} pictures do not fit into {fewest}: choose a smaller block_size")
    rng = np.random.default_rng(seed)
    estimates = [
        kid(*(rng.choice(f, block_size, replace=False, shuffle=False) for f in (features_a, features_b)))
        for _ in range(blocks)
    ]
    return BlockEstimate(float(np.mean(estimates)), float(np.std(estimates)))


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    width = a.shape[1]
    return sum(float(np.sum((a[i : i + _ROWS] @ b.T / width + 1) ** 3)) for i in range(0, len(a), _ROWS))


def _mean_of_others(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of the kernel over rows of different numbers."""
    diagonal = np.sum((np.sum(a * b, axis=1) / a.shape[1] + 1) ** 3)
    return (_kernel_sum(a, b) - float(diagonal)) / (len(a) * (len(a) - 1))
