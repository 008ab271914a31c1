"""Schedules: Gaussian pictures, whose denoising error is known, and all paths through few levels."""

from dataclasses import replace
from itertools import combinations

import jax
import numpy as np
import pytest
from test_diffc import FEW, VARIANCE, gaussian_picture, gaussian_predictor

import uqdm
from channel_sim import GaussianChannel
from channel_sim.index_code import KL_CLASSES, kl_of
from uqdm.codec.api import encode_with_costs
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, GaussianProcess
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.noise_levels import (
    DenoisingErrors,
    denoising_errors,
    expected_bits,
    information_bits,
    sweet_spot_schedule,
)
from uqdm.diffusion.predictor import PredictorModel

LEVELS = tuple(np.linspace(5.0, -5.0, 41).tolist())
DIMENSION = 12_288
CHUNKS = GaussianChannel(method="poisson")


@pytest.fixture(scope="module")
def errors() -> DenoisingErrors:
    """e(gamma) = d V / (1 + V SNR), as of 64 x 64 pixels."""
    exact = DIMENSION * VARIANCE / (1 + VARIANCE * np.exp(-np.array(LEVELS)))
    return DenoisingErrors(LEVELS, exact[None], DIMENSION)


def test_steps_that_cannot_be_sent_are_none(errors):
    """Pictures of many pixels, whose coarsest steps would send more than the last class of divergences."""
    large = errors._replace(squared_error=errors.squared_error * 100, dimension=errors.dimension * 100)
    assert information_bits(large).max() > kl_of(KL_CLASSES - 1)
    schedule = sweet_spot_schedule(large, CHUNKS)
    assert np.isfinite(expected_bits(large, schedule, CHUNKS))
    assert expected_bits(large, (LEVELS[0], LEVELS[-1]), CHUNKS) == np.inf
    with pytest.raises(ValueError, match="measure finer ones"):
        sweet_spot_schedule(large._replace(gammas=LEVELS[::40], squared_error=large.squared_error[:, ::40]), CHUNKS)


def test_the_measured_error_is_the_known_one():
    model = PredictorModel(predict=gaussian_predictor, gammas=(5.0, -5.0), identity=b"gaussian")
    pictures = [gaussian_picture(seed, side=12) for seed in range(3)]
    measured = denoising_errors(model, pictures, LEVELS[::4])
    exact = VARIANCE / (1 + VARIANCE * np.exp(-np.array(LEVELS[::4])))
    np.testing.assert_allclose(measured.squared_error.mean(0) / measured.dimension, exact, rtol=0.1)
    with pytest.raises(ValueError, match="got 2 sizes"):
        denoising_errors(model, [gaussian_picture(0, side=4), gaussian_picture(0, side=8)], (1.0, 0.0))


def test_the_information_of_small_steps_is_the_mutual_information(errors):
    """The integral of the I-MMSE relation: d log2(1 + V SNR) / 2 between the ends; few steps need more."""
    steps = information_bits(errors)[0]
    mutual = DIMENSION * np.log2((1 + VARIANCE * np.exp(5.0)) / (1 + VARIANCE * np.exp(-5.0))) / 2
    each = np.arange(len(LEVELS))
    assert np.diagonal(steps, 1).sum() == pytest.approx(mutual, rel=0.15)
    sums = [steps[each[:-every:every], each[every::every]].sum() for every in (1, 4, 10, 40)]
    assert sums == sorted(sums)
    assert mutual < sums[0]


def test_the_schedule_is_the_cheapest_of_all_paths():
    levels = LEVELS[::5]
    exact = 300 * VARIANCE / (1 + VARIANCE * np.exp(-np.array(levels)))
    few, channel = DenoisingErrors(levels, exact * np.array([[0.7], [1.3]]), 300), replace(FEW, method="poisson")
    for most in (1, 3, 8):
        inner = levels[1:-1]
        paths = [(levels[0], *part, levels[-1]) for n in range(most) for part in combinations(inner, n)]
        best = min(expected_bits(few, path, channel) for path in paths)
        chosen = sweet_spot_schedule(few, channel, most_steps=most)
        assert expected_bits(few, chosen, channel) == pytest.approx(best)


def test_steps_of_little_information_are_skipped_and_long_ones_split(errors):
    schedule = sweet_spot_schedule(errors, CHUNKS)
    places = [LEVELS.index(gamma) for gamma in schedule]
    assert (places[0], places[-1]) == (0, len(LEVELS) - 1)
    bits = information_bits(errors)[0][places[:-1], places[1:]]
    # Equal steps of 1/4 begin with 2.7 bits, less than the nine bits ahead of them.
    assert information_bits(errors)[0][0, 1] < 3
    assert bits.min() > 8
    assert np.diff(schedule)[0] < 5 * np.diff(schedule)[-1]
    for steps in (5, 10, 20, 40):
        assert expected_bits(errors, schedule, CHUNKS) < expected_bits(errors, LEVELS[:: 40 // steps], CHUNKS)


def test_fewer_steps_cost_more_and_are_kept_to(errors):
    costs = []
    for most in (4, 8, 16, 255):
        schedule = sweet_spot_schedule(errors, CHUNKS, most_steps=most)
        assert len(schedule) <= most + 1
        costs.append(expected_bits(errors, schedule, CHUNKS))
    assert costs == sorted(costs, reverse=True)
    with pytest.raises(ValueError, match="1 to 255"):
        sweet_spot_schedule(errors, CHUNKS, most_steps=256)


def test_files_are_as_short_as_the_schedule_says():
    """Real bytes of 12 x 12 pixels, beside 40 equal steps."""
    picture, few = gaussian_picture(5, side=12), replace(FEW, method="poisson")
    model = PredictorModel(predict=gaussian_predictor, gammas=LEVELS, identity=b"gaussian", channel=few)
    errors = denoising_errors(model, [gaussian_picture(seed, side=12) for seed in range(4)], LEVELS)
    schedule = sweet_spot_schedule(errors, few)
    bits = {}
    for gammas in (schedule, LEVELS):
        _, costs = encode_with_costs(picture, model=replace(model, gammas=gammas))
        bits[gammas] = costs[-1].ideal_bits
        assert bits[gammas] == pytest.approx(expected_bits(errors, gammas, few), rel=0.04)
    assert bits[schedule] < 0.93 * bits[LEVELS]


def test_a_model_file_brings_its_noise_levels(tmp_path):
    config = unet.UNetConfig(width=8, norm_groups=4, heads=0, learned_scale=False)
    noise = diffusion.NoiseSchedule(gamma_min=-6.0, gamma_max=6.0)
    record = DiffusionConfig(process=GaussianProcess(), noise=noise, steps=4, network=config)
    model = DiffusionModel.from_training(record, unet.init(config, jax.random.key(0)))
    assert model.gammas == [6.0, 3.0, 0.0, -3.0, -6.0]
    chosen = model.with_gammas([6.0, 0.1, -4.7])
    chosen.save(tmp_path / "chosen.npz")
    again = uqdm.load_model(tmp_path / "chosen.npz")
    assert (again.gammas, again.steps, again.id) == ([6.0, 0.1, -4.7], 2, chosen.id)
    assert chosen.id != model.id
    with pytest.raises(ValueError, match="fall from noise to signal"):
        model.with_gammas([0.0, 1.0])
