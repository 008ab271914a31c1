"""The drawn process: exact for every picture, short for those that were drawn, chosen where it is shorter."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import make_picture
from PIL import Image, ImageDraw
from plain_drawn import decode_drawn

import uqdm
from channel_sim.entropy import Writer
from uqdm.codec import container
from uqdm.codec.api import check_against
from uqdm.drawn import decisions as decisions_module
from uqdm.drawn.colours import MODES, Colours
from uqdm.drawn.decisions import Decisions, hashed
from uqdm.drawn.fewer_colours import in_colours, nearest_to
from uqdm.drawn.model import DrawnModel, looks_drawn
from uqdm.drawn.passes import NEIGHBOURS, PASSES, lattice, rows_of
from uqdm.training.dataset import load_pictures

DRAWN = DrawnModel()


def page_of_text(side: int = 192) -> np.ndarray:
    image = Image.new("RGB", (side, side), (250, 250, 245))
    pen = ImageDraw.Draw(image)
    for row in range(0, side, 16):
        pen.text((4, row), "the same words in other order", fill=(20, 20, 60))
    return np.asarray(image).copy()


def size_of(picture: np.ndarray, form: str, **options) -> int:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, **options)
    return file.tell()


@given(st.integers(1, 150), st.integers(1, 150))
@settings(max_examples=25, deadline=None)
def test_passes_have_every_pixel_once_and_look_at_known_ones_only(height, width):
    known = np.zeros(height * width, bool)
    for index in range(PASSES):
        for row in rows_of(index, height, width):
            places = row.row * width + np.arange(width)[row.columns]
            assert not known[places].any()
            if row.neighbours is not None:
                assert row.neighbours.shape == (NEIGHBOURS, len(places))
                assert known[row.neighbours].all()
            known[places] = True
        rows, columns = lattice(index + 1)
        expected = np.zeros((height, width), bool)
        expected[::rows, ::columns] = True
        np.testing.assert_array_equal(known.reshape(height, width), expected)
    assert known.all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_picture_comes_back(height, width, colours, seed):
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    picture = palette[rng.integers(0, colours, (height, width))]
    data = uqdm.encode(picture, model=DRAWN)
    np.testing.assert_array_equal(uqdm.decode(data), picture)
    assert len(data) <= picture.size + 64


@pytest.mark.parametrize("mode", range(MODES))
def test_every_mode_is_told_back(mode, monkeypatch):
    monkeypatch.setattr("uqdm.drawn.model._best_mode", lambda _: mode)
    for picture in (make_picture(30, 41), page_of_text(50)):
        np.testing.assert_array_equal(uqdm.decode(uqdm.encode(picture, model=DRAWN)), picture)


def test_decisions_are_learned_in_their_contexts():
    """What a context tells costs next to nothing soon, and a copy knows what was known when it was made."""
    rng, spent = np.random.default_rng(0), []
    decisions = Decisions(contexts=2, sets=1, slots_log2=8)

    def exchange(table, rows, symbols):
        spent.append(table.bits[rows, symbols].sum())
        return symbols

    for number in range(200):
        bits = rng.integers(0, 2, 8)
        if number == 1:
            early = decisions.copy()
        decisions.make(exchange, np.stack([hashed(0, bits), hashed(0, 0 * bits)]), 0 * bits, bits)
        decisions.learn()
    assert spent[0] == 8, "nothing is known at first"
    assert spent[-1] < 0.1
    late, spent = spent[-1], []
    for one in (early, decisions):
        one.make(exchange, np.stack([hashed(0, bits), hashed(0, 0 * bits)]), 0 * bits, bits)
    assert spent[0] > 1 > spent[1]
    assert spent[1] == pytest.approx(late, abs=0.1)


def test_roots_and_logarithms_are_those_of_real_numbers():
    ones = decisions_module._table().frequencies[:, 1] / 2**24
    z = np.arange(-4095, 4096) / 256
    np.testing.assert_allclose(ones, 1 / (1 + 2.0**-z), atol=2**-24)
    logarithms = np.floor(256 * np.log2(2 * np.arange(4096) + 1))
    assert np.abs(decisions_module._LOGARITHMS - logarithms).max() <= 1
    assert decisions_module._LOGARITHMS[0] == 0


def test_flat_colours_cost_next_to_nothing():
    picture = np.full((1000, 1000, 3), [200, 30, 50], np.uint8)
    data = uqdm.encode(picture, lossless=True)
    assert len(data) <= 100
    assert uqdm.info(data)["lossless"]
    np.testing.assert_array_equal(uqdm.decode(data), picture)


def test_no_file_is_larger_than_its_pixels():
    rng = np.random.default_rng(0)
    for size in ((128, 128), (1, 500), (500, 1), (1, 1), (65, 3)):
        picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        assert len(uqdm.encode(picture, model=DRAWN)) <= picture.size + 64
    picture = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert len(uqdm.encode(picture, model=DRAWN)) * 8 / 128**2 < 24.1


def test_a_mode_that_does_not_fit_a_picture_is_not_kept(monkeypatch):
    monkeypatch.setattr("uqdm.drawn.model._best_mode", lambda _: 2)
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    assert len(uqdm.encode(picture, model=DRAWN)) > picture.size + 64
    data = uqdm.encode(picture, lossless=True)
    assert len(data) <= picture.size + 64
    np.testing.assert_array_equal(uqdm.decode(data), picture)


def test_text_is_smaller_than_as_a_png():
    picture = page_of_text()
    assert len(uqdm.encode(picture, lossless=True)) < 0.6 * size_of(picture, "PNG", optimize=True)


def test_colours_are_counted_alike_by_both_sides():
    """What a writer is told is what the ideal code lengths of its symbols add up to."""
    picture, writer, colours = page_of_text(64).astype(np.int64), Writer(), Colours(2, 64 * 64)
    flat = picture.reshape(-1, 3)
    for index in range(PASSES):
        for row in rows_of(index, 64, 64):
            around = None if row.neighbours is None else flat[row.neighbours]
            colours.send(writer, picture[row.row, row.columns], around)
    assert 0 <= 8 * len(writer.getvalue()) - writer.ideal_bits < 0.003 * writer.ideal_bits + 8


def test_pictures_that_were_drawn_are_told_from_photographs(shared):
    y, x = np.mgrid[:40, :40]
    assert looks_drawn(page_of_text())
    assert looks_drawn(np.zeros((3, 1, 3), np.uint8))
    assert looks_drawn((255 * ((x + y) % 2)).astype(np.uint8)[..., None].repeat(3, 2))
    assert looks_drawn(np.stack([3 * x, 2 * y, x + y], -1).astype(np.uint8))
    assert not looks_drawn(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    assert not any(looks_drawn(picture) for picture in load_pictures(shared / "data" / "photos_val"))


def test_it_is_chosen_where_it_is_shorter_or_fits():
    text, drawn = page_of_text(64), DRAWN.id[:4].hex()
    exact = uqdm.encode(text, model="drawn")
    fits, fits_not = (uqdm.encode(text, file_bytes=len(exact) + more) for more in (0, -1))
    assert fits == exact
    assert not uqdm.info(fits_not)["lossless"]
    assert len(fits_not) < len(exact)
    for limits in ({"psnr_db": 99.0}, {"lossless": True}, {"tau": 0.0, "drawn": True}):
        assert uqdm.encode(text, **limits) == exact
        assert uqdm.encode_batch([text, text], **limits) == [exact, exact]
    assert uqdm.info(uqdm.encode(text))["model_id"] != drawn
    assert uqdm.info(uqdm.encode(text, psnr_db=30.0, drawn=False))["model_id"] != drawn
    with pytest.raises(ValueError, match="leave one of them out"):
        uqdm.encode(text, model="photo", drawn=True)


def test_noise_is_sent_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = uqdm.encode(noise, lossless=True)
    assert uqdm.info(data)["model_id"] == DRAWN.id[:4].hex()
    np.testing.assert_array_equal(uqdm.decode(data), noise)
    text = page_of_text(40)
    assert uqdm.encode_batch([noise, text, noise], lossless=True) == [data, uqdm.encode(text, lossless=True), data]


def test_metadata_counts_in_what_must_fit():
    text = page_of_text(64)
    exact = uqdm.encode(text, model="drawn")
    whole = uqdm.encode(text, model="drawn", metadata={"dpi": (300, 300)})
    assert uqdm.encode(text, file_bytes=len(whole), metadata={"dpi": (300, 300)}) == whole
    shorter = uqdm.encode(text, file_bytes=len(exact), metadata={"dpi": (300, 300)})
    assert len(shorter) <= len(exact)
    assert not uqdm.info(shorter)["lossless"]
    assert uqdm.metadata(shorter)["dpi"] == pytest.approx((300, 300))


def smooth_text(side: int = 96) -> np.ndarray:
    """Letters with edges of many colours."""
    picture = Image.fromarray(page_of_text(2 * side))
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("least", [28.0, 36.0])
def test_a_psnr_is_reached_in_fewer_colours(least):
    text = smooth_text()
    exact, data = uqdm.encode(text, model="drawn"), uqdm.encode(text, psnr_db=least)
    shown = uqdm.decode(data)
    assert uqdm.metrics.psnr_db(text, shown) >= least
    assert len(data) < 0.8 * len(exact)
    assert len(data) < len(uqdm.encode(text, psnr_db=least, drawn=False))
    assert container.unpack(data)[0].changed
    assert not uqdm.info(data)["lossless"]
    np.testing.assert_array_equal(decode_drawn(data), shown)
    check_against(data, text)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) < len(np.unique(text.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_so_many_bytes_are_spent_where_they_are_worth_most(share):
    text = smooth_text()
    most = int(share * len(uqdm.encode(text, model="drawn")))
    data, otherwise = (uqdm.encode(text, file_bytes=most, drawn=drawn) for drawn in (True, False))
    assert len(data) <= most
    qualities = [uqdm.metrics.psnr_db(text, uqdm.decode(one)) for one in (data, otherwise)]
    assert qualities[0] >= qualities[1]
    if share == 0.8:
        assert container.unpack(data)[0].changed
        assert qualities[0] > qualities[1] + 3


def test_fewest_colours_of_a_psnr():
    text = smooth_text()
    reduced = nearest_to(text, 32.0)
    count = len(np.unique(reduced.reshape(-1, 3), axis=0))
    assert uqdm.metrics.psnr_db(text, reduced) >= 32 > uqdm.metrics.psnr_db(text, in_colours(text, count - 1))
    ramp = np.arange(256 * 16 * 3, dtype=np.uint32).reshape(64, 64, 3) * 2654435761 >> 24
    assert nearest_to(ramp.astype(np.uint8), 60.0) is None


def test_the_container_knows_the_process():
    assert {DRAWN.id[: container.MODEL_ID_BYTES]: PASSES} == container.EXACT_STEPS
    cut = uqdm.encode(page_of_text(40), 0.5, model="drawn")
    assert not uqdm.info(cut)["lossless"]


def test_a_prefix_shows_the_nearest_known_pixels():
    picture = page_of_text(100)
    data = uqdm.encode(picture, model=DRAWN)
    shown = list(uqdm.previews(data))
    assert [preview.step for preview in shown] == list(range(PASSES + 1))
    np.testing.assert_array_equal(shown[0].picture, np.full_like(picture, 128))
    quarter = shown[PASSES - 2].picture
    np.testing.assert_array_equal(quarter[::2, ::2], picture[::2, ::2])
    np.testing.assert_array_equal(quarter[1:-1:2, 1:-1:2], picture[2::2, 2::2])
    assert uqdm.metrics.psnr_db(picture, uqdm.decode(data[: len(data) * 2 // 3])) > 12


@pytest.mark.parametrize("mode", [None, *range(MODES)])
def test_a_decoder_written_from_the_document_reads_the_same(mode, monkeypatch):
    if mode is not None:
        monkeypatch.setattr("uqdm.drawn.model._best_mode", lambda _: mode)
    rng = np.random.default_rng(3)
    pictures = page_of_text(72)[:50], make_picture(33, 70), rng.integers(0, 256, (9, 40, 3), dtype=np.uint8)
    palette = rng.integers(0, 256, (1500, 3), dtype=np.uint8)
    for picture in (*pictures, palette[rng.integers(0, 1500, (60, 60))], pictures[0][:1], pictures[0][:, :1]):
        data = uqdm.encode(picture, model=DRAWN, seed=5)
        np.testing.assert_array_equal(decode_drawn(data), picture)
