"""The lossless residual: what comes back is what was encoded, whatever it is and whatever the network says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture
from test_exactness import inexact

import uqdm
from uqdm.exact.convolution import CONVOLUTIONS
from uqdm.lossless import pixel_network
from uqdm.lossless.predicted import PredictedPixels, PredictedResidual, load_residual
from uqdm.transforms import integer_wavelet, wavelet


def test_a_lossless_stream_begins_as_the_lossy_one(tiny_model):
    picture = make_picture(24, 24)
    for tau in (0.0, 0.6):
        lossy, lossless = (uqdm.encode(picture, tau, lossless=x, model=tiny_model) for x in (False, True))
        start, start_lossless = (uqdm.info(data)["header_bytes"] for data in (lossy, lossless))
        common = len(lossy) - start - 2  # the last bytes of a code word depend on what follows
        assert lossless[start_lossless : start_lossless + common] == lossy[start : start + common]


@pytest.mark.parametrize("block", [2, 8, 16])
def test_the_integer_prediction_is_the_inverse_transform(block):
    rng = np.random.default_rng(block)
    doubled = np.rint(rng.normal(0, 300, (2, 3, 3 * block**2))).astype(np.int64)
    doubled[..., :3] *= 20
    exact = np.asarray(wavelet.synthesis(jnp.asarray(doubled * (3.0 / 512), jnp.float32)[None], block))[0]
    assert np.abs(integer_wavelet.synthesis(doubled, block, 3.0) / 256 - np.clip(exact, 0, 255)).max() < 1 / 64


def test_any_coefficients_predict_pixels():
    """Also those that only a damaged stream can hold: no sum leaves 64 bits."""
    for block in (2, 64):
        for value in (-(2**32), 2**32):
            doubled = np.full((1, 2, 3 * block**2), value, np.int64)
            doubled[..., 1::2] *= -1
            predicted = integer_wavelet.synthesis(doubled, block, 64.0)
            assert predicted.min() >= 0
            assert predicted.max() <= 255 * 256


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_the_networks_use_exact_arithmetic_only(convolution):
    residual = load_residual()

    def run(rows, features, inside):
        return pixel_network.evaluate(rows, features, inside, convolution=convolution)

    features, inside = jnp.zeros((1, 4, 5, 45), jnp.int8), jnp.ones((4, 5), bool)
    assert not inexact(jax.make_jaxpr(run)(residual.rows[0], features, inside).jaxpr)


def test_all_ways_to_convolve_give_the_same():
    features = np.random.default_rng(0).integers(-127, 128, (1, 9, 7, 45)).astype(np.int8)
    inside = np.ones((9, 7), bool)
    for rows in load_residual().rows:
        results = [pixel_network.evaluate(rows, features, inside, convolution=name) for name in CONVOLUTIONS]
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_integers_are_what_was_trained():
    """The rounded twin in floating point against the integers, for random networks and features."""
    networks = pixel_network.init(16, jax.random.key(3))
    arrays = pixel_network.from_parameters(networks)
    given = np.random.default_rng(1).integers(-100, 101, (1, 12, 12, 45)).astype(np.int8)
    everything = np.concatenate([given[..., :12], np.abs(given[..., :12]), given[..., 12:]], -1)
    for index, parameters in enumerate(networks):
        twin = np.asarray(pixel_network.apply(parameters, jnp.asarray(everything, jnp.float32)))
        rows = pixel_network.class_index(arrays, index)
        integers = pixel_network.evaluate(rows, given, np.ones((12, 12), bool), convolution="float32")
        np.testing.assert_allclose(np.asarray(integers.location), 256 * twin[..., :3], atol=12)
        np.testing.assert_allclose(np.asarray(integers.log2_scale), 64 * (twin[..., 3:6] + 8), atol=3)
        np.testing.assert_allclose(np.asarray(integers.slope), 256 * twin[..., 6:], atol=12)


def test_networks_that_could_overflow_are_refused():
    arrays = dict(load_residual().arrays)
    for name, value in (
        ("second/kernel", np.int8(127)),
        ("head/multiplier", np.int32(2**30)),
        ("third/shift", np.int8(31)),
    ):
        wrong = arrays | {name: np.full_like(arrays[name], value)}
        with pytest.raises(ValueError, match="not exact"):
            PredictedResidual.from_bytes(PredictedResidual(arrays=wrong).to_bytes())
    with pytest.raises(ValueError, match="not a model file"):
        PredictedResidual.from_bytes(b"nothing")
    del arrays["table"]
    with pytest.raises(ValueError, match="lacks table"):
        PredictedResidual.from_bytes(PredictedResidual(arrays=arrays).to_bytes())


def test_large_pictures_are_evaluated_in_tiles(tiny_model, monkeypatch):
    states = []
    for sides in ((64, 136), (16,)):
        monkeypatch.setattr("uqdm.exact.tiles.SIDES", sides)
        state = PredictedPixels(load_residual(), tiny_model, tiny_model.new_state(120, 56, 0))
        states.append(state._outputs(0))
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_residual_has_no_name():
    assert load_residual().name == ""
