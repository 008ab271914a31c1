import io

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

from uqdm.errors import PictureError
from uqdm.pictures import read_picture, write_picture


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_comes_back_as_it_was():
    picture = make_picture(12, 20)
    np.testing.assert_array_equal(read_picture(write_picture(picture, ".png")), picture)


def test_orientation_is_applied():
    picture = make_picture(12, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by a quarter turn clockwise
    data = file_of(Image.fromarray(picture), exif=exif)
    np.testing.assert_array_equal(read_picture(data), np.rot90(picture, -1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(make_picture(12, 20)).convert(mode)
    data = file_of(image, "TIFF" if mode == "CMYK" else "PNG")
    assert read_picture(data).shape == (12, 20, 3)


def test_transparent_pixels_need_a_background():
    image = Image.new("RGBA", (4, 3), (10, 20, 30, 0))
    with pytest.raises(PictureError, match="--background"):
        read_picture(file_of(image))
    np.testing.assert_array_equal(read_picture(file_of(image), "#ff8000")[0, 0], [255, 128, 0])
    with pytest.raises(PictureError, match="unknown colour 'nonsense'"):
        read_picture(file_of(image), "nonsense")


def test_an_opaque_alpha_channel_is_harmless():
    image = Image.fromarray(make_picture(5, 6)).convert("RGBA")
    np.testing.assert_array_equal(read_picture(file_of(image)), make_picture(5, 6))


def test_sixteen_bits_are_refused_with_the_way_out():
    with pytest.raises(PictureError, match="8 bits.*magick"):
        read_picture(file_of(Image.fromarray(np.zeros((4, 4), np.uint16))))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"hello world, no picture", "not a picture"),
        (write_picture(make_picture(40, 40), ".png")[:200], "damaged"),
    ],
)
def test_what_is_no_picture_is_said_in_one_line(data, match):
    with pytest.raises(PictureError, match=match) as caught:
        read_picture(data)
    assert "\n" not in str(caught.value)


def test_unknown_formats_are_refused():
    with pytest.raises(PictureError, match=r"ending in '\.xyz'"):
        write_picture(make_picture(4, 4), ".xyz")
