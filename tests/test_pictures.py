import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from uqdm.errors import PictureError
from uqdm.pictures import open_picture, read_picture, write_picture
from uqdm.pictures.colour import _made


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


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(colour: int, channels: int) -> bytes:
    """20 x 12 pixels."""
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


# Colours


D65 = (0.3127, 0.3290)
SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PROFILES = {name: ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB")}


def profile(primaries: tuple[float, ...], gamma: float) -> bytes:
    made = _made("made", primaries, D65, lambda values: values**gamma)
    assert made
    return made.icc


def shown(picture: np.ndarray, primaries: tuple[float, ...], gamma: float | None) -> np.ndarray:
    """What a viewer shows that manages colours, in real numbers: both whites are D65, so nothing is adapted."""

    def to_xyz(points: tuple[float, ...]) -> np.ndarray:
        xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(points[::2], points[1::2], strict=True)]).T
        white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
        return xyz * np.linalg.solve(xyz, white)

    x = picture / 255
    light = x**gamma if gamma else np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def png_with(*chunks: bytes, picture: np.ndarray | None = None) -> bytes:
    data = write_picture(COLOURS if picture is None else picture, ".png")
    return data[:33] + b"".join(chunks) + data[33:]


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(1e5 / gamma)))


def chrm(primaries: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(1e5 * value) for value in D65 + primaries)))


COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 15, np.uint8)] * 3), -1).reshape(-1, 18, 3)
TINTED = {
    "profile in a PNG": (file_of(Image.fromarray(COLOURS), icc_profile=profile(P3, 2.2)), P3, 2.2),
    "profile in a WebP": (
        file_of(Image.fromarray(COLOURS), "WEBP", lossless=True, icc_profile=profile(P3, 1.8)),
        P3,
        1.8,
    ),
    "profile in a TIFF": (file_of(Image.fromarray(COLOURS), "TIFF", icc_profile=profile(ADOBE, 2.2)), ADOBE, 2.2),
    "gamma": (png_with(gama(1.8)), SRGB, 1.8),
    "linear light": (png_with(gama(1.0)), SRGB, 1.0),
    "primaries": (png_with(chrm(P3)), P3, None),
    "gamma and primaries": (png_with(gama(1.5), chrm(ADOBE)), ADOBE, 1.5),
    "codes in a PNG": (png_with(chunk(b"cICP", bytes([12, 13, 0, 1])), gama(1.0)), P3, None),
    "codes with gamma": (png_with(chunk(b"cICP", bytes([12, 4, 0, 1]))), P3, 2.2),
    "profile before gamma": (
        png_with(gama(1.0), iccp := chunk(b"iCCP", b"p\0\0" + zlib.compress(profile(P3, 2.2)))),
        P3,
        2.2,
    ),
}


@pytest.mark.parametrize("name", TINTED)
def test_colours_are_those_that_a_viewer_shows(name):
    data, primaries, gamma = TINTED[name]
    picture = open_picture(data)
    assert np.abs(picture.pixels - shown(COLOURS, primaries, gamma)).max() <= 2
    (note,) = picture.notes
    assert note.startswith("colours are converted from ")
    assert note.endswith(" to sRGB")


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "BMP", "JPEG2000"])
def test_colours_of_files_with_losses_or_headers_of_their_own(kind):
    flat = np.full((16, 16, 3), (200, 60, 90), np.uint8)
    image, primaries, gamma = Image.fromarray(flat), P3, 2.2
    if kind == "JPEG":  # a camera that says Adobe RGB in EXIF only
        exif, primaries, gamma = Image.Exif(), ADOBE, 563 / 256
        exif.get_ifd(0x8769)[0xA001] = 65535
        exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
        data = file_of(image, kind, quality=100, subsampling=0, exif=exif)
    elif kind == "AVIF":
        data, gamma = changed(file_of(image, kind, quality=100, subsampling="4:4:4"), b"nclx", 5, 12), None
    elif kind == "BMP":
        pixels, icc = file_of(image, "BMP")[54:], profile(P3, 2.2)
        head = struct.pack("<IiiHHIIiiII", 124, 16, 16, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM"
        head = head.ljust(108, b"\0") + struct.pack("<4I", 4, 124 + len(pixels), len(icc), 0)
        data = struct.pack("<2sIHHI", b"BM", 138 + len(pixels + icc), 0, 0, 138) + head + pixels + icc
    else:
        data, icc = file_of(image, kind, irreversible=False), profile(P3, 2.2)
        place = data.index(b"colr") - 4
        box = struct.pack(">I4s3B", 11 + len(icc), b"colr", 2, 0, 0) + icc
        data = data[:place] + box + data[place + 15 :]
        place = data.index(b"jp2h") - 4
        (length,) = struct.unpack_from(">I", data, place)
        data = data[:place] + struct.pack(">I", length + len(box) - 15) + data[place + 4 :]
    picture = open_picture(data)
    assert np.abs(picture.pixels - shown(flat, primaries, gamma)).max() <= 3
    assert "to sRGB" in picture.notes[0]


@pytest.mark.parametrize(
    "data",
    [
        file_of(Image.fromarray(COLOURS), icc_profile=PROFILES["sRGB"]),
        png_with(gama(2.2)),
        png_with(gama(2.2), chrm(SRGB)),
        png_with(chunk(b"sRGB", b"\0"), gama(1.0), chrm(P3)),
        png_with(chunk(b"cICP", bytes([1, 13, 0, 1])), gama(1.0)),
        png_with(chunk(b"cICP", bytes([1, 1, 0, 1]))),
        png_with(chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))),
    ],
    ids=["profile", "gamma", "gamma and primaries", "chunk", "codes", "codes of video", "zeros"],
)
def test_what_is_srgb_stays_to_the_last_bit(data):
    picture = open_picture(data)
    np.testing.assert_array_equal(picture.pixels, COLOURS)
    assert not picture.notes


def test_grey_and_transparent_pictures_have_colours_too():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    expected = shown(np.asarray(grey.convert("RGB")), SRGB, 1.8)
    for options in ({}, {"transparency": 255}):
        data = file_of(grey, icc_profile=profile(SRGB, 1.8), **options)
        assert np.abs(read_picture(data, "white") - expected).max() <= 2
    image = Image.fromarray(COLOURS).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    picture = read_picture(file_of(image, icc_profile=profile(P3, 2.2)), "#102030")
    np.testing.assert_array_equal(picture[0, 0], [16, 32, 48], "the background is sRGB")
    assert np.abs(picture[1:] - shown(COLOURS, P3, 2.2)[1:]).max() <= 2


def test_other_spaces_become_srgb():
    lab = ImageCms.profileToProfile(
        Image.fromarray(COLOURS), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    difference = read_picture(file_of(lab, "TIFF")).astype(int) - COLOURS
    assert np.abs(difference).mean() < 3
    cmyk = open_picture(file_of(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"))
    assert cmyk.notes == ("CMYK without a colour profile: colours are approximate",)


@pytest.mark.parametrize(
    ("mode", "icc"),
    [("RGB", b"no profile"), ("CMYK", PROFILES["sRGB"]), ("RGB", profile(P3, 2.2)[:300]), ("L", PROFILES["LAB"])],
)
def test_a_profile_of_no_use_is_said_and_stops_nothing(mode, icc):
    image = Image.fromarray(make_picture(12, 20)).convert(mode)
    picture = open_picture(file_of(image, "TIFF", icc_profile=icc))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert "is of no use here" in picture.notes[0]


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused(transfer):
    with pytest.raises(PictureError, match=r"high dynamic range \((PQ|HLG)\)"):
        read_picture(png_with(chunk(b"cICP", bytes([9, transfer, 0, 1]))))


# Frames


FRAMES = [make_picture(12, 20, seed) for seed in range(4)]


def animation(kind: str) -> bytes:
    first, *others = [Image.fromarray(frame) for frame in FRAMES]
    options = {"lossless": True} if kind == "WEBP" else {}
    return file_of(first, kind, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_the_first_frame_is_taken_and_said_or_the_one_asked_for(kind):
    data, tolerance = animation(kind), 30 if kind in ("GIF", "AVIF") else 0
    picture = open_picture(data)
    assert picture.frames == 4
    assert picture.notes == ("the first of 4 frames is taken: --frame N chooses another",)
    assert np.abs(picture.pixels.astype(int) - FRAMES[0]).mean() <= tolerance
    for number, frame in enumerate(FRAMES, 1):
        chosen = open_picture(data, frame=number)
        assert np.abs(chosen.pixels.astype(int) - frame).mean() <= tolerance
        assert not chosen.notes
        np.testing.assert_array_equal(read_picture(data, frame=number), chosen.pixels)
    for number in (0, 5, -1):
        with pytest.raises(PictureError, match=f"there is no frame {number}: the file has 4"):
            open_picture(data, frame=number)


def test_a_file_of_several_frames_is_not_read_in_silence():
    with pytest.raises(PictureError, match="the file has 4 frames: choose one"):
        read_picture(animation("WEBP"))
    one = write_picture(FRAMES[0], ".png")
    np.testing.assert_array_equal(read_picture(one, frame=1), FRAMES[0])
    with pytest.raises(PictureError, match="no frame 2: the file has 1"):
        read_picture(one, frame=2)


def test_pictures_that_accompany_one_are_said_to_be_dropped():
    """A telephone's JPEG often has a second picture, of depths say, which no viewer shows."""
    picture = open_picture(data := animation("MPO"))
    assert (picture.notes, picture.dropped) == ((), ("3 more pictures",))
    np.testing.assert_array_equal(read_picture(data), picture.pixels)
    assert (read_picture(data, frame=2) != picture.pixels).any()
    icon = file_of(Image.fromarray(make_picture(64, 64)), "ICO", sizes=[(16, 16), (32, 32), (64, 64)])
    assert open_picture(icon).dropped == ("2 of 3 sizes (the largest is taken)",)
    assert open_picture(icon).pixels.shape == (64, 64, 3)


def test_a_sound_first_frame_is_taken_of_a_file_that_is_damaged_later():
    data = animation("TIFF")
    second = struct.unpack_from("<I", data, struct.unpack_from("<I", data, 4)[0] + 2 + 12 * data[8])[0]
    picture = open_picture(data[: second + 5])
    np.testing.assert_array_equal(picture.pixels, FRAMES[0])
    assert picture.notes == ("the file is damaged after its first frame, which is taken",)


# Metadata


def directory(*entries: tuple[int, int, int, bytes], extra: bytes = b"") -> bytes:
    """EXIF of one directory; entries are tag, type, count and 4 bytes."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4) + extra


TURNED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
AFTER = struct.pack("<I", 8 + 2 + 2 * 12 + 4)
BAD_EXIF = {
    "a ratio of -1/0": directory(TURNED, (0x011A, 10, 1, AFTER), extra=struct.pack("<ii", -1, 0)),
    "a ratio of 0/0": directory(TURNED, (0x011A, 5, 1, AFTER), extra=bytes(8)),
    "two values": directory(TURNED, (0x011A, 5, 2, AFTER), extra=struct.pack("<4I", 72, 1, 72, 1)),
    "a header twice": b"Exif\0\0" + directory(TURNED),
    "a directory of text": directory(TURNED, (0x8769, 2, 4, b"abc\0")),
    "a directory far away": directory(TURNED, (0x8769, 4, 1, b"\xff" * 4)),
    "a value far away": directory(TURNED, (0x010F, 2, 2**31, b"\xff" * 4)),
    "an unknown type": directory(TURNED, (0x011A, 77, 1, AFTER)),
    "two orientations": directory((0x0112, 3, 2, struct.pack("<HH", 6, 6))),
    "an orientation of 99": directory((0x0112, 3, 1, struct.pack("<HH", 99, 0))),
    "an orientation in letters": directory((0x0112, 2, 4, b"six\0")),
    "cut": directory(TURNED)[:17],
    "no directory": b"hello, no TIFF here",
    "nothing": b"",
}
READABLE = ["a ratio of -1/0", "a ratio of 0/0", "two values", "a header twice", "a directory of text"]


def with_exif(exif: bytes, kind: str) -> tuple[bytes, np.ndarray]:
    """A file with these bytes as EXIF, and its pixels as they are stored."""
    image = Image.fromarray(make_picture(12, 20))
    if kind == "JPEG":
        data = file_of(image, kind)
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
        return data[:2] + segment + data[2:], np.asarray(Image.open(io.BytesIO(data)))
    if kind == "PNG":
        return png_with(chunk(b"eXIf", exif), picture=make_picture(12, 20)), make_picture(12, 20)
    return file_of(image, kind, exif=exif, lossless=True), make_picture(12, 20)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", BAD_EXIF)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_exif_never_stops_sound_pixels(name, kind):
    data, stored = with_exif(BAD_EXIF[name], kind)
    found = read_picture(data)
    if name in READABLE:
        np.testing.assert_array_equal(found, np.rot90(stored, -1))
    else:
        assert any(np.array_equal(found, np.rot90(stored, turn)) for turn in (0, -1))


def test_a_picture_is_turned_even_when_its_metadata_is_left_aside():
    extra = chunk(b"eXIf", directory(TURNED)) + chunk(b"gAMA", b"\1")
    picture = open_picture(png_with(extra, picture=make_picture(12, 20)))
    np.testing.assert_array_equal(picture.pixels, np.rot90(make_picture(12, 20), -1))
    assert picture.notes == ("damaged metadata is left aside",)


def test_exif_of_an_avif_is_left_aside_when_it_is_damaged():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    data = file_of(Image.fromarray(make_picture(12, 20)), "AVIF", exif=exif)
    place = data.index(b"maker")
    damaged = data.replace(b"II*\0", b"IIII").replace(b"MM\0*", b"MMMM")
    assert damaged != data
    assert place
    assert read_picture(damaged).shape == (20, 12, 3), "the turn is a property of the picture here"


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"iCCP", b"p\0\0no zlib"),
        chunk(b"iCCP", b"p\0\7" + zlib.compress(PROFILES["sRGB"])),
        chunk(b"tEXt", b"broken\0value")[:-4] + b"oops",
        chunk(b"gAMA", b"\1"),
        chunk(b"pHYs", b"\1"),
        chunk(b"tEXt", b"transparency\0yes"),
        chunk(b"tEXt", b"dpi\0many"),
        chunk(b"tEXt", b"icc_profile\0none"),
        chunk(b"acTL", b"\1"),
        chunk(b"fcTL", bytes(26)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_chunks_beside_the_pixels_never_stop_them(extra):
    picture = open_picture(png_with(extra))
    np.testing.assert_array_equal(picture.pixels, COLOURS)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize(
    "text", [b"", b"Exif\0\0", b"MPF\0II*\0" + bytes(9), b"ICC_PROFILE\0\7\3x", b"Photoshop 3.0\0008BIM"]
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_segments_beside_the_pixels_never_stop_them(marker, text):
    data = file_of(Image.fromarray(COLOURS), "JPEG")
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(text) + 2) + text
    np.testing.assert_array_equal(read_picture(data[:2] + segment + data[2:]), read_picture(data))


@pytest.mark.parametrize("tag", [(0x8769, 4, 1, b"\xff" * 4), (0x8769, 2, 4, b"abc\0"), (0x011A, 10, 1, b"\xff" * 4)])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_tags_beside_the_pixels_of_a_tiff_never_stop_them(tag):
    data = file_of(Image.fromarray(COLOURS), "TIFF", software="some program")
    place = data.index(struct.pack("<HH", 305, 2))
    bad = struct.pack("<HHI", *tag[:3]) + tag[3]
    np.testing.assert_array_equal(read_picture(data[:place] + bad + data[place + 12 :]), COLOURS)


def test_what_else_a_file_holds_is_said():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    text = PngInfo()
    text.add_text("Title", "a picture")
    image = Image.fromarray(make_picture(12, 20))
    assert open_picture(file_of(image, exif=exif, dpi=(300, 300), pnginfo=text)).dropped == ("EXIF", "text", "300 dpi")
    dropped = open_picture(file_of(image, "JPEG", xmp=b"<x/>", comment="by me", dpi=(300, 150))).dropped
    assert dropped == ("XMP", "text", "300 x 150 dpi")
    assert open_picture(file_of(image, "TIFF", description="mine")).dropped == ("text",)
    assert open_picture(png_with(chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0)))).dropped == ("a pixel aspect of 1:2",)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "PPM"):
        assert not open_picture(file_of(image.convert("P") if kind == "GIF" else image, kind)).dropped


# Damage


@pytest.mark.parametrize("error", [RuntimeError, KeyError, AttributeError, NotImplementedError, struct.error, EOFError])
@pytest.mark.parametrize("place", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load"])
def test_whatever_a_reader_raises_means_damage(monkeypatch, error, place):
    def fail(*_, **__):
        raise error("two\nlines")

    data = write_picture(FRAMES[0], ".png")
    monkeypatch.setattr(place, fail)
    with pytest.raises(PictureError, match="the picture is damaged") as caught:
        read_picture(data)
    assert "\n" not in str(caught.value)


def test_mutated_files_are_read_or_refused():
    rng = np.random.default_rng(0)
    image = Image.fromarray(make_picture(12, 20))
    kinds = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "AVIF", "JPEG2000", "ICO", "TGA", "PPM", "SGI", "PCX", "DDS")
    files = [file_of(image, kind) for kind in kinds] + [animation("PNG"), animation("WEBP"), png_with(iccp)]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in files:
            for _ in range(30):
                mutated = np.frombuffer(data, np.uint8)[
                    : rng.integers(1, len(data) + 1) if rng.random() < 0.2 else None
                ]
                mutated = mutated.copy()
                mutated[rng.integers(len(mutated), size=3)] = rng.integers(256, size=3)
                try:
                    open_picture(mutated.tobytes(), background="white")
                except PictureError as error:
                    refused += 1
                    assert "\n" not in str(error)
    assert 100 < refused < 450
