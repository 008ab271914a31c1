"""More bytes never look worse: after steps that would, what was shown before them is shown."""

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec import container
from uqdm.codec.api import receiver_of
from uqdm.codec.extras import held_chunk, held_of_chunks
from uqdm.metrics import psnr_db

SIDE = 48


def _drawn() -> dict[str, np.ndarray]:
    row, column = np.mgrid[:SIDE, :SIDE]
    checkers = np.repeat(255 * ((row + column) % 2)[..., None], 3, -1).astype(np.uint8)
    stripes = np.repeat(200 * (column // 4 % 2)[..., None], 3, -1).astype(np.uint8)
    halftone = np.repeat(255 * ((7 * row + 3 * column) % 16 < column // 3)[..., None], 3, -1).astype(np.uint8)
    return {
        "white": np.full((SIDE, SIDE, 3), 255, np.uint8),
        "flat colour": np.full((SIDE, SIDE, 3), [200, 80, 40], np.uint8),
        "checkerboard": checkers,
        "red and blue": checkers * np.array([1, 0, 1], np.uint8) ^ np.array([0, 0, 255], np.uint8),
        "stripes": stripes,
        "halftone": halftone,
    }


def _qualities(picture, data, model):
    shown = (preview.picture for preview in uqdm.previews(data, model=model))
    return [min(99.0, psnr_db(picture, one)) for one in shown]


@pytest.mark.parametrize("name", _drawn())
def test_no_step_makes_a_drawn_picture_worse(tiny_model, name):
    picture = _drawn()[name]
    data = uqdm.encode(picture, model=tiny_model)
    assert (np.diff(_qualities(picture, data, tiny_model)) >= 0).all()


@pytest.mark.parametrize("options", [{"index": True}, {"psnr_db": 34.0}])
def test_no_step_makes_any_picture_worse_that_is_looked_at(tiny_model, options):
    picture = make_picture(40, 56, 4)
    data = uqdm.encode(picture, model=tiny_model, **options)
    assert (np.diff(_qualities(picture, data, tiny_model)) >= 0).all()


def test_what_is_held_changes_no_other_byte(tiny_model, monkeypatch):
    """Readers that do not know it decode the same states."""
    picture = _drawn()["stripes"]
    held = uqdm.encode(picture, model=tiny_model)
    monkeypatch.setattr("uqdm.codec.encoding.looks_drawn", lambda picture: False)
    plain = uqdm.encode(picture, model=tiny_model)
    (header, start), (_, plain_start) = container.unpack(held), container.unpack(plain)
    assert header.held_steps
    assert held[start:] == plain[plain_start:]


def test_what_is_held_does_not_depend_on_what_was_looked_at(tiny_model):
    """What was shown before is found again where nobody asked for it in time."""
    data = uqdm.encode(_drawn()["halftone"], model=tiny_model)
    for preview in uqdm.previews(data, model=tiny_model):
        receiver = receiver_of(data, model=tiny_model)
        for _ in range(preview.step):
            receiver.receive()
        np.testing.assert_array_equal(receiver.picture(), preview.picture)


def test_draws_are_not_held(tiny_model):
    """They are of steps that were not sent."""
    picture = _drawn()["checkerboard"]
    data = uqdm.encode(picture, model=tiny_model)
    draws = [
        uqdm.decode(data[: len(data) // 3], model=tiny_model, reconstruction=uqdm.Sample(seed=seed)) for seed in (1, 2)
    ]
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("steps", [{1}, {3, 4, 9}, {28}, set(range(1, 29))])
def test_held_steps_are_written_and_read(steps):
    assert held_of_chunks([held_chunk(steps)]) == steps


def test_nonsense_among_the_held_steps_means_nothing(tiny_model):
    """A chunk may say anything: of the step before the first, and of steps that are none, it is not asked."""
    picture = make_picture(24, 24, 1)
    data = uqdm.encode(picture, model=tiny_model)
    header, start = container.unpack(data)
    chunks = (held_chunk(range(8 * 40)),)
    everything = container.pack(header._replace(chunks=chunks, written_bytes=header.payload_bytes)) + data[start:]
    shown = [preview.picture for preview in uqdm.previews(everything, model=tiny_model)]
    assert len(shown) == header.steps + 1
    for picture in shown[1:]:
        np.testing.assert_array_equal(picture, shown[0])
