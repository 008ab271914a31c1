"""Picture files to uint8 RGB arrays, through Pillow."""

import io

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from uqdm.errors import PictureError
from uqdm.pictures.headers import bits_per_channel

__all__ = ["read_picture"]


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
    _check_depth(bits_per_channel(data))
    try:
        image = Image.open(io.BytesIO(data))
        if isinstance(image, TiffImageFile):
            _check_depth(max(image.tag_v2.get(BITSPERSAMPLE, (8,))))
        image = ImageOps.exif_transpose(image)
        image.load()
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise PictureError(str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"the picture is damaged ({error})") from None
    if image.mode[0] in "IF":
        _check_depth(16 if image.mode.startswith("I;16") else 32)
    return np.asarray(_without_alpha(image, background).convert("RGB"))


def _check_depth(bits: int) -> None:
    if bits > 8:
        raise PictureError(
            f"more than 8 bits per channel ({bits}): convert it first, for example with "
            "`magick in.png -depth 8 out.png`"
        )


def _without_alpha(image: Image.Image, background: str | None) -> Image.Image:
    """The picture on its background."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    if background is None and np.asarray(image.getchannel("A")).min() < 255:
        raise PictureError("the picture has transparent pixels: choose a colour to lay it on with --background")
    try:
        canvas = Image.new("RGBA", image.size, ImageColor.getrgb(background or "white"))
    except ValueError:
        raise PictureError(f"unknown colour {background!r}: give a name or #rrggbb") from None
    return Image.alpha_composite(canvas, image)
