import csv
from dataclasses import replace as recipe_of

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import postfilter_parameters
from pictures import make_picture
from plain_picture import show

import uqdm
from uqdm.codec import container
from uqdm.codec.api import receiver_of
from uqdm.codec.extras import held_chunk
from uqdm.exact.convolution import CONVOLUTIONS
from uqdm.exact.fixed_point import round_kernels
from uqdm.metrics import psnr_db
from uqdm.nested.preview import mean_estimate
from uqdm.postfilter import integers, network
from uqdm.postfilter.config import FilterConfig
from uqdm.postfilter.postfilter import Postfilter
from uqdm.postfilter.train import Recipe, fit
from uqdm.training.loop import Run

CONFIG = FilterConfig(steps=4, widths=(8, 12, 16), blocks_in=(1, 1, 1), blocks_out=(1, 1, 0))
PARAMETERS = postfilter_parameters(CONFIG)
STATES = range(1, 4)


@pytest.fixture(scope="module")
def postfilter():
    return Postfilter.from_training(CONFIG, PARAMETERS, STATES)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth with some noise, in 1/256 of pixel values, none of them between two whole ones."""
    rng = np.random.default_rng(seed)
    waves = 128 + 80 * np.sin(np.arange(height)[:, None, None] / 9) * np.cos(np.arange(width)[None, :, None] / 7)
    exact = np.clip(256 * (waves + rng.normal(0, 9, (height, width, 3))), 0, 255 * 256).astype(np.uint16)
    return np.where(exact % 256 == 128, exact + 1, exact).astype(np.uint16)


def test_integers_are_the_network_that_was_trained(postfilter):
    shown = picture(64, 96)
    rounded = round_kernels(jax.tree.map(jnp.asarray, PARAMETERS))
    for step in range(CONFIG.steps + 1):
        correction = network.apply(
            CONFIG, rounded, jnp.asarray(shown / 256, jnp.float32)[None], jnp.full((1,), step), quantized=True
        )
        expected = np.clip(shown / 256 + np.asarray(correction)[0], 0, 255)
        difference = postfilter(shown, step) / 256 - expected
        size = np.abs(np.asarray(correction)).mean()
        assert size > 0.5
        # What lies between two values is rounded either way, in every layer.
        assert np.abs(difference).mean() < 0.02 * size
        assert np.abs(difference.mean()) < 0.001 * size


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_all_ways_to_convolve_give_the_same(postfilter, convolution):
    other = Postfilter(arrays=postfilter.arrays, convolution=convolution)
    np.testing.assert_array_equal(other(picture(48, 80), 2), postfilter(picture(48, 80), 2))


def test_a_part_of_a_picture_far_from_its_border_is_filtered_as_alone(postfilter):
    shown, reach = picture(32, 400), 112
    whole, part = postfilter(shown, 1), postfilter(shown[:, :256], 1)
    np.testing.assert_array_equal(part[:, : 256 - reach], whole[:, : 256 - reach])
    assert (part != whole[:, :256]).any()


def test_pieces_of_large_pictures_fit(postfilter, monkeypatch):
    from uqdm.exact import grids

    shown = picture(160, 1040)
    whole = postfilter(shown, 1)
    monkeypatch.setattr(grids, "CAPACITIES", grids.CAPACITIES[:2])
    assert len(list(grids.pieces(1, 10, 65, 7))) > 1
    np.testing.assert_array_equal(postfilter(shown, 1), whole)


def test_what_is_not_exact_is_refused(postfilter):
    arrays = {**postfilter.arrays}
    for name, change, says in [
        ("head/kernel", lambda x: x.astype(np.int16), "head/kernel"),
        ("head/multiplier", lambda x: x * 0 + 2**30, "products of head"),
        ("in_0_0_first/shift", lambda x: x * 0, "shifts of in_0_0_first"),
        ("entry/offset", lambda x: x[:2], "the table of entry"),
        ("filtered", lambda x: x[1:], "another process"),
    ]:
        with pytest.raises(ValueError, match=says):
            Postfilter.from_arrays({**arrays, name: change(arrays[name])}, CONFIG.steps)
    with pytest.raises(ValueError, match="lacks 'entry/kernel'"):
        Postfilter.from_arrays({name: x for name, x in arrays.items() if name != "entry/kernel"}, CONFIG.steps)
    with pytest.raises(ValueError, match="another process"):
        Postfilter.from_arrays(arrays, CONFIG.steps + 1)
    assert Postfilter.from_arrays({}, 9) is None


def test_a_training_that_went_astray_is_refused():
    with pytest.raises(ValueError, match="exact"):
        integers.from_parameters(CONFIG, {**PARAMETERS, "head_gain": PARAMETERS["head_gain"] * 1e12})


@pytest.fixture(scope="module")
def filtering(tiny_model):
    config = FilterConfig(steps=tiny_model.steps, widths=(8, 8), blocks_in=(1, 1), blocks_out=(1, 0))
    states = range(2, tiny_model.steps - 1)
    return tiny_model.with_postfilter(Postfilter.from_training(config, postfilter_parameters(config), states))


def received(data: bytes, model):
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    return receiver


def test_streams_and_the_identity_do_not_know_the_filter(tiny_model, filtering):
    # Of pictures that a sender looks at, what is held depends on what is shown.
    picture = make_picture(40, 24) ^ np.random.default_rng(0).integers(0, 16, (40, 24, 3), dtype=np.uint8)
    assert filtering.id == tiny_model.id
    assert uqdm.encode(picture, 0.3, model=filtering) == uqdm.encode(picture, 0.3, model=tiny_model)
    assert filtering.with_postfilter(None).arrays.keys() == tiny_model.arrays.keys()


def test_a_model_file_keeps_the_filter(filtering):
    again = type(filtering).from_bytes(filtering.to_bytes())
    data = uqdm.encode(make_picture(40, 24), 0.5, model=filtering)
    np.testing.assert_array_equal(uqdm.decode(data, model=again), uqdm.decode(data, model=filtering))


def test_some_steps_are_filtered(tiny_model, filtering):
    picture = make_picture(40, 24)
    for step in range(1, tiny_model.steps + 1):
        data = uqdm.encode(picture, 1 - step / tiny_model.steps, model=tiny_model)
        shown, plain = (uqdm.decode(data, model=model) for model in (filtering, tiny_model))
        assert (shown != plain).any() == filtering.postfilter.filters(step)


@pytest.mark.parametrize("cut", [0, 7])
def test_filtered_pictures_stay_in_the_cells_that_are_known(filtering, cut):
    data = uqdm.encode(make_picture(40, 24), 0.4, model=filtering)
    receiver = received(data[: len(data) - cut], filtering)
    rng = np.random.default_rng(0)
    far = mean_estimate(filtering, receiver.state, receiver.step) + rng.integers(-9999, 9999, receiver.state.grid.shape)
    far = far.astype(np.int32)
    expected = np.clip(far.reshape(-1), *receiver.state.bounds(receiver.step))
    receiver.state.move_into_cells(far, receiver.step)
    np.testing.assert_array_equal(far.reshape(-1), expected)


@pytest.mark.parametrize("tau", [0.6, 0.35, 0.0])
def test_the_plain_decoder_filters(filtering, tau):
    data = uqdm.encode(make_picture(33, 50), tau, model=filtering, seed=3)
    np.testing.assert_array_equal(show(data, dict(filtering.arrays)), uqdm.decode(data, model=filtering))


def test_the_plain_decoder_filters_what_is_held(filtering):
    stripes = np.repeat(200 * (np.arange(48) // 4 % 2), 3).reshape(1, 48, 3).repeat(40, 0).astype(np.uint8)
    for tau in np.linspace(0.2, 0.9, 5):
        data = uqdm.encode(stripes, tau, model=filtering)
        np.testing.assert_array_equal(show(data, dict(filtering.arrays)), uqdm.decode(data, model=filtering))


def test_a_picture_that_the_filter_spoils_is_not_filtered(tiny_model, filtering):
    """It is untrained, so that a flat picture gets a pattern."""
    flat = np.full((40, 24, 3), 90, np.uint8)
    data = uqdm.encode(flat, model=filtering)
    assert not container.unpack(data)[0].filtered
    assert container.unpack(uqdm.encode(flat, model=tiny_model))[0].filtered
    np.testing.assert_array_equal(show(data, dict(filtering.arrays)), uqdm.decode(data, model=filtering))
    shown = [psnr_db(flat, preview.picture) for preview in uqdm.previews(data, model=filtering)]
    assert (np.diff(np.minimum(shown, 99)) >= 0).all()


@pytest.fixture
def optax_promotes():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("psnr", [18.0, 25.0, 33.0])
def test_a_quality_is_reached_with_the_fewest_bytes(filtering, psnr):
    noisy = make_picture(40, 56) ^ np.random.default_rng(0).integers(0, 16, (40, 56, 3), dtype=np.uint8)
    data = uqdm.encode(noisy, psnr_db=psnr, model=filtering)
    assert psnr_db(noisy, uqdm.decode(data, model=filtering)) >= psnr
    assert psnr_db(noisy, uqdm.decode(data[:-1], model=filtering)) < psnr


def test_a_training_learns_and_goes_on(tmp_path, compiled_quickly, optax_promotes):
    """Previews are too bright, which is learned first."""
    recipe = Recipe(
        widths=(8, 8),
        blocks_in=(1, 0),
        blocks_out=(0, 0),
        crops=((16, 4),),
        steps=60,
        quantize_from=40,
        learning_rate=0.02,
        warm_up=5,
        states=(1, 2),
    )
    rng = np.random.default_rng(0)
    pictures = [rng.integers(60, 180, (1, 1, 3), np.uint8).repeat(32, 0).repeat(32, 1) for _ in range(8)]
    run = Run(validate_every=60, checkpoint_every=60)
    given = recipe, lambda x, step, key: x + 20.0, 2, [np.stack(pictures)], {"flat": np.stack(pictures[:2])}
    config, parameters = fit(*given, tmp_path / "run", run=run)
    rows = list(csv.DictReader((tmp_path / "run" / "validation.csv").read_text().splitlines()))
    assert [int(row["sent"]) for row in rows] == [1, 2]
    for row in rows:
        assert float(row["filtered_db"]) > float(row["preview_db"]) + 6
    postfilter = Postfilter.from_training(config, parameters, range(1, 3))
    bright = (pictures[0].astype(np.uint16) + 20) << 8
    assert np.abs(postfilter(bright, 1) / 256 - pictures[0]).mean() < 10
    again = recipe_of(recipe, steps=2, quantize_from=0, warm_up=1, learning_rate=0.0)
    further, same = fit(again, *given[1:], tmp_path / "again", start_from=postfilter)
    unchanged = Postfilter.from_training(further, same, range(1, 3))
    difference = unchanged(bright, 1).astype(int) - postfilter(bright, 1)
    assert np.abs(difference).max() <= 4
    with pytest.raises(ValueError, match="the filter to start from is FilterConfig"):
        fit(recipe_of(again, widths=(8, 12)), *given[1:], tmp_path / "other", start_from=postfilter)


def test_parameters_of_a_filter_give_its_integers(postfilter):
    """Whatever ceilings, gains and kernels share between them."""
    again = Postfilter.from_training(CONFIG, postfilter.parameters, STATES)
    for name, array in postfilter.arrays.items():
        if name.endswith("kernel"):
            np.testing.assert_array_equal(again.arrays[name], array)
    shown = picture(64, 96)
    for step in range(CONFIG.steps + 1):
        ours, theirs = (one(shown, step).astype(int) for one in (again, postfilter))
        assert np.abs(ours - theirs).mean() < 0.02 * np.abs(theirs - shown).mean()


def test_what_is_held_does_not_depend_on_what_was_looked_at(tiny_model, filtering):
    """A held picture is that of complete steps, also where parts of the next one were looked at."""
    # Estimates of before a step have a weight, which fades while the next step arrives.
    weights = np.full(tiny_model.steps + 1, 0.5, np.float32)
    model = filtering.with_preview_weights(weights)
    picture = make_picture(40, 24) ^ np.random.default_rng(0).integers(0, 16, (40, 24, 3), dtype=np.uint8)
    plain = uqdm.encode(picture, 0.3, model=model)
    header, start = container.unpack(plain)
    held = header._replace(chunks=(held_chunk({5, 6, 7}),), written_bytes=header.payload_bytes)
    data = container.pack(held) + plain[start:]
    looking = receiver_of(data[: container.unpack(data)[1]], model=model)
    for size in range(looking.file_bytes + 1, len(data) + 1):
        looking.feed(data[size - 1 : size])
        while looking.receive():
            pass
        shown, at_once = looking.picture(), received(data[:size], model).picture()
        np.testing.assert_array_equal(shown, at_once)


def test_a_filter_for_larger_blocks_is_refused(tiny_model):
    config = FilterConfig(steps=tiny_model.steps, widths=(8, 8, 8), blocks_in=(1, 0, 0), blocks_out=(0, 0, 0))
    with pytest.raises(ValueError, match="blocks of 16 pixels"):
        tiny_model.with_postfilter(Postfilter.from_training(config, postfilter_parameters(config), range(2)))
