import io
import struct
import zlib

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


def deep_files() -> dict[str, bytes]:
    """Files of more than 8 bits per channel; what Pillow does not write is a file of 8 bits with another header."""
    grey = Image.fromarray(make_picture(12, 20)[..., 0].astype(np.uint16) * 257)
    rgb, wide = Image.fromarray(make_picture(12, 20)), make_picture(12, 20).astype(">u2") * 257
    colours = {"RGB": (2, 3), "grey and alpha": (4, 2), "RGBA": (6, 4)}
    files = {f"PNG, {name}": png16(*colour) for name, colour in colours.items()}
    files |= {f"{kind}, grey": file_of(grey, kind) for kind in ("PNG", "TIFF", "PPM", "JPEG2000")}
    files |= {
        f"TIFF, {mode}": file_of(Image.fromarray(np.zeros((4, 5), mode)), "TIFF") for mode in ("int32", "float32")
    }
    files["PPM, RGB"] = b"P6 # of a camera\n20 12\n65535\n" + wide.tobytes()
    files["PPM, 10 bits in letters"] = b"P3\n1 1\n1023\n1 2 1023\n"
    files["TIFF, RGB"] = tiff16(wide)
    files["SGI, RGB"] = sgi16(wide)
    files["icon"] = struct.pack("<3H4B2H2I", 0, 1, 1, 20, 12, 0, 0, 1, 48, len(png16(2, 3)), 22) + png16(2, 3)
    files["JPEG of 12 bits"] = changed(file_of(rgb, "JPEG"), b"\xff\xc0\x00\x11", 4, 12)
    for kind, start in (("JPEG2000", b"\xff\x4f\xff\x51"), ("AVIF", b"pixi")):
        place = {"JPEG2000": 42, "AVIF": 9}[kind]
        files[f"{kind}, RGB"] = changed(file_of(rgb, kind), start, place, {"JPEG2000": 11, "AVIF": 10}[kind])
    files["DDS with masks of 10 bits"] = dds10()
    files["PSD"] = struct.pack(">4sH6x3I2H", b"8BPS", 1, 3, 12, 20, 16, 3) + bytes(100)
    return files


def changed(data: bytes, after: bytes, place: int, value: int) -> bytes:
    """A file with another byte, so far from some others."""
    place += data.index(after)
    return data[:place] + bytes([value]) + data[place + 1 :]


def png16(colour: int, channels: int) -> bytes:
    """20 x 12 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20, 12, 16, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(range(20 * channels)) * 2) * 12)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff16(wide: np.ndarray) -> bytes:
    height, width, _ = wide.shape
    entries = [(256, 3, width), (257, 3, height), (259, 3, 1), (262, 3, 2), (277, 3, 3), (278, 3, height)]
    body = struct.pack("<HHIHH", 258, 3, 3, 8, 0)  # the bits of three channels stand before the directory
    body += b"".join(struct.pack("<HHIHH", tag, kind, 1, value, 0) for tag, kind, value in entries)
    body += struct.pack("<HHII", 273, 4, 1, 200) + struct.pack("<HHII", 279, 4, 1, wide.nbytes)
    head = struct.pack("<2sHI3HxxH", b"II", 42, 16, 16, 16, 16, 9) + body + bytes(4)
    return head.ljust(200, b"\0") + wide.astype("<u2").tobytes()


def sgi16(wide: np.ndarray) -> bytes:
    height, width, channels = wide.shape
    head = struct.pack(">H2B4H", 474, 0, 2, 3, width, height, channels)
    return head.ljust(512, b"\0") + wide[::-1].transpose(2, 0, 1).tobytes()


def dds10() -> bytes:
    masks = (0x3FF, 0x3FF << 10, 0x3FF << 20, 0)
    head = struct.pack("<4s7I44x2I4sI4I", b"DDS ", 124, 0x1007, 1, 1, 4, 0, 0, 32, 0x40, b"", 32, *masks)
    return head.ljust(128, b"\0") + bytes(4)


@pytest.mark.parametrize("name", deep_files())
def test_more_than_eight_bits_are_refused_with_the_way_out(name):
    with pytest.raises(PictureError, match="8 bits.*magick"):
        read_picture(deep_files()[name])


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
