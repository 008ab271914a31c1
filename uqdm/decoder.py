"""Algorithm 1, the receiver's side: a decoder that is fed with bytes and says what they determine."""

import numpy as np

from channel_sim.dither import OPEN, Interval, receive_refinement
from channel_sim.entropy import ProbabilityTable, Reader, determining_bytes
from uqdm import container
from uqdm.errors import DamagedStreamError, ModelMismatchError
from uqdm.lossless import PixelState, load_tail
from uqdm.model import Model, load_model
from uqdm.process import TICKS
from uqdm.state import Part, PictureState, refer
from uqdm.transform import pad_to_blocks

__all__ = ["CHECK_INTERVAL_WORDS", "CHECK_TABLE", "Decoder", "check_against"]

CHECK_INTERVAL_WORDS = 256
"""Words of the code word between check values (uqdm.codec), at least."""
CHECK_TABLE = ProbabilityTable(np.full((1, 256), 2**16))
"""Code of a byte of a check value."""

_LARGEST = 2**30
"""No coefficient of a picture comes near so many ticks."""


class Decoder:
    """Decodes a stream as its bytes arrive.

    Attributes:
      header: of the stream.
      model: what it was made with.
      state: what is known.
      step: complete steps so far, those of a lossless tail included.
      pixels: what is known of pixels, once a lossless tail has begun.
    """

    def __init__(self, data: bytes, *, model: Model | None = None):
        self.header, start = container.unpack(data)
        self.model = model or load_model()
        if self.model.id[: container.MODEL_ID_BYTES] != self.header.model_id:
            raise ModelMismatchError(
                f"the stream was made with model {self.header.model_id.hex()}, but this is model {self.model.name!r} "
                f"({self.model.id[: container.MODEL_ID_BYTES].hex()}): give the one it was made with"
            )
        if self.header.lossless and load_tail().id[: container.TAIL_ID_BYTES] != self.header.tail_id:
            raise ModelMismatchError(
                f"the stream ends in a lossless tail of id {self.header.tail_id.hex()}, but this program has "
                f"{load_tail().id[: container.TAIL_ID_BYTES].hex()}: decode it with the version that made it"
            )
        if self.header.steps > self.model.steps:
            what = f"the header names {self.header.steps} steps, the model has {self.model.steps}"
            raise DamagedStreamError(what, step=0, good_bytes=start)
        self._header_bytes = start
        self.state = PictureState(self.model, self.header.height, self.header.width, self.header.seed)
        self._payload = bytes(data[start:])[: self.header.payload_bytes]
        self._reader = Reader(self._payload)
        self._checked_words = 0
        self._check_due = False
        self.step = 0
        self._referred_step = -1
        self._part: Part | None = None
        self._partial: tuple[np.ndarray, Interval] | None = None
        self._estimate: np.ndarray | None = None
        self.pixels: PixelState | None = None
        self._pixels_begun = False
        self._verified = 0, start

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

    @property
    def begun(self) -> bool:
        """Whether something is known of the next step."""
        return self._partial is not None or self._pixels_begun

    def referred(self) -> None:
        """Says that the references of the next step have been taken already (uqdm.state.refer)."""
        self._referred_step = self.step

    def advance(self) -> bool:
        """Decodes one more step; False if all are decoded or the bytes do not determine the next one yet.

        In the latter case, what they do determine goes into `picture`.

        Raises:
          DamagedStreamError: the stream contradicts itself.
        """
        if not self._check() or self.step == self.header.total_steps:
            return False
        if self.step >= self.header.steps:
            return self._advance_tail()
        members, before, unit, reference = self._next_part()
        mark = self._reader.mark()
        try:
            cells, determined = receive_refinement(self._reader, reference, before, unit)
        except OverflowError:
            raise self._damaged() from None
        if np.where(cells.high == OPEN, cells.low, cells.high).max(initial=0) >= _LARGEST:
            raise self._damaged()
        if not determined:
            self._missing(mark)
            self._partial = (members, cells)
            return False
        self._partial = self._part = self._estimate = None
        self.state.update(self.step, members, cells)
        self._completed()
        return True

    def _advance_tail(self) -> bool:
        """`advance` for a class of pixels (uqdm.lossless)."""
        if self.pixels is None:
            self.pixels = PixelState(load_tail(), self.state, self.header.height, self.header.width)
        mark, crc = self._reader.mark(), self.state.crc
        try:
            determined = self.pixels.receive(self._reader, self.step - self.header.steps)
        except OverflowError:
            raise self._damaged() from None
        self._pixels_begun = not determined
        if not determined:
            self.state.crc = crc
            self._missing(mark)
            return False
        self._completed()
        return True

    def _completed(self) -> None:
        """A step is complete; the sender's check value may follow."""
        self.step += 1
        self._check_due = (
            self.step in (self.header.steps, self.header.total_steps)
            or self._reader.position[0] - self._checked_words >= CHECK_INTERVAL_WORDS
        )
        self._check()

    def _next_part(self) -> Part:
        """What the next step is about; kept until it is complete, however many pieces its bytes arrive in."""
        if self._part is None:
            if self._referred_step != self.step:
                refer(self.model, [self.state], self.step)
                self._referred_step = self.step
            self._part = self.state.part(self.step)
        return self._part

    def _check(self) -> bool:
        """Mirror image of the sender's check values; whether none is missing."""
        if not self._check_due:
            return True
        mark = self._reader.mark()
        received = self._reader.decode(CHECK_TABLE, np.zeros(2, np.int64))
        if (received != self.state.check_bytes[: len(received)]).any():
            raise self._damaged()
        self._check_due = len(received) < 2
        if self._check_due:
            self._missing(mark)
        else:
            self._checked_words = self._reader.position[0]
            self._verified = self.step, self.needed_bytes
        return not self._check_due

    def _missing(self, mark: tuple) -> None:
        """Goes back to where bytes were missing; in a stream that has them all that is damage."""
        if self.complete:
            raise self._damaged()
        self._reader.reset(mark)

    def _damaged(self) -> DamagedStreamError:
        where = f"at or before byte {self.needed_bytes}, step {self.step} of {self.header.total_steps}"
        step, good = self._verified
        good_part = f"its first {good} bytes are verified (step {step})"
        return DamagedStreamError(f"the stream is damaged {where}: {good_part}", step=step, good_bytes=good)

    def picture(self) -> np.ndarray:
        """The picture that all bytes so far determine, uint8 (H, W, 3)."""
        if self.pixels is not None and self.pixels.determined.all():
            return np.array(self.pixels.known)
        if self._estimate is None:
            self._estimate = self.state.estimate(min(self.step, self.header.steps))
        estimate = self._estimate
        if self._partial is not None:
            estimate = np.array(estimate)
            members, cells = self._partial
            values = estimate.reshape(-1)[members]
            estimate.reshape(-1)[members] = self._into(cells, values, self.state.shift[members])
        pixels = self.model.picture(estimate)
        pixels = pixels[: self.header.height, : self.header.width]
        return pixels if self.pixels is None else np.where(self.pixels.determined, self.pixels.known, pixels)

    def _into(self, cells: Interval, values: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Moves estimates, which know nothing of a step begun, into the cells that are known already."""
        tick = self.model.schedule.finest_width / TICKS
        width = np.where(cells.high == OPEN, cells.low, cells.high - cells.low)
        # Not to the very edge of a cell: its inner 60 % holds the mean for any density that is not extreme.
        margin = np.where(cells.sign == 0, 0.0, 0.2) * width
        near, far = cells.low + margin, np.where(cells.high == OPEN, np.inf, cells.high - margin)
        low = np.where(cells.sign == 0, -far, np.where(cells.sign > 0, near, -far))
        high = np.where(cells.sign == 0, far, np.where(cells.sign > 0, far, -near))
        untouched = (cells.sign == 0) & (cells.high == OPEN)
        moved = np.clip(values, (low + shift) * tick, (high + shift) * tick)
        return np.where(untouched, values, moved).astype(np.float32)


def check_against(data: bytes, picture: np.ndarray, *, model: Model | None = None) -> None:
    """Decodes a stream or a prefix of one, and makes sure that its cells, and the pixels of its tail, are a picture's.

    Args:
      data: the bytes.
      picture: uint8 (H, W, 3), what was encoded.
      model: what it was encoded with.

    Raises:
      StreamError: it does not decode, or to something else.
    """
    decoder = Decoder(data, model=model)
    while decoder.advance():
        pass
    state, step = decoder.state, min(decoder.step, decoder.header.steps)
    source = decoder.model.ticks(pad_to_blocks(picture, decoder.model.block)).reshape(-1) - state.shift
    if not state.contains(step, source):
        raise DamagedStreamError("a coefficient lies outside of its cell", step=step, good_bytes=0)
    if decoder.pixels is not None and (decoder.pixels.known != picture)[decoder.pixels.determined].any():
        raise DamagedStreamError("a pixel is not what was encoded", step=step, good_bytes=0)
