"""Colours of files to sRGB: what a viewer shows that manages colours.

The numbers of a picture mean colours by a profile (ICC), which LittleCMS (PIL.ImageCms) applies with the perceptual
intent. Files that have none but name what their numbers mean (PNG: cICP, gAMA, cHRM; AVIF and HEIF: nclx; EXIF: Adobe
RGB) get a profile made of primaries and a curve: with M the matrix of the primaries, adapted from the white w
to D50 by Bradford's cone responses B,

    XYZ = B^-1 diag(B D50 / B w) B M curve(rgb),    M = P diag(P^-1 w),  P the primaries' XYZ.           (1)

What says nothing is sRGB. So is a gamma within 5 % of 1 / 2.2, which is how PNGs have always approximated sRGB, and the
video curves of BT.709 and BT.2020, which viewers take so. A profile whose conversion changes no colour of a grid by
more than 1 grey level is sRGB, and pixels stay to the last bit.
"""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from uqdm.errors import PictureError
from uqdm.pictures.headers import JP2, PNG, box, boxes, chunks, properties

__all__ = ["Profile", "profile_of", "to_srgb"]

_D50, _D65 = (0.9642, 1.0, 0.8249), (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_PRIMARIES = {
    5: ("PAL", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06), _D65),
    6: ("SMPTE C", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070), _D65),
    7: ("SMPTE C", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070), _D65),
    9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046), _D65),
    11: ("DCI-P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060), (0.314, 0.351)),
    12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060), _D65),
}
"""Those of ITU-T H.273 that are not sRGB's: name, x and y of red, green and blue, white."""
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HDR = {16: "PQ", 18: "HLG"}

Curve = Callable[[np.ndarray], np.ndarray]


class Profile(NamedTuple):
    """What a file's numbers mean."""

    icc: bytes
    name: str = ""
    """For people; empty for the one that the profile itself has."""


def _srgb_curve(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _made(name: str, primaries: tuple[float, ...], white: tuple[float, ...], curve: Curve) -> Profile | None:
    """A profile of Eq. 1 (ICC version 2: matrix and curve); None where the primaries span nothing."""
    try:
        p, w = np.stack([_xyz(*primaries[i : i + 2]) for i in (0, 2, 4)], 1), _xyz(*white)
        m = p * np.linalg.solve(p, w)
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return None
    with np.errstate(all="ignore"):
        adapted = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / (_BRADFORD @ w)) @ _BRADFORD @ m)
    if not (np.isfinite(adapted).all() and np.abs(adapted).max() < 100):
        return None
    samples = np.rint(65535 * curve(np.linspace(0, 1, 4096))).astype(">u2")

    def fixed(xyz) -> bytes:
        return struct.pack(">3i", *(round(65536 * value) for value in xyz))

    title = name.encode() + b"\0"
    tags = {b"desc": b"desc" + struct.pack(">4xI", len(title)) + title + bytes(78), b"cprt": b"text\0\0\0\0none\0"}
    tags |= {b"wtpt": b"XYZ \0\0\0\0" + fixed(_D50)}
    tags |= {letter + b"XYZ": b"XYZ \0\0\0\0" + fixed(adapted[:, i]) for i, letter in enumerate((b"r", b"g", b"b"))}
    tags |= {letter + b"TRC": b"curv" + struct.pack(">4xI", 4096) + samples.tobytes() for letter in (b"r", b"g", b"b")}
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, contents in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(contents))
        body += contents + bytes(-len(contents) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s28x", 2000, 1, 1, 0, 0, 0, b"acsp") + fixed(_D50)
    return Profile(head.ljust(128, b"\0") + table + body, name)


def _of_codes(primaries: int, transfer: int) -> Profile | None:
    """Of the numbers of ITU-T H.273; those that are unknown or say nothing are sRGB's."""
    if transfer in _HDR:
        kind = _HDR[transfer]
        raise PictureError(f"high dynamic range ({kind}): convert it to sRGB first, since how to darken it is a choice")
    name, points, white = _PRIMARIES.get(primaries, ("", _SRGB, _D65))
    if not name and transfer not in _GAMMAS:
        return None
    return _with_gamma(name, points, white, _GAMMAS.get(transfer))


def _with_gamma(
    name: str, primaries: tuple[float, ...], white: tuple[float, ...], gamma: float | None
) -> Profile | None:
    """With a power for a curve, or else that of sRGB."""
    if gamma is None:
        return _made(name, primaries, white, _srgb_curve)
    words = f"{name} with gamma {gamma:.3g}" if name else f"gamma {gamma:.3g}"
    return _made(words, primaries, white, lambda values: values**gamma)


def _of_png(data: bytes) -> Profile | None:
    """By the precedence of the PNG specification: cICP, iCCP, sRGB, then gAMA and cHRM."""
    found: dict[bytes, bytes] = {}
    for kind, start, end in chunks(data):
        if kind == b"IDAT":
            break
        if data[end : end + 4] == struct.pack(">I", zlib.crc32(data[start - 4 : end])):
            found.setdefault(kind, data[start:end])
    if len(found.get(b"cICP", b"")) == 4 and found[b"cICP"][2:] == b"\0\1":
        return _of_codes(*found[b"cICP"][:2])
    if b"iCCP" in found:
        _, _, packed = found[b"iCCP"].partition(b"\0")
        try:
            return Profile(zlib.decompressobj().decompress(packed[1:], 2**24))
        except zlib.error:
            return Profile(b"")
    if b"sRGB" in found:
        return None
    gamma, given = None, struct.unpack(">8I", found.get(b"cHRM", b"").ljust(32, b"\0")[:32])
    if len(found.get(b"gAMA", b"")) == 4 and (value := struct.unpack(">I", found[b"gAMA"])[0]):
        gamma = None if abs(2.2 * value / 1e5 - 1) < 0.05 else 1e5 / value
    if all(given):
        x_and_y = tuple(value / 1e5 for value in given)
        return _with_gamma("the primaries of the file", x_and_y[2:], x_and_y[:2], gamma)
    return _with_gamma("", _SRGB, _D65, gamma) if gamma else None


def _of_boxes(data: bytes) -> Profile | None:
    """Of AVIF and HEIF: a profile goes before the codes."""
    found = {data[start : start + 4]: data[start + 4 : end] for kind, start, end in properties(data) if kind == b"colr"}
    for kind in (b"prof", b"rICC"):
        if kind in found:
            return Profile(found[kind])
    if len(codes := found.get(b"nclx", b"")) >= 4:
        return _of_codes(*struct.unpack_from(">2H", codes))
    return None


def _of_jp2(data: bytes) -> Profile | None:
    place = box(data, b"jp2h")
    for kind, start, end in boxes(data, *place) if place else ():
        if kind == b"colr" and data[start] in (2, 3):
            return Profile(data[start + 3 : end])
    return None


def _of_bmp(data: bytes) -> Profile | None:
    """Version 5 may hold one."""
    if struct.unpack_from("<I", data, 14)[0] == 124 and data[70:74] == b"DEBM":
        offset, size = struct.unpack_from("<2I", data, 126)
        return Profile(data[14 + offset : 14 + offset + size])
    return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says so: by the DCF standard of cameras, or by the number that some write for it."""
    try:
        exif = image.getexif()
        interoperability, own = exif.get_ifd(0xA005), exif.get_ifd(0x8769)
        return str(interoperability.get(1, "")).startswith("R03") or own.get(0xA001) == 2
    except Exception:  # whatever Pillow raises about damaged EXIF
        return False


def profile_of(data: bytes, image: Image.Image) -> Profile | None:
    """What the numbers of a picture file mean; None for sRGB.

    Args:
      data: the file.
      image: what Pillow made of it.

    Raises:
      PictureError: they mean high dynamic range.
    """
    with suppress(struct.error, IndexError):
        if data.startswith(PNG):
            return _of_png(data)
        for starts, read in ((JP2, _of_jp2), (b"BM", _of_bmp)):
            if data.startswith(starts) and (found := read(data)):
                return found
        if data[4:8] == b"ftyp" and (found := _of_boxes(data)):
            return found
    if isinstance(icc := image.info.get("icc_profile"), bytes) and icc:
        return Profile(icc)
    if image.format in ("JPEG", "MPO") and _is_adobe_rgb(image):
        return _made("Adobe RGB", _ADOBE, _D65, lambda values: values ** (563 / 256))
    return None


@cache
def _grid(mode: str) -> Image.Image:
    """Colours on which a profile is tried."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.append(np.arange(0, 256, 8), 255).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, len(levels), 3))


def _converted(image: Image.Image, transform: Any) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is, unless it works in place
    return converted


def to_srgb(image: Image.Image, profile: Profile) -> tuple[Image.Image, str]:
    """Converts a picture of mode L, RGB, CMYK or LAB.

    Returns:
      The picture in RGB, or as it was where its numbers are those of sRGB or the profile is of no use; and a line for
      people, empty where there is nothing to say.
    """
    name = profile.name
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile.icc))
        name = name or _printable(ImageCms.getProfileDescription(given))
        mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}[given.profile.xcolor_space]
        own = image.convert("RGB") if (image.mode, mode) == ("L", "RGB") else image
        if own.mode != mode:
            raise ValueError(f"a profile of {mode} for pixels of {image.mode}")
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode in ("L", "RGB"):
            grid = _grid(mode)
            shown, plain = np.asarray(_converted(grid, transform), int), np.asarray(grid.convert("RGB"), int)
            if np.abs(shown - plain).max() <= 1:
                return image, ""
        return _converted(own, transform), f"colours are converted from {name} to sRGB"
    except MemoryError:
        raise
    except Exception:  # LittleCMS has errors of its own, and Pillow's attributes raise several
        return image, f"the colour profile{f' ({name})' * bool(name)} is of no use here: colours are taken as they are"


def _printable(text: str) -> str:
    """A profile's own description, fit for a line."""
    return "".join(letter for letter in text.strip() if letter.isprintable())[:60] or "a profile without a name"
