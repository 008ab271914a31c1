"""What sender and receiver know of one latent: quantization of all its elements, dithered or not, in steps.

With a shift o that both draw, uniform over a width in whole ticks (uqdm.latent.prediction), the sender tells the cell
[k w, (k + 1) w) that x - o lies in, and both take the sample

    Y = (k + 1/2) w + o,                                                                  (1)

whose error Y - x is uniform over a width and independent of x (channel_sim.dither, Eq. 1; Relic et al. 2025 for latents
of diffusion models). The cell costs -log2 of its mass under the density that the prediction says. Without dither o is
-w / 2 everywhere, so that elements, less the means of channels, are rounded to the nearest multiple of w (Relic et al.
2024).

Which is better depends on the width. Where it is large against the standard deviation d of what is not predicted, the
ends of cells fall into the density about once in w / d elements, wherever they are, and each time cost about a bit: the
rate of dithered quantization falls like d / w, while a channel of as much Gaussian noise would take a rate like
(d / w)^2, and rounding even less, since elements near 0 cost next to nothing.
"""

import copy
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import Reader, Sampler, Writer
from channel_sim.randomness import SharedRandomness
from channel_sim.refinement import (
    Interval,
    TableReference,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)
from channel_sim.split_tables import SplitTables
from uqdm.latent.prediction import TICKS, TICKS_LOG2, Prediction, chessboard

__all__ = ["Course", "LatentState"]

_LARGEST = 2**28
"""Ticks; latents are far smaller."""
_SLACK = 2
"""Ticks that a latent may differ by between machines."""


class Course(NamedTuple):
    """What the steps of a model are about, all that a state needs to know of it."""

    shape: Callable[[int, int], tuple[int, ...]]
    """Of the latent of pictures of a height and a width."""
    ticks: Callable[[np.ndarray], np.ndarray]
    """The latent of a picture in ticks, less the means of channels, in the order in which they are sent."""
    prediction: Prediction
    tables: SplitTables
    """Of the densities."""
    dithered: bool
    """Whether o is random."""


class LatentState:
    """State of one picture (uqdm.contract.State).

    Attributes:
      size: height and width of the picture.
      y: int64 (h, w, c), what is known of the latent, channels in the order in which they are sent: ticks, less the
        means of channels, with 0 where nothing is known.
      innovation: |y - m| of uqdm.latent.prediction, Eq. 2.
      steps: how many are complete.
      reference: densities of the next step, once the model has been asked.
    """

    def __init__(self, course: Course, height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self._course, self.size, self.steps, self.reference, self._crc = course, (height, width), 0, None, 0
        shape = course.shape(height, width)
        self.shift = np.full(shape, -TICKS // 2, np.int64)
        if course.dithered:
            words = SharedRandomness(seed).words(int(np.prod(shape)))
            self.shift += (words >> np.uint32(32 - TICKS_LOG2)).astype(np.int64).reshape(shape)
        self.y, self.innovation = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._source = None if picture is None else course.ticks(picture)
        if self._source is not None and np.abs(self._source).max() > _LARGEST // 2:
            raise ValueError("the latent is more than 2^17 widths large: the width is too small")

    reference: TableReference | None
    location: np.ndarray
    """m of the step that is expected, int64 (n, g)."""

    def expect(self, step: int) -> None:
        """Densities of a step, from what is known."""
        prediction = self._course.prediction
        place = chessboard(self.y.shape, step)
        self._place, self._channels = place, prediction.channels(step)
        self.location = np.clip(prediction.location(self.y, step)[place], -_LARGEST, _LARGEST)
        scale_class = prediction.scale_classes(self.innovation, step)[place]
        location = self.location - self.shift[place, self._channels]
        self.reference = TableReference(
            self._course.tables, location.reshape(-1).astype(np.int32), scale_class.reshape(-1)
        )

    def send(self, writer: Writer, step: int) -> None:
        """Sends the cells of a step."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        assert self.reference is not None, "the model must be asked before a step"
        y = (self._source - self.shift)[self._place, self._channels].reshape(-1)
        cells = send_refinement(writer, self.reference, whole_line(len(y)), TICKS, y)
        self._complete(send_last_split(writer, self.reference, cells, y))

    def receive(self, reader: Reader | Sampler, step: int) -> bool:
        """Mirror image of `send`; of a step that is not complete nothing is kept."""
        assert self.reference is not None, "the model must be asked before a step"
        cells, complete = receive_refinement(reader, self.reference, whole_line(self.location.size), TICKS)
        if complete:
            cells, complete = receive_last_split(reader, self.reference, cells)
        if not complete:
            return False
        if len(cells.high) and cells.high.max() > _LARGEST:
            raise OverflowError("an element of a latent is 2^18 widths large, the message must be damaged")
        self._complete(cells)
        return True

    def _complete(self, cells: Interval) -> None:
        """What both sides know after a step."""
        place, channels = self._place, self._channels
        sample = cells.doubled_midpoint.reshape(self.location.shape) // 2 + self.shift[place, channels]
        self.y[place, channels] = sample
        self.innovation[place, channels] = np.abs(sample - self.location)
        self._crc = zlib.crc32(sample.astype("<i8").tobytes(), self._crc)
        self.steps += 1

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of all samples so far."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    @property
    def partly_known(self) -> bool:
        """Steps are known as a whole or not at all."""
        return False

    def branch(self) -> "LatentState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.y, branch.innovation = self.y.copy(), self.innovation.copy()
        return branch

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether all samples of so many steps are those of a picture's latent, but for what rounding may do."""
        source, prediction = self._course.ticks(picture), self._course.prediction
        for earlier in range(step):
            place, channels = chessboard(self.y.shape, earlier), prediction.channels(earlier)
            if (np.abs(self.y[place, channels] - source[place, channels]) > TICKS // 2 + _SLACK).any():
                return False
        return True
