"""What a fresh estimate is worth: the weights, and pictures that use them."""

from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import receiver_of
from uqdm.library import SHIPPED
from uqdm.metrics import psnr_db
from uqdm.nested.preview import earlier_estimate
from uqdm.nested.preview_weights import fit_preview_weights
from uqdm.pictures import read_picture


@pytest.fixture(scope="module")
def views():
    return [make_picture(24, 32, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def fitted(tiny_model, views):
    return tiny_model.with_preview_weights(fit_preview_weights(tiny_model, views))


def test_the_weights_are_those_of_the_best_pictures(tiny_model, fitted, views):
    """No other constant is better for the pictures that they were measured on."""

    def quality(trust):
        model = tiny_model.with_preview_weights(trust)
        streams = [uqdm.encode(view, model=model, seed=seed) for seed, view in enumerate(views)]
        return np.mean(
            [
                [psnr_db(view, shown.picture) for shown in uqdm.previews(data, model=model)]
                for view, data in zip(views, streams, strict=True)
            ],
            axis=0,
        )

    assert fitted.preview_weights[0] == 1
    assert ((fitted.preview_weights >= 0) & (fitted.preview_weights <= 1)).all()
    best = quality(fitted.preview_weights)
    for constant in (0.0, 0.5, 1.0):
        # Pictures are rounded to whole pixel values, what was measured was not.
        assert (best >= quality(np.full_like(fitted.preview_weights, constant)) - 0.03).all()


def test_streams_are_the_same_whatever_the_weights(tiny_model, fitted, views):
    assert uqdm.encode(views[0], model=tiny_model) == uqdm.encode(views[0], model=fitted)
    assert fitted.id == tiny_model.id


def test_pictures_do_not_depend_on_what_was_shown_before(fitted, views):
    """The estimate before the last step is made again where nobody asked for it in time."""
    data = uqdm.encode(views[1], model=fitted)
    one_by_one = [preview.picture for preview in uqdm.previews(data, model=fitted)]
    for steps, expected in enumerate(one_by_one):
        receiver = receiver_of(data, model=fitted)
        for _ in range(steps):
            receiver.receive()
        np.testing.assert_array_equal(receiver.picture(), expected)


def test_a_fresh_estimate_is_faded_in(tiny_model, views):
    """With no trust at all, the last byte of a step changes what it sent, and nothing else."""
    doubtful = tiny_model.with_preview_weights(np.zeros(tiny_model.steps + 1))
    data = uqdm.encode(views[2], model=doubtful)
    trusting, doubting = receiver_of(data, model=tiny_model), receiver_of(data, model=doubtful)
    for _ in range(3):
        trusting.receive()
        doubting.receive()
    expected = doubtful.pixels(earlier_estimate(doubtful, doubting.state, 3))[:24, :32]
    np.testing.assert_array_equal(doubting.picture(), expected)
    assert (trusting.picture() != doubting.picture()).any()


def test_no_pictures_are_refused(tiny_model):
    with pytest.raises(ValueError, match="no pictures to measure on"):
        fit_preview_weights(tiny_model, [])


@pytest.mark.parametrize("trust", [np.ones(2), np.full(16, 1.5), np.full(16, np.nan)])
def test_weights_of_another_model_or_out_of_range_are_refused(tiny_model, trust):
    assert tiny_model.steps == 15
    with pytest.raises(ValueError, match=r"preview/trust must be 16 numbers in \[0, 1\]"):
        tiny_model.with_preview_weights(trust)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_no_byte_of_a_shipped_models_stream_makes_a_preview_worse(name):
    """Once the first level is complete: while its coarse values arrive, of few blocks, one may spoil what was even."""
    photograph = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"
    picture = np.ascontiguousarray(read_picture(photograph.read_bytes())[100:164, 200:264])
    data = uqdm.encode(picture, model=uqdm.load_model(name))
    start, quality, coarse = uqdm.info(data)["header_bytes"], [], 0
    receiver = receiver_of(data[:start])
    steps = receiver.model.schedule.steps
    for size in range(start, len(data) + 1):
        receiver.feed(data[receiver.file_bytes : size])
        while receiver.receive():
            pass
        quality.append(psnr_db(picture, receiver.picture()))
        coarse += receiver.step < len(steps) and steps[receiver.step].level == steps[0].level
    assert quality[-1] == psnr_db(picture, uqdm.decode(data))
    assert np.diff(quality[coarse - 1 :]).min() > -0.12
