"""Algorithm 1, the sender's side, and the functions that encode and decode whole pictures.

Sender and receiver walk through the steps together. For each step the model gives the reference distributions from
what both know, the sender's state sends a sample of the target, and both update their state; what that means is the
process's (uqdm.contract is the contract, uqdm.nested.state and uqdm.diffusion.state are the processes). One code word
runs through all steps. `_Sender.send` and `uqdm.codec.loop.Decoder.advance` are mirror images. With a lossless residual
(uqdm.contract.Residual), its four classes of pixels are four steps more.

Check values. Damage must not pass for a picture, so after a step the 16 low bits of a running CRC-32 over all states
(and pixels) are sent as two symbols of the code word: after the last step always, before a residual and after it,
elsewhere whenever at least `CHECK_INTERVAL_WORDS` words (1 kB) have been emitted since the last check value.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import Writer, determining_bytes
from uqdm.codec import container
from uqdm.codec.container import Header
from uqdm.codec.loop import CHECK_INTERVAL_WORDS, CHECK_TABLE, Decoder
from uqdm.contract import Model, Pixels, Residual, steps_until
from uqdm.library import default_model, residual_of

__all__ = ["Preview", "StepCost", "decode", "decode_batch", "encode", "encode_batch", "encode_with_costs", "previews"]


class StepCost(NamedTuple):
    """What had been spent at the end of a step."""

    ideal_bits: float
    """Model's code length of all steps so far, without header and check values."""
    file_bytes: int
    """Shortest prefix of the file that determines the step, and its check value if it has one."""


class Preview(NamedTuple):
    """A picture decoded from a prefix."""

    picture: np.ndarray
    """uint8 (H, W, 3)."""
    step: int
    """Complete steps behind it."""
    steps: int
    """Steps in the whole stream, those of a lossless residual included."""
    file_bytes: int
    """Bytes of the prefix; for a complete step, the fewest that determine it."""


def _as_picture(x) -> np.ndarray:
    picture = np.asarray(x)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        given = f"{picture.dtype} of shape {picture.shape}"
        raise ValueError(f"a picture must be uint8 of shape (H, W, 3), got {given}")
    container.check_size(picture.shape[1], picture.shape[0])
    return picture


class _Sender:
    """One picture on its way.

    Attributes:
      cell_bits: ideal bits of all steps so far, pixels included.
    """

    def __init__(self, picture: np.ndarray, model: Model, steps: int, seed: int, residual: Residual | None):
        height, width = picture.shape[:2]
        self.state = model.begin(height, width, seed, picture)
        self.writer, self.cell_bits = Writer(), 0.0
        residual_id = residual.id[: container.RESIDUAL_ID_BYTES] if residual else b""
        self.header = Header(model.id[: container.MODEL_ID_BYTES], width, height, seed, steps, 0, residual_id)
        self._picture, self._residual = picture, residual
        self._pixels: Pixels | None = None
        self._checked_words = 0

    def send(self, step: int) -> None:
        """One step, its references taken."""
        before = self.writer.ideal_bits
        self.state.send(self.writer, step)
        self.cell_bits += self.writer.ideal_bits - before
        self._completed(step + 1)

    def send_pixels(self, step: int) -> None:
        """One step of the residual."""
        if self._pixels is None:
            assert self._residual is not None, "only streams with a residual have steps beyond the model's"
            self._pixels = self._residual.begin(self.state, self.header.steps, self.header.height, self.header.width)
        before = self.writer.ideal_bits
        self._pixels.send(self.writer, self._picture, step - self.header.steps)
        self.cell_bits += self.writer.ideal_bits - before
        self._completed(step + 1)

    def _completed(self, steps: int) -> None:
        """So many steps are complete; a check value may follow."""
        last = steps in (self.header.steps, self.header.total_steps)
        if last or self.writer.position[0] - self._checked_words >= CHECK_INTERVAL_WORDS:
            self.writer.encode(CHECK_TABLE, np.zeros(2, np.int64), (self._pixels or self.state).check_bytes)
            self._checked_words = self.writer.position[0]

    def finish(self) -> bytes:
        """The file."""
        payload = self.writer.getvalue()
        return container.pack(self.header._replace(payload_bytes=len(payload))) + payload


def _encode_together(
    pictures: Sequence[np.ndarray],
    tau: float | None,
    model: Model | None,
    seed: int,
    lossless: bool,
    on_step: Callable[[list[_Sender]], object] = lambda _: None,
) -> list[bytes]:
    """Algorithm 1 for pictures of one size."""
    model = model or default_model(*pictures[0].shape[:2], lossless=lossless)
    residual = residual_of(model) if lossless else None
    steps = residual.steps(model) if residual and tau is None else steps_until(tau or 0.0, model.steps)
    senders = [_Sender(picture, model, steps, seed, residual) for picture in pictures]
    for step in range(steps):
        model.refer([sender.state for sender in senders], step)
        for sender in senders:
            sender.send(step)
        on_step(senders)
    for step in range(steps, senders[0].header.total_steps):
        for sender in senders:
            sender.send_pixels(step)
        on_step(senders)
    return [sender.finish() for sender in senders]


def encode(
    x,
    tau: float | None = None,
    *,
    lossless: bool = False,
    model: Model | None = None,
    seed: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> bytes:
    """Encodes a picture as a progressive stream (review, Algorithm 1).

    Args:
      x: uint8 (H, W, 3), numpy or JAX.
      tau: end-of-transmission time in [0, 1]: 1 sends nothing but the header, 0 sends every step. By default 0, or,
        with `lossless`, the time that makes the whole stream shortest.
      lossless: whether a residual follows that makes the decoded picture the very same (uqdm.lossless.predicted for the
        nested process, uqdm.lossless.direct for the uniform one).
      model: what to encode with; by default the model `small` of the package for at most 64 x 64 pixels, else, and for
        lossless streams, `photo`.
      seed: names the common randomness, in [0, 2^32); it is stored in the header.
      on_step: called after every step, to show progress.

    Returns:
      The stream. Every prefix that holds the header decodes.

    Raises:
      ValueError: x is no such picture, tau or seed is out of range, or the model has no lossless residual.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> picture = np.full((64, 64, 3), [200, 80, 40], np.uint8)
      >>> half, whole = uqdm.encode(picture, tau=0.5), uqdm.encode(picture)
      >>> uqdm.info(half)["steps"] == uqdm.info(whole)["steps"] // 2
      True
    """
    return _encode_together([_as_picture(x)], tau, model, seed, lossless, lambda _: on_step())[0]


def encode_with_costs(
    x, tau: float | None = None, *, lossless: bool = False, model: Model | None = None, seed: int = 0
) -> tuple[bytes, list[StepCost]]:
    """As `encode`, and what every step cost (the first entry is the bare header)."""
    ends = [(0.0, Writer().position)]

    def note(senders: list[_Sender]) -> None:
        ends.append((senders[0].cell_bits, senders[0].writer.position))

    (data,) = _encode_together([_as_picture(x)], tau, model, seed, lossless, note)
    _, start = container.unpack(data)
    return data, [StepCost(bits, start + determining_bytes(data[start:], end)) for bits, end in ends]


def encode_batch(
    pictures: Iterable,
    tau: float | None = None,
    *,
    lossless: bool = False,
    model: Model | None = None,
    seed: int = 0,
) -> list[bytes]:
    """Encodes pictures of any sizes, one stream each and the same as `encode` gives.

    The network is asked about all pictures of one size at once, which is faster where they are small.
    """
    checked = [_as_picture(x) for x in pictures]
    streams: list[bytes] = [b""] * len(checked)
    for places in _alike([picture.shape for picture in checked]):
        together = _encode_together([checked[i] for i in places], tau, model, seed, lossless)
        for i, stream in zip(places, together, strict=True):
            streams[i] = stream
    return streams


def decode(
    data: bytes,
    *,
    model: Model | None = None,
    method: str = "denoise",
    remaining_steps: int | None = None,
    seed: int = 0,
    realism: float | None = None,
) -> np.ndarray:
    """Decodes a stream or any prefix of one that holds the header.

    Args:
      data: the bytes.
      model: what the stream was made with; by default the model of the package that it names.
      method: how what is missing is filled in (review, Section IV-B): "denoise" shows the mean of what it may be. For
        the nested process "sample" draws it from the model; for the uniform process "ancestral" does, and "flow"
        follows the probability-flow differential equation. These look like pictures, and are farther from the original.
      remaining_steps: how many steps of the reverse process to take; by default those that were not sent.
      seed: of the private randomness of "sample" and "ancestral".
      realism: in [0, 1], mixes the denoised picture (0) with the other method's (1; by default "sample" or
        "ancestral"). With a draw from the posterior these are the best of the distortion-perception tradeoff that one
        stream allows (review, Eq. 17).

    Returns:
      uint8 (H, W, 3).

    Raises:
      FormatError: the data is no stream, or its header is damaged or incomplete.
      ModelMismatchError: the stream was made with another model.
      DamagedStreamError: the payload contradicts itself; `data[:error.good_bytes]` decodes to what was verified.
      ValueError: the process has no such method, or a number is out of range.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> data = uqdm.encode(np.full((64, 64, 3), [200, 80, 40], np.uint8))
      >>> uqdm.decode(data).shape
      (64, 64, 3)
      >>> uqdm.decode(data[:30]).shape  # a preview
      (64, 64, 3)
    """
    decoder = Decoder(data, model=model)
    decoder.check_method(method, remaining_steps, realism)
    while decoder.advance():
        pass
    return decoder.reconstruct(method, remaining_steps, seed, realism)


def decode_batch(streams: Iterable[bytes], *, model: Model | None = None) -> list[np.ndarray]:
    """Decodes streams or prefixes as `decode` does each of them, asking the network about many at once."""
    decoders = [Decoder(data, model=model) for data in streams]
    active = list(range(len(decoders)))
    while active:
        for places in _alike([(decoders[i].header[1:3], decoders[i].step) for i in active]):
            together = [decoders[active[place]] for place in places]
            together = [decoder for decoder in together if decoder.step < decoder.header.steps]
            if together:
                together[0].model.refer([decoder.state for decoder in together], together[0].step)
                for decoder in together:
                    decoder.referred()
        active = [i for i in active if decoders[i].advance()]
    return [decoder.picture() for decoder in decoders]


def _alike(keys: list) -> list[list[int]]:
    """Places of equal keys."""
    places: dict = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())


def previews(data: bytes | Iterable[bytes], *, model: Model | None = None) -> Iterator[Preview]:
    """One picture per step as bytes are consumed, and one for what is left over at the end of a cut stream.

    Args:
      data: the stream, or an iterable of pieces of it as they arrive.
      model: as for `decode`.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> data = uqdm.encode(np.full((64, 64, 3), [200, 80, 40], np.uint8), tau=0.8)
      >>> arriving = (data[i : i + 8] for i in range(0, len(data), 8))
      >>> steps = [preview.step for preview in uqdm.previews(arriving)]
      >>> steps == list(range(uqdm.info(data)["steps"] + 1))
      True
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
            yield Preview(decoder.picture(), 0, decoder.header.total_steps, decoder.needed_bytes)
        else:
            decoder.feed(bytes(piece))
        while decoder.advance():
            yield Preview(decoder.picture(), decoder.step, decoder.header.total_steps, decoder.needed_bytes)
    if decoder is None:
        Decoder(received, model=model)
    elif decoder.begun:
        yield Preview(decoder.picture(), decoder.step, decoder.header.total_steps, decoder.file_bytes)
