"""Picture files to uint8 RGB arrays and back, through Pillow; what would lose information is refused."""

import io

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from uqdm.errors import PictureError

__all__ = ["read_picture", "write_picture"]

_SIXTEEN_BIT = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def read_picture(data: bytes, background: str | None = None) -> np.ndarray:
    """Decodes a picture file to uint8 (H, W, 3).

    EXIF orientation is applied; greyscale, palette, CMYK and other 8-bit pictures are converted to RGB.

    Args:
      data: contents of the file, in any format that Pillow reads.
      background: a colour that transparent pictures are laid on, as a name or #rrggbb; without it they are refused.

    Raises:
      PictureError: with one line that says what to do.
    """
    if not data:
        raise PictureError("the file is empty")
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        image.load()
    except UnidentifiedImageError:
        raise PictureError("not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise PictureError(str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"the picture is damaged ({error})") from None
    if image.mode in _SIXTEEN_BIT:
        raise PictureError(
            f"more than 8 bits per channel (mode {image.mode}): convert it first, "
            "for example with `magick in.png -depth 8 out.png`"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if background is None and np.asarray(image.getchannel("A")).min() < 255:
            raise PictureError("the picture has transparent pixels: choose a colour to lay it on with --background")
        try:
            canvas = Image.new("RGBA", image.size, ImageColor.getrgb(background or "white"))
        except ValueError:
            raise PictureError(f"unknown colour {background!r}: give a name or #rrggbb") from None
        image = Image.alpha_composite(canvas, image)
    return np.asarray(image.convert("RGB"))


def write_picture(picture: np.ndarray, suffix: str) -> bytes:
    """Encodes uint8 (H, W, 3) in the format of a file name's suffix, such as ".png".

    Raises:
      PictureError: Pillow writes no such format.
    """
    Image.init()
    kind = Image.EXTENSION.get(suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise PictureError(f"cannot write pictures ending in {suffix!r}: use .png (or .webp, .jpg, .ppm)")
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, kind)
    except (OSError, ValueError, KeyError) as error:
        raise PictureError(f"cannot write the picture as {kind} ({error})") from None
    return buffer.getvalue()
