"""The lossless residual of the uniform process: what comes back is what was encoded, at the cost of x given z_t."""

import jax
import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, process_named
from uqdm.diffusion.model import DiffusionModel
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


def test_after_all_steps_a_value_costs_its_share_of_the_support():
    # The last noise is 8 candidates wide: 3 bits a value.
    width = 8 * 2 / 256
    gamma_min = 2 * np.log(width / 12**0.5)
    model, picture = uniform_model(steps=1, gamma_min=gamma_min), make_picture(16, 16)
    _, costs = encode_with_costs(picture, 0.0, lossless=True, model=model)
    bits = (costs[-1].ideal_bits - costs[1].ideal_bits) / picture.size
    assert bits == pytest.approx(3.0, abs=0.06)


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
