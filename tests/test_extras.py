"""What a stream holds beside its payload: an index of qualities and metadata, which no decoder needs."""

import math

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec import container, extras
from uqdm.codec.api import encode_with_costs
from uqdm.codec.extras import Chunk, Quality
from uqdm.metrics import psnr_db

PICTURE = make_picture(24, 32)
METADATA = {"exif": b"MM\0*" + bytes(40), "xmp": b"<x:xmpmeta/>", "icc_profile": b"profile", "dpi": (300.0, 72.009)}
LIMITS = [{}, {"tau": 0.5}, {"lossless": True}, {"file_bytes": 400}, {"bpp": 3.0}, {"psnr_db": 30.0}]


@pytest.fixture(scope="module")
def indexed(tiny_model) -> bytes:
    return uqdm.encode(PICTURE, index=True, model=tiny_model)


@pytest.mark.parametrize("lossless", [False, True])
def test_the_index_says_which_bytes_give_which_psnr(tiny_model, lossless):
    data = uqdm.encode(PICTURE, index=True, lossless=lossless, model=tiny_model)
    plain, costs = encode_with_costs(PICTURE, lossless=lossless, model=tiny_model)
    points = uqdm.info(data)["qualities"]
    longer = len(data) - len(plain)
    assert [(point.step, point.file_bytes - longer) for point in points] == [
        (step, cost.file_bytes) for step, cost in enumerate(costs)
    ]
    for preview, point in zip(uqdm.previews(data, model=tiny_model), points, strict=True):
        assert preview.file_bytes == point.file_bytes
        measured = psnr_db(PICTURE, preview.picture)
        assert measured - 1 / 16 < point.psnr_db <= measured or point.psnr_db == measured == math.inf
    assert math.isinf(points[-1].psnr_db) == lossless


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_extras_change_nothing_of_the_picture(tiny_model, limit):
    plain = uqdm.encode(PICTURE, model=tiny_model, **limit)
    data = uqdm.encode(PICTURE, model=tiny_model, index=True, metadata=METADATA, **limit)
    header, start = container.unpack(data)
    payload = data[start : start + header.held_bytes]
    assert plain[container.unpack(plain)[1] :].startswith(payload)
    assert uqdm.metadata(data) == METADATA
    if "file_bytes" in limit or "bpp" in limit:
        assert len(data) == len(plain)
    else:
        np.testing.assert_array_equal(uqdm.decode(data, model=tiny_model), uqdm.decode(plain, model=tiny_model))


def test_a_stream_without_extras_is_as_ever(tiny_model):
    plain = uqdm.encode(PICTURE, model=tiny_model)
    assert uqdm.encode(PICTURE, metadata=None, index=False, model=tiny_model) == plain
    assert plain[3] == 2
    facts = uqdm.info(plain)
    assert (facts["metadata"], facts["metadata_bytes"], facts["qualities"]) == ({}, 0, [])


def test_every_prefix_of_a_stream_with_extras_decodes(tiny_model):
    data = uqdm.encode(PICTURE, psnr_db=30.0, index=True, metadata=METADATA, model=tiny_model)
    header, start = container.unpack(data)
    end = start + header.held_bytes
    for size in range(start, len(data), 7):
        shown = uqdm.decode(data[:size], model=tiny_model)
        np.testing.assert_array_equal(shown, uqdm.decode(data[: min(size, end)], model=tiny_model))
        facts = uqdm.info(data[:size])
        assert facts["metadata"] == {}
        assert facts["metadata_bytes"] == len(data) - end
    pieces = [data[at : at + 5] for at in range(0, len(data), 5)]
    *_, last = uqdm.previews(pieces, model=tiny_model)
    np.testing.assert_array_equal(last.picture, uqdm.decode(data, model=tiny_model))
    assert last.file_bytes == end


def test_unknown_chunks_are_skipped(tiny_model, indexed):
    header, start = container.unpack(indexed)
    newer = header._replace(chunks=(Chunk(200, b"from the future"), *header.chunks))
    data = container.pack(newer) + indexed[start:]
    assert len(uqdm.info(data)["qualities"]) == tiny_model.steps + 1
    np.testing.assert_array_equal(uqdm.decode(data, model=tiny_model), uqdm.decode(indexed, model=tiny_model))
    body = extras.pack_chunks([Chunk(250, b"?"), Chunk(3, b"<xmp/>")])
    assert extras.metadata_of_block(body + extras.checksum(body)) == {"xmp": b"<xmp/>"}


def test_damaged_metadata_is_noticed_and_the_picture_is_sound(tiny_model):
    data = bytearray(uqdm.encode(PICTURE, metadata=METADATA, model=tiny_model))
    data[-20] ^= 1
    with pytest.raises(uqdm.FormatError, match="metadata is damaged"):
        uqdm.metadata(data)
    assert uqdm.info(data)["metadata"] == {}
    assert uqdm.decode(data, model=tiny_model).shape == PICTURE.shape


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"gps": b""}, "exif, xmp, icc_profile, dpi, got 'gps'"),
        ({"exif": "text"}, "exif is given as bytes, got str"),
        ({"dpi": (300, -1)}, "dpi is a pair of positive numbers"),
        ({"dpi": 300}, "dpi is a pair of positive numbers"),
    ],
)
def test_metadata_that_is_none_is_refused(tiny_model, metadata, message):
    with pytest.raises(ValueError, match=message):
        uqdm.encode(PICTURE, metadata=metadata, model=tiny_model)


def test_metadata_that_leaves_no_room_is_refused(tiny_model):
    with pytest.raises(ValueError, match="300 bytes do not hold header and metadata, which take [45]"):
        uqdm.encode(PICTURE, file_bytes=300, metadata={"exif": bytes(400)}, model=tiny_model)


@pytest.mark.parametrize("least", [10.0, 20.0, 35.0, 44.9])
def test_a_stream_is_cut_to_a_psnr_without_a_model(tiny_model, indexed, least):
    cut = container.cut_to_psnr(indexed, least)
    assert indexed.startswith(cut)
    assert psnr_db(PICTURE, uqdm.decode(cut, model=tiny_model)) >= least
    shorter = [point for point in uqdm.info(indexed)["qualities"] if point.file_bytes < len(cut)]
    assert all(point.psnr_db < least for point in shorter)


def test_a_psnr_that_the_index_does_not_have_is_refused(tiny_model, indexed):
    with pytest.raises(ValueError, match=r"99\.0 dB is out of reach: the whole stream gives 47\.50 dB"):
        container.cut_to_psnr(indexed, 99.0)
    with pytest.raises(ValueError, match="takes 528 bytes, and the stream was cut to 300"):
        container.cut_to_psnr(indexed[:300], 45.0)
    with pytest.raises(ValueError, match="has no index of qualities"):
        container.cut_to_psnr(uqdm.encode(PICTURE, model=tiny_model), 30.0)


def test_metadata_is_not_taken_for_the_picture(tiny_model):
    """Of a stream that was cut before its metadata, which is longer than what was cut."""
    data = uqdm.encode(PICTURE, index=True, metadata={"xmp": bytes(2000)}, model=tiny_model)
    cut = container.cut(data, 2400, keep_metadata=True)
    held = container.unpack(cut)[0].written_bytes
    for point in uqdm.info(cut)["qualities"]:
        if point.file_bytes <= uqdm.info(cut)["header_bytes"] + held:
            shown = uqdm.decode(container.cut_to_psnr(cut, point.psnr_db), model=tiny_model)
            assert psnr_db(PICTURE, shown) >= point.psnr_db - 0.01
        else:
            with pytest.raises(ValueError, match=r"dB takes \d+ bytes, and the stream was cut to \d+"):
                container.cut_to_psnr(cut, point.psnr_db)


def test_of_several_chunks_of_a_kind_the_first_counts():
    assert extras.held_of_chunks([Chunk(6, b"\x06"), Chunk(6, b"\x08")]) == {1, 2}
    body = extras.pack_chunks([Chunk(3, b"<a/>"), Chunk(3, b"<b/>")])
    assert extras.metadata_of_block(body + extras.checksum(body)) == {"xmp": b"<a/>"}


def test_metadata_can_be_kept_on_cutting(tiny_model):
    data = uqdm.encode(PICTURE, index=True, metadata=METADATA, model=tiny_model)
    for cut in (container.cut(data, 300, keep_metadata=True), container.cut_to_psnr(data, 30.0, keep_metadata=True)):
        assert uqdm.metadata(cut) == METADATA
        assert len(uqdm.info(cut)["qualities"]) == tiny_model.steps + 1
        assert uqdm.decode(cut, model=tiny_model).shape == PICTURE.shape
    assert len(container.cut(data, 300, keep_metadata=True)) == 300
    assert container.cut(data, len(data), keep_metadata=True) == data
    assert uqdm.metadata(container.cut(data, len(data) - 1)) == {}
    with pytest.raises(ValueError, match="do not hold header and metadata"):
        container.cut(data, 120, keep_metadata=True)


@pytest.mark.parametrize("steps", [3, 29, 254])
@pytest.mark.parametrize("spread", [3, 300, 30_000])
def test_an_index_takes_one_percent_of_the_file_and_100_bytes_at_most(steps, spread):
    rng = np.random.default_rng(0)
    sizes = np.cumsum(rng.integers(0, spread, steps + 1)).tolist()
    points = [(step, sizes[step], float(psnr)) for step, psnr in enumerate(np.sort(rng.uniform(10, 60, steps + 1)))]
    header = container.Header(b"name", 640, 480, 7, steps, sizes[-1])
    plain = container.pack(header) + bytes(sizes[-1])
    data = container.with_index(plain, points)
    assert len(data) - len(plain) <= 100 + len(plain) // 100
    listed = container.info(data)["qualities"]
    start = container.info(data)["header_bytes"]
    known = [Quality(step, start + size, math.floor(16 * psnr) / 16) for step, size, psnr in points]
    assert set(listed) <= set(known)
    assert (listed[0], listed[-1]) == (known[0], known[-1])
    assert len(listed) == len(known) or len(data) - len(plain) > 90 + len(plain) // 100


def test_an_index_that_contradicts_itself_is_refused():
    header = container.Header(b"name", 64, 48, 0, 3, 100, written_bytes=100)
    for contents, message in ((b"\x0f\x01", "ends too early"), (b"\x01\x65\0", "goes on behind the payload")):
        with pytest.raises(uqdm.FormatError, match=message):
            container.info(container.pack(header._replace(chunks=(Chunk(1, contents),))))
