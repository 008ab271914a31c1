"""The file: a small header, then one code word over all steps.

    offset  bytes  content
    0       3      8F 55 51 (the last two are "UQ")
    3       1      version of the format, 2; with the flag 80 (hexadecimal) added if a lossless residual follows the
    steps 4       4      model id: the first bytes of the SHA-256 that `uqdm.nested.model` defines
    8       1-3    width in pixels            } variable-length integers: seven bits a byte, least
            1-3    height in pixels           } significant first, the top bit set on all but the last
            1-5    seed of the common randomness
            1      number of steps sent, 0 to 255
            0, 4   with the flag: residual id, the first bytes of the SHA-256 that `uqdm.lossless.predicted` defines, or
            for models
                   of the uniform process `uqdm.lossless.direct`
            1-5    length of the payload in bytes
            2      CRC-16 of all bytes before (CCITT: polynomial 1021, start FFFF), most significant byte first

The payload is everything after. A file may end anywhere after the header: the length tells how much is missing.
Standard library only.
"""

import binascii
from os import PathLike
from typing import Any, NamedTuple

from uqdm.errors import FormatError

__all__ = [
    "MAX_PIXELS",
    "RESIDUAL_STEPS",
    "VERSION",
    "Header",
    "as_bytes",
    "check_size",
    "cut",
    "info",
    "pack",
    "unpack",
]

MAGIC = b"\x8fUQ"
VERSION = 2
LOSSLESS = 0x80
"""Flag: a residual follows the steps and makes the picture exact. (Readers that know none see an unknown version.)"""
MODEL_ID_BYTES = RESIDUAL_ID_BYTES = 4
RESIDUAL_STEPS = 4
"""Steps of a lossless residual."""
MAX_PIXELS = 2**26
"""Largest picture that is accepted, width times height."""
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

    @property
    def lossless(self) -> bool:
        """Whether the whole stream decodes to the very picture that was encoded."""
        return bool(self.residual_id)

    @property
    def total_steps(self) -> int:
        """Steps of Algorithm 1 and of the residual."""
        return self.steps + RESIDUAL_STEPS * self.lossless


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
    body = MAGIC + bytes([VERSION | LOSSLESS * header.lossless]) + header.model_id
    body += _varint(header.width) + _varint(header.height) + _varint(header.seed)
    body += bytes([header.steps]) + header.residual_id + _varint(header.payload_bytes)
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
      FormatError: the data is no such file, has another version, or ends in or contradicts its header.
    """
    data = as_bytes(data)
    if not data:
        raise FormatError("the file is empty")
    if data[:3] != MAGIC[: len(data)]:
        raise FormatError("not a uqdm stream (it does not begin with 8F 55 51)")
    if len(data) > 3 and data[3] not in (VERSION, VERSION | LOSSLESS):
        raise FormatError(f"format version {data[3]} is unknown here (this program reads version {VERSION})")
    try:
        model_id, at = bytes(data[4:8]), 8
        width, at = _read_varint(data, at, 3)
        height, at = _read_varint(data, at, 3)
        seed, at = _read_varint(data, at, 5)
        steps, at = data[at], at + 1
        residual_bytes = RESIDUAL_ID_BYTES if data[3] & LOSSLESS else 0
        residual_id, at = bytes(data[at : at + residual_bytes]), at + residual_bytes
        payload_bytes, at = _read_varint(data, at, 5)
        if len(data) < at + 2:
            raise IndexError
    except IndexError:
        raise FormatError(f"the file ends inside its header ({len(data)} bytes)") from None
    if bytes(data[at : at + 2]) != _crc(bytes(data[:at])):
        raise FormatError("the header is damaged (its checksum does not match)")
    check_size(width, height)
    if seed >= 2**32:
        raise FormatError(f"the header names the seed {seed}, which is not below 2^32")
    return Header(model_id, width, height, seed, steps, payload_bytes, residual_id), at + 2


def cut(data: bytes, file_bytes: int) -> bytes:
    """At most so many bytes of a stream.

    Raises:
      FormatError: the data is no stream.
      ValueError: they do not hold the header.
    """
    _, start = unpack(data)
    if file_bytes < start:
        raise ValueError(f"{file_bytes} bytes do not hold the header of {start} bytes: allow more")
    return data[:file_bytes]


def info(data: BytesLike) -> dict:
    """What the header says, without a model.

    Returns:
      format_version, width, height, model_id (hex), lossless, seed, steps, header_bytes, file_bytes,
      complete_bytes (of the stream before any truncation), complete, bpp (of the bytes at hand).

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
    return {
        "format_version": VERSION,
        "width": header.width,
        "height": header.height,
        "model_id": header.model_id.hex(),
        "lossless": header.lossless,
        "seed": header.seed,
        "steps": header.steps,
        "header_bytes": start,
        "file_bytes": len(data),
        "complete_bytes": start + header.payload_bytes,
        "complete": len(data) >= start + header.payload_bytes,
        "bpp": 8 * len(data) / (header.width * header.height),
    }


def _crc(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(data: bytes, at: int, most: int) -> tuple[int, int]:
    """A number of at most so many bytes, and where the next one begins."""
    value = 0
    for place in range(most):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise FormatError("the header is damaged (a number in it is too long)")
