"""The file: a small header, then one code word over all steps.

    offset  bytes  content
    0       3      8F 55 51 (the last two are "UQ")
    3       1      version of the format, 2; with the flag 80 (hexadecimal) added if a lossless residual follows the
                   steps, with the flag 40 if there are extras
    4       4      model id: the first bytes of the SHA-256 that `uqdm.nested.model` defines
    8       1-3    width in pixels            } variable-length integers: seven bits a byte, least
            1-3    height in pixels           } significant first, the top bit set on all but the last
            1-5    seed of the common randomness
            1      number of steps sent, 0 to 255
            0, 4   with the flag 80: residual id, the first bytes of the SHA-256 that `uqdm.lossless.predicted` defines,
                   or for models of the uniform process `uqdm.lossless.direct`
            1-5    length of the payload in bytes
            with the flag 40:
            1-2    length of the chunks that follow, at most 4096; then the chunks (uqdm.codec.extras)
            1-5    written bytes: so many of the payload the file was written with
            1-4    length of the block of metadata that follows them, 0 if there is none
            2      CRC-16 of all bytes before (CCITT: polynomial 1021, start FFFF), most significant byte first

The payload is everything after, or as much as was written; then comes the block. A file may end anywhere after the
header: the lengths tell how much is missing. Standard library only.
"""

import binascii
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from uqdm.codec import extras
from uqdm.codec.extras import Chunk, Quality, read_varint, varint
from uqdm.errors import FormatError, IncompleteHeaderError

__all__ = [
    "EXACT_STEPS",
    "MAX_HEADER_BYTES",
    "MAX_PIXELS",
    "RESIDUAL_STEPS",
    "VERSION",
    "Header",
    "as_bytes",
    "as_written",
    "check_size",
    "cut",
    "cut_to_psnr",
    "info",
    "metadata",
    "pack",
    "unpack",
    "with_index",
    "with_metadata",
]

MAGIC = b"\x8fUQ"
VERSION = 2
LOSSLESS = 0x80
"""Flag: a residual follows the steps and makes the picture exact. (Readers that know none see an unknown version.)"""
EXTRAS = 0x40
"""Flag: there are extras. (Readers that know none see an unknown version.)"""
MODEL_ID_BYTES = RESIDUAL_ID_BYTES = 4
RESIDUAL_STEPS = 4
"""Steps of a lossless residual."""
EXACT_STEPS = {bytes.fromhex("27365cd8"): 13}
"""Models with which so many steps make the picture exact: uqdm.drawn."""
MAX_PIXELS = 2**26
"""Largest picture that is accepted, width times height."""
MAX_CHUNKS_BYTES = 4096
"""Of the chunks in the header, which so stays small."""
MAX_HEADER_BYTES = 42 + MAX_CHUNKS_BYTES
"""No header is longer."""
_MAX_SIDE = 2**16 - 1


class Header(NamedTuple):
    """Everything about a stream that is not in its payload."""

    model_id: bytes
    width: int
    height: int
    seed: int
    steps: int
    """Steps of Algorithm 1 in the payload, without those of a residual."""
    payload_bytes: int
    """Length of the whole payload, also where the file has been truncated."""
    residual_id: bytes = b""
    """Of the lossless residual; empty if there is none."""
    chunks: tuple[Chunk, ...] = ()
    """Extras in the header, those of unknown kinds as well."""
    written_bytes: int | None = None
    """Length of the part of the payload that the file was written with; None in a stream without extras."""
    block_bytes: int = 0
    """Length of the block of metadata after it."""

    @property
    def lossless(self) -> bool:
        """Whether the whole stream decodes to the very picture that was encoded."""
        return bool(self.residual_id)

    @property
    def total_steps(self) -> int:
        """Steps of Algorithm 1 and of the residual."""
        return self.steps + RESIDUAL_STEPS * self.lossless

    @property
    def held_steps(self) -> frozenset[int] | None:
        """After which steps previews stay with an earlier estimate; None where the stream says nothing."""
        return extras.held_of_chunks(self.chunks)

    @property
    def filtered(self) -> bool:
        """Whether previews may be filtered."""
        return extras.UNFILTERED.kind not in {chunk.kind for chunk in self.chunks}

    @property
    def changed(self) -> bool:
        """Whether the picture was changed before it was encoded."""
        return extras.CHANGED.kind in {chunk.kind for chunk in self.chunks}

    @property
    def held_bytes(self) -> int:
        """Of the payload, how many the file had when it was written, as far as it says so."""
        return self.payload_bytes if self.written_bytes is None else self.written_bytes


def check_size(width: int, height: int) -> None:
    """Raises FormatError where a picture has no pixels or too many."""
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE and width * height <= MAX_PIXELS):
        limit = f"1 to {_MAX_SIDE} pixels a side and at most {MAX_PIXELS} in all"
        raise FormatError(f"a picture of {width} x {height} pixels is outside the limits ({limit})")


def pack(header: Header) -> bytes:
    """The header's bytes."""
    check_size(header.width, header.height)
    if len(header.model_id) != MODEL_ID_BYTES or not 0 <= header.steps <= 255 or not 0 <= header.seed < 2**32:
        raise ValueError(f"seed must be in [0, 2^32) and steps in [0, 255], got {header.seed} and {header.steps}")
    if len(header.residual_id) not in (0, RESIDUAL_ID_BYTES):
        raise ValueError(f"residual_id must have {RESIDUAL_ID_BYTES} bytes, or none, got {len(header.residual_id)}")
    flags = LOSSLESS * header.lossless | EXTRAS * (header.written_bytes is not None)
    body = MAGIC + bytes([VERSION | flags]) + header.model_id
    body += varint(header.width) + varint(header.height) + varint(header.seed)
    body += bytes([header.steps]) + header.residual_id + varint(header.payload_bytes)
    if header.written_bytes is not None:
        chunks = extras.pack_chunks(header.chunks)
        if len(chunks) > MAX_CHUNKS_BYTES:
            raise ValueError(f"extras of a header have at most {MAX_CHUNKS_BYTES} bytes, got {len(chunks)}")
        body += varint(len(chunks)) + chunks + varint(header.written_bytes) + varint(header.block_bytes)
    return body + _crc(body)


BytesLike = Any
"""Bytes, or whatever holds bytes: `as_bytes` says what it is that does not."""


def as_bytes(data: BytesLike, what: str = "a stream") -> bytes:
    """Bytes, or whatever holds bytes (bytearray, memoryview, an array of uint8), as bytes.

    Raises:
      TypeError: it holds none; for names of files it says what to do.
    """
    if isinstance(data, bytes):
        return data
    try:
        view = memoryview(data)
    except TypeError:
        reading = ": read the file first, as pathlib.Path(...).read_bytes() does" if _is_file(data) else ""
        raise TypeError(f"{what} is given as bytes, got {type(data).__name__}{reading}") from None
    if view.itemsize != 1:
        raise TypeError(f"{what} is given as bytes, got a buffer of {view.itemsize} bytes an item")
    return view.tobytes()


def _is_file(data: Any) -> bool:
    return isinstance(data, str | PathLike) or hasattr(data, "read")


def unpack(data: BytesLike) -> tuple[Header, int]:
    """Reads a header.

    Returns:
      The header and its length in bytes: the payload starts there.

    Raises:
      IncompleteHeaderError: the data ends in its header.
      FormatError: it is no such file, has another version, or contradicts its header.
    """
    data = as_bytes(data)
    if not data:
        raise IncompleteHeaderError("the file is empty")
    if data[:3] != MAGIC[: len(data)]:
        raise FormatError("not a uqdm stream (it does not begin with 8F 55 51)")
    if len(data) > 3 and data[3] & ~(LOSSLESS | EXTRAS) != VERSION:
        raise FormatError(f"format version {data[3]} is unknown here (this program reads version {VERSION})")
    chunks, written_bytes, block_bytes = (), None, 0
    try:
        model_id, at = bytes(data[4:8]), 8
        width, at = read_varint(data, at, 3)
        height, at = read_varint(data, at, 3)
        seed, at = read_varint(data, at, 5)
        steps, at = data[at], at + 1
        residual_bytes = RESIDUAL_ID_BYTES if data[3] & LOSSLESS else 0
        residual_id, at = bytes(data[at : at + residual_bytes]), at + residual_bytes
        payload_bytes, at = read_varint(data, at, 5)
        if data[3] & EXTRAS:
            length, at = read_varint(data, at, 2)
            if length > MAX_CHUNKS_BYTES:
                raise FormatError("the header is damaged (its extras are too long)")
            chunks, at = bytes(data[at : at + length]), at + length
            written_bytes, at = read_varint(data, at, 5)
            block_bytes, at = read_varint(data, at, 4)
        if len(data) < at + 2:
            raise IndexError
    except IndexError:
        raise IncompleteHeaderError(f"the file ends inside its header ({len(data)} bytes)") from None
    if bytes(data[at : at + 2]) != _crc(bytes(data[:at])):
        raise FormatError("the header is damaged (its checksum does not match)")
    check_size(width, height)
    if seed >= 2**32:
        raise FormatError(f"the header names the seed {seed}, which is not below 2^32")
    if written_bytes is not None and written_bytes > payload_bytes:
        raise FormatError(f"the header names {written_bytes} written bytes of a payload of {payload_bytes}")
    header = Header(model_id, width, height, seed, steps, payload_bytes, residual_id)
    kept = extras.unpack_chunks(bytes(chunks))
    return header._replace(chunks=kept, written_bytes=written_bytes, block_bytes=block_bytes), at + 2


def cut(data: BytesLike, file_bytes: int, *, keep_metadata: bool = False) -> bytes:
    """At most so many bytes of a stream.

    Args:
      data: the stream.
      file_bytes: at most so many.
      keep_metadata: whether metadata is moved to the new end; without it the result is a prefix.

    Raises:
      FormatError: the data is no stream, or its metadata is damaged.
      ValueError: the bytes do not hold the header, and the metadata that is to be kept.
    """
    data = as_bytes(data)
    header, start = unpack(data)
    if keep_metadata and len(data) > file_bytes and (block := _block(data, header, start)):
        return _with_block(data, block, file_bytes)
    if file_bytes < start:
        raise ValueError(f"{file_bytes} bytes do not hold the header of {start} bytes: allow more")
    return data[:file_bytes]


def cut_to_psnr(data: BytesLike, psnr_db: float, *, keep_metadata: bool = False) -> bytes:
    """The shortest prefix that has a PSNR in dB by the stream's own index; it needs no model.

    Raises:
      FormatError: the data is no stream, or its metadata is damaged.
      ValueError: it has no index, none of its steps reaches the PSNR, or the stream was cut before.
    """
    data = as_bytes(data)
    header, start = unpack(data)
    points = _qualities(header, start)
    if not points:
        raise ValueError("the stream has no index of qualities: encode with --index, or cut to bytes")
    enough = next((point for point in points if point.psnr_db >= psnr_db), None)
    if enough is None:
        best = max(point.psnr_db for point in points)
        raise ValueError(f"{psnr_db} dB is out of reach: the whole stream gives {best:.2f} dB")
    held = min(len(data), start + header.held_bytes)  # what follows is metadata
    if enough.file_bytes > held:
        raise ValueError(f"{psnr_db} dB takes {enough.file_bytes} bytes, and the stream was cut to {held}")
    cut_short = data[: enough.file_bytes]
    block = _block(data, header, start) if keep_metadata else b""
    return _with_block(cut_short, block) if block else cut_short


def as_written(data: bytes) -> bytes:
    """A prefix of a stream as a file of its own: extras in its header say that it was written with these bytes."""
    header, start = unpack(data)
    if header.written_bytes is None or (held := len(data) - start) >= header.written_bytes:
        return data
    return pack(header._replace(written_bytes=held)) + data[start:]


def with_index(data: bytes, points: Sequence[tuple[int, int, float]]) -> bytes:
    """The stream with an index of qualities in its header, of at most 1 % of its bytes and 100.

    Args:
      data: the whole stream.
      points: (step, bytes of the payload, PSNR in dB) at the ends of steps, rising.
    """
    header, start = unpack(data)
    beside = 2 + 2 + len(varint(header.held_bytes))  # what else a header with extras has
    chunk = extras.index_chunk(points, header.total_steps, 100 + len(data) // 100 - beside)
    return pack(header._replace(chunks=(*header.chunks, chunk), written_bytes=header.held_bytes)) + data[start:]


def with_metadata(data: bytes, metadata: Mapping[str, Any], most_bytes: int | None = None) -> bytes:
    """The stream with metadata at its end.

    Args:
      data: a stream or a prefix of one, without metadata.
      metadata: `uqdm.codec.extras.metadata_block` says what.
      most_bytes: of the whole; the payload is cut to make room.

    Raises:
      ValueError: the bytes do not hold header and metadata, or it is none.
    """
    return _with_block(data, extras.metadata_block(metadata), most_bytes)


def _with_block(data: bytes, block: bytes, most_bytes: int | None = None) -> bytes:
    """A stream that was written with what is here of its payload, and ends in a block."""
    header, start = unpack(data)
    payload = data[start:][: header.held_bytes]
    header = header._replace(written_bytes=len(payload), block_bytes=len(block))
    if most_bytes is not None and (room := most_bytes - len(block) - len(pack(header))) < len(payload):
        if room < 0:
            needed = most_bytes - room
            raise ValueError(f"{most_bytes} bytes do not hold header and metadata, which take {needed}: allow more")
        payload = payload[:room]
        header = header._replace(written_bytes=room)
    return pack(header) + payload + block


def _block(data: bytes, header: Header, start: int) -> bytes:
    """The block of metadata, or nothing where it is not there as a whole.

    Raises:
      FormatError: it is damaged.
    """
    at = start + (header.written_bytes or 0)
    block = data[at : at + header.block_bytes]
    if len(block) < header.block_bytes:
        return b""
    extras.metadata_of_block(block)
    return block


def metadata(data: BytesLike) -> dict[str, Any]:
    """The metadata that a stream carries, by Pillow's names: `Image.save(..., **uqdm.metadata(data))` writes it back.

    Returns:
      Those of exif (bytes, a TIFF block), xmp (bytes), icc_profile (bytes, of the decoded pixels) and dpi (horizontal,
      vertical) that are there; nothing where there is none, or the stream was cut.

    Raises:
      FormatError: as `unpack`, or the metadata is damaged (the picture may be sound).

    Examples:
      >>> import numpy as np
      >>> import uqdm
      >>> picture = np.full((64, 64, 3), [200, 80, 40], np.uint8)
      >>> data = uqdm.encode(picture, metadata={"dpi": (300, 300)})
      >>> uqdm.metadata(data), uqdm.metadata(data[:-1])
      ({'dpi': (300.0, 300.0)}, {})
    """
    data = as_bytes(data)
    return extras.metadata_of_block(_block(data, *unpack(data)))


def _qualities(header: Header, start: int) -> list[Quality]:
    """The index, in bytes of the file."""
    points = extras.qualities_of_chunks(header.chunks, header.total_steps)
    if points and points[-1][1] > header.payload_bytes:
        raise FormatError("the index of qualities is damaged: it goes on behind the payload")
    return [Quality(step, start + size, psnr) for step, size, psnr in points]


def info(data: BytesLike) -> dict:
    """What the header says, without a model.

    Returns:
      format_version, width, height, model_id (hex), lossless, seed, steps, header_bytes, file_bytes,
      complete_bytes (of the stream before any truncation), complete, bpp (of the bytes at hand), metadata_bytes (of the
      stream before any truncation), metadata (the size of each kind in bytes, as far as it is there and sound),
      qualities (the index, a list of `uqdm.codec.extras.Quality`: step, file_bytes, psnr_db; of the stream before any
      truncation).

    Raises:
      FormatError: as `unpack`.

    Examples:
      >>> from uqdm.codec.container import Header, info, pack
      >>> facts = info(pack(Header(b"name", width=64, height=48, seed=0, steps=3, payload_bytes=100)))
      >>> facts["header_bytes"], facts["complete_bytes"], facts["complete"]
      (15, 115, False)
    """
    data = as_bytes(data)
    header, start = unpack(data)
    complete_bytes = start + header.payload_bytes + header.block_bytes
    try:
        block = _block(data, header, start)
    except FormatError:
        block = b""
    return {
        "format_version": VERSION,
        "width": header.width,
        "height": header.height,
        "model_id": header.model_id.hex(),
        "lossless": header.lossless or (header.steps == EXACT_STEPS.get(header.model_id) and not header.changed),
        "seed": header.seed,
        "steps": header.steps,
        "header_bytes": start,
        "file_bytes": len(data),
        "complete_bytes": complete_bytes,
        "complete": len(data) >= complete_bytes,
        "bpp": 8 * len(data) / (header.width * header.height),
        "metadata_bytes": header.block_bytes,
        "metadata": extras.sizes_of_block(block),
        "qualities": _qualities(header, start),
    }


def _crc(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
