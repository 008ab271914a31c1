"""The lossless residual: what is left of a picture when some steps are known, pixel by pixel.

The review's lossless codes end by sending X_0 given X_delta. Here X_delta is the state after the steps of a stream,
and X_0 the picture, integers again, so that the last partition of the line is the lattice of the integers itself:

    P(picture) = prod over classes k = 0 ... 3 of  P(pixels of class k | state, pixels of classes before k),       (1)

the classes those of uqdm.nested.schedule, Eq. 2, for the pixels of every 2 x 2. All bits of steps are spent on
something that the residual needs as well, so a lossless stream begins as the lossy one does, check value included, and
goes on in the same code word.

Prediction. The midpoints of the cells are turned back into pixels in integers (uqdm.transforms.integer_wavelet), from
the doubled values v = m + 2 o of coefficients (0 where m = 0; uqdm.nested.process).

Coding. A network (uqdm.lossless.pixel_network) expects the pixel near mu, with a scale, both integers in units of
1/256. With d = floor((mu + 128) / 256) the symbol is the cell [256 k, 256 k + 256), k = x - d, of a regular lattice,
under a logistic density at mu - 256 d + 128: the same splits of dead-zone cells (channel_sim.refinement) from the same
tables as in all steps before, the zero cell cut at 0 in the end. One colour after the other: G, then R, then B.
"""

import copy
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from channel_sim.entropy import Reader, Writer
from channel_sim.refinement import (
    TableReference,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)
from uqdm import archive
from uqdm.exact.convolution import proven_convolution
from uqdm.exact.programs import Program, run
from uqdm.exact.tiles import SIDES, in_tiles
from uqdm.lossless import pixel_network as network
from uqdm.lossless.pixel_network import COLOUR_ORDER, POSITIONS, TICKS
from uqdm.nested.model import NestedModel
from uqdm.nested.state import NestedState
from uqdm.transforms.integer_wavelet import synthesis
from uqdm.transforms.wavelet import unpack

__all__ = ["PredictedPixels", "PredictedResidual", "load_residual"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedResidual(archive.Contents):
    """The contents of a residual file (uqdm.archive).

    Attributes:
      arrays: `config` (JSON: format, stop_width) and the integers of uqdm.lossless.pixel_network. The residual's id is
        their identity.
    """

    @classmethod
    def from_networks(cls, networks: list[dict[str, Any]], *, stop_width: float) -> "PredictedResidual":
        """Rounds trained networks (uqdm.lossless.pixel_network) to integers.

        Args:
          networks: one for each class.
          stop_width: width of the cells that they were trained with, in pixel values.
        """
        config = archive.pack_config({"format": _FORMAT, "stop_width": stop_width})
        return cls(arrays={"config": config} | network.from_parameters(networks))

    def steps_before(self, model: NestedModel) -> int:
        """After how many steps of a model the residual begins by default: its last level of at least `stop_width`."""
        widths = [model.schedule.width(step.level) for step in model.schedule.steps]
        return sum(width >= self.config["stop_width"] for width in widths)

    def start(self, model: NestedModel, state: NestedState, step: int) -> "PredictedPixels":
        """Before the first class."""
        return PredictedPixels(self, model, state)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PredictedResidual":
        """Reads the file.

        Raises:
          ValueError: it is no residual file, or one of an unknown format, or one whose networks are not exact.
        """
        residual = cls(arrays=archive.from_bytes(data))
        if (known := residual.config.get("format")) != _FORMAT:
            raise ValueError(f"residual format {known} is unknown here (this program reads {_FORMAT})")
        network.check(residual.arrays)
        return residual

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """What the network needs for every class."""
        return [network.class_index(self.arrays, index) for index in range(len(POSITIONS))]

    def programs(self) -> list[Program]:
        """What is compiled for pictures of all sizes; a programme that is ready is never compiled again."""
        convolution = proven_convolution()
        given = [
            (np.zeros((side, side, network.FEATURES - 12), np.int8), np.zeros((side, side), bool)) for side in SIDES
        ]
        return [Program(network.expected, (convolution,), (self.rows[0], *tile)) for tile in given]


@lru_cache(maxsize=1)
def load_residual() -> PredictedResidual:
    """The residual that comes with the package."""
    return PredictedResidual.from_bytes((resources.files("uqdm") / "weights" / "residual.npz").read_bytes())


class _Expected(NamedTuple):
    """What is expected of one colour of the pixels of a class, each (pixels,)."""

    base: np.ndarray
    """d of the module docstring."""
    reference: TableReference


class PredictedPixels:
    """What both sides know of pixels; the mirror images `send` and `receive` add a class.

    Attributes:
      known: uint8 (H, W, 3), the pixels sent so far.
      determined: bool (H, W, 3), where `known` holds.
    """

    def __init__(self, residual: "PredictedResidual", model: NestedModel, state: NestedState):
        height, width = state.size
        self._residual, self._model, self._crc = residual, model, state.crc
        shape = state.grid.shape
        midpoint = state.midpoint.reshape(shape).astype(np.int64)
        doubled = np.where(midpoint == 0, 0, midpoint + 2 * state.shift.reshape(shape))
        prediction = synthesis(doubled, model.block, model.schedule.finest_width)
        self._prediction = network.to_quads(prediction)
        bands = unpack(state.units.reshape(1, *shape), model.block)
        self._fixed = network.fixed_features(prediction, [band[0] for band in bands])
        self._errors = np.zeros(self._prediction.shape, np.int8)
        self.known = np.zeros((height, width, 3), np.uint8)
        self.determined = np.zeros((height, width, 3), bool)
        self._latest: tuple[int, tuple[np.ndarray, ...]] | None = None

    def branch(self) -> "PredictedPixels":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.known, branch.determined, branch._errors = (
            array.copy() for array in (self.known, self.determined, self._errors)
        )
        return branch

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the running CRC-32."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    def _places(self, index: int) -> tuple[slice, slice]:
        """The pixels of a class inside the picture."""
        row, column = POSITIONS[index]
        return slice(row, None, 2), slice(column, None, 2)

    def _outputs(self, index: int) -> tuple[np.ndarray, ...]:
        """The network's outputs for the pixels of a class inside the picture, int64 (pixels, 3).

        The latest are kept: the bytes of a class may arrive in many pieces.
        """
        if self._latest is not None and self._latest[0] == index:
            return self._latest[1]
        convolution = self._model.convolution or proven_convolution()

        def evaluate(features, inside):
            outputs = run(network.expected, (convolution,), self._residual.rows[index], features, inside)
            return tuple(np.asarray(part) for part in outputs)

        outputs = in_tiles(evaluate, network.HALO, np.concatenate([self._errors, self._fixed], -1))
        height, width = self.known[self._places(index)].shape[:2]
        flat = tuple(part[:height, :width].reshape(-1, 3).astype(np.int64) for part in outputs)
        self._latest = index, flat
        return flat

    def _expect(self, exchange, index: int) -> bool:
        """Goes through the colours of a class (uqdm.lossless.pixel_network, Eq. 4); whether all were exchanged.

        `exchange(colour, base, reference)` gives the pixels and how many of them are determined, from the first on.
        """
        location, log2_scale, slope = self._outputs(index)
        places = self._places(index)
        height, width = self.known[places].shape[:2]
        mine = slice(3 * index, 3 * index + 3)
        predicted = self._prediction[:height, :width, mine].reshape(-1, 3)
        table = self._residual.arrays["table"][index].astype(np.int64)
        expected = predicted + location
        scale = list(log2_scale.T)
        errors: list[np.ndarray] = []
        crc = self._crc
        # (earlier colour, slope and row of the table), for every colour in the order of transmission.
        for colour, earlier in zip(COLOUR_ORDER, ((), ((0, 0),), ((0, 1), (1, 2))), strict=True):
            mean, b = expected[:, colour], scale[colour]
            for place, row in earlier:
                mean = mean + ((slope[:, row] * errors[place] + 128) >> 8)
                b = b + table[row][_ratio_class(errors[place], scale[COLOUR_ORDER[place]])]
            scale[colour] = b
            limited = np.clip(mean, 0, 255 * TICKS)
            base = (limited + TICKS // 2) >> 8
            at = (limited - TICKS * base + TICKS // 2).astype(np.int32)
            reference = TableReference(self._model.tables, at, (b + 4) >> 3)
            values, determined = exchange(colour, base, reference)
            self.known[*places, colour] = values.reshape(height, width)
            self.determined[*places, colour] = determined.reshape(height, width)
            if not determined.all():
                return False
            crc = zlib.crc32(values.astype(np.uint8).tobytes(), crc)
            errors.append(TICKS * values - mean)
        residual = TICKS * np.stack([self.known[*places, colour].astype(np.int64) for colour in range(3)], -1)
        residual -= self._prediction[:height, :width, mine]
        self._errors[:height, :width, mine] = network.residual_features(residual)
        self._crc = crc
        return True

    def send(self, writer: Writer, picture: np.ndarray, index: int) -> None:
        """Sends the pixels of a class."""

        def exchange(colour, base, reference):
            values = picture[*self._places(index), colour].reshape(-1).astype(np.int64)
            y = TICKS * (values - base) + TICKS // 2
            cells = send_refinement(writer, reference, whole_line(len(y)), TICKS, y)
            send_last_split(writer, reference, cells, y)
            return values, np.ones(len(y), bool)

        self._expect(exchange, index)

    def receive(self, reader: Reader, index: int) -> bool:
        """Mirror image of `send`; False if the bytes do not determine all pixels of the class.

        Raises:
          OverflowError: a pixel would lie outside of 0 to 255: the message must be damaged.
        """

        def exchange(colour, base, reference):
            cells, complete = receive_refinement(reader, reference, whole_line(len(base)), TICKS)
            if complete:
                cells, _ = receive_last_split(reader, reference, cells)
            determined = (cells.sign != 0) & (cells.high - cells.low == TICKS)
            values = base + np.where(cells.sign < 0, -(cells.low >> 8) - 1, cells.low >> 8)
            if (determined & ((values < 0) | (values > 255))).any():
                raise OverflowError("a pixel outside of 0 to 255")
            return np.where(determined, values, 0), determined

        return self._expect(exchange, index)


def _ratio_class(error: np.ndarray, log2_scale: np.ndarray) -> np.ndarray:
    """t of uqdm.lossless.pixel_network, Eq. 4, plus 8: from an error in 1/256 and a scale in 1/64 octave."""
    magnitude = np.abs(error) + 8
    # Exact: frexp of an integer below 2^53.
    exponent = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64) - 1
    logarithm = (exponent << 6) + ((magnitude << 6) >> exponent) - 64
    limit = network.TABLE_LIMIT
    return np.clip((logarithm - log2_scale) >> 5, -limit, limit) + limit
