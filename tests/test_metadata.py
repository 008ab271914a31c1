"""What is kept of a picture file describes the decoded pixels; pixels are written without loss where a format can."""

import io

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image, ImageCms

from uqdm.errors import PictureError
from uqdm.pictures import open_picture, picture_file, write_picture
from uqdm.pictures.colour import _made
from uqdm.pictures.metadata import metadata_of, names_of

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="%d"/>'
_ADOBE = _made(
    "Adobe RGB", (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (0.3127, 0.3290), lambda values: values ** (563 / 256)
)
assert _ADOBE is not None
ADOBE = _ADOBE.icc
PICTURE = make_picture(12, 20)


def exif_of(orientation: int = 1, colour_space: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", orientation
    exif.get_ifd(0x8769).update({0xA001: colour_space, 0x9286: b"ASCII\0\0\0hello"})
    return exif


def known(block: bytes) -> dict:
    exif = Image.Exif()
    exif.load(block)
    return {**exif, **exif.get_ifd(0x8769)}


def file_of(kind: str, picture: np.ndarray = PICTURE, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_an_orientation_that_was_applied_is_not_applied_again(kind, orientation):
    data = file_of(kind, exif=exif_of(orientation).tobytes(), dpi=(300, 200), xmp=XMP % orientation)
    opened = open_picture(data)
    kept = opened.metadata
    values = known(kept["exif"])
    assert values.get(0x0112, 1) == 1
    assert (values[0x010F], values[0x9286]) == ("maker", b"ASCII\0\0\0hello")
    assert kept.get("xmp", XMP % 1) == XMP % 1
    turned = orientation == 6
    assert opened.pixels.shape[:2] == (PICTURE.shape[:2][::-1] if turned else PICTURE.shape[:2])
    if "dpi" in kept:
        assert np.round(kept["dpi"]).tolist() == ([200, 300] if turned else [300, 200])
    again = open_picture(picture_file(opened.pixels, ".png", kept).data)
    np.testing.assert_array_equal(again.pixels, opened.pixels)
    assert known(again.metadata["exif"])[0x010F] == "maker"


def test_a_profile_that_was_applied_is_not_kept():
    opened = open_picture(file_of("PNG", icc_profile=ADOBE, exif=exif_of(colour_space=2)))
    assert any("converted from Adobe RGB" in note for note in opened.notes)
    assert "icc_profile" not in opened.metadata
    assert known(opened.metadata["exif"])[0xA001] == 1
    for suffix in (".png", ".jpg", ".webp"):
        again = open_picture(picture_file(opened.pixels, suffix, opened.metadata).data)
        assert not again.notes
        assert np.abs(again.pixels.astype(int) - opened.pixels).max() <= 6  # a second conversion changes them by 27


def test_the_colour_space_of_cameras_is_not_applied_twice():
    """A JPEG without a profile whose EXIF says Adobe RGB, by the number of some cameras or by DCF's name."""
    exif = exif_of(colour_space=2)
    exif.get_ifd(0xA005)[1] = "R03"
    opened = open_picture(file_of("JPEG", exif=exif, quality=100))
    assert any("converted from Adobe RGB" in note for note in opened.notes)
    again = open_picture(picture_file(opened.pixels, ".jpg", opened.metadata).data)
    assert not again.notes
    assert np.abs(again.pixels.astype(int) - opened.pixels).max() <= 6  # a second conversion changes them by 27


def test_a_profile_that_changes_nothing_is_kept():
    opened = open_picture(file_of("PNG", icc_profile=SRGB))
    assert opened.metadata["icc_profile"] == SRGB
    grey = io.BytesIO()
    Image.fromarray(PICTURE[..., 0]).save(grey, "PNG", icc_profile=SRGB)
    assert "icc_profile" not in open_picture(grey.getvalue()).metadata, "of pixels that were of another kind"


def test_damaged_exif_is_not_kept():
    directory = exif_of().tobytes()[6:]
    for broken in (b"no TIFF", directory[:4] + b"\xff" * 4, directory[:30]):
        opened = open_picture(file_of("JPEG", exif=b"Exif\0\0" + broken, dpi=(300, 300)))
        assert names_of(opened.metadata) == ("300 dpi",)


@pytest.mark.parametrize(
    ("suffix", "missing"),
    [
        (".png", ()),
        (".jpg", ()),
        (".tif", ()),
        (".webp", ("300 x 200 dpi",)),
        (".avif", ("300 x 200 dpi",)),
        (".bmp", ("EXIF", "XMP", "colour profile")),
        (".ppm", ("EXIF", "XMP", "colour profile", "300 x 200 dpi")),
    ],
)
def test_what_a_format_has_no_place_for_is_said(suffix, missing):
    metadata = {"exif": exif_of().tobytes()[6:], "xmp": XMP % 1, "icc_profile": SRGB, "dpi": (300.0, 200.0)}
    file = picture_file(PICTURE, suffix, metadata)
    said = [note.partition(" does not keep ")[2] for note in file.notes if " does not keep " in note]
    assert said == ([", ".join(missing)] if missing else [])
    with Image.open(io.BytesIO(file.data)) as image:
        image.load()
        found = metadata_of(image)
    assert {*names_of(metadata)} - {*names_of(found)} - {*missing} <= {"300 x 200 dpi"}  # which PNG rounds
    if "EXIF" not in missing:
        assert known(found["exif"])[0x010F] == "maker"


def test_metadata_that_is_too_much_for_a_format_does_not_stop_the_picture():
    file = picture_file(PICTURE, ".jpg", {"exif": exif_of().tobytes()[6:] + bytes(70_000)})
    assert "JPEG does not keep EXIF" in file.notes


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp", ".ppm", ".jp2", ".tga"])
def test_formats_that_can_keep_every_pixel_do(suffix):
    file = picture_file(PICTURE, suffix)
    assert not file.notes
    np.testing.assert_array_equal(open_picture(file.data).pixels, PICTURE)
    assert write_picture(PICTURE, suffix) == file.data


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 4), (".jpeg", 4), (".avif", 4), (".gif", 120)])
def test_a_format_that_loses_something_is_written_at_its_best_and_says_so(suffix, most):
    file = picture_file(make_picture(64, 64), suffix)
    (note,) = file.notes
    levels = int(note.split(" by up to ")[1].split(" ")[0])
    shown = np.asarray(Image.open(io.BytesIO(file.data)).convert("RGB"), int)
    assert 0 < levels == np.abs(shown - make_picture(64, 64)).max() <= most
    assert note.endswith("grey levels; .png and .webp keep them")


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".ico", "ICO changes the size of pictures: use .png"),
        (".icns", "ICNS changes the size of pictures: use .png"),
        (".pdf", "PDF files cannot be read again as pictures: use .png"),
        (".xbm", "cannot write the picture as XBM"),
        (".wmf", "cannot write the picture as WMF"),
        (".xyz", "cannot write pictures ending in '.xyz': use .png"),
        ("", "cannot write pictures ending in '': use .png"),
    ],
)
def test_what_is_no_format_for_pictures_is_refused(suffix, message):
    with pytest.raises(PictureError, match=message):
        write_picture(PICTURE, suffix)
