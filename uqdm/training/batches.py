"""What a step of a training sees: a pure function of (pictures, settings, seed, step).

So a training that was killed and resumed sees exactly what an unbroken one sees. Pieces of pictures come from pipelines
(grain.MapDataset) in which every piece has a number; step t takes a batch of n from piece n t on. Threads prepare the
next steps.

    shuffled_pieces   every picture once per epoch, in an order of its own, cut to one size
    random_crops      pictures drawn by their area, at random scales

`Batches` gives arrays of the former, shared among processes, and `Crops` arrays of the latter in several sizes.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import grain
import numpy as np
from PIL import Image

from uqdm.errors import PictureError
from uqdm.training.dataset import PictureSet

__all__ = ["Batches", "Crops", "random_crops", "shuffled_pieces"]

_AREA_EXPONENT = 0.5
_LARGEST_SCALE = 2.5
_PIECES = 2**62  # of a pipeline that never ends
_AHEAD = 2


class _LargeEnough:
    """Pictures that pieces of a size can be cut from."""

    def __init__(self, source: PictureSet, side: int):
        self._source, self._side = source, side

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> np.ndarray:
        picture = self._source[index]
        if min(picture.shape[:2]) < self._side:
            size = f"{picture.shape[1]} x {picture.shape[0]}"
            raise PictureError(f"picture {self._source.name(index)} of {size} is smaller than {self._side} pixels")
        return picture


def shuffled_pieces(source: PictureSet, side: int, *, seed: int) -> Any:
    """Square pieces, in epochs that have an order of their own, as a pipeline without end.

    A picture larger than `side` gives a random piece; one that is smaller is refused with a PictureError that names it
    when its turn comes. Every other piece is mirrored.
    """

    def cut(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        piece = picture[top : top + side, left : left + side]
        return piece[:, ::-1] if rng.random() < 0.5 else piece

    return grain.MapDataset.source(_LargeEnough(source, side)).seed(seed).shuffle().repeat().random_map(cut)


def random_crops(pictures: Sequence[np.ndarray], side: int, *, seed: int, rescaled: float = 0.4) -> Any:
    """Square crops, mirrored, transposed and at random scales, as a pipeline without end.

    A picture is drawn with probability proportional to the square root of its area, among those large enough. A crop
    is, with probability `rescaled`, a larger window (up to 2.5 times, log-uniformly) shrunk to `side`, half the time
    with a box and half the time with a Lanczos filter.

    Args:
      pictures: uint8 (H, W, 3) each, in memory.
      side: of the crops in pixels; crops of other sides are independent of these.
      seed: of everything random.
      rescaled: probability of shrinking, for pictures that are larger than `side`.

    Raises:
      PictureError: none has both sides at least `side`.
    """
    eligible = [picture for picture in pictures if min(picture.shape[:2]) >= side]
    if not eligible:
        raise PictureError(f"no picture is at least {side} pixels high and wide")
    weights = np.array([picture.shape[0] * picture.shape[1] for picture in eligible], float) ** _AREA_EXPONENT
    ends = np.cumsum(weights) / weights.sum()

    def crop(_: int, rng: np.random.Generator) -> np.ndarray:
        picture = eligible[min(int(np.searchsorted(ends, rng.random(), side="right")), len(eligible) - 1)]
        window, largest = side, min(_LARGEST_SCALE, min(picture.shape[:2]) / side)
        if rng.random() < rescaled and largest > 1:
            window = int(side * largest ** rng.random())
        top, left = (int(rng.integers(length - window + 1)) for length in picture.shape[:2])
        piece = picture[top : top + window, left : left + window]
        if window > side:
            method = Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.LANCZOS
            piece = np.asarray(Image.fromarray(piece).resize((side, side), method))
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return piece.transpose(1, 0, 2) if rng.random() < 0.25 else piece

    own_seed = int(np.random.SeedSequence((seed, side)).generate_state(1)[0])
    return grain.MapDataset.range(_PIECES).seed(own_seed).random_map(crop)


class _Part(NamedTuple):
    """What a step takes of one pipeline."""

    pieces: Any
    size: int
    """Of a whole step."""
    own: range
    """Those of them that this process takes."""


class _Prefetched:
    """Stacked pieces of a step, one array per part; the next steps are prepared meanwhile."""

    def __init__(self, parts: Sequence[_Part], threads: int):
        self._parts, self._workers = parts, ThreadPoolExecutor(threads)
        self._coming: dict[int, list[list[Future]]] = {}

    def _ask(self, step: int) -> list[list[Future]]:
        return [
            [self._workers.submit(pieces.__getitem__, step * size + number) for number in own]
            for pieces, size, own in self._parts
        ]

    def __call__(self, step: int) -> list[np.ndarray]:
        self._coming = {s: self._coming.get(s) or self._ask(s) for s in range(step, step + 1 + _AHEAD)}
        return [np.stack([piece.result() for piece in part]) for part in self._coming.pop(step)]

    def close(self) -> None:
        self._workers.shutdown(cancel_futures=True)


class Batches:
    """Batches of `shuffled_pieces`, in order.

    Args:
      source: pictures.
      side: of the pieces in pixels.
      batch: pieces of a whole step, over all processes.
      seed: of order, pieces and mirroring.
      part: number of this process and how many there are; each gets a contiguous part of the batch.
      threads: that read and cut.
    """

    def __init__(
        self, source: PictureSet, *, side: int, batch: int, seed: int, part: tuple[int, int] = (0, 1), threads: int = 8
    ):
        index, count = part
        if batch % count:
            raise ValueError(f"a batch of {batch} cannot be shared evenly by {count} processes")
        own = range(index * batch // count, (index + 1) * batch // count)
        self._steps = _Prefetched([_Part(shuffled_pieces(source, side, seed=seed), batch, own)], threads)

    def __call__(self, step: int) -> np.ndarray:
        """This process's part of a step's batch, uint8 (n, side, side, 3)."""
        return self._steps(step)[0]

    def close(self) -> None:
        """Stops the threads."""
        self._steps.close()


class Crops:
    """Batches of `random_crops`, of several sizes per step.

    Args:
      pictures: uint8 (H, W, 3) each, in memory.
      sizes: (side, count) of the crops of one step.
      seed: of everything random.
      threads: that cut and rescale.
    """

    def __init__(
        self, pictures: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]], *, seed: int, threads: int = 2
    ):
        parts = [_Part(random_crops(pictures, side, seed=seed), count, range(count)) for side, count in sizes]
        self._steps = _Prefetched(parts, threads)

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        """The crops of a step, uint8 (count, side, side, 3) for each size."""
        return tuple(self._steps(step))

    def close(self) -> None:
        """Stops the threads."""
        self._steps.close()
