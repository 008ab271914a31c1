"""uint8 RGB arrays to picture files, through Pillow: without loss where the format can, else at its best.

The suffix of a name chooses the format. JPEG and AVIF are written at quality 100 and 4:4:4, WebP without loss. What
a format loses is measured by reading the file again, and said; formats that change the size (icons), or cannot be read
again, are refused.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from uqdm.errors import PictureError
from uqdm.pictures.metadata import Metadata, can_be_read, metadata_of, names_of

__all__ = ["PictureFile", "picture_file", "write_picture"]

_BEST: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": "4:4:4"},
    "MPO": {"quality": 100, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "JPEG2000": {"irreversible": False},
}
_ICONS = {"ICO", "ICNS", "CUR"}
_OTHERS = "use .png (or .webp, .jpg, .ppm)"


class PictureFile(NamedTuple):
    """A picture file, and what there is to say of it."""

    data: bytes
    notes: tuple[str, ...]
    """What the format lost, or does not keep, a line each."""


def write_picture(picture: np.ndarray, suffix: str) -> bytes:
    """Encodes uint8 (H, W, 3) in the format of a file name's suffix, such as ".png": the bytes of `picture_file`.

    Raises:
      PictureError: Pillow writes no such format, or it changes the size of pictures.
    """
    return picture_file(picture, suffix).data


def picture_file(picture: np.ndarray, suffix: str, metadata: Metadata | None = None) -> PictureFile:
    """Encodes a picture in the format of a file name's suffix, at the format's best quality.

    Args:
      picture: uint8 (H, W, 3).
      suffix: such as ".png".
      metadata: what is to stand beside the pixels, as far as the format has a place for it.

    Raises:
      PictureError: Pillow writes no such format, or it changes the size of pictures.
    """
    kind, image = _format_of(suffix), Image.fromarray(picture)
    data = _saved(image, kind, {})
    try:
        again = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    except Exception:  # whatever Pillow's readers raise about what its writers wrote
        raise PictureError(f"{kind} files cannot be read again as pictures: {_OTHERS}") from None
    if again.shape != picture.shape:
        raise PictureError(f"{kind} changes the size of pictures: {_OTHERS}")
    notes = []
    if changed := int(np.abs(again - picture).max()):
        notes.append(f"{kind} changes pixels by up to {changed} grey levels; .png and .webp keep them")
    if metadata and "exif" in metadata and not can_be_read(metadata["exif"]):
        metadata = {name: value for name, value in metadata.items() if name != "exif"}
        notes.append("EXIF is damaged: left out")
    if metadata:
        data = _saved(image, kind, metadata)
        with Image.open(io.BytesIO(data)) as written:
            written.load()
            found = metadata_of(written)
        if lost := names_of({name: value for name, value in metadata.items() if name not in found}):
            notes.append(f"{kind} does not keep {', '.join(lost)}")
    return PictureFile(data, tuple(notes))


def _format_of(suffix: str) -> str:
    """Pillow's name of the format of a suffix."""
    Image.init()
    kind = Image.EXTENSION.get(suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise PictureError(f"cannot write pictures ending in {suffix!r}: {_OTHERS}")
    if kind in _ICONS:
        raise PictureError(f"{kind} changes the size of pictures: {_OTHERS}")
    return kind


def _saved(image: Image.Image, kind: str, metadata: Metadata) -> bytes:
    """The file, with the metadata that the format takes, or without any where it is too much for it."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **_BEST.get(kind, {}), **_options(kind, metadata))
    except (OSError, ValueError, KeyError, struct.error) as error:
        if metadata:
            return _saved(image, kind, {})
        raise PictureError(f"cannot write the picture as {kind} ({error})") from None
    return buffer.getvalue()


def _options(kind: str, metadata: Metadata) -> dict[str, Any]:
    """Metadata as Pillow's writer of a format takes it."""
    options = dict(metadata)
    if "exif" in options and kind in ("JPEG", "MPO"):
        options["exif"] = b"Exif\0\0" + options["exif"]
    if "xmp" in options and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode(errors="replace"))
    if kind == "TIFF":
        options["exif"] = Image.Exif()
        options["exif"].load(metadata.get("exif", b""))
        if "xmp" in options:
            options["exif"][700] = options["xmp"]
    return options
