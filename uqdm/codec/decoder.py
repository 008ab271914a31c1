"""A decoder that is fed as bytes arrive, shows the picture at any time, and goes on in another process.

What it has received is a prefix of the stream, and all that it has to remember: `to_bytes` gives it, a file like any
other, and `Decoder.from_bytes` goes on from there. Nothing is decoded before a picture or a step is asked for; a
decoder that was stored decodes what it had once more then, which costs what it cost the first time.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np

from uqdm.codec import container
from uqdm.codec.api import receiver_of, show
from uqdm.codec.container import BytesLike, Header
from uqdm.codec.loop import Receiver
from uqdm.contract import Model, Reconstruction
from uqdm.errors import IncompleteHeaderError

__all__ = ["Decoder"]


class Decoder:
    """Decodes a stream of which more and more arrives.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> data = uqdm.encode(np.full((64, 64, 3), [200, 80, 40], np.uint8))
      >>> decoder = uqdm.Decoder()
      >>> decoder.feed(data[:30])
      >>> preview = decoder.picture()
      >>> stored = decoder.to_bytes()  # the connection drops; later, in another process:
      >>> decoder = uqdm.Decoder.from_bytes(stored)
      >>> decoder.feed(data[decoder.received_bytes :])  # asked for with a Range header
      >>> decoder.complete, (decoder.picture() == uqdm.decode(data)).all()
      (True, np.True_)
    """

    def __init__(self, *, model: Model | str | Path | None = None):
        """Begins with nothing received.

        Args:
          model: what the stream was made with, or its name or path; by default the model of the package that it names.
        """
        self._model = model
        self._received, self._fed = bytearray(), 0
        self._header: Header | None = None
        self._receiver: Receiver | None = None
        self._header_bytes = 0

    @classmethod
    def from_bytes(cls, stored: BytesLike, *, model: Model | str | Path | None = None) -> "Decoder":
        """Goes on where a decoder was stored, or from a file of which only the beginning is there.

        Raises:
          FormatError: this is no stream.
        """
        decoder = cls(model=model)
        decoder.feed(stored)
        return decoder

    def to_bytes(self) -> bytes:
        """All that has been received: a prefix of the stream."""
        return bytes(self._received)

    def feed(self, data: BytesLike) -> None:
        """Takes the bytes that come next; nothing is decoded yet.

        Raises:
          FormatError: this is no stream, or its header is damaged.
        """
        self._received += container.as_bytes(data, "a piece of a stream")
        if self._header is None and self._received:
            with suppress(IncompleteHeaderError):
                self._header, self._header_bytes = container.unpack(bytes(self._received))

    @property
    def received_bytes(self) -> int:
        """How many bytes have arrived: where to go on."""
        return len(self._received)

    @property
    def header(self) -> Header | None:
        """Of the stream; None until all of it has arrived."""
        return self._header

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the picture, as soon as they are known."""
        return self._header and (self._header.height, self._header.width)

    @property
    def complete(self) -> bool:
        """Whether all bytes of the picture have arrived, metadata aside.

        A stream that was encoded to a number of bytes, or cut, may never be: its length says when to stop.
        """
        if self._header is None:
            return False
        arrived = min(len(self._received) - self._header_bytes, self._header.held_bytes)
        return arrived >= self._header.payload_bytes

    @property
    def step(self) -> int:
        """Complete steps that the received bytes determine; decodes what has not been.

        Raises:
          as `picture`.
        """
        return self._advanced().step

    def picture(self, *, reconstruction: Reconstruction | str = "denoise", realism: float | None = None) -> np.ndarray:
        """The picture that the received bytes tell, uint8 (H, W, 3); decodes what has not been.

        Args:
          reconstruction: how what is missing is filled in (`uqdm.decode`).
          realism: likewise.

        Raises:
          IncompleteHeaderError: the header has not arrived yet.
          ModelMismatchError: the stream was made with another model.
          DamagedStreamError: the payload contradicts itself.
          ValueError: the model's family has no such reconstruction, or a number is out of range.
        """
        return show(self._advanced(), reconstruction, realism=realism)

    def metadata(self) -> dict:
        """What has arrived of the metadata (`uqdm.metadata`), which stands at the end."""
        return container.metadata(bytes(self._received))

    def _advanced(self) -> Receiver:
        if self._receiver is None:
            self._receiver = receiver_of(bytes(self._received), model=self._model)
        elif self._fed < len(self._received):
            self._receiver.feed(bytes(self._received[self._fed :]))
        self._fed = len(self._received)
        while self._receiver.receive():
            pass
        return self._receiver
