"""uint8 RGB arrays to picture files, through Pillow."""

import io

import numpy as np
from PIL import Image

from uqdm.errors import PictureError

__all__ = ["write_picture"]


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
