"""Algorithm 1, the receiver's side: a decoder that is fed with bytes and says what they determine."""

from typing import Any

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, determining_bytes
from uqdm.codec import container
from uqdm.contract import Model, Pixels, Residual
from uqdm.errors import DamagedStreamError, ModelMismatchError
from uqdm.library import model_of_stream, residual_of

__all__ = ["CHECK_INTERVAL_WORDS", "CHECK_TABLE", "Decoder", "check_against"]

CHECK_INTERVAL_WORDS = 256
"""Words of the code word between check values (uqdm.codec.api), at least."""
CHECK_TABLE = ProbabilityTable(np.full((1, 256), 2**16))
"""Code of a byte of a check value."""


class Decoder:
    """Decodes a stream as its bytes arrive.

    Attributes:
      header: of the stream.
      model: what it was made with.
      state: what is known.
      step: complete steps so far, those of a lossless residual included.
      pixels: what is known of pixels, once a lossless residual has begun.
    """

    def __init__(self, data: bytes, *, model: Model | None = None):
        self.header, start = container.unpack(data)
        self.model: Model = model or model_of_stream(self.header.model_id)
        if self.model.id[: container.MODEL_ID_BYTES] != self.header.model_id:
            raise ModelMismatchError(
                f"the stream was made with model {self.header.model_id.hex()}, but this is model {self.model.name!r} "
                f"({self.model.id[: container.MODEL_ID_BYTES].hex()}): give the one it was made with"
            )
        self._residual = self._find_residual() if self.header.lossless else None
        if self.header.steps > self.model.steps:
            what = f"the header names {self.header.steps} steps, the model has {self.model.steps}"
            raise DamagedStreamError(what, step=0, good_bytes=start)
        self._header_bytes = start
        self.state: Any = self.model.begin(self.header.height, self.header.width, self.header.seed)
        self._payload = bytes(data[start:])[: self.header.payload_bytes]
        self._reader = Reader(self._payload)
        self._checked_words = 0
        self._check_due = False
        self.step = 0
        self._referred_step = -1
        self.pixels: Pixels | None = None
        self._pixels_begun = False
        self._verified = 0, start

    def _find_residual(self) -> Residual:
        try:
            residual = residual_of(self.model)
        except ValueError:
            raise ModelMismatchError("the stream ends in a lossless residual, and this model has none") from None
        if (known := residual.id[: container.RESIDUAL_ID_BYTES]) != self.header.residual_id:
            raise ModelMismatchError(
                f"the stream ends in a lossless residual of id {self.header.residual_id.hex()}, but this program has "
                f"{known.hex()}: decode it with the version that made it"
            )
        return residual

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
        return self.state.begun or self._pixels_begun

    def referred(self) -> None:
        """Says that the references of the next step have been taken already (Model.refer)."""
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
            return self._advance_residual()
        if self._referred_step != self.step:
            self.model.refer([self.state], self.step)
            self._referred_step = self.step
        mark = self._reader.mark()
        try:
            complete = self.state.receive(self._reader, self.step)
        except OverflowError:
            raise self._damaged() from None
        if not complete:
            self._missing(mark)
            return False
        self._completed()
        return True

    def _advance_residual(self) -> bool:
        """`advance` for a class of pixels (uqdm.lossless.predicted)."""
        if self.pixels is None:
            assert self._residual is not None, "only streams with a residual have steps beyond the model's"
            self.pixels = self._residual.begin(self.state, self.header.steps, self.header.height, self.header.width)
        mark = self._reader.mark()
        try:
            complete = self.pixels.receive(self._reader, self.step - self.header.steps)
        except OverflowError:
            raise self._damaged() from None
        self._pixels_begun = not complete
        if not complete:
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

    def _check(self) -> bool:
        """Mirror image of the sender's check values; whether none is missing."""
        if not self._check_due:
            return True
        mark = self._reader.mark()
        received = self._reader.decode(CHECK_TABLE, np.zeros(2, np.int64))
        if (received != (self.pixels or self.state).check_bytes[: len(received)]).any():
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
        return self.reconstruct("denoise", None, 0)

    def check_method(self, method: str, remaining_steps: int | None, realism: float | None = None) -> None:
        """Raises ValueError where `reconstruct` cannot do what is asked."""
        if realism is not None and not 0 <= realism <= 1:
            raise ValueError(f"realism must lie in [0, 1] (0 is the denoised picture, 1 a draw), got {realism}")
        if method not in self.state.methods:
            raise ValueError(f"method must be one of {', '.join(self.state.methods)} for this model, got {method!r}")
        if remaining_steps is not None and remaining_steps < 1:
            raise ValueError(f"the number of remaining steps must be at least 1, got {remaining_steps}")

    def reconstruct(
        self, method: str, remaining_steps: int | None, seed: int, realism: float | None = None
    ) -> np.ndarray:
        """The picture, with what is missing filled in (uqdm.codec.api.decode), uint8 (H, W, 3)."""
        self.check_method(method, remaining_steps, realism)
        if realism is not None:
            drawing = self.state.methods[1] if method == "denoise" else method
            ends = (self.reconstruct(each, remaining_steps, seed) for each in ("denoise", drawing))
            mean, draw = (np.asarray(end, np.float64) for end in ends)
            return np.rint((1 - realism) * mean + realism * draw).astype(np.uint8)
        if self.pixels is None:
            return self.state.reconstruct(self.step, method, remaining_steps, seed)
        if self.pixels.determined.all():
            return np.array(self.pixels.known)
        shown = self.state.reconstruct(self.header.steps, method, remaining_steps, seed)
        return np.where(self.pixels.determined, self.pixels.known, shown)


def check_against(data: bytes, picture: np.ndarray, *, model: Model | None = None) -> None:
    """Decodes a stream or a prefix of one, and makes sure that its state, and the pixels of its residual, are a
    picture's.

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
    step = min(decoder.step, decoder.header.steps)
    if not decoder.state.agrees_with(picture, step):
        raise DamagedStreamError("what was decoded is of another picture", step=step, good_bytes=0)
    if decoder.pixels is not None and (decoder.pixels.known != picture)[decoder.pixels.determined].any():
        raise DamagedStreamError("a pixel is not what was encoded", step=step, good_bytes=0)
