"""What is expected of a latent before each step, in integers: a linear prediction, and how wrong it will be.

A latent is sent under quantization of one width (uqdm.latent.state) in 2 c / g steps: groups of g channels one
after the other, those that vary most first, and of every group first the elements whose row and column have an even
sum, then the others. With TICKS ticks to a width, let y be what is known, less the means of channels, in ticks and
clipped to +-2^24, and 0 where nothing is known. A step expects of channel j at a place p

    m_j(p) = floor((2^13 + sum_{d, i} K[d, i, j] y_i(p + d)) / 2^14),     d = (-1, -1), ..., (1, 1),           (1)

and a logistic density around m_j whose scale depends on how wrong the predictions around were:

    a(p) = sum_{d, i} |y_i(p + d) - m_i(p + d)|     over all that is known,                                    (2)

in one of `BINS` classes, between bounds of the step. The sums are exact in double precision, in any order: both sides
of a stream agree on every machine.

K is that of least squares (Wiener's filter: y has the noise of quantization), rounded; scales
are those of the mean absolute error, which is 2 ln 2 times the scale of a logistic density. Both come from latents of
pictures, once, when a model is made (`fitted`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["BINS", "TICKS", "TICKS_LOG2", "Prediction", "chessboard", "fitted", "shifted"]

TICKS_LOG2 = 10
TICKS = 1 << TICKS_LOG2
"""To a width."""
BINS = 6
"""Classes of a in Eq. 2."""
_KERNEL_LOG2 = 14
_LARGEST = 2**24
_LOGISTIC = 1 / (2 * np.log(2))
"""Scale of a logistic density whose mean absolute value is 1."""


class Prediction(NamedTuple):
    """Integers that say what to expect, for t steps of groups of g channels."""

    order: Int[np.ndarray, " c"]
    """Channels in the order in which they are sent."""
    mean: Int[np.ndarray, " c"]
    """Of channels, in that order, in ticks."""
    kernel: Int[np.ndarray, "t 9 c g"]
    """K of Eq. 1, channels in that order."""
    bounds: Int[np.ndarray, "t b"]
    """Rising bounds of Eq. 2's classes."""
    scale_class: Int[np.ndarray, "t g b1"]
    """8 log2 of scales in ticks, per channel of the group and class."""

    @property
    def steps(self) -> int:
        return len(self.kernel)

    @property
    def group(self) -> int:
        """Channels of a step."""
        return self.kernel.shape[3]

    def channels(self, step: int) -> slice:
        """Those of a step, in the order in which they are sent."""
        start = step // 2 * self.group
        return slice(start, start + self.group)

    def location(self, y: Int[np.ndarray, "h w c"], step: int) -> Int[np.ndarray, "h w g"]:
        """Eq. 1 for the channels of a step, everywhere."""
        used = slice(0, self.channels(step).stop)
        around = shifted(np.clip(y[..., used], -_LARGEST, _LARGEST))
        total = around.reshape(*y.shape[:2], -1).astype(np.float64) @ self._matrix(step, used.stop)
        return (total.astype(np.int64) + (1 << _KERNEL_LOG2 - 1)) >> _KERNEL_LOG2

    def _matrix(self, step: int, used: int) -> np.ndarray:
        return self.kernel[step, :, :used].reshape(-1, self.group).astype(np.float64)

    def scale_classes(self, innovation: Int[np.ndarray, "h w c"], step: int) -> Int[np.ndarray, "h w g"]:
        """Classes of scales everywhere; `innovation` is |y - m| where something is known, else 0 (Eq. 2)."""
        activity = shifted(np.minimum(innovation, _LARGEST).sum(-1, keepdims=True)).sum((2, 3))
        return self.scale_class[step][:, np.searchsorted(self.bounds[step], activity, side="right")].transpose(1, 2, 0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a file."""
        return dict(self._asdict())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Prediction":
        """Mirror image of `to_arrays`.

        Raises:
          ValueError: an array is missing or has another shape than it must have.
        """
        if set(arrays) != set(cls._fields):
            raise ValueError(f"a prediction has the arrays {', '.join(cls._fields)}, got {', '.join(sorted(arrays))}")
        made = cls(**{name: array.astype(np.int64) for name, array in arrays.items()})
        channels, (steps, _, _, group) = len(made.order), made.kernel.shape
        wanted = [(channels,), (steps, 9, channels, group), (steps, BINS - 1), (steps, group, BINS)]
        if (
            [array.shape for array in made[1:]] != wanted
            or steps * group != 2 * channels
            or sorted(made.order) != list(range(channels))
            or np.abs(made.kernel).max() > 2**18
        ):
            raise ValueError("the arrays of its prediction do not fit each other")
        return made


def shifted(y: np.ndarray) -> np.ndarray:
    """Neighbours (h, w, 9, c) of a grid (h, w, c), row by row, 0 beyond it."""
    height, width = y.shape[:2]
    padded = np.pad(y, ((1, 1), (1, 1), (0, 0)))
    return np.stack([padded[d // 3 : d // 3 + height, d % 3 : d % 3 + width] for d in range(9)], 2)


def chessboard(shape: tuple[int, ...], step: int) -> np.ndarray:
    """Where a step sends something of a latent (h, w, c), bool (h, w)."""
    return (np.arange(shape[0])[:, None] + np.arange(shape[1])) % 2 == step % 2


def _kernels(noisy: np.ndarray, clean: np.ndarray, group: int) -> np.ndarray:
    """K of all steps by least squares, from moments of grids (n, h, w, c)."""
    channels = noisy.shape[3]
    around = np.stack([shifted(grid)[1:-1, 1:-1] for grid in noisy]).reshape(-1, 9 * channels).astype(np.float32)
    target = clean[:, 1:-1, 1:-1].reshape(-1, channels).astype(np.float32)
    moments, right = (around.T @ around).astype(np.float64), (around.T @ target).astype(np.float64)
    kernel = np.zeros((2 * channels // group, 9, channels, group), np.int64)
    for step in range(len(kernel)):
        own = np.arange(step // 2 * group, (step // 2 + 1) * group)
        use = np.zeros((9, channels), bool)
        use[:, : own[0]] = True
        if step % 2:
            use[1::2, own] = True
        index = np.flatnonzero(use.reshape(-1))
        if len(index):
            ridge = 1e-4 * np.trace(moments) / len(moments) * np.eye(len(index))
            solved = np.linalg.solve(moments[np.ix_(index, index)] + ridge, right[np.ix_(index, own)])
            kernel[step].reshape(-1, group)[index] = np.rint(np.clip(solved, -8, 8) * 2**_KERNEL_LOG2).astype(np.int64)
    return kernel


def fitted(
    latents: Float[np.ndarray, "n h w c"], width: float, *, dithered: bool = True, group: int = 4, seed: int = 0
) -> Prediction:
    """What to expect of latents under a width.

    Args:
      latents: of pictures, the more the better.
      width: of quantization, in units of the latents.
      dithered: whether it is; else latents are rounded.
      group: channels of a step; divides the number of channels.
      seed: of the dither that they are tried with.

    Raises:
      ValueError: groups do not divide the channels, or the width is not positive.
    """
    channels = latents.shape[3]
    if channels % group or not width > 0:
        raise ValueError(f"groups of {group} must divide {channels} channels and the width {width} must be positive")
    values = latents.astype(np.float64) * (TICKS / width)
    order = np.argsort(-values.std((0, 1, 2)), kind="stable")
    values = values[..., order]
    mean = np.rint(values.mean((0, 1, 2))).astype(np.int64)
    clean = np.rint(values - mean).astype(np.int64)
    if dithered:
        noisy = clean + np.random.default_rng(seed).integers(-TICKS // 2, TICKS // 2, clean.shape)
    else:
        noisy = (clean + TICKS // 2) // TICKS * TICKS
    kernel = _kernels(noisy, clean, group)
    steps = len(kernel)
    empty = np.zeros((steps, group, BINS), np.int64)
    made = Prediction(order, mean, kernel, np.zeros((steps, BINS - 1), np.int64), empty)
    known, wrong = np.zeros_like(noisy), np.zeros_like(noisy)
    for step in range(steps):
        place, own = chessboard(clean.shape[1:], step), made.channels(step)
        activity = np.stack([shifted(grid.sum(-1, keepdims=True)).sum((2, 3)) for grid in wrong])[:, place]
        bounds = np.rint(np.quantile(activity, np.arange(1, BINS) / BINS)).astype(np.int64)
        made.bounds[step] = bounds
        classes = np.searchsorted(bounds, activity, side="right")
        location = np.stack([made.location(grid, step) for grid in known])[:, place]
        error = np.abs(clean[:, place, own] - location)
        for number in range(BINS):
            inside = error[classes == number] if (classes == number).any() else error.reshape(-1, group)
            scale = np.maximum(inside.mean(0) * _LOGISTIC, 1.0)
            made.scale_class[step, :, number] = np.rint(8 * np.log2(scale)).astype(np.int64)
        known[:, place, own] = noisy[:, place, own]
        wrong[:, place, own] = np.abs(noisy[:, place, own] - location)
    return made
