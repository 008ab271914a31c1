"""`import uqdm.pillow` makes streams one of Pillow's formats."""

import io
import subprocess
import sys

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import uqdm
import uqdm.pillow
from uqdm.metrics import psnr_db

PICTURE = make_picture(24, 32)


def saved(picture: np.ndarray = PICTURE, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "UQDM", **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole() -> bytes:
    return saved(quality=100)


def test_a_picture_goes_through_a_file(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "x.uqdm")
    with Image.open(tmp_path / "x.uqdm") as image:
        assert (image.format, image.size, image.mode) == ("UQDM", (32, 24), "RGB")
        shown = np.asarray(image)
        assert image.get_format_mimetype() == "image/x-uqdm"
    np.testing.assert_array_equal(shown, uqdm.decode((tmp_path / "x.uqdm").read_bytes()))
    assert psnr_db(PICTURE, shown) > 30


def test_opening_waits_for_no_jax(tmp_path, whole):
    (tmp_path / "x.uqdm").write_bytes(whole)
    lines = "import sys, uqdm.pillow; from PIL import Image; image = Image.open(sys.argv[1]); "
    lines += "sys.exit(image.size != (32, 24) or 'jax' in sys.modules or not image.info['complete'])"
    subprocess.run([sys.executable, "-c", lines, str(tmp_path / "x.uqdm")], check=True)


@pytest.mark.parametrize(
    "options", [{"bpp": 2.0}, {"file_bytes": 200}, {"psnr_db": 30.0}, {"quality": 50}, {"tau": 0.5}]
)
def test_what_was_written_to_a_size_or_quality_is_whole(options):
    data = saved(**options)
    shown = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(shown, uqdm.decode(data))
    if "bpp" in options:
        assert len(data) == 2 * 24 * 32 // 8
    if "psnr_db" in options:
        assert psnr_db(PICTURE, shown) >= 30


def test_lossless_is_the_very_picture():
    data = saved(lossless=True)
    image = Image.open(io.BytesIO(data))
    assert image.info["lossless"]
    np.testing.assert_array_equal(np.asarray(image), PICTURE)


def test_truncated_files_raise_as_others_do(whole, monkeypatch):
    for data in (whole, saved(bpp=2.0), saved(lossless=True)):
        for size in (len(data) // 2, len(data) - 5):
            with pytest.raises(OSError, match="image file is truncated"):
                Image.open(io.BytesIO(data[:size])).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = whole[: len(whole) // 2]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(half))), uqdm.decode(half))


def test_streams_that_were_encoded_to_a_size_elsewhere_are_whole():
    data = uqdm.encode(PICTURE, bpp=2.0)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), uqdm.decode(data))


def test_damaged_files_raise_and_their_good_part_can_be_shown(whole, monkeypatch):
    damaged = whole[:-8] + bytes([whole[-8] ^ 255]) + whole[-7:]
    with pytest.raises(OSError, match="the stream is damaged"):
        Image.open(io.BytesIO(damaged)).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert Image.open(io.BytesIO(damaged)).convert("L").size == (32, 24)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(whole[:9]))


def test_metadata_is_kept_where_it_is_given():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = Image.fromarray(PICTURE)
    source.info["icc_profile"] = srgb
    buffer = io.BytesIO()
    source.save(buffer, "UQDM", exif=exif, dpi=(300, 300), index=True)
    image = Image.open(buffer)
    assert image.getexif()[0x010F] == "maker"
    assert (image.info["dpi"], image.info["icc_profile"]) == ((300.0, 300.0), srgb)
    assert image.info["qualities"][-1].psnr_db > 30


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK"])
def test_other_modes_become_rgb(mode):
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(buffer, "UQDM", quality=20)
    assert Image.open(buffer).size == (32, 24)


def test_what_cannot_be_written_is_refused():
    for wrong, message in (({"quality": 101}, "quality must lie in"), ({"bpp": 1.0, "tau": 0.5}, "cannot be combined")):
        with pytest.raises(ValueError, match=message):
            saved(**wrong)
    for image in (Image.new("RGBA", (8, 8)), Image.new("F", (8, 8))):
        with pytest.raises(ValueError, match="transparent pixels|more than 8 bits"):
            image.save(io.BytesIO(), "UQDM")
