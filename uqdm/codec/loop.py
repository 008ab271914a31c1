"""The loop of Algorithm 1 (review): the sender's side above the receiver's.

Sender and receiver walk through the steps together. For each step the model gives the reference distributions from
what both know, the sender's state sends a sample of the target, and both update their state; what that means is the
family's (uqdm.contract). One code word runs through all steps. The four classes of pixels of a lossless residual are
four steps more of a composed model (uqdm.lossless.residual); the loop does not tell them apart.

Check values. Damage must not pass for a picture, so after a step the two check bytes of the state (16 bits of a CRC-32
of all that was sent) follow as two symbols of the code word: after the last step always, before a residual and after
it, elsewhere whenever at least `CHECK_INTERVAL_WORDS` words (1 kB) have been emitted since the last check value.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, Writer, determining_bytes
from uqdm.codec import container, extras
from uqdm.codec.container import Header
from uqdm.contract import HoldingState, Model
from uqdm.errors import DamagedStreamError

__all__ = ["Receiver", "Sender", "expect_together"]

CHECK_INTERVAL_WORDS = 256
"""Words of the code word between check values, at least."""
_CHECK_TABLE = ProbabilityTable(np.full((1, 256), 2**16))
"""Code of a byte of a check value."""


def _check_follows(step: int, header: Header, words: int) -> bool:
    """Whether a check value follows so many complete steps, and so many words after the last one."""
    return step in (header.steps, header.total_steps) or words >= CHECK_INTERVAL_WORDS


class Sender:
    """One picture on its way.

    Attributes:
      header: of the stream; it names the steps that are sent, and those of a residual.
      state: what the receiver will know.
      step: steps sent so far.
      writer: what they were written with.
      ideal_bits: the model's code length of all steps so far, without check values.
    """

    def __init__(
        self,
        picture: np.ndarray,
        model: Model,
        header: Header,
        enough: Callable[["Sender"], bool] = lambda _: False,
    ):
        """Begins with nothing sent.

        Args:
          picture: uint8 (H, W, 3).
          model: what to send with.
          header: of the stream, with the most steps that may be sent.
          enough: asked before the first step and after every one whether the stream ends there.
        """
        self.header, self.writer = header, Writer()
        self.state: Any = model.new_state(header.height, header.width, header.seed, picture)
        self.step, self.ideal_bits = 0, 0.0
        self._enough, self._checked_words = enough, 0
        self._end_if_enough()

    @property
    def ended(self) -> bool:
        """Whether all that is to be sent has been."""
        return self.step == self.header.total_steps

    def send(self) -> None:
        """Sends the next step, of which the state has been told what to expect."""
        before = self.writer.ideal_bits
        self.state.send(self.writer, self.step)
        self.ideal_bits += self.writer.ideal_bits - before
        self.step += 1
        self._end_if_enough()
        if _check_follows(self.step, self.header, self.writer.position[0] - self._checked_words):
            self.writer.encode(_CHECK_TABLE, np.zeros(2, np.int64), self.state.check_bytes)
            self._checked_words = self.writer.position[0]

    def _end_if_enough(self) -> None:
        if self._enough(self):
            self.header = self.header._replace(steps=self.step)

    def branch(self) -> "Sender":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.state, branch.writer = self.state.branch(), self.writer.branch()
        return branch

    def finish(self) -> bytes:
        """The file."""
        payload = self.writer.getvalue()
        header = self.header._replace(payload_bytes=len(payload))
        chunks = [*header.chunks]
        if isinstance(self.state, HoldingState):
            chunks += [extras.held_chunk(self.state.held)] if self.state.held else []
            chunks += [] if self.state.filtered else [extras.UNFILTERED]
        if chunks:
            header = header._replace(chunks=tuple(chunks), written_bytes=len(payload))
        return container.pack(header) + payload


class Receiver:
    """Decodes a stream as its bytes arrive.

    Attributes:
      header: of the stream.
      header_bytes: its length.
      model: what it was made with.
      state: what is known.
      step: complete steps so far.
    """

    def __init__(self, data: bytes, model: Model):
        """Begins with nothing known.

        Args:
          data: the stream or any prefix of it that holds the header.
          model: what the stream was made with.
        """
        self.header, start = container.unpack(data)
        self.model, self.step = model, 0
        self.state: Any = model.new_state(self.header.height, self.header.width, self.header.seed)
        if isinstance(self.state, HoldingState):
            self.state.held, self.state.filtered = self.header.held_steps, self.header.filtered
        self.header_bytes = start
        self._payload = bytes(data[start:])[: self.header.held_bytes]
        self._reader = Reader(self._payload)
        self._checked_words, self._check_due = 0, False
        self._expected_step = -1
        self._verified = 0, start
        self._damage: DamagedStreamError | None = None

    def feed(self, data: bytes) -> None:
        """Appends bytes."""
        self._payload = (self._payload + data)[: self.header.held_bytes]
        self._reader.feed(self._payload)

    @property
    def ended(self) -> bool:
        """Whether all steps are known."""
        return self.step == self.header.total_steps

    @property
    def waits_for_check(self) -> bool:
        """Whether the check value after the steps that are known has not arrived: nothing else may be received."""
        return self._check_due

    @property
    def file_bytes(self) -> int:
        """Bytes received that belong to the stream."""
        return self.header_bytes + len(self._payload)

    @property
    def needed_bytes(self) -> int:
        """The fewest bytes of the file that determine all complete steps and the check values seen."""
        return self.header_bytes + determining_bytes(self._payload, self._reader.position)

    @property
    def complete(self) -> bool:
        """Whether all bytes of the stream have arrived."""
        return len(self._payload) == self.header.payload_bytes

    @property
    def partly_known(self) -> bool:
        """Whether something is known of the next step."""
        return self.state.partly_known

    def receive(self) -> bool:
        """Decodes one more step; False if all are decoded or the bytes do not determine the next one yet.

        In the latter case, what they do determine goes into `picture`.

        Raises:
          DamagedStreamError: the stream contradicts itself; so says every later call.
        """
        if self._damage is not None:
            raise self._damage
        if not self._check() or self.ended:
            return False
        expect_together([self])
        mark = self._reader.mark()
        try:
            complete = self.state.receive(self._reader, self.step)
        except OverflowError:
            raise self._damaged() from None
        if not complete:
            self._missing(mark)
            return False
        self.step += 1
        self._check_due = _check_follows(self.step, self.header, self._reader.position[0] - self._checked_words)
        self._check()
        return True

    def _check(self) -> bool:
        """Mirror image of the sender's check values; whether none is missing."""
        if not self._check_due:
            return True
        mark = self._reader.mark()
        received = self._reader.decode(_CHECK_TABLE, np.zeros(2, np.int64))
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
        self._damage = DamagedStreamError(f"the stream is damaged {where}: {good_part}", step=step, good_bytes=good)
        return self._damage

    def picture(self) -> np.ndarray:
        """The picture that all bytes so far determine, denoised: uint8 (H, W, 3)."""
        return self.model.picture(self.state, self.step)

    def branch(self, file_bytes: int | None = None) -> "Receiver":
        """A copy that can go its own way, having received no more than so many bytes of the file.

        Args:
          file_bytes: at least as many as determine what is known already; by default all that have been received.
        """
        branch = copy.copy(self)
        if file_bytes is not None:
            branch._payload = self._payload[: file_bytes - self.header_bytes]
        branch.state, branch._reader = self.state.branch(), Reader(branch._payload)
        branch._reader.reset(self._reader.mark())
        return branch


def expect_together(receivers: Sequence[Receiver]) -> None:
    """Tells receivers what to expect of their next step, asking the network about all of them at once.

    Args:
      receivers: of pictures of one size, with one model, all before the same step; those that know it already are left
        out.
    """
    asked = [receiver for receiver in receivers if receiver._expected_step != receiver.step]
    if asked:
        step = asked[0].step
        asked[0].model.expect([receiver.state for receiver in asked], step)
        for receiver in asked:
            receiver._expected_step = step
