"""Whole pictures to whole streams and back: `uqdm.encode` and its siblings, around the loop (uqdm.codec.loop)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from channel_sim.entropy import Writer, determining_bytes
from uqdm import reconstruction as ways
from uqdm.codec import container
from uqdm.codec.arguments import as_model, as_picture, check_number
from uqdm.codec.container import BytesLike, Header
from uqdm.codec.encoding import Request, encode_best, encode_together, request_of
from uqdm.codec.loop import Receiver, Sender, expect_together
from uqdm.contract import Model, Reconstruction
from uqdm.drawn.model import DrawnModel, looks_drawn
from uqdm.errors import DamagedStreamError, IncompleteHeaderError, ModelMismatchError
from uqdm.library import family_of, model_of_stream, reconstructions_of, residual_of
from uqdm.lossless.residual import ExactWhereKnown, WithResidual

__all__ = [
    "Preview",
    "StepCost",
    "check_against",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
    "encode_with_costs",
    "previews",
    "receiver_of",
    "show",
    "way_for",
]


_MEAN = "denoise"
"""The reconstruction that all models have."""


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


def encode(
    x,
    tau: float | None = None,
    *,
    bpp: float | None = None,
    file_bytes: int | None = None,
    psnr_db: float | None = None,
    rdoq: bool = False,
    lossless: bool = False,
    model: Model | str | Path | None = None,
    seed: int = 0,
    index: bool = False,
    drawn: bool | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> bytes:
    """Encodes a picture as a progressive stream (review, Algorithm 1).

    At most one of tau, bpp, file_bytes, psnr_db and lossless says where the stream ends; no step behind the end is
    computed.

    Args:
      x: uint8 (H, W, 3), numpy or JAX.
      tau: end-of-transmission time in [0, 1]: 1 sends nothing but the header, 0 sends every step. By default 0, or,
        with `lossless`, the time that makes the whole stream shortest.
      bpp: at most so many bits per pixel, header included.
      file_bytes: at most so many bytes.
      psnr_db: as few bytes as reach this PSNR in dB.
      rdoq: rate-distortion optimised quantization for a stream that ends early: the steps of the last level leave
        coefficients in their zero cells where that saves more than it costs, and the stream is no prefix of the whole
        one then. With bpp, file_bytes or psnr_db these steps are sent twice, since it shows then which level is the
        last. Families other than the nested one cannot.
      lossless: whether a residual follows that makes the decoded picture the very same (uqdm.lossless.predicted for
        the nested process, uqdm.lossless.direct for the uniform one); may be combined with tau.
      model: what to encode with, or its name or path; by default the model `small` of the package for at most 64 x 64
        pixels, else, and for lossless streams, `photo`, or what `drawn` says.
      seed: names the common randomness, in [0, 2^32); it is stored in the header.
      index: whether the header lists which number of bytes gives which PSNR (`uqdm.info`, `uqdm truncate --psnr`), in
        at most 1 % of the file and 100 bytes; costs a picture and its PSNR at every step.
      drawn: whether the model may be `drawn` (uqdm.drawn) where its stream, which is exact, is shorter, as of text,
        screens and flat colours; by default where no model is given and lossless, bpp, file_bytes or psnr_db is. With
        one of the middle two a picture that fits is exact.
      metadata: what is kept beside the picture, by Pillow's names: `exif`, `xmp`, `icc_profile` (which describes the
        pixels of x), `dpi`. It stands at the end, counts in bpp and file_bytes, and is the first to go where the stream
        is cut; `uqdm.metadata` reads it.
      on_step: called after every step, to show progress.

    Returns:
      The stream. Every prefix that holds the header decodes.

    Raises:
      TypeError: x is no array, the model no model, or a number none.
      ValueError: x is no such picture, a number is out of range, the PSNR is out of reach, the model has no lossless
        residual, or metadata is none or too long.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> picture = np.full((64, 64, 3), [200, 80, 40], np.uint8)
      >>> half, whole = uqdm.encode(picture, tau=0.5), uqdm.encode(picture)
      >>> uqdm.info(half)["steps"] < uqdm.info(whole)["steps"]
      True
      >>> len(uqdm.encode(picture, file_bytes=100))  # a flat picture fits exactly
      22
    """
    request = request_of(tau, bpp, file_bytes, psnr_db, rdoq, lossless, model, seed, index, drawn)
    picture = as_picture(x)
    most = request.target and request.target.most_bytes(*picture.shape[:2])

    def beside(data: bytes) -> bytes:
        exact = container.unpack(data)[0].model_id == DrawnModel().id[: container.MODEL_ID_BYTES]
        longest = None if request.drawn and exact else most  # which fits or is not taken
        return data if metadata is None else container.with_metadata(data, metadata, longest)

    return encode_best(
        picture, request, lambda asked: encode_together([picture], asked, lambda _: on_step())[0], beside
    )


def encode_with_costs(
    x, tau: float | None = None, *, lossless: bool = False, model: Model | str | Path | None = None, seed: int = 0
) -> tuple[bytes, list[StepCost]]:
    """As `encode`, and what every step cost (the first entry is the bare header)."""
    ends = [(0.0, Writer().position)]

    def note(senders: list[Sender]) -> None:
        del ends[senders[0].step :]  # an encoder may begin again
        ends.append((senders[0].ideal_bits, senders[0].writer.position))

    (data,) = encode_together([as_picture(x)], request_of(tau, None, None, None, False, lossless, model, seed), note)
    _, start = container.unpack(data)
    return data, [StepCost(bits, start + determining_bytes(data[start:], end)) for bits, end in ends]


def encode_batch(
    pictures: Iterable,
    tau: float | None = None,
    *,
    bpp: float | None = None,
    file_bytes: int | None = None,
    psnr_db: float | None = None,
    rdoq: bool = False,
    lossless: bool = False,
    model: Model | str | Path | None = None,
    seed: int = 0,
    index: bool = False,
    drawn: bool | None = None,
) -> list[bytes]:
    """Encodes pictures of any sizes, one stream each and the same as `encode` gives.

    The network is asked about all pictures of one size at once, which is faster where they are small.
    """
    request = request_of(tau, bpp, file_bytes, psnr_db, rdoq, lossless, model, seed, index, drawn)
    checked = [as_picture(x) for x in pictures]
    streams: list[bytes] = [b""] * len(checked)
    together = []
    for i, picture in enumerate(checked):
        if request.drawn and looks_drawn(picture):  # it may need no model
            streams[i] = encode_best(picture, request, partial(_only, picture), _as_it_is)
        else:
            together.append(i)
    for places in _alike([checked[i].shape for i in together]):
        pictures_here = [checked[together[place]] for place in places]
        made = encode_together(pictures_here, request)
        for place, picture, stream in zip(places, pictures_here, made, strict=True):
            streams[together[place]] = encode_best(picture, request, partial(_made, stream), _as_it_is)
    return streams


def _only(picture: np.ndarray, request: Request) -> bytes:
    return encode_together([picture], request)[0]


def _made(stream: bytes, request: Request) -> bytes:
    return stream


def _as_it_is(stream: bytes) -> bytes:
    return stream


def receiver_of(data: BytesLike, *, model: Model | str | Path | None = None) -> Receiver:
    """The receiver of a stream, with the model and the residual that its header names.

    Args:
      data: the stream, or any prefix of one that holds the header.
      model: what it was made with; by default the model of the package that it names.

    Raises:
      FormatError: the data is no stream, or its header is damaged or incomplete.
      ModelMismatchError: the stream was made with another model or residual.
      DamagedStreamError: the header names more steps than the model has.
    """
    data = container.as_bytes(data)
    header, start = container.unpack(data)
    model = as_model(model) or model_of_stream(header.model_id)
    if model.id[: container.MODEL_ID_BYTES] != header.model_id:
        raise ModelMismatchError(
            f"the stream was made with model {header.model_id.hex()}, but this is model {model.name!r} "
            f"({model.id[: container.MODEL_ID_BYTES].hex()}): give the one it was made with"
        )
    if header.steps > model.steps:
        what = f"the header names {header.steps} steps, the model has {model.steps}"
        raise DamagedStreamError(what, step=0, good_bytes=start)
    return Receiver(data, _with_residual(model, header) if header.lossless else model)


def _with_residual(model: Model, header: Header) -> Model:
    try:
        residual = residual_of(model)
    except ValueError:
        raise ModelMismatchError("the stream ends in a lossless residual, and this model has none") from None
    if (known := residual.id[: container.RESIDUAL_ID_BYTES]) != header.residual_id:
        raise ModelMismatchError(
            f"the stream ends in a lossless residual of id {header.residual_id.hex()}, but this program has "
            f"{known.hex()}: decode it with the version that made it"
        )
    return WithResidual(model=model, residual=residual, steps_before=header.steps, steps=header.total_steps)


def way_for(model: Model, reconstruction: Reconstruction | str, realism: float | None) -> Reconstruction:
    """The reconstruction that is meant (arguments as of `decode`), once it is known that the model's family has it.

    Raises:
      TypeError: it is no reconstruction, or realism is no number.
      ValueError: it has not, or a number is out of range.
    """
    if not isinstance(reconstruction, str) and (
        isinstance(reconstruction, type) or not hasattr(reconstruction, "show")
    ):
        raise TypeError(f"reconstruction must be a name or one such as Sample(), got {reconstruction!r}")
    check_number("realism", realism)
    named = isinstance(reconstruction, str)
    if named and realism is None and reconstruction == _MEAN:
        allowed: tuple[str, ...] = (_MEAN,)
    else:
        allowed = reconstructions_of(model) if named else family_of(model).reconstructions
    name = reconstruction if isinstance(reconstruction, str) else reconstruction.name
    if name not in allowed:
        raise ValueError(f"reconstruction must be one of {', '.join(allowed)} for this model, got {name!r}")
    way: Reconstruction = ways.named(name) if isinstance(reconstruction, str) else reconstruction
    if realism is not None:
        mixture = ways.Mixture(realism=realism, drawn=way)
        if len(allowed) == 1:
            raise ValueError("realism mixes the denoised picture with a draw, and this model has none: leave it out")
        way = mixture if way.name != _MEAN else replace(mixture, drawn=ways.named(reconstructions_of(model)[1]))
    return ExactWhereKnown(way) if isinstance(model, WithResidual) else way


def show(
    receiver: Receiver, reconstruction: Reconstruction | str = "denoise", *, realism: float | None = None
) -> np.ndarray:
    """The picture of what has been received, with what is missing filled in (`decode`): uint8 (H, W, 3).

    Raises:
      ValueError: the model's family has no such reconstruction, or a number is out of range.
    """
    return way_for(receiver.model, reconstruction, realism).show(receiver.model, receiver.state, receiver.step)


def decode(
    data: BytesLike,
    *,
    model: Model | str | Path | None = None,
    reconstruction: Reconstruction | str = "denoise",
    realism: float | None = None,
) -> np.ndarray:
    """Decodes a stream or any prefix of one that holds the header.

    Args:
      data: the bytes.
      model: what the stream was made with, or its name or path; by default the model of the package that it names.
      reconstruction: how what is missing is filled in (uqdm.reconstruction; review, Section IV-B): `Denoise()` shows
        the mean of what it may be. For the nested process `Restore()` draws it by a network that was trained for that,
        where there is one (for `photo`), and `Sample()` from the model itself; `Refine()` is that network's mean, in
        floating point and nearer to the picture; for diffusion processes `Ancestral()`
        does, and `Flow()` follows the probability-flow differential equation; for conditional diffusion `Diffuse()`
        does. These look like pictures, and are farther from the original. The names "denoise", "refine", "restore",
        "sample", "ancestral", "flow" and "diffuse" stand for them.
      realism: in [0, 1], mixes the denoised picture (0) with the reconstruction (1; by default "restore" where the
        model has it, "sample" or "ancestral"). With a draw from the posterior these are the best of the
        distortion-perception tradeoff that one stream allows (review, Eq. 17).

    Returns:
      uint8 (H, W, 3).

    Raises:
      FormatError: the data is no stream, or its header is damaged or incomplete.
      ModelMismatchError: the stream was made with another model.
      DamagedStreamError: the payload contradicts itself; `data[:error.good_bytes]` decodes to what was verified.
      ValueError: the model's family has no such reconstruction, or a number is out of range.

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> data = uqdm.encode(np.full((64, 64, 3), [200, 80, 40], np.uint8))
      >>> uqdm.decode(data).shape
      (64, 64, 3)
      >>> uqdm.decode(data[:30]).shape  # a preview
      (64, 64, 3)
    """
    receiver = receiver_of(data, model=model)
    way = way_for(receiver.model, reconstruction, realism)
    while receiver.receive():
        pass
    return way.show(receiver.model, receiver.state, receiver.step)


def decode_batch(streams: Iterable[BytesLike], *, model: Model | str | Path | None = None) -> list[np.ndarray]:
    """Decodes streams or prefixes as `decode` does each of them, asking the network about many at once."""
    receivers = [receiver_of(data, model=model) for data in streams]
    active = receivers
    while active:
        going = [receiver for receiver in active if not (receiver.ended or receiver.waits_for_check)]
        for places in _alike([(_shape(r.header), r.step) for r in going]):
            expect_together([going[place] for place in places])
        active = [receiver for receiver in active if receiver.receive()]
    return [receiver.picture() for receiver in receivers]


def _shape(header: Header) -> Header:
    """What has to be equal for the network to be asked about two streams at once."""
    return header._replace(seed=0, payload_bytes=0, chunks=(), written_bytes=None, block_bytes=0)


def _alike(keys: list) -> list[list[int]]:
    """Places of equal keys."""
    places: dict = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())


def _pieces(data: Any) -> Iterator[bytes]:
    """A stream, or the pieces of it that arrive."""
    try:
        whole = container.as_bytes(data)
    except TypeError:
        if isinstance(data, str) or not isinstance(data, Iterable):
            raise
        for piece in data:
            yield container.as_bytes(piece, "a piece of a stream")
    else:
        yield whole


def previews(data: BytesLike, *, model: Model | str | Path | None = None) -> Iterator[Preview]:
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
    received, receiver = b"", None
    for piece in _pieces(data):
        if receiver is None:
            received += piece
            try:
                receiver = receiver_of(received, model=model)
            except IncompleteHeaderError:
                continue
            yield Preview(receiver.picture(), 0, receiver.header.total_steps, receiver.needed_bytes)
        else:
            receiver.feed(piece)
        while receiver.receive():
            yield Preview(receiver.picture(), receiver.step, receiver.header.total_steps, receiver.needed_bytes)
    if receiver is None:
        receiver_of(received, model=model)
    elif receiver.partly_known:
        yield Preview(receiver.picture(), receiver.step, receiver.header.total_steps, receiver.file_bytes)


def check_against(data: BytesLike, picture: np.ndarray | None, *, model: Model | str | Path | None = None) -> None:
    """Decodes a stream or a prefix of one, and makes sure that what is known then, pixels included, is of a picture.

    Args:
      data: the bytes.
      picture: uint8 (H, W, 3), what was encoded; None of a stream made with `rdoq`, whose cells need not hold the
        picture's coefficients: then only that it decodes. So it is with streams of pictures in fewer colours.
      model: what it was encoded with.

    Raises:
      StreamError: it does not decode, or to something else.
    """
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    if picture is None or receiver.header.changed:
        return
    if not receiver.state.agrees_with(picture, receiver.step):
        raise DamagedStreamError("what was decoded is of another picture", step=receiver.step, good_bytes=0)
