"""The drawn process as a model: no network, only counts that sender and receiver learn alike.

A step of Algorithm 1 is a pass (uqdm.drawn.passes), its channel the trivial one: what is sent is sent exactly, so a
whole stream is lossless, and the reference distribution of a pixel is what the counts say (uqdm.drawn.colours). The
mode is the first symbol of the first step, one of three equally probable ones. A prefix shows every pixel with the
colour of the nearest one of the last lattice that is complete, and as itself where it is known.

Everything is integer arithmetic: streams decode everywhere.
"""

import copy
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, Sampler, Writer, quantize_probabilities
from uqdm.drawn.colours import MODES, Colours
from uqdm.drawn.passes import PASSES, lattice, rows_of

__all__ = ["DrawnModel", "DrawnState", "looks_drawn"]

_MODES = ProbabilityTable(quantize_probabilities(np.ones((1, MODES))))
_TRIAL_SIDE = 128
"""Of the part of a picture that modes are tried on."""
_DRAWN_SHARE, _FEW_COLOURS = 0.25, 64
_UNKNOWN = 128
"""What is shown where nothing is known."""


class DrawnState:
    """What is known of one picture (uqdm.contract.State).

    Attributes:
      known: uint8 (H, W, 3), of the pixels that are known.
      passes: how many are complete.
    """

    def __init__(self, height: int, width: int, picture: np.ndarray | None = None, mode: int | None = None):
        self.known = np.zeros((height, width, 3), np.uint8)
        self.passes, self._rows, self._crc, self._pixels = 0, 0, 0, height * width
        self._picture, self._mode, self._colours = picture, mode, None

    _colours: Colours | None
    """None before the mode is known."""

    def send(self, writer: Writer, step: int) -> None:
        """Sends a pass."""
        assert self._picture is not None, "only a state that was begun with a picture can send"
        if self._colours is None:
            mode = _best_mode(self._picture) if self._mode is None else self._mode
            writer.encode(_MODES, np.zeros(1, np.int64), np.array([mode]))
            self._colours = Colours(mode, self._pixels)
        for row in rows_of(step, *self._picture.shape[:2]):
            own = self._picture[row.row, row.columns]
            self._colours.send(writer, own.astype(np.int64), self._around(row.neighbours))
            self.known[row.row, row.columns] = own
        self._complete(step)

    def receive(self, reader: Reader | Sampler, step: int) -> bool:
        """Mirror image of `send`."""
        colours, self._rows = self._colours, 0
        if colours is None:
            mode = reader.decode(_MODES, np.zeros(1, np.int64))
            if not len(mode):
                return False
            colours = Colours(int(mode[0]), self._pixels)
        else:
            colours = colours.copy()
        width = self.known.shape[1]
        for row in rows_of(step, self.known.shape[0], width):
            count = len(range(*row.columns.indices(width)))
            own = colours.receive(reader, count, self._around(row.neighbours))
            if own is None:
                return False
            self.known[row.row, row.columns] = own
            self._rows += 1
        self._colours = colours
        self._complete(step)
        return True

    def _around(self, neighbours: np.ndarray | None) -> np.ndarray | None:
        return None if neighbours is None else self.known.reshape(-1, 3)[neighbours].astype(np.int64)

    def _complete(self, step: int) -> None:
        self.passes, self._rows = step + 1, 0
        rows, columns = lattice(step + 1)
        self._crc = zlib.crc32(np.ascontiguousarray(self.known[::rows, ::columns]).tobytes(), self._crc)

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of the lattices after all passes."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    @property
    def partly_known(self) -> bool:
        """Whether rows of the next pass are known."""
        return self._rows > 0

    def branch(self) -> "DrawnState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.known, branch._colours = self.known.copy(), self._colours and self._colours.copy()
        return branch

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the pixels of the last complete lattice are those of a picture."""
        if not step:
            return True
        rows, columns = lattice(step)
        return bool((self.known[::rows, ::columns] == picture[::rows, ::columns]).all())

    def shown(self) -> np.ndarray:
        """Every pixel as the nearest one of the last lattice, or itself: uint8 (H, W, 3)."""
        if not self.passes:
            picture = np.full_like(self.known, _UNKNOWN)
        else:
            nearest = []
            for side, spacing in zip(self.known.shape[:2], lattice(self.passes), strict=True):
                at = (np.arange(side) + spacing // 2) // spacing
                nearest.append(np.minimum(at, (side - 1) // spacing) * spacing)
            picture = self.known[np.ix_(*nearest)]
        if self._rows:
            for _, row in zip(range(self._rows), rows_of(self.passes, *self.known.shape[:2]), strict=False):
                picture[row.row, row.columns] = self.known[row.row, row.columns]
        return picture


@dataclass(frozen=True, kw_only=True)
class DrawnModel:
    """The process as a model (uqdm.contract.Model); it has no parameters.

    Attributes:
      mode: what senders choose (uqdm.drawn.colours); None for what makes the middle of a picture shortest.
    """

    mode: int | None = None

    @property
    def family(self) -> str:
        return "drawn"

    @property
    def name(self) -> str:
        return "drawn"

    @property
    def id(self) -> bytes:
        """Of this way to code."""
        return hashlib.sha256(b"uqdm drawn process 2").digest()

    @property
    def steps(self) -> int:
        """Passes."""
        return PASSES

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> DrawnState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3). There is nothing random."""
        return DrawnState(height, width, picture, self.mode)

    def expect(self, states: Sequence[DrawnState], step: int) -> None:
        """States expect what their own counts say."""

    def picture(self, state: DrawnState, step: int) -> np.ndarray:
        """What is known: uint8 (H, W, 3)."""
        return state.shown()


def looks_drawn(picture: np.ndarray) -> bool:
    """Whether a picture, uint8 (H, W, 3), is like no photograph.

    It has few colours, or a quarter of its pixels equal their left neighbours or the mean of both neighbours, as in
    gradients; of 24 photographs none has more than 20 % of the former or 11 % of the latter.
    """
    colours = picture.astype(np.int32)
    equal = (colours[:, 1:] == colours[:, :-1]).all(-1)
    between = ((colours[:, :-2] + colours[:, 2:] + 1) >> 1 == colours[:, 1:-1]).all(-1)
    if any(share.size and share.mean() >= _DRAWN_SHARE for share in (equal, between)):
        return True
    return len(np.unique(colours @ np.array([2**16, 2**8, 1]))) <= _FEW_COLOURS


def _best_mode(picture: np.ndarray) -> int:
    """The mode that makes the middle of a picture shortest."""
    top, left = (max(0, (side - _TRIAL_SIDE) // 2) for side in picture.shape[:2])
    middle = picture[top : top + _TRIAL_SIDE, left : left + _TRIAL_SIDE]
    values = middle.reshape(-1, 3).astype(np.int64)

    def bits(mode: int) -> float:
        writer, colours = Writer(), Colours(mode, len(values))
        for index in range(PASSES):
            for row in rows_of(index, *middle.shape[:2]):
                around = None if row.neighbours is None else values[row.neighbours]
                colours.send(writer, middle[row.row, row.columns].astype(np.int64), around)
        return writer.ideal_bits

    return min(reversed(range(MODES)), key=bits)
