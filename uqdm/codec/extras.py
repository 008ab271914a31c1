"""What a stream may hold beside its payload, and no decoder needs: an index of qualities, and metadata.

Extras are *chunks*: a byte that says of which kind, the length of the contents as a variable-length integer, and the
contents. A reader skips kinds that it does not know. They lie in two places (uqdm.codec.container):

    in the header   what a server or a viewer wants to know first, and is small: the index, and after which steps
                    previews stay with an earlier estimate. Every prefix has it, and the header's checksum covers it.
    at the end      metadata, which may be larger than the picture: no preview waits for it, positions of the payload
                    are those of a stream without it, and a stream that is cut loses it first. It has a checksum.

Variable-length integers have seven bits a byte, least significant first, the top bit set on all but the last. Standard
library only.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from uqdm.errors import FormatError

__all__ = [
    "METADATA",
    "Chunk",
    "Quality",
    "checksum",
    "CHANGED",
    "UNFILTERED",
    "held_chunk",
    "held_of_chunks",
    "index_chunk",
    "metadata_block",
    "metadata_of_block",
    "pack_chunks",
    "qualities_of_chunks",
    "read_varint",
    "sizes_of_block",
    "unpack_chunks",
    "varint",
]

_INDEX = 1
_HELD = 6
_UNFILTERED = 7
_CHANGED = 8
METADATA = {"exif": 2, "xmp": 3, "icc_profile": 4, "dpi": 5}
"""Kinds of chunks by the names that Pillow has for their contents."""
MAX_BLOCK_BYTES = 2**28 - 1
"""Of metadata."""
_CHECK_BYTES = 4
_UNITS = 16
"""PSNR is stored in sixteenths of a dB, rounded down, so that an index promises nothing that is not so."""
_EXACT = 4095
"""Stands for the PSNR of equal pictures."""


class Chunk(NamedTuple):
    """One extra."""

    kind: int
    """0 to 255."""
    contents: bytes


UNFILTERED = Chunk(_UNFILTERED, b"")
"""Says that previews are not filtered (uqdm.contract.HoldingState)."""


CHANGED = Chunk(_CHANGED, b"")
"""Says that a picture was changed before it was encoded, so that a whole stream that is exact is not the original."""


class Quality(NamedTuple):
    """What a number of bytes gives: a point of the index."""

    step: int
    """Complete steps, those of a lossless residual included."""
    file_bytes: int
    """The fewest that determine them."""
    psnr_db: float
    """Of the decoded picture against the original, in dB; infinite where they are equal."""


def varint(value: int) -> bytes:
    """A variable-length integer."""
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: bytes, at: int, most: int) -> tuple[int, int]:
    """A number of at most so many bytes, and where the next one begins.

    Raises:
      FormatError: it is longer.
      IndexError: the data ends inside.
    """
    value = 0
    for place in range(most):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise FormatError("the header is damaged (a number in it is too long)")


def pack_chunks(chunks: Sequence[Chunk]) -> bytes:
    """Chunks to bytes, one after the other."""
    return b"".join(bytes([kind]) + varint(len(contents)) + contents for kind, contents in chunks)


def unpack_chunks(data: bytes) -> tuple[Chunk, ...]:
    """Mirror image of `pack_chunks`.

    Raises:
      FormatError: the data ends inside a chunk.
    """
    chunks, at = [], 0
    while at < len(data):
        try:
            length, start = read_varint(data, at + 1, 4)
        except IndexError:
            length, start = len(data), len(data)
        if start + length > len(data):
            raise FormatError("the lengths of its extra parts contradict each other")
        chunks.append(Chunk(data[at], bytes(data[start : start + length])))
        at = start + length
    return tuple(chunks)


def index_chunk(points: Sequence[tuple[int, int, float]], total_steps: int, most_bytes: int) -> Chunk:
    """An index of qualities.

    Args:
      points: (step, bytes of the payload, PSNR in dB) at the ends of steps, rising; step 0 is the bare header.
      total_steps: of the stream.
      most_bytes: of the chunk; where it would be longer, points are left out that gain the least PSNR.
    """
    kept = [(step, size, _EXACT if math.isinf(psnr) else int(_UNITS * psnr)) for step, size, psnr in points]
    while len(pack_chunks([chunk := _packed_index(kept, total_steps)])) > most_bytes and len(kept) > 2:
        gains = [after[2] - before[2] for before, after in zip(kept[:-2], kept[1:-1], strict=True)]
        del kept[1 + gains.index(min(gains))]
    return chunk


def _packed_index(points: Sequence[tuple[int, int, int]], total_steps: int) -> Chunk:
    listed = sum(1 << step for step, _, _ in points).to_bytes(total_steps // 8 + 1, "little")
    body, size, units = b"", 0, 0
    for _, new_size, new_units in points:
        gain = new_units - units
        body += varint(new_size - size) + varint(2 * gain if gain >= 0 else -2 * gain - 1)
        size, units = new_size, new_units
    return Chunk(_INDEX, listed + body)


def qualities_of_chunks(chunks: Sequence[Chunk], total_steps: int) -> list[tuple[int, int, float]]:
    """Mirror image of `index_chunk`; empty where none is among the chunks.

    Raises:
      FormatError: it contradicts itself.
    """
    contents = next((chunk.contents for chunk in chunks if chunk.kind == _INDEX), None)
    if contents is None:
        return []
    at = total_steps // 8 + 1
    listed, points, size, units = int.from_bytes(contents[:at], "little"), [], 0, 0
    try:
        for step in range(total_steps + 1):
            if listed >> step & 1:
                more, at = read_varint(contents, at, 5)
                gain, at = read_varint(contents, at, 3)
                size, units = size + more, units + (gain >> 1 ^ -(gain & 1))
                points.append((step, size, math.inf if units == _EXACT else units / _UNITS))
    except IndexError:
        raise FormatError("the index of qualities is damaged: it ends too early") from None
    return points


def held_chunk(steps: Iterable[int]) -> Chunk:
    """After which steps previews stay with an earlier estimate (uqdm.contract.HoldingState)."""
    bits = sum(1 << step for step in steps)
    return Chunk(_HELD, bits.to_bytes((bits.bit_length() + 7) // 8, "little"))


def held_of_chunks(chunks: Sequence[Chunk]) -> frozenset[int] | None:
    """Mirror image of `held_chunk`; None where none is among the chunks."""
    contents = next((chunk.contents for chunk in chunks if chunk.kind == _HELD), None)
    if contents is None:
        return None
    bits = int.from_bytes(contents, "little")
    return frozenset(step for step in range(1, 8 * len(contents)) if bits >> step & 1)


def metadata_block(metadata: Mapping[str, Any]) -> bytes:
    """Metadata as it stands at the end of a stream: chunks and a CRC-32; empty where there is none.

    Args:
      metadata: by Pillow's names, all of them optional: `exif` (a TIFF block, with or without `Exif` before it), `xmp`
        (text or bytes), `icc_profile` (which describes the pixels that are encoded), `dpi` (horizontal, vertical).

    Raises:
      ValueError: a name is unknown, contents are none of that kind, or there are 2^28 bytes.
    """
    chunks = []
    for name, value in metadata.items():
        if name not in METADATA:
            raise ValueError(f"metadata has the names {', '.join(METADATA)}, got {name!r}")
        if value:
            chunks.append(Chunk(METADATA[name], _resolution(value) if name == "dpi" else _contents(name, value)))
    if not chunks:
        return b""
    body = pack_chunks(sorted(chunks))
    if len(body) + _CHECK_BYTES > MAX_BLOCK_BYTES:
        raise ValueError(
            f"metadata of {len(body)} bytes is too long: at most {MAX_BLOCK_BYTES - _CHECK_BYTES} are kept"
        )
    return body + checksum(body)


def checksum(body: bytes) -> bytes:
    """What stands after the chunks of a block."""
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")


def _contents(name: str, value: Any) -> bytes:
    if name == "xmp" and isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise ValueError(f"{name} is given as bytes, got {type(value).__name__}")
    return value.removeprefix(b"Exif\0\0") if name == "exif" else value


def _resolution(value: Any) -> bytes:
    """Thousandths of dots per inch, horizontally and vertically."""
    try:
        x, y = (round(1000 * float(number)) for number in value)
        return x.to_bytes(4, "big") + y.to_bytes(4, "big")
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"dpi is a pair of positive numbers, got {value!r}") from None


def metadata_of_block(block: bytes) -> dict[str, Any]:
    """Mirror image of `metadata_block`.

    Raises:
      FormatError: the block is damaged.
    """
    if not block:
        return {}
    body, check = block[:-_CHECK_BYTES], block[-_CHECK_BYTES:]
    if checksum(body) != check:
        raise FormatError("its metadata is damaged (the checksum does not match)")
    names, found = {kind: name for name, kind in METADATA.items()}, {}
    for kind, contents in unpack_chunks(body):
        if kind == METADATA["dpi"] and len(contents) == 8:
            found.setdefault("dpi", tuple(int.from_bytes(contents[at : at + 4], "big") / 1000 for at in (0, 4)))
        elif kind in names and kind != METADATA["dpi"]:
            found.setdefault(names[kind], contents)  # of a kind the first counts
    return found


def sizes_of_block(block: bytes) -> dict[str, int]:
    """Bytes of each kind of metadata in a sound block, by name."""
    names = {kind: name for name, kind in METADATA.items()}
    chunks = unpack_chunks(block[:-_CHECK_BYTES]) if block else ()
    return {names[kind]: len(contents) for kind, contents in chunks if kind in names}
