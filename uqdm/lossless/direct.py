"""What is left of a picture after the steps of the uniform process, sent directly: x itself given z_t, losslessly.

The published UQDM ends with p(x | z_0) proportional to N(z_0; alpha_0 x, sigma_0^2), though its noise is uniform: after
a step from z_t to z_s both sides know that m(z_t, x) = a z_t + b x (uqdm.diffusion.process, Eq. 2) lies within Delta /
2 of z_s,

    x in (z_s - a z_t) / b +- Delta / (2 b),                                                                (1)

and no value outside of these has any probability. Inside, the reference of the next step tells about x: psi is a
density of m(z_s, x), hence of x, around x_hat with the standard deviation std / b. The value v is sent with psi's mass
on the half-open interval of width 2 / 256 around x_v, relative to the mass of all candidates of Eq. 1. This costs less
than the step it replaces and p(x | z_0), so by default all steps but the last are sent. After the last step, where
there is no next reference, all candidates are taken for equally probable.

Pixels go in four classes, by the parities of row and column, so that a stream that ends in between is exact in some
pixels. Tables come from the network's floating-point outputs, as all of this process does: a stream decodes on machines
that compute the same (uqdm.diffusion.model).
"""

import copy
import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, Writer, quantize_probabilities
from uqdm.diffusion.state import DiffusionState
from uqdm.diffusion.step_channel import UniformStep

if TYPE_CHECKING:
    from uqdm.diffusion.model import DiffusionModel

__all__ = ["DirectPixels", "DirectResidual"]

_CLASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
_PART = 2**14
"""Values whose tables are made at a time."""


class DirectResidual:
    """The residual of the uniform process (uqdm.contract.Residual)."""

    @property
    def id(self) -> bytes:
        """Of this way to code; what it needs to know is the model."""
        return hashlib.sha256(b"uqdm direct tail 1").digest()

    def steps_before(self, model: "DiffusionModel") -> int:
        """All but the last."""
        return model.steps - 1

    def start(self, model: "DiffusionModel", state: DiffusionState, step: int) -> "DirectPixels":
        """Before the first class."""
        if step < model.steps and state.expectation is None:
            model.expect([state], step)
        return DirectPixels(state, step)


class DirectPixels:
    """What both sides know of pixels (uqdm.contract.PixelState)."""

    def __init__(self, state: DiffusionState, step: int):
        height, width = state.size
        low, high = ((end[:height, :width] + 1) * 128 - 0.5 for end in state.support(step))
        # A damaged message may leave no candidate: then the nearest value is one.
        self._first = np.clip(np.ceil(low), 0, 255).astype(np.int64)
        self._count = np.clip(np.floor(high), self._first, 255).astype(np.int64) - self._first + 1
        shape, moments = (height, width, 3), state.moments_of_source(step)
        self._family, location, scale = None, np.zeros(shape), np.ones(shape)
        if moments is not None:
            channel = state.course.channel
            assert isinstance(channel, UniformStep), "only the uniform process has this residual"
            density = channel.psi(moments)
            self._family = type(density)
            location, scale = (np.reshape(part, state.z.shape)[:height, :width] for part in density)
        # In units of pixel values.
        self._location, self._scale = (location + 1) * 128 - 0.5, scale * 128
        self._crc = zlib.crc32(state.check_bytes.astype(np.uint8).tobytes())
        self.known = np.zeros(shape, np.uint8)
        self.determined = np.zeros(shape, bool)

    def branch(self) -> "DirectPixels":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.known, branch.determined = self.known.copy(), self.determined.copy()
        return branch

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of the state's check value and all pixels so far."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    def _table(self, first: np.ndarray, count: np.ndarray, location: np.ndarray, scale: np.ndarray) -> ProbabilityTable:
        candidates = np.arange(max(2, count.max()))
        values = first[:, None] + candidates
        if self._family is None:
            logs = np.zeros(values.shape)
        else:
            psi = self._family(location[:, None], scale[:, None])
            logs = psi.log_mass(values - 0.5, values + 0.5)
        logs = np.where(candidates < count[:, None], logs, -np.inf)
        return ProbabilityTable(quantize_probabilities(np.exp(logs - logs.max(1, keepdims=True))))

    def _class(self, index: int, exchange: Callable) -> bool:
        """Goes through the values of a class in parts; `exchange(table, first, at)` gives those determined."""
        row, column = _CLASSES[index]
        places = slice(row, None, 2), slice(column, None, 2)
        parts = (self._first, self._count, self._location, self._scale)
        first, count, location, scale = (part[places].reshape(-1) for part in parts)
        values = np.zeros(len(first), np.uint8)
        told, complete = 0, True
        for start in range(0, len(first), _PART):
            at = slice(start, start + _PART)
            table = self._table(first[at], count[at], location[at], scale[at])
            symbols = exchange(table, first[at], at)
            if (symbols >= count[at][: len(symbols)]).any():
                raise OverflowError("a pixel where none can be")
            values[start : start + len(symbols)] = first[at][: len(symbols)] + symbols
            told += len(symbols)
            complete = told == min(start + _PART, len(first))
            if not complete:
                break
        shape = self.known[places].shape
        self.known[places] = values.reshape(shape)
        self.determined[places] = (np.arange(len(values)) < told).reshape(shape)
        if complete:
            self._crc = zlib.crc32(values.tobytes(), self._crc)
        return complete

    def send(self, writer: Writer, picture: np.ndarray, index: int) -> None:
        """Sends the pixels of a class."""
        row, column = _CLASSES[index]
        values = picture[row::2, column::2].reshape(-1).astype(np.int64)

        def exchange(table: ProbabilityTable, first: np.ndarray, at: slice) -> np.ndarray:
            symbols = values[at] - first
            writer.encode(table, np.arange(len(symbols)), symbols)
            return symbols

        self._class(index, exchange)

    def receive(self, reader: Reader, index: int) -> bool:
        """Mirror image of `send`."""
        return self._class(index, lambda table, first, at: reader.decode(table, np.arange(len(first))))
