"""The lossless residual: what comes back is what was encoded, whatever it is and whatever the network says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture
from test_exactness import inexact

import uqdm
from uqdm.codec.api import check_against, encode_with_costs, receiver_of
from uqdm.exact.convolution import CONVOLUTIONS
from uqdm.lossless import pixel_network
from uqdm.lossless.predicted import PredictedPixels, PredictedResidual, load_residual, predict_pixels
from uqdm.metrics import psnr_db
from uqdm.transforms.wavelet import synthesis

FULL = ("pixel", "small", "odd", "square", "noise", "black", "two colours")
"""Pictures that are sent with steps before the residual, too."""


def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    gradient = np.add.outer(np.arange(24), 4 * np.arange(24))
    return {
        "pixel": np.array([[[255, 0, 128]]], np.uint8),
        "small": make_picture(7, 5),
        "odd": make_picture(33, 17),
        "square": make_picture(64, 64),
        "noise": rng.integers(0, 256, (24, 24, 3), dtype=np.uint8),
        "black": np.zeros((24, 24, 3), np.uint8),
        "white": np.full((24, 24, 3), 255, np.uint8),
        "gradient": np.stack([gradient % 256, gradient // 2, 255 - gradient % 256], -1).astype(np.uint8),
        "checks": np.tile(np.array([[0, 255], [255, 0]], np.uint8)[..., None], (12, 12, 3)),
        "two colours": np.where(rng.random((24, 24, 1)) < 0.1, np.uint8(255), np.uint8(7)).repeat(3, 2),
    }


@pytest.mark.parametrize(("name", "tau"), [(name, 1.0) for name in pictures()] + [(name, None) for name in FULL])
def test_every_picture_comes_back_exactly(tiny_model, name, tau):
    picture = pictures()[name]
    data = uqdm.encode(picture, tau, lossless=True, model=tiny_model, seed=len(name))
    np.testing.assert_array_equal(uqdm.decode(data, model=tiny_model), picture)
    check_against(data, picture, model=tiny_model)


def test_a_lossless_stream_begins_as_the_lossy_one(tiny_model):
    picture = make_picture(24, 24)
    for tau in (0.0, 0.6):
        lossy, lossless = (uqdm.encode(picture, tau, lossless=x, model=tiny_model) for x in (False, True))
        start, start_lossless = (uqdm.info(data)["header_bytes"] for data in (lossy, lossless))
        common = len(lossy) - start - 2  # the last bytes of a code word depend on what follows
        assert lossless[start_lossless : start_lossless + common] == lossy[start : start + common]


def test_files_are_as_long_as_the_model_says(tiny_model):
    data, costs = encode_with_costs(make_picture(64, 64), lossless=True, model=tiny_model)
    assert len(costs) == 1 + uqdm.info(data)["steps"] + 4
    for cost in costs:
        assert cost.ideal_bits / 8 <= cost.file_bytes <= 1.003 * cost.ideal_bits / 8 + 24
    assert len(data) <= 1.003 * costs[-1].ideal_bits / 8 + 24


def test_every_prefix_of_the_residual_shows_what_is_determined_and_never_gets_worse(tiny_model):
    picture = make_picture(16, 16)
    data, costs = encode_with_costs(picture, lossless=True, model=tiny_model)
    receiver = receiver_of(data[: costs[-5].file_bytes], model=tiny_model)
    quality, determined = [], []
    for size in range(costs[-5].file_bytes, len(data) + 1):
        receiver.feed(data[receiver.file_bytes : size])
        while receiver.receive():
            pass
        shown = receiver.picture()
        quality.append(psnr_db(picture, shown))
        if receiver.state.pixels is not None:
            known = receiver.state.pixels.determined
            np.testing.assert_array_equal(shown[known], picture[known])
            determined.append(known.mean())
            if size % 64 == 0:
                np.testing.assert_array_equal(shown, uqdm.decode(data[:size], model=tiny_model))
    assert all(after >= before for before, after in zip(quality, quality[1:], strict=False))
    assert quality[-1] == np.inf
    assert sorted(determined) == determined
    assert len(set(determined)) > 30
    assert receiver.step == receiver.header.total_steps


def test_previews_go_on_through_the_residual(tiny_model):
    picture = make_picture(24, 24)
    data, costs = encode_with_costs(picture, lossless=True, model=tiny_model)
    shown = list(uqdm.previews(data, model=tiny_model))
    assert [p.step for p in shown] == list(range(len(costs)))
    assert [p.file_bytes for p in shown] == [cost.file_bytes for cost in costs]
    assert {p.steps for p in shown} == {len(costs) - 1}
    np.testing.assert_array_equal(shown[-1].picture, picture)
    cut = list(uqdm.previews(data[:-40], model=tiny_model))[-1]
    assert cut.step == len(costs) - 2
    assert cut.file_bytes == len(data) - 40
    assert psnr_db(picture, cut.picture) >= psnr_db(picture, shown[-2].picture)


@pytest.mark.parametrize("piece", [1, 50])
def test_bytes_may_arrive_in_pieces(tiny_model, piece):
    picture = make_picture(16, 16)
    data = uqdm.encode(picture, lossless=True, model=tiny_model)
    arriving = list(uqdm.previews((data[i : i + piece] for i in range(0, len(data), piece)), model=tiny_model))
    np.testing.assert_array_equal(arriving[-1].picture, picture)


def test_batches_give_the_same(tiny_model):
    batch = [make_picture(16, 16, seed) for seed in range(3)] + [make_picture(7, 5)]
    streams = [uqdm.encode(picture, lossless=True, model=tiny_model) for picture in batch]
    assert uqdm.encode_batch(batch, lossless=True, model=tiny_model) == streams
    for picture, decoded in zip(batch, uqdm.decode_batch(streams, model=tiny_model), strict=True):
        np.testing.assert_array_equal(decoded, picture)


def test_damage_is_reported_and_never_shown(tiny_model):
    """Every flipped bit of the payload either is noticed or lies in padding that means nothing."""
    picture = make_picture(24, 24)
    data, costs = encode_with_costs(picture, lossless=True, model=tiny_model)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(25):
        bit = int(rng.integers(8 * costs[-5].file_bytes, 8 * len(data)))
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            np.testing.assert_array_equal(uqdm.decode(bytes(damaged), model=tiny_model), picture)
        except uqdm.DamagedStreamError as error:
            noticed += 1
            good = uqdm.decode(bytes(damaged[: error.good_bytes]), model=tiny_model)
            np.testing.assert_array_equal(good, uqdm.decode(data[: error.good_bytes], model=tiny_model))
    assert noticed >= 22


def test_a_check_against_another_picture_fails(tiny_model):
    picture = make_picture(16, 16)
    data = uqdm.encode(picture, 1.0, lossless=True, model=tiny_model)
    other = np.array(picture)
    other[3, 4, 1] ^= 1
    with pytest.raises(uqdm.DamagedStreamError, match="another picture"):
        check_against(data, other, model=tiny_model)


def test_a_stream_with_another_residual_is_refused(tiny_model):
    data = uqdm.encode(make_picture(7, 5), lossless=True, model=tiny_model)
    header, start = uqdm.codec.container.unpack(data)
    assert header.residual_id == load_residual().id[:4]
    other = uqdm.codec.container.pack(header._replace(residual_id=b"none")) + data[start:]
    with pytest.raises(uqdm.ModelMismatchError, match="lossless residual of id 6e6f6e65"):
        uqdm.decode(other, model=tiny_model)


@pytest.mark.parametrize("block", [2, 8, 16])
def test_the_integer_prediction_is_the_inverse_transform(block):
    rng = np.random.default_rng(block)
    doubled = np.rint(rng.normal(0, 300, (2, 3, 3 * block**2))).astype(np.int64)
    doubled[..., :3] *= 20
    exact = np.asarray(synthesis(jnp.asarray(doubled * (3.0 / 512), jnp.float32)[None], block))[0]
    assert np.abs(predict_pixels(doubled, block, 3.0) / 256 - np.clip(exact, 0, 255)).max() < 1 / 64


def test_any_coefficients_predict_pixels():
    """Also those that only a damaged stream can hold: no sum leaves 64 bits."""
    for block in (2, 64):
        for value in (-(2**32), 2**32):
            doubled = np.full((1, 2, 3 * block**2), value, np.int64)
            doubled[..., 1::2] *= -1
            predicted = predict_pixels(doubled, block, 64.0)
            assert predicted.min() >= 0
            assert predicted.max() <= 255 * 256


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_the_networks_use_exact_arithmetic_only(convolution):
    residual = load_residual()

    def run(rows, features):
        return pixel_network.evaluate(rows, features, convolution=convolution)

    features = jnp.zeros((1, 4, 5, 45), jnp.int8)
    assert not inexact(jax.make_jaxpr(run)(residual.rows[0], features).jaxpr)


def test_all_ways_to_convolve_give_the_same():
    features = np.random.default_rng(0).integers(-127, 128, (1, 9, 7, 45)).astype(np.int8)
    for rows in load_residual().rows:
        results = [pixel_network.evaluate(rows, features, convolution=name) for name in CONVOLUTIONS]
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
        integers = pixel_network.evaluate(rows, given, convolution="convolution")
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


def test_large_pictures_are_evaluated_in_strips(tiny_model, monkeypatch):
    states = []
    for cells in (2**16, 16):
        monkeypatch.setattr("uqdm.lossless.predicted._STRIP_QUADS", cells)
        state = PredictedPixels(load_residual(), tiny_model, tiny_model.new_state(200, 16, 0))
        states.append(state._outputs(0))
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_residual_has_no_name():
    assert load_residual().name == ""
