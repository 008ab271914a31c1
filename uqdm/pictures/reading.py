"""Picture files to uint8 RGB arrays, through Pillow: the rules (see uqdm.pictures).

    depth         more than 8 bits per channel are refused
    frames        of several the first is taken, and said, or the one that is asked for; they count from 1
    orientation   EXIF is followed; if damaged, as far as it can be read
    colours       converted to sRGB (uqdm.pictures.colour)
    alpha         refused, unless opaque or a background is given

Whatever Pillow or a plugin raises means that the file is damaged. If only its metadata is, that is left aside.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageColor, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from uqdm.errors import PictureError
from uqdm.pictures.colour import Profile, profile_of, to_srgb
from uqdm.pictures.headers import bits_per_channel, exif_block, orientation, without_metadata
from uqdm.pictures.metadata import adapted, dpi_words, metadata_of, names_of, resolution_of

__all__ = ["Picture", "open_picture", "pixels_of", "read_picture"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTERS = {turn for orientation, turn in _TURNS.items() if orientation >= 5}
_LAYERED = {"PSD"}
_WITH_COMPANIONS = {"MPO"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture, and what was noticed when its file was read."""

    pixels: np.ndarray
    """uint8 (H, W, 3), sRGB."""
    frames: int = 1
    """How many the file has to choose from."""
    notes: tuple[str, ...] = ()
    """What was chosen or changed, a line each."""
    dropped: tuple[str, ...] = ()
    """What else the file holds: EXIF, XMP, 300 dpi."""
    lost: tuple[str, ...] = ()
    """What of it cannot be kept."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What of it can be kept, as it is of these pixels (uqdm.pictures.metadata)."""


def open_picture(data: bytes, *, background: str | None = None, frame: int | None = None) -> Picture:
    """Decodes a picture file, and says what was noticed.

    Args:
      data: contents of the file, in any format that Pillow reads.
      background: a colour (sRGB) that transparent pictures are laid on, as a name or #rrggbb; without it they are
        refused.
      frame: which one of an animated or multi-page file, from 1; the first by default, with a note.

    Raises:
      TypeError: the contents are no bytes; for names of files it says what to do.
      PictureError: with one line that says what to do.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        reading = (
            ": read the file first, as pathlib.Path(...).read_bytes() does" if isinstance(data, str | Path) else ""
        )
        raise TypeError(f"a picture file is given as bytes, got {type(data).__name__}{reading}")
    data = bytes(data)
    if not data:
        raise PictureError("the file is empty")
    colour = _colour(background)
    _check_depth(bits_per_channel(data))
    try:
        return _read(data, data, colour, frame)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # Pillow and its plugins raise what they like about damaged files
        bare = without_metadata(data)
        if bare != data:
            try:
                return _read(data, bare, colour, frame)
            except (PictureError, MemoryError):
                raise
            except Exception:  # the pixels are damaged as well: the first error stands
                pass
        raise PictureError(_reason(error)) from None


def read_picture(data: bytes, background: str | None = None, frame: int | None = None) -> np.ndarray:
    """Decodes a picture file to uint8 (H, W, 3), sRGB: the pixels of `open_picture`, which also says what it noticed.

    Since nothing is said here, a file of several frames is refused unless `frame` chooses one.

    Args:
      data: contents of the file, in any format that Pillow reads.
      background: a colour that transparent pictures are laid on, as a name or #rrggbb; without it they are refused.
      frame: which one of an animated or multi-page file, from 1.

    Raises:
      PictureError: with one line that says what to do.
    """
    picture = open_picture(data, background=background, frame=frame)
    if picture.frames > 1 and frame is None:
        raise PictureError(f"the file has {picture.frames} frames: choose one, the first is frame 1")
    return picture.pixels


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, Image.DecompressionBombError) else f"the picture is damaged ({text})"


def _colour(background: str | None) -> tuple[int, ...] | None:
    if background is None:
        return None
    try:
        return ImageColor.getrgb(background)[:3]
    except ValueError:
        raise PictureError(f"unknown colour {background!r}: give a name or #rrggbb") from None


def _check_depth(bits: int) -> None:
    if bits > 8:
        raise PictureError(
            f"more than 8 bits per channel ({bits}): convert it first, for example with "
            "`magick in.png -depth 8 out.png`"
        )


def _read(data: bytes, readable: bytes, background: tuple[int, ...] | None, frame: int | None) -> Picture:
    """The picture of a file, decoded from `readable`: the file, or what is left of it without damaged metadata."""
    image, parts, damaged = _decoded(readable, frame)
    frames = 1 if image.format in (_LAYERED if frame else _LAYERED | _WITH_COMPANIONS) else parts
    notes = [
        "damaged metadata is left aside" if readable is not data else "",
        "the file is damaged after its first frame, which is taken" if damaged else "",
        f"the first of {frames} frames is taken: --frame N chooses another" if frames > 1 and frame is None else "",
    ]
    dropped = tuple(_dropped(image, parts))
    turn, note = _turn(image, data)
    profile = profile_of(data, image)
    rgb, colour_note = _flat(image, profile, background)
    pixels = np.array(rgb.transpose(turn) if turn is not None else rgb)
    said = tuple(line for line in (*notes, note, colour_note) if line)
    converted = bool(colour_note) or _apart(image)[0].mode != "RGB"
    done = _TURNS.get(orientation(data)) if isinstance(image, TiffImageFile) else turn
    found = metadata_of(image)
    lost = tuple(name for name in dropped if name not in names_of(found))
    kept = adapted(
        found,
        turned=done is not None,
        quarter=done in _QUARTERS,
        converted=converted,
        profile=None if converted or profile is None else profile.icc,
    )
    return Picture(pixels=pixels, frames=frames, notes=said, dropped=dropped, lost=lost, metadata=kept)


def _flat(image: Image.Image, profile: Profile | None, background: tuple[int, ...] | None) -> tuple[Image.Image, str]:
    """A picture in sRGB on its background, and a note on its colours."""
    colours, alpha = _apart(image)
    rgb, note = _in_srgb(colours, profile)
    if alpha is not None and np.asarray(alpha).min() < 255:
        if background is None:
            raise PictureError("the picture has transparent pixels: choose a colour to lay it on with --background")
        rgb.putalpha(alpha)
        rgb = Image.alpha_composite(Image.new("RGBA", rgb.size, (*background, 255)), rgb).convert("RGB")
    return rgb, note


def pixels_of(image: Image.Image, *, background: str | None = None) -> tuple[np.ndarray, bool]:
    """The pixels of a picture that Pillow holds, by the same rules; it is not turned.

    Args:
      image: of any mode of 8 bits; `info["icc_profile"]` says what its numbers mean.
      background: a colour that transparent pictures are laid on.

    Returns:
      uint8 (H, W, 3), sRGB, and whether the picture's profile still describes them.

    Raises:
      PictureError: with one line that says what to do.
    """
    if image.mode[0] in "IF":
        _check_depth(16 if image.mode.startswith("I;16") else 32)
    icc = image.info.get("icc_profile")
    profile = Profile(icc) if isinstance(icc, bytes) and icc else None
    rgb, note = _flat(image, profile, _colour(background))
    return np.array(rgb), profile is not None and not note and _apart(image)[0].mode == "RGB"


def _decoded(data: bytes, frame: int | None) -> tuple[Image.Image, int, bool]:
    """What Pillow makes of a frame, how many there are, and whether the file is damaged after the first."""
    parts, damaged = 1, False
    try:
        parts = max(1, getattr(Image.open(io.BytesIO(data)), "n_frames", 1))
    except Exception:  # of a frame that may not be wanted; the wanted one is opened again
        damaged = True
    image = Image.open(io.BytesIO(data))
    frames = 1 if image.format in _LAYERED else parts
    if frame is not None and not 1 <= frame <= frames:
        raise PictureError(f"there is no frame {frame}: the file has {frames}, and the first is frame 1")
    if frame is not None and frames > 1:
        image.seek(frame - 1)
    if isinstance(image, TiffImageFile):
        _check_depth(max(image.tag_v2.get(BITSPERSAMPLE, (8,))))
    image.load()
    if image.mode[0] in "IF":
        _check_depth(16 if image.mode.startswith("I;16") else 32)
    return image, parts, damaged


def _turn(image: Image.Image, data: bytes) -> tuple[Image.Transpose | None, str]:
    """How the picture is to be turned, and a note where EXIF is damaged. Pillow has turned TIFF already."""
    if isinstance(image, TiffImageFile):
        return None, ""
    found, note = None, ""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of whatever stands beside the orientation
        note = "EXIF is damaged: only the orientation was looked for"
    if found is None:
        block = image.info.get("exif")
        found = orientation(block if isinstance(block, bytes) else exif_block(data))
    return _TURNS.get(found), note


def _in_srgb(colours: Image.Image, profile: Profile | None) -> tuple[Image.Image, str]:
    """Colours in RGB, and a note."""
    note = "CMYK without a colour profile: colours are approximate" if colours.mode == "CMYK" else ""
    if profile is not None:
        colours, note = to_srgb(colours, profile)
    if colours.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        colours = ImageCms.profileToProfile(colours, lab, srgb, outputMode="RGB") or colours
    return colours.convert("RGB"), note


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours, in mode L, RGB, CMYK or LAB, and alpha, if any."""
    if image.has_transparency_data:
        if image.mode in ("1", "L", "La", "LA"):
            both = image.convert("LA")
            return both.getchannel("L"), both.getchannel("A")
        both = image.convert("RGBA")
        return both.convert("RGB"), both.getchannel("A")
    if image.mode in ("1", "L"):
        return image.convert("L"), None
    return image if image.mode in ("CMYK", "LAB") else image.convert("RGB"), None


def _dropped(image: Image.Image, parts: int) -> Iterator[str]:
    """What else there is in a file; values of any type may stand where Pillow's readers expect others."""
    info, tags = image.info, getattr(image, "tag_v2", {})
    if info.get("exif") or 34665 in tags or 34853 in tags:
        yield "EXIF"
    if info.get("xmp") or info.get("XML:com.adobe.xmp") or 700 in tags:
        yield "XMP"
    if info.get("photoshop") or 33723 in tags or 34377 in tags:
        yield "IPTC or Photoshop data"
    if info.get("comment") or {*getattr(image, "text", ())} - {"XML:com.adobe.xmp"} or 270 in tags:
        yield "text"
    if dpi := resolution_of(info):
        yield dpi_words(*dpi)
    match info.get("aspect"):
        case (int() as x, int() as y) if x != y:
            yield f"a pixel aspect of {x}:{y}"
    if image.format in _LAYERED and parts > 1:
        yield f"{parts} layers (their composite is taken)"
    if image.format in _WITH_COMPANIONS and parts > 1:
        yield "1 more picture" if parts == 2 else f"{parts - 1} more pictures"
    if isinstance(sizes := info.get("sizes"), list | set | tuple) and len(sizes) > 1:
        yield f"{len(sizes) - 1} of {len(sizes)} sizes (the largest is taken)"
