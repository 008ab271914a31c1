"""The lossless residual of the uniform process: what comes back is what was encoded, at the cost of x given z_t."""

import jax
import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import encode_with_costs, receiver_of
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, process_named
from uqdm.diffusion.model import DiffusionModel
from uqdm.metrics import psnr_db
from uqdm.pretrained.published_uqdm import read_published


def uniform_model(steps=3, logistic=True, gamma_min=-9.0, process="uniform"):
    config = unet.UNetConfig(width=8, levels=2, norm_groups=4, heads=0, learned_scale=process == "uniform")
    noise = diffusion.NoiseSchedule(gamma_min=gamma_min, gamma_max=6.0)
    parameters = unet.init(config, jax.random.key(0))
    kind = process_named(process, logistic=logistic)
    record = DiffusionConfig(process=kind, noise=noise, steps=steps, network=config)
    return DiffusionModel.from_training(record, parameters)


@pytest.fixture(scope="module")
def model():
    return uniform_model()


@pytest.mark.parametrize("tau", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["1x1", "7x12", "noise", "black"])
def test_every_picture_comes_back_exactly(model, name, tau):
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    pictures = {"1x1": make_picture(1, 1), "7x12": make_picture(7, 12), "noise": noise, "black": 0 * noise}
    data = uqdm.encode(pictures[name], tau, lossless=True, model=model, seed=7)
    np.testing.assert_array_equal(uqdm.decode(data, model=model), pictures[name])
    assert uqdm.info(data)["lossless"]


def test_a_gaussian_psi_is_coded_too():
    model, picture = uniform_model(logistic=False), make_picture(8, 8)
    np.testing.assert_array_equal(uqdm.decode(uqdm.encode(picture, lossless=True, model=model), model=model), picture)


def test_real_bytes_are_ideal_bytes(model):
    picture = make_picture(32, 32)
    data, costs = encode_with_costs(picture, lossless=True, model=model)
    assert len(costs) == 1 + (model.steps - 1) + 4
    for cost in costs:
        assert cost.ideal_bits / 8 - 1 <= cost.file_bytes <= 1.003 * cost.ideal_bits / 8 + 24
    assert costs[-1].file_bytes == len(data)


def test_after_all_steps_a_value_costs_its_share_of_the_support():
    # The last noise is 8 candidates wide: 3 bits a value.
    width = 8 * 2 / 256
    gamma_min = 2 * np.log(width / 12**0.5)
    model, picture = uniform_model(steps=1, gamma_min=gamma_min), make_picture(16, 16)
    _, costs = encode_with_costs(picture, 0.0, lossless=True, model=model)
    bits = (costs[-1].ideal_bits - costs[1].ideal_bits) / picture.size
    assert bits == pytest.approx(3.0, abs=0.06)


def test_every_prefix_of_the_residual_shows_what_is_determined(model):
    picture = make_picture(12, 12)
    data, costs = encode_with_costs(picture, lossless=True, model=model)
    receiver = receiver_of(data[: costs[-5].file_bytes], model=model)
    determined = []
    for size in range(costs[-5].file_bytes, len(data) + 1):
        receiver.feed(data[receiver.file_bytes : size])
        while receiver.receive():
            pass
        shown = receiver.picture()
        if receiver.state.pixels is not None:
            known = receiver.state.pixels.determined
            np.testing.assert_array_equal(shown[known], picture[known])
            determined.append(known.mean())
    assert sorted(determined) == determined
    assert determined[-1] == 1
    assert len(set(determined)) > 20
    half = uqdm.decode(data[: (costs[-5].file_bytes + len(data)) // 2], model=model)
    start = uqdm.decode(data[: costs[-5].file_bytes], model=model)
    assert psnr_db(picture, half) > psnr_db(picture, start) + 2


def test_damage_in_the_residual_is_reported(model):
    picture = make_picture(16, 16)
    data, costs = encode_with_costs(picture, lossless=True, model=model)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(30):
        damaged = bytearray(data)
        damaged[rng.integers(costs[-5].file_bytes, len(data))] ^= 1 << rng.integers(8)
        try:
            np.testing.assert_array_equal(uqdm.decode(bytes(damaged), model=model), picture)
        except uqdm.DamagedStreamError:
            noticed += 1
    assert noticed >= 27


def test_the_gaussian_process_has_no_residual():
    with pytest.raises(ValueError, match="families nested, uniform, this one is gaussian"):
        uqdm.encode(make_picture(4, 4), lossless=True, model=uniform_model(process="gaussian"))


def test_the_published_model_is_lossless_below_what_its_own_last_step_costs(shared):
    """Its own programme needs 15.79 bits per pixel on the 24 small pictures, about 17 on these."""
    folder = shared / "golden" / "uqdm_tiny"
    model = read_published(folder / "checkpoint.pt", folder / "config.json").model("uqdm-tiny")
    rates, published = [], []
    for picture in np.load(folder / "anchor_sets.npz")["small"][:3]:
        data, _ = encode_with_costs(picture, lossless=True, model=model)
        np.testing.assert_array_equal(uqdm.decode(data, model=model), picture)
        rates.append(8 * len(data) / 4096)
        _, costs = encode_with_costs(picture, model=model)
        # What p(x | z_0) adds to all steps (shared/reference/official_uqdm.md).
        published.append(costs[-1].ideal_bits / 4096 + 1.05)
    assert np.mean(rates) < np.mean(published) - 0.8
