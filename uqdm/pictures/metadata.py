"""What a picture file says beside its pixels, in the names that Pillow has for it, as far as it can be kept.

    exif          a TIFF structure; its orientation is set to 1 where pixels were turned, its colour space to sRGB where
                  colours were converted
    xmp           a packet of XML; likewise
    icc_profile   only where it still describes the pixels: a profile that was applied must not be applied twice
    dpi           horizontal and vertical, exchanged where pixels were turned by a quarter

What is damaged is not kept. All of it is read from Pillow, and changed in place: nothing else in it moves.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any, SupportsFloat

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from uqdm.pictures.headers import STRUCTURAL_TAGS, entries

__all__ = ["Metadata", "adapted", "can_be_read", "described", "metadata_of", "names_of"]

Metadata = Mapping[str, Any]
"""Of `exif`, `xmp`, `icc_profile` (bytes each) and `dpi` (two floats) those that are there."""

_DESCRIPTION = 0x010E
_ORIENTATION, _EXIF, _INTEROPERABILITY, _COLOUR_SPACE = 0x0112, 0x8769, 0xA005, 0xA001
_APART = {282, 283, 296, 700}
"""Tags of a TIFF that are kept by other names: resolution and XMP."""
_NAMES = {"exif": "EXIF", "xmp": "XMP", "icc_profile": "colour profile"}


def metadata_of(image: Image.Image) -> dict[str, Any]:
    """What Pillow found in a picture file, as the file has it.

    Args:
      image: opened, and loaded, since some of it may stand behind the pixels.
    """
    info, found = image.info, {}
    if exif := _exif_of(image):
        found["exif"] = exif
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str | bytes) and xmp:
        found["xmp"] = xmp.encode() if isinstance(xmp, str) else xmp.rstrip(b"\0")
    if isinstance(icc := info.get("icc_profile"), bytes) and icc:
        found["icc_profile"] = icc
    if dpi := resolution_of(info):
        found["dpi"] = dpi
    return found


def resolution_of(info: Mapping[Any, Any]) -> tuple[float, float] | None:
    """Dots per inch that a file names, horizontally and vertically; None for what stands where nothing was said."""
    match info.get("dpi"):
        case (72, 72) | (1, 1):
            return None
        case (x, y) if isinstance(x, SupportsFloat) and isinstance(y, SupportsFloat):
            try:
                x, y = float(x), float(y)
            except (ArithmeticError, ValueError):
                return None
            return (x, y) if 0 < x < 4e6 and 0 < y < 4e6 else None
    return None


def _exif_of(image: Image.Image) -> bytes:
    """EXIF without the letters before it; nothing where there is none, or it is damaged."""
    try:
        exif = image.getexif()
        if isinstance(image, TiffImageFile):  # its own directory: without what says how pixels are stored
            for tag in {*exif} & (STRUCTURAL_TAGS | _APART):
                del exif[tag]
            return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else b""
        block = image.info.get("exif")
        if not isinstance(block, bytes):
            return b""
        block = re.sub(rb"^(?:Exif\0\0)+", b"", block)
        return block if can_be_read(block) else b""
    except Exception:  # whatever Pillow raises about damaged EXIF
        return b""


def can_be_read(exif: bytes) -> bool:
    """Whether Pillow reads a block of EXIF, and finds something in it."""
    known = Image.Exif()
    try:
        known.load(exif)
        for _ in (*known.items(), *known.get_ifd(_EXIF).items()):  # values are read when they are asked for
            pass
    except Exception:  # whatever Pillow raises about damaged EXIF
        return False
    return len(known) > 0


def described(metadata: Metadata, text: str) -> dict[str, Any]:
    """Metadata whose EXIF describes the picture, after what it said of it before."""
    exif = Image.Exif()
    if "exif" in metadata and can_be_read(metadata["exif"]):
        exif.load(metadata["exif"])
    before = exif.get(_DESCRIPTION)
    exif[_DESCRIPTION] = f"{before}; {text}" if isinstance(before, str) and before else text
    return {**metadata, "exif": exif.tobytes().removeprefix(b"Exif\0\0")}


def adapted(
    metadata: Metadata, *, turned: bool, quarter: bool, converted: bool, profile: bytes | None
) -> dict[str, Any]:
    """Metadata of pixels that were changed on reading.

    Args:
      metadata: of the file.
      turned: whether its orientation was applied.
      quarter: whether rows became columns.
      converted: whether colours were converted to sRGB, or are to be taken for sRGB.
      profile: the one that still describes them, if any.
    """
    kept = dict(metadata)
    if turned and "xmp" in kept:
        kept["xmp"] = re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", kept["xmp"])
    if "exif" in kept and (turned or converted):
        kept["exif"] = _exif_as_decoded(kept["exif"], turned=turned, converted=converted)
    if kept.get("icc_profile") != profile:
        kept.pop("icc_profile", None)
    if quarter and "dpi" in kept:
        kept["dpi"] = kept["dpi"][::-1]
    return kept


def _exif_as_decoded(exif: bytes, *, turned: bool, converted: bool) -> bytes:
    """EXIF whose orientation is 1, and whose colour space is sRGB."""
    changed = bytearray(exif)
    for tag, kind, place, order in entries(exif):
        if tag == _ORIENTATION and kind == 3 and turned:
            struct.pack_into(order + "H", changed, place + 8, 1)
        if tag == _EXIF and converted:
            _say_srgb(changed, exif, struct.unpack_from(order + "I", exif, place + 8)[0])
    return bytes(changed)


def _say_srgb(changed: bytearray, exif: bytes, directory: int) -> None:
    """The colour space, and DCF's name of a file in sRGB in the place of that of one in Adobe RGB."""
    for tag, kind, place, order in entries(exif, directory):
        if tag == _COLOUR_SPACE and kind == 3:
            struct.pack_into(order + "H", changed, place + 8, 1)
        if tag == _INTEROPERABILITY:
            names = entries(exif, struct.unpack_from(order + "I", exif, place + 8)[0])
            for name in (name for tag, _, name, _ in names if tag == 1):
                if exif[name + 8 : name + 11] == b"R03":
                    changed[name + 8 : name + 11] = b"R98"


def names_of(metadata: Metadata) -> tuple[str, ...]:
    """For people: EXIF, XMP, 300 dpi."""
    named = [words for name, words in _NAMES.items() if name in metadata]
    return (*named, dpi_words(*metadata["dpi"])) if "dpi" in metadata else tuple(named)


def dpi_words(x: float, y: float) -> str:
    """For people: 300 dpi, 300 x 72 dpi."""
    return f"{x:.4g} dpi" if f"{x:.4g}" == f"{y:.4g}" else f"{x:.4g} x {y:.4g} dpi"
