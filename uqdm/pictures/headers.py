"""What picture files say in their own headers that Pillow does not tell, or that it stumbles over.

    PNG                       chunks:       length, kind, contents, check value
    JPEG                      segments:     0xff, marker, length, contents
    AVIF, HEIF, JPEG 2000     boxes:        length, kind, contents; a primary item has properties
    TIFF, EXIF                directories:  entries of tag, type, count, and 4 bytes: the value or where it is

Nothing here decodes pixels, and damaged headers give no answer instead of an error: the decoder will say what is wrong.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

__all__ = [
    "STRUCTURAL_TAGS",
    "Part",
    "bits_per_channel",
    "box",
    "boxes",
    "chunks",
    "entries",
    "exif_block",
    "orientation",
    "properties",
    "segments",
    "without_metadata",
]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
CODESTREAM = b"\xff\x4f\xff\x51"
JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

_PNM = re.compile(rb"P[02356y]\w*+" + 3 * rb"(?:\s|#[^\r\n]*+)++(\d+)")
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HALF_FLOATS = {94, 95, 96}  # BC6H of DXGI
_ORIENTATION = 0x0112
STRUCTURAL_TAGS = {254, 255, *range(256, 260), 262, 266, 273, 274, *range(277, 281), 284, 292, 293, 301, 317, 318}
STRUCTURAL_TAGS |= {319, 320, *range(322, 326), 332, 338, 339, 347, *range(512, 522), *range(529, 533), 34675}
"""Of TIFF, those that pixels depend on: size, coding, places, colours; orientation and profile."""


class Part(NamedTuple):
    """A chunk, segment or box."""

    kind: bytes
    """Four letters, or the marker of a segment."""
    start: int
    """Of the contents in the file."""
    end: int


def chunks(data: bytes) -> Iterator[Part]:
    """Those of a PNG, as far as they are whole."""
    start = len(PNG)
    while len(data) >= start + 12:
        length, kind = struct.unpack_from(">I4s", data, start)
        if start + 12 + length > len(data):
            return
        yield Part(kind, start + 8, start + 8 + length)
        start += 12 + length


def segments(data: bytes) -> Iterator[Part]:
    """Those of a JPEG before its first scan."""
    start = 2
    while data[start : start + 1] == b"\xff" and len(data) >= start + 4:
        marker, (length,) = data[start + 1], struct.unpack_from(">H", data, start + 2)
        if marker == 0xFF:  # a byte to fill
            start += 1
            continue
        if marker == 0xDA or length < 2:
            return
        yield Part(bytes([marker]), start + 4, start + 2 + length)
        start += 2 + length


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Part]:
    """Those between two places."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1 and start + 16 <= end:
            length, header = struct.unpack_from(">Q", data, start + 8)[0], 16
        length = length or end - start
        if length < header or start + length > end:
            return
        yield Part(kind, start + header, start + length)
        start += length


def box(data: bytes, *path: bytes) -> tuple[int, int] | None:
    """Where the contents of the first box of a path lie; `meta` has four bytes before its boxes."""
    place = 0, len(data)
    for kind in path:
        found = next((box for box in boxes(data, *place) if box.kind == kind), None)
        if found is None:
            return None
        place = found.start + 4 * (kind == b"meta"), found.end
    return place


def properties(data: bytes) -> list[Part]:
    """Properties of the primary item of an AVIF or HEIF file, in the order in which they are associated with it."""
    primary, known, links = (box(data, b"meta", *path) for path in ((b"pitm",), (b"iprp", b"ipco"), (b"iprp", b"ipma")))
    if not (primary and known and links):
        return []
    wide = data[primary[0]] > 0
    (item,) = struct.unpack_from(">I" if wide else ">H", data, primary[0] + 4)
    every = list(boxes(data, *known))
    version, flags, count = data[links[0]], data[links[0] + 3], struct.unpack_from(">I", data, links[0] + 4)[0]
    place = links[0] + 8
    for _ in range(count):
        (owner,) = struct.unpack_from(">I" if version else ">H", data, place)
        place += 4 if version else 2
        size, place = data[place], place + 1
        width = 2 if flags & 1 else 1
        indices = struct.unpack_from(f">{size}{'H' if width == 2 else 'B'}", data, place)
        place += size * width
        if owner == item:
            indices = [index & (0x7FFF if width == 2 else 0x7F) for index in indices]
            return [every[index - 1] for index in indices if 0 < index <= len(every)]
    return []


def _bits_of_item(data: bytes) -> int:
    """Of the primary item: what `pixi` says, or else the configuration of AV1."""
    found = properties(data)
    for _, start, end in (part for part in found if part.kind == b"pixi"):
        return max(data[start + 5 : end], default=8)
    for _, start, _ in (part for part in found if part.kind == b"av1C"):
        return (8, 10, 8, 12)[data[start + 2] >> 5 & 3]
    return 8


def _bits_of_codestream(data: bytes, start: int) -> int:
    """Of the components of JPEG 2000."""
    (count,) = struct.unpack_from(">H", data, start + 40)
    return max(((depth & 0x7F) + 1 for depth in data[start + 42 : start + 42 + 3 * count : 3]), default=8)


def bits_per_channel(data: bytes) -> int:
    """Bits of the deepest channel of a picture file; 8 where the format has no more, or the header is damaged.

    TIFF, whose pages differ, is not looked into.
    """
    with suppress(struct.error, IndexError):
        if data.startswith(PNG):
            return data[24]
        if data.startswith(JPEG):
            return next((data[part.start] for part in segments(data) if part.kind[0] in _FRAMES), 8)
        if data.startswith(CODESTREAM):
            return _bits_of_codestream(data, 0)
        if data.startswith(JP2) and (place := box(data, b"jp2c")):
            return _bits_of_codestream(data, place[0])
        if data[4:8] == b"ftyp":
            return _bits_of_item(data)
        if found := _PNM.match(data):
            return (int(found[3][:9]) or 1).bit_length()
        if data.startswith(b"8BPS"):
            return struct.unpack_from(">H", data, 22)[0]
        if data.startswith(b"\x01\xda"):  # SGI
            return 16 if data[3] == 2 else 8
        if data.startswith(b"DDS "):
            flags, kind, _, *masks = struct.unpack_from("<I4sI4I", data, 80)
            if flags & 0x40:
                return max(mask.bit_count() for mask in masks)
            return 16 if kind == b"DX10" and struct.unpack_from("<I", data, 128)[0] in _HALF_FLOATS else 8
        if data.startswith((b"\x00\x00\x01\x00", b"icns")):  # icons hold PNGs
            return max((data[place.start() + 24] for place in re.finditer(re.escape(PNG), data)), default=8)
    return 8


def orientation(exif: bytes) -> int:
    """What EXIF says of the way up, 1 to 8; 1, as it is, where that cannot be read. Nothing else of it is looked at."""
    exif = re.sub(rb"^(?:Exif\0\0)+", b"", exif)
    for tag, kind, place, order in entries(exif):
        if tag == _ORIENTATION and kind == 3:
            (value,) = struct.unpack_from(order + "H", exif, place + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def entries(data: bytes, start: int = 0) -> Iterator[tuple[int, int, int, str]]:
    """Those of a directory of a TIFF, the first one by default: tag, type, place and order of bytes."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    with suppress(struct.error):
        start = start or struct.unpack_from(order + "I", data, 4)[0] if order else len(data)
        (count,) = struct.unpack_from(order + "H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, _ = struct.unpack_from(order + "HHII", data, place)
            yield tag, kind, place, order


def exif_block(data: bytes) -> bytes:
    """EXIF of a JPEG or PNG; empty where there is none."""
    if data.startswith(JPEG):
        blocks = (data[start:end] for kind, start, end in segments(data) if kind == b"\xe1")
        return next((block for block in blocks if block.startswith(b"Exif\0\0")), b"")
    if data.startswith(PNG):
        return next((data[start:end] for kind, start, end in chunks(data) if kind == b"eXIf"), b"")
    return b""


def without_metadata(data: bytes) -> bytes:
    """The same picture without what its pixels do not need: some of Pillow's readers give up where that is damaged.

    Of PNG the critical chunks of the default picture and tRNS are left, of JPEG the headers of JFIF and Adobe and the
    colour profile, of TIFF the tags that pixels need, of AVIF and HEIF all but EXIF and XMP. Other formats stay.
    """
    if data.startswith(PNG):
        kept, end = [data[: len(PNG)]], len(PNG)
        for kind, start, end in chunks(data):
            if not kind[0] & 0x20 or kind == b"tRNS":
                kept.append(data[start - 8 : end + 4])
            end += 4
        return b"".join([*kept, data[end:]])
    if data.startswith(JPEG):
        kept, end = [data[:2]], 2
        for kind, start, end in segments(data):
            profile = kind == b"\xe2" and data.startswith(b"ICC_PROFILE\0", start)
            if profile or kind in (b"\xe0", b"\xee") or not (0xE0 <= kind[0] <= 0xEF or kind[0] == 0xFE):
                kept.append(data[start - 4 : end])
        return b"".join([*kept, data[end:]])
    if data[:4] in (b"II*\0", b"MM\0*"):
        bare, directory, seen = bytearray(data), 0, set()
        while directory not in seen:
            seen.add(directory)
            last = directory
            for tag, _, place, order in entries(data, directory):
                last = place + 12
                if tag not in STRUCTURAL_TAGS:  # a private tag of one byte
                    struct.pack_into(order + "HHII", bare, place, 0xFFFF, 1, 1, 0)
            with suppress(struct.error):
                directory = struct.unpack_from("<I" if data[:1] == b"I" else ">I", data, last)[0]
        return bytes(bare)
    if data[4:8] == b"ftyp" and (place := box(data, b"meta")):
        start, end = place
        return data[:start] + data[start:end].replace(b"Exif", b"skip").replace(b"mime", b"skip") + data[end:]
    return data
