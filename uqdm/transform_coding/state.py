"""What sender and receiver know of one picture: hyper-latents, then latents, group by group.

Step 0 sends the hyper-latents z, the next steps a group of latents each (uqdm.transform_coding.config.groups_of). In
ticks, 1/256 of a width, a latent y lies in a cell of width 256 around a point o + 256 k, and k is sent:

    rounding       o = mu                                                                            (1)
    universal      o = u + 256 floor((mu - u + 128) / 256),       u uniform on -128 ... 127             (2)

the shared shift u of every latent drawn from common randomness, and k counted from the cell that mu lies in. The
receiver's value is o + 256 k, so that in the second case value - y is uniform whatever y is, up to ticks (review,
Section II-C). k is sent as the cell [256 k, 256 k + 256) of y - o + 128 on a regular lattice under a logistic density,
by the splits and the tables of all other processes (channel_sim.refinement). What was not sent yet is expected at mu.
"""

import copy
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, Writer
from channel_sim.randomness import SharedRandomness
from channel_sim.refinement import (
    OPEN,
    Interval,
    TableReference,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)
from channel_sim.split_tables import SplitTables
from uqdm.transform_coding.config import PHASES
from uqdm.transform_coding.hyper_integers import TICKS
from uqdm.transform_coding.network import HYPER_LIMIT

__all__ = ["Source", "TransformCode", "TransformState"]

_HALF = TICKS // 2
_LARGEST = 2**30
"""No latent of a picture comes near so many ticks."""
_TOLERANCE = 8
"""Ticks by which analyses of other machines may differ."""


class Source(NamedTuple):
    """What the sender knows: integers (places, 4, M) in ticks, and (places, Z)."""

    latents: np.ndarray
    hyper_latents: np.ndarray


class TransformCode(NamedTuple):
    """What of a model decides what symbols mean, and the analysis, which only senders need."""

    groups: tuple[range, ...]
    universal: bool
    tables: SplitTables
    hyper_table: ProbabilityTable
    analyse: Callable[[np.ndarray], Source]
    """From a picture, uint8 (H, W, 3)."""


class TransformState:
    """State of one picture (uqdm.contract.State); places are vectors of hyper-latents, row by row.

    Attributes:
      code: what symbols mean.
      size: height and width of the picture.
      grid: rows and columns of places.
      z: hyper-latents as far as they are known, int8 (places, Z).
      values: of latents in ticks, int32 (places, 4, M); what was not sent is at its mean.
      known: the values when a part of the next step is known.
      reference: mu and 8 log2 s, both in ticks, like `values`; None before the model has said them.
    """

    def __init__(self, code: TransformCode, height: int, width: int, seed: int, picture: np.ndarray | None = None):
        self.code, self.size, self.grid = code, (height, width), (-(-height // 16), -(-width // 16))
        places, latents = self.grid[0] * self.grid[1], code.groups[-1].stop
        self.z = np.zeros((places, len(code.hyper_table.frequencies)), np.int8)
        self.values = np.zeros((places, PHASES, latents), np.int32)
        self.known: np.ndarray | None = None
        self.reference: tuple[np.ndarray, np.ndarray] | None = None
        self._shift: np.ndarray | int = 0
        if code.universal:
            shift = SharedRandomness(seed).bytes(self.values.size).astype(np.int32) - _HALF
            self._shift = shift.reshape(self.values.shape)
        self._source = None if picture is None else code.analyse(picture)
        self._crc = 0

    def take_reference(self, mean: np.ndarray, scale_class: np.ndarray) -> None:
        """Takes what the model expects of all latents, after step 0; they are at their means from now on.

        Args:
          mean: mu in ticks, int32 (places, 4, M).
          scale_class: 8 log2 of s in ticks, the same.
        """
        self.reference, self.values = (mean, scale_class), mean

    def _origin(self, members: tuple) -> np.ndarray:
        """o of Eqs. 1 and 2, flat."""
        assert self.reference is not None, "the model has not said what to expect"
        mean = self.reference[0][members].reshape(-1).astype(np.int64)
        if not self.code.universal:
            return mean
        assert isinstance(self._shift, np.ndarray)
        shift = self._shift[members].reshape(-1)
        return shift + ((mean - shift + _HALF) >> 8 << 8)

    def _part(self, step: int) -> tuple[tuple, np.ndarray, TableReference]:
        """Which latents a step is about, their origins, and psi."""
        group = self.code.groups[step - 1]
        members = (slice(None), slice(None), slice(group.start, group.stop))
        origin = self._origin(members)
        assert self.reference is not None
        mean, scale_class = (part[members].reshape(-1) for part in self.reference)
        reference = TableReference(self.code.tables, (mean - origin + _HALF).astype(np.int32), scale_class)
        return members, origin, reference

    def send(self, writer: Writer, step: int) -> None:
        """Sends the hyper-latents, or a group of latents."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        if step == 0:
            z = self._source.hyper_latents
            writer.encode(self.code.hyper_table, self._hyper_rows(), z.reshape(-1).astype(np.int64) + HYPER_LIMIT)
            self._complete_hyper(z)
            return
        members, origin, reference = self._part(step)
        y = self._source.latents[members].reshape(-1).astype(np.int64) - origin + _HALF
        cells = send_refinement(writer, reference, whole_line(len(y)), TICKS, y)
        self._complete(members, origin, send_last_split(writer, reference, cells, y))

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        if step == 0:
            symbols = reader.decode(self.code.hyper_table, self._hyper_rows())
            if len(symbols) < self.z.size:
                return False
            self._complete_hyper((symbols - HYPER_LIMIT).astype(np.int8).reshape(self.z.shape))
            return True
        members, origin, reference = self._part(step)
        cells, complete = receive_refinement(reader, reference, whole_line(len(origin)), TICKS)
        if complete:
            cells, complete = receive_last_split(reader, reference, cells)
        if np.where(cells.high == OPEN, cells.low, cells.high).max(initial=0) >= _LARGEST:
            raise OverflowError("a latent is larger than any picture's")
        if complete:
            self._complete(members, origin, cells)
        else:
            self.known = self._with(members, origin, cells)
        return complete

    def _hyper_rows(self) -> np.ndarray:
        """Rows of the table of hyper-latents: those of a place one after the other."""
        places, channels = self.z.shape
        return np.tile(np.arange(channels), places)

    def _complete_hyper(self, z: np.ndarray) -> None:
        self.z = z
        self._crc = zlib.crc32(z.tobytes(), self._crc)

    def _complete(self, members: tuple, origin: np.ndarray, cells: Interval) -> None:
        self.values, self.known = self._with(members, origin, cells), None
        self._crc = zlib.crc32(np.ascontiguousarray(self.values[members]).astype("<i4").tobytes(), self._crc)

    def _with(self, members: tuple, origin: np.ndarray, cells: Interval) -> np.ndarray:
        """All values, where these cells are known: means, moved into the cells, where they are wider."""
        values = np.array(self.values)
        place = np.where(cells.sign < 0, -(cells.low >> 8) - 1, cells.low >> 8)
        determined = (cells.sign != 0) & (cells.high - cells.low == TICKS)
        far = np.where(cells.high == OPEN, _LARGEST, cells.high)
        low, high = (np.where(cells.sign > 0, cells.low, -far), np.where(cells.sign < 0, -cells.low, far))
        mean = values[members].reshape(-1) - origin + _HALF
        between = np.clip(mean, low, high) - _HALF
        values[members] = (origin + np.where(determined, TICKS * place, between)).reshape(values[members].shape)
        return values

    @property
    def shown(self) -> np.ndarray:
        """The values, with a part of the next step."""
        return self.values if self.known is None else self.known

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of all that was sent."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    @property
    def partly_known(self) -> bool:
        """Whether latents of the next step are known."""
        return self.known is not None

    def branch(self) -> "TransformState":
        """A copy that can go its own way; arrays are replaced, never written into."""
        return copy.copy(self)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether what was sent in so many steps is near what a picture's analysis gives."""
        if not step:
            return True
        source = self.code.analyse(picture)
        if (np.abs(source.hyper_latents.astype(np.int64) - self.z) > 1).any():
            return False
        count = 0 if step == 1 else self.code.groups[step - 2].stop
        difference = source.latents[..., :count].astype(np.int64) - self.values[..., :count]
        return bool((np.abs(difference) <= _HALF + _TOLERANCE).all())
