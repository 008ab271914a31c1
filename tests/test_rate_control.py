"""A stream ends where it is asked to, and what lies behind its end is not computed."""

from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.codec.rate_control import pictures_at
from uqdm.metrics import psnr_db
from uqdm.pictures import read_picture

PICTURE = make_picture(24, 32)


@pytest.fixture(scope="module")
def whole(tiny_model) -> bytes:
    return uqdm.encode(PICTURE, model=tiny_model)


class Counting:
    """A model that counts the steps that it is asked about."""

    def __init__(self, model):
        self.asked, self._model = 0, model
        for name in ("family", "name", "id", "steps", "new_state", "picture"):
            setattr(self, name, getattr(model, name))

    def expect(self, states, step):
        self.asked += 1
        self._model.expect(states, step)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.35, 0.7, 0.97, 1.5])
def test_as_many_bytes_as_are_allowed_are_those_of_the_whole_stream(tiny_model, whole, share):
    limit = max(uqdm.info(whole)["header_bytes"], int(share * len(whole)))
    cut = uqdm.encode(PICTURE, file_bytes=limit, model=tiny_model)
    assert len(cut) == min(limit, len(whole)) or share > 1
    payload, whole_payload = (data[uqdm.info(data)["header_bytes"] :] for data in (cut, whole))
    assert payload == whole_payload[: len(payload)]
    np.testing.assert_array_equal(
        uqdm.decode(cut, model=tiny_model),
        uqdm.decode(whole[: uqdm.info(whole)["header_bytes"] + len(payload)], model=tiny_model),
    )


def test_steps_behind_the_end_are_not_computed(tiny_model):
    data, costs = encode_with_costs(PICTURE, model=tiny_model)
    counting = Counting(tiny_model)
    cut = uqdm.encode(PICTURE, file_bytes=costs[3].file_bytes, model=counting)
    assert 3 <= counting.asked <= 5 < tiny_model.steps
    assert uqdm.info(cut)["steps"] == counting.asked
    assert not uqdm.info(cut)["complete"]


def test_a_rate_in_bits_per_pixel_is_one_of_the_file(tiny_model):
    assert len(uqdm.encode(PICTURE, bpp=1.5, model=tiny_model)) == int(1.5 * 24 * 32 / 8)


@pytest.mark.parametrize("target_db", [18.0, 25.0, 33.0, 38.5])
def test_a_psnr_is_reached_with_the_fewest_bytes_of_its_step(tiny_model, whole, target_db):
    counting = Counting(tiny_model)
    data = uqdm.encode(PICTURE, psnr_db=target_db, model=counting)
    assert counting.asked >= uqdm.info(data)["steps"]
    assert psnr_db(PICTURE, uqdm.decode(data, model=tiny_model)) >= target_db
    assert psnr_db(PICTURE, uqdm.decode(data[:-1], model=tiny_model)) < target_db
    start = uqdm.info(data)["header_bytes"]
    assert data[start:-2] == whole[uqdm.info(whole)["header_bytes"] :][: len(data) - start - 2]


def test_a_psnr_that_the_bare_header_has_takes_no_step(tiny_model):
    grey = np.full((9, 9, 3), 127, np.uint8)
    data = uqdm.encode(grey, psnr_db=20.0, model=tiny_model)
    assert len(data) == uqdm.info(data)["header_bytes"]


def test_batches_end_where_single_pictures_do(tiny_model):
    pictures = [make_picture(16, 24, seed) for seed in range(3)] + [make_picture(9, 9)]
    for limit in ({"psnr_db": 30.0}, {"bpp": 3.0}, {"file_bytes": 90}):
        together = uqdm.encode_batch(pictures, model=tiny_model, **limit)
        assert together == [uqdm.encode(picture, model=tiny_model, **limit) for picture in pictures]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bpp": 1.0, "psnr_db": 30.0}, "one of bpp, file_bytes and psnr_db"),
        ({"bpp": 1.0, "lossless": True}, "bpp cannot be combined with lossless"),
        ({"file_bytes": 100, "tau": 0.5}, "file_bytes cannot be combined with tau"),
        ({"rdoq": True}, "give a tau above 0, bpp, file_bytes or psnr_db with it"),
        ({"rdoq": True, "lossless": True, "tau": 0.5}, "rdoq is for streams that end early"),
        ({"psnr_db": 99.0}, "99.0 dB is out of reach: the whole stream gives"),
        ({"file_bytes": 3}, "3 bytes do not hold the header"),
        ({"bpp": -1.0}, "bpp must be a positive number, got -1.0"),
        ({"psnr_db": float("nan")}, "psnr_db must be a positive number, got nan"),
    ],
)
def test_ends_that_cannot_be_are_refused(tiny_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        uqdm.encode(PICTURE, model=tiny_model, **arguments)


def test_pictures_at_rising_sizes_are_those_of_single_decodes(tiny_model, whole):
    sizes = [40, 41, 100, 500, len(whole)]
    for size, shown in zip(sizes, pictures_at(whole, sizes, tiny_model), strict=True):
        np.testing.assert_array_equal(shown, uqdm.decode(whole[:size], model=tiny_model))


def test_a_receiver_branches(tiny_model, whole):
    from uqdm.codec.api import receiver_of

    receiver = receiver_of(whole[: len(whole) // 2], model=tiny_model)
    receiver.receive()
    branch = receiver.branch()
    branch.feed(whole[len(whole) // 2 :])
    for each in (receiver, branch):
        while each.receive():
            pass
    np.testing.assert_array_equal(branch.picture(), uqdm.decode(whole, model=tiny_model))
    np.testing.assert_array_equal(receiver.picture(), uqdm.decode(whole[: len(whole) // 2], model=tiny_model))


@pytest.fixture(scope="module")
def natural() -> np.ndarray:
    return read_picture((Path(__file__).parents[1] / "experiments/pictures/kodim23.webp").read_bytes())[
        200:296, 300:428
    ]


def test_optimised_quantization_shows_more_in_as_many_bytes(natural):
    gains = []
    for rate in (0.3, 0.5, 0.9):
        plain, optimised = (uqdm.encode(natural, bpp=rate, rdoq=rdoq, model="photo") for rdoq in (False, True))
        assert len(optimised) == len(plain)
        gains.append(psnr_db(natural, uqdm.decode(optimised)) - psnr_db(natural, uqdm.decode(plain)))
    assert np.mean(gains) > 0.03


def test_optimised_quantization_reaches_a_psnr_with_fewer_bytes(natural):
    for target_db, share in ((33.0, 1.0), (43.0, 0.98)):
        plain, optimised = (uqdm.encode(natural, psnr_db=target_db, rdoq=rdoq, model="photo") for rdoq in (False, True))
        assert psnr_db(natural, uqdm.decode(optimised)) >= target_db
        assert len(optimised) <= share * len(plain)


@pytest.mark.parametrize("step", [32, 33])
def test_optimised_quantization_of_streams_that_end_at_a_time(natural, step):
    """In a splitting and in a halving step: fewer bytes, and what is lost is worth less than they are."""
    photo = uqdm.load_model("photo")
    plain = [uqdm.encode(natural, photo.times[end], model=photo) for end in range(step - 3, step + 1)]
    optimised = uqdm.encode(natural, photo.times[step], rdoq=True, model=photo)
    curve = [psnr_db(natural, uqdm.decode(data)) for data in plain]
    assert len(plain[0]) < len(optimised) < 0.99 * len(plain[-1])
    assert psnr_db(natural, uqdm.decode(optimised)) > np.interp(len(optimised), [len(data) for data in plain], curve)


def test_optimised_quantization_of_batches_is_that_of_single_pictures(tiny_model):
    pictures = [make_picture(16, 24, seed) for seed in range(3)]
    together = uqdm.encode_batch(pictures, bpp=3.0, rdoq=True, model=tiny_model)
    assert together == [uqdm.encode(picture, bpp=3.0, rdoq=True, model=tiny_model) for picture in pictures]


def test_optimised_quantization_leaves_whole_streams_alone(tiny_model, whole):
    assert uqdm.encode(PICTURE, file_bytes=2 * len(whole), rdoq=True, model=tiny_model) == whole
