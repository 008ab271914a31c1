"""A decoder that is fed in pieces, stored, and taken up again, ends where one that got everything at once does."""

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec import container

PICTURE = make_picture(24, 32)


@pytest.fixture(scope="module")
def data(tiny_model) -> bytes:
    return uqdm.encode(PICTURE, metadata={"dpi": (300, 300)}, model=tiny_model)


def test_a_decoder_shows_what_has_arrived(tiny_model, data):
    decoder = uqdm.Decoder(model=tiny_model)
    assert (decoder.header, decoder.size, decoder.complete, decoder.received_bytes) == (None, None, False, 0)
    with pytest.raises(uqdm.IncompleteHeaderError):
        decoder.picture()
    start = uqdm.info(data)["header_bytes"]
    for at in range(0, len(data), 37):
        decoder.feed(data[at : at + 37])
        received = min(len(data), at + 37)
        assert decoder.received_bytes == received
        assert (decoder.size == (24, 32)) == (received >= start)
        if received >= start and at % 4 == 0:
            shown = uqdm.decode(data[:received], model=tiny_model)
            np.testing.assert_array_equal(decoder.picture(), shown)
    assert decoder.complete
    assert decoder.step == tiny_model.steps
    assert decoder.metadata() == {"dpi": (300.0, 300.0)}


@pytest.mark.parametrize("size", [0, 5, 40, 300])
def test_a_stored_decoder_goes_on(tiny_model, data, size):
    first = uqdm.Decoder(model=tiny_model)
    first.feed(data[:size])
    if first.size:
        first.picture()
    second = uqdm.Decoder.from_bytes(first.to_bytes(), model=tiny_model)
    assert second.received_bytes == size
    second.feed(data[second.received_bytes :])
    np.testing.assert_array_equal(second.picture(), uqdm.decode(data, model=tiny_model))


def test_a_damaged_stream_stays_damaged(tiny_model, data):
    """However often one asks, and wherever the bytes that have arrived end."""
    start = uqdm.info(data)["header_bytes"]
    wrong = bytearray(data)
    wrong[start + 20] ^= 0x40
    decoder = uqdm.Decoder.from_bytes(wrong[: start + 100], model=tiny_model)
    for at in range(start + 100, len(wrong)):
        try:
            decoder.picture()
        except uqdm.DamagedStreamError as error:
            for ask in (decoder.picture, decoder.picture, lambda: decoder.step):
                with pytest.raises(uqdm.DamagedStreamError, match=str(error)[:30]):
                    ask()
            decoder.feed(wrong[at:])
            with pytest.raises(uqdm.DamagedStreamError):
                decoder.picture()
            return
        decoder.feed(wrong[at : at + 1])
    pytest.fail("the damage was not noticed")


def test_complete_is_what_has_its_whole_payload(tiny_model, data):
    kept = uqdm.encode(PICTURE, metadata={"xmp": bytes(5000)}, model=tiny_model)
    start = uqdm.info(kept)["header_bytes"]
    payload = container.unpack(kept)[0].payload_bytes
    assert not uqdm.Decoder.from_bytes(kept[: start + payload - 1]).complete
    assert uqdm.Decoder.from_bytes(kept[: start + payload]).complete
    shorter = container.cut(kept, len(kept) - 50, keep_metadata=True)
    assert len(shorter) > start + payload
    assert not uqdm.Decoder.from_bytes(shorter).complete
    assert not uqdm.Decoder.from_bytes(uqdm.encode(PICTURE, bpp=2.0, model=tiny_model)).complete


def test_bytes_of_something_else_are_refused_at_once():
    decoder = uqdm.Decoder()
    with pytest.raises(uqdm.FormatError, match="not a uqdm stream"):
        decoder.feed(b"\x89PNG")


def test_draws_can_be_asked_for(tiny_model, data):
    decoder = uqdm.Decoder.from_bytes(data[:200], model=tiny_model)
    drawn = uqdm.decode(data[:200], model=tiny_model, realism=0.5)
    np.testing.assert_array_equal(decoder.picture(realism=0.5), drawn)
