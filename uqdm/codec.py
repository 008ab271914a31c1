"""Algorithm 1: a picture becomes a progressive stream, and every prefix of the stream a picture.

Sender and receiver walk through the steps of the schedule together. For each step the model gives the reference
distributions from what both know, the sender tells for every coefficient of the step which child of its cell the
source lies in (channel_sim.dither), and both update their state. One code word runs through all steps. `encode` and
`Decoder._advance` are mirror images.

Check values. Damage must not pass for a picture, so after a step the 16 low bits of a running CRC-32 over all states
are sent as two symbols of the code word: after the last step always, before it whenever at least 256 words (1 kB)
have been emitted since the last check value.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from channel_sim.dither import (
    OPEN,
    Interval,
    TableReference,
    receive_refinement,
    send_refinement,
)
from channel_sim.entropy import ProbabilityTable, Reader, Writer, determining_bytes
from channel_sim.randomness import SharedRandomness
from uqdm import container
from uqdm.container import Header
from uqdm.errors import DamagedStreamError, ModelMismatchError
from uqdm.model import Model, load_model
from uqdm.process import TICKS
from uqdm.schedule import UNSEEN, Schedule, phase_classes
from uqdm.transform import grid_shape, pad_to_blocks

__all__ = ["Decoder", "Preview", "StepCost", "decode", "encode", "encode_batch", "encode_with_costs", "previews"]

_CHECK_INTERVAL_WORDS = 256
_BYTE = ProbabilityTable(np.full((1, 256), 2**16))
_LARGEST = 2**30
"""No coefficient of a picture comes near so many ticks."""


class StepCost(NamedTuple):
    """What had been spent at the end of a step."""

    ideal_bits: float
    """Model's code length of all cells so far, without header and check values."""
    file_bytes: int
    """Shortest prefix of the file that determines the step, and its check value if it has one."""


class Preview(NamedTuple):
    """A picture decoded from a prefix."""

    picture: np.ndarray
    """uint8 (H, W, 3)."""
    step: int
    """Complete steps behind it."""
    steps: int
    """Steps in the whole stream."""
    file_bytes: int
    """Bytes of the prefix; for a complete step, the fewest that determine it."""


@lru_cache(maxsize=16)
def _grid(schedule: Schedule, height: int, width: int) -> "_Grid":
    return _Grid(schedule, height, width)


class _Grid:
    """Geometry of one picture under one model: which coefficients a step is about."""

    def __init__(self, schedule: Schedule, height: int, width: int):
        self.schedule = schedule
        self.shape = (*grid_shape(height, width, schedule.block), schedule.channels)
        self._classes = phase_classes(*self.shape[:2]).reshape(-1)
        self._order = np.argsort(-np.asarray(schedule.prior_std), kind="stable")
        # Small pictures are many: remember what their steps are about.
        if np.prod(self.shape) < 2**18:
            self.members = lru_cache(self.members)

    def shift(self, seed: int) -> np.ndarray:
        """The common randomness: bytes in the order of (row, column, channel), less 128; int32."""
        count = int(np.prod(self.shape))
        return SharedRandomness(seed).bytes(count).astype(np.int32).reshape(self.shape) - TICKS // 2

    def members(self, step: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Flat indices of a step's coefficients, their levels before it, and log2 of the new width in ticks.

        The order is that of transmission: channels by falling prior deviation, and blocks in raster order.
        """
        level, members = self.schedule.steps[step]
        order = self._order[members[:, self._order].any(0)]
        place, block = np.nonzero(members[:, order].T[:, self._classes])
        channel = order[place]
        before = self.schedule.levels[step, self._classes[block], channel]
        return channel + block * self.shape[2], before, level + 8


def _cells(midpoint: np.ndarray, level: np.ndarray) -> Interval:
    """Intervals from doubled midpoints and levels."""
    width = np.where(level == UNSEEN, 0, 1) * (1 << (np.minimum(level, 40).astype(np.int64) + 8))
    magnitude = np.abs(midpoint).astype(np.int64)
    low = np.where(magnitude > 0, (magnitude - width) >> 1, 0)
    high = np.where(magnitude > 0, (magnitude + width) >> 1, np.where(width > 0, width, OPEN))
    return Interval(np.sign(midpoint).astype(np.int8), low, high)


class _State:
    """What both sides know: doubled midpoints, and the running check value."""

    def __init__(self, model: Model, height: int, width: int, seed: int):
        self.model, self.grid = model, _grid(model.schedule, height, width)
        self.shift = self.grid.shift(seed)
        self.midpoint = np.zeros(self.grid.shape, np.int32)
        self.crc = 0
        self._device_shift = jnp.asarray(self.shift)

    def reference(self, step: int, members: np.ndarray) -> TableReference:
        """psi of the coefficients of a step."""
        dense = self.model.reference(jnp.asarray(self.midpoint), self._device_shift, step)
        location, scale_class = (np.asarray(array).reshape(-1)[members] for array in dense)
        return TableReference(self.model.tables, location, scale_class)

    def cells(self, members: np.ndarray, level: np.ndarray) -> Interval:
        return _cells(self.midpoint.reshape(-1)[members], level)

    def update(self, members: np.ndarray, cells: Interval) -> None:
        values = cells.doubled_midpoint.astype(np.int32)
        self.midpoint.reshape(-1)[members] = values
        self.crc = zlib.crc32(values.astype("<i4").tobytes(), self.crc)

    @property
    def check_bytes(self) -> np.ndarray:
        return np.array([self.crc >> 8 & 255, self.crc & 255])

    def estimate(self, step: int) -> jax.Array:
        return self.model.estimate(jnp.asarray(self.midpoint), self._device_shift, step)


def _as_picture(x) -> np.ndarray:
    picture = np.asarray(x)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        given = f"{picture.dtype} of shape {picture.shape}"
        raise ValueError(f"a picture must be uint8 of shape (H, W, 3), got {given}")
    container.check_size(picture.shape[1], picture.shape[0])
    return picture


def encode_with_costs(
    x, tau: float = 0.0, *, model: Model | None = None, seed: int = 0
) -> tuple[bytes, list[StepCost]]:
    """As `encode`, and what every step cost (the first entry is the bare header)."""
    ends = [(0.0, Writer().position)]
    data = _encode(x, tau, model, seed, lambda bits, writer: ends.append((bits, writer.position)))
    _, start = container.unpack(data)
    return data, [StepCost(bits, start + determining_bytes(data[start:], end)) for bits, end in ends]


def _encode(
    x, tau: float, model: Model | None, seed: int, on_step: Callable[[float, Writer], object] = lambda *_: None
) -> bytes:
    """Algorithm 1, the sender's side; tells `on_step` the ideal bits of all cells so far."""
    picture = _as_picture(x)
    model = model or load_model()
    height, width = picture.shape[:2]
    steps = model.schedule.steps_until(tau)
    state = _State(model, height, width, seed)
    source = (model.ticks(pad_to_blocks(picture, model.block)) - state.shift).reshape(-1)

    writer, checked, cell_bits = Writer(), 0, 0.0
    for step in range(steps):
        members, level, unit_log2 = state.grid.members(step)
        reference = state.reference(step, members)
        before = writer.ideal_bits
        cells = send_refinement(writer, reference, state.cells(members, level), 1 << unit_log2, source[members])
        cell_bits += writer.ideal_bits - before
        state.update(members, cells)
        if step + 1 == steps or writer.position[0] - checked >= _CHECK_INTERVAL_WORDS:
            writer.encode(_BYTE, np.zeros(2, np.int64), state.check_bytes)
            checked = writer.position[0]
        on_step(cell_bits, writer)
    payload = writer.getvalue()
    header = Header(model.id[: container.MODEL_ID_BYTES], width, height, seed, steps, len(payload))
    return container.pack(header) + payload


def encode(
    x,
    tau: float = 0.0,
    *,
    model: Model | None = None,
    seed: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> bytes:
    """Encodes a picture as a progressive stream (review, Algorithm 1).

    Args:
      x: uint8 (H, W, 3), numpy or JAX.
      tau: end-of-transmission time in [0, 1]: 1 sends nothing but the header, 0 sends every step.
      model: what to encode with; by default `load_model("photo")`.
      seed: names the common randomness, in [0, 2^32); it is stored in the header.
      on_step: called after every step, to show progress.

    Returns:
      The stream. Every prefix that holds the header decodes.

    Raises:
      ValueError: x is no such picture, or tau or seed is out of range.
    """
    return _encode(x, tau, model, seed, lambda *_: on_step())


def encode_batch(pictures: Iterable, tau: float = 0.0, *, model: Model | None = None, seed: int = 0) -> list[bytes]:
    """Encodes pictures of any sizes, one stream each, as `encode` does each of them."""
    return [encode(x, tau, model=model, seed=seed) for x in pictures]


class Decoder:
    """Decodes a stream as its bytes arrive.

    Attributes:
      header: of the stream.
      step: complete steps so far.
    """

    def __init__(self, data: bytes, *, model: Model | None = None):
        self.header, start = container.unpack(data)
        self.model = model or load_model()
        if self.model.id[: container.MODEL_ID_BYTES] != self.header.model_id:
            raise ModelMismatchError(
                f"the stream was made with model {self.header.model_id.hex()}, but this is model {self.model.name!r} "
                f"({self.model.id[: container.MODEL_ID_BYTES].hex()}): give the one it was made with"
            )
        if self.header.steps > self.model.steps:
            raise DamagedStreamError(f"the header names {self.header.steps} steps, the model has {self.model.steps}", 0)
        self._header_bytes = start
        self._state = _State(self.model, self.header.height, self.header.width, self.header.seed)
        self._payload = bytes(data[start:])[: self.header.payload_bytes]
        self._reader = Reader(self._payload)
        self._checked_words = 0
        self._check_due = False
        self.step = 0
        self._partial: tuple[np.ndarray, Interval] | None = None
        self._begun: tuple[np.ndarray, Interval, int, TableReference] | None = None
        self._estimate: jax.Array | None = None

    def feed(self, data: bytes) -> None:
        """Appends bytes."""
        self._payload = (self._payload + data)[: self.header.payload_bytes]
        self._reader.feed(self._payload)

    @property
    def file_bytes(self) -> int:
        """Bytes received that belong to the stream."""
        return self._header_bytes + len(self._payload)

    @property
    def needed_bytes(self) -> int:
        """The fewest bytes of the file that determine all complete steps and the check values seen."""
        return self._header_bytes + determining_bytes(self._payload, self._reader.position)

    @property
    def complete(self) -> bool:
        """Whether all bytes of the stream have arrived."""
        return len(self._payload) == self.header.payload_bytes

    def advance(self) -> bool:
        """Decodes one more step; False if all are decoded or the bytes do not determine the next one yet.

        In the latter case, what they do determine goes into `picture`.

        Raises:
          DamagedStreamError: the stream contradicts itself.
        """
        if not self._check() or self.step == self.header.steps:
            return False
        members, before, unit_log2, reference = self._next_step()
        mark = self._reader.mark()
        try:
            cells, determined = receive_refinement(self._reader, reference, before, 1 << unit_log2)
        except OverflowError:
            raise self._damaged() from None
        if np.where(cells.high == OPEN, cells.low, cells.high).max(initial=0) >= _LARGEST:
            raise self._damaged()
        if not determined:
            self._missing(mark)
            self._partial = (members, cells)
            return False
        self._partial = self._begun = self._estimate = None
        self._state.update(members, cells)
        self.step += 1
        self._check_due = (
            self.step == self.header.steps or self._reader.position[0] - self._checked_words >= _CHECK_INTERVAL_WORDS
        )
        self._check()
        return True

    def _next_step(self):
        """What the next step needs; kept until it is complete, however many pieces its bytes arrive in."""
        if self._begun is None:
            members, level, unit_log2 = self._state.grid.members(self.step)
            reference = self._state.reference(self.step, members)
            self._begun = members, self._state.cells(members, level), unit_log2, reference
        return self._begun

    def _check(self) -> bool:
        """Mirror image of the check values of `encode`; whether none is missing."""
        if not self._check_due:
            return True
        mark = self._reader.mark()
        received = self._reader.decode(_BYTE, np.zeros(2, np.int64))
        if (received != self._state.check_bytes[: len(received)]).any():
            raise self._damaged()
        self._check_due = len(received) < 2
        if self._check_due:
            self._missing(mark)
        else:
            self._checked_words = self._reader.position[0]
        return not self._check_due

    def _missing(self, mark: tuple) -> None:
        """Goes back to where bytes were missing; in a stream that has them all that is damage."""
        if self.complete:
            raise self._damaged()
        self._reader.reset(mark)

    def _damaged(self) -> DamagedStreamError:
        where = f"at or before byte {self.needed_bytes}, step {self.step} of {self.header.steps}"
        return DamagedStreamError(f"the stream is damaged {where}: what was decoded contradicts itself", self.step)

    def picture(self) -> np.ndarray:
        """The picture that all bytes so far determine, uint8 (H, W, 3)."""
        if self._estimate is None:
            self._estimate = self._state.estimate(self.step)
        estimate = self._estimate
        if self._partial is not None:
            estimate = np.array(estimate)
            members, cells = self._partial
            values = estimate.reshape(-1)[members]
            estimate.reshape(-1)[members] = self._into(cells, values, self._state.shift.reshape(-1)[members])
        pixels = self.model.picture(estimate)
        return pixels[: self.header.height, : self.header.width]

    def _into(self, cells: Interval, values: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Moves estimates, which know nothing of a step begun, into the cells that are known already."""
        tick = self.model.schedule.finest_width / TICKS
        width = np.where(cells.high == OPEN, cells.low, cells.high - cells.low)
        # Not to the very edge of a cell: its inner 40 % holds the mean for any density that is not extreme.
        margin = np.where(cells.sign == 0, 0.0, 0.3) * width
        near, far = cells.low + margin, np.where(cells.high == OPEN, np.inf, cells.high - margin)
        low = np.where(cells.sign == 0, -far, np.where(cells.sign > 0, near, -far))
        high = np.where(cells.sign == 0, far, np.where(cells.sign > 0, far, -near))
        untouched = (cells.sign == 0) & (cells.high == OPEN)
        moved = np.clip(values, (low + shift) * tick, (high + shift) * tick)
        return np.where(untouched, values, moved).astype(np.float32)


def decode(data: bytes, *, model: Model | None = None) -> np.ndarray:
    """Decodes a stream or any prefix of one that holds the header.

    Args:
      data: the bytes.
      model: what the stream was made with; by default `load_model("photo")`.

    Returns:
      uint8 (H, W, 3).

    Raises:
      FormatError: the data is no stream, or its header is damaged or incomplete.
      ModelMismatchError: the stream was made with another model.
      DamagedStreamError: the payload contradicts itself.
    """
    decoder = Decoder(data, model=model)
    while decoder.advance():
        pass
    return decoder.picture()


def previews(data: bytes | Iterable[bytes], *, model: Model | None = None) -> Iterator[Preview]:
    """One picture per step as bytes are consumed, and one for what is left over at the end of a cut stream.

    Args:
      data: the stream, or an iterable of pieces of it as they arrive.
      model: as for `decode`.
    """
    pieces = iter([data] if isinstance(data, bytes | bytearray | memoryview) else data)
    received, decoder = b"", None
    for piece in pieces:
        if decoder is None:
            received += bytes(piece)
            try:
                decoder = Decoder(received, model=model)
            except container.FormatError:
                if len(received) >= 64:
                    raise
                continue
            yield Preview(decoder.picture(), 0, decoder.header.steps, decoder.needed_bytes)
        else:
            decoder.feed(bytes(piece))
        while decoder.advance():
            yield Preview(decoder.picture(), decoder.step, decoder.header.steps, decoder.needed_bytes)
    if decoder is None:
        Decoder(received, model=model)
    elif decoder._partial is not None:
        yield Preview(decoder.picture(), decoder.step, decoder.header.steps, decoder.file_bytes)
