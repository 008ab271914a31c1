"""The record of a diffusion process: files say what they said, and the two kinds differ where they should."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uqdm.diffusion.kinds import DiffusionConfig, GaussianProcess, Process, UniformProcess, process_named
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import Moments, NoiseSchedule, Prediction, posterior
from uqdm.library import FAMILIES

NETWORK = UNetConfig(width=8, levels=2, norm_groups=4, fourier=(5,), learned_scale=False)
NOISE = NoiseSchedule(gamma_min=-9.1, gamma_max=6.0)
LEVELS = (5.5, 0.25, -7.0)
KINDS: list[Process] = [
    UniformProcess(),
    UniformProcess(logistic=False, forward_kernel_scale=False),
    GaussianProcess(),
    GaussianProcess(logistic=False, forward_kernel_scale=False),
]


def record(process: Process) -> DiffusionConfig:
    return DiffusionConfig(process=process, noise=NOISE, steps=3, network=NETWORK)


@pytest.mark.parametrize(
    ("process", "own_id", "id_at_levels"),
    [
        (KINDS[0], "f2903795381ed58b", "560338d037452e8d"),
        (KINDS[1], "3482235d71e527f9", "03626156b8bd7ba9"),
        (KINDS[2], "93b09ddbefcc6d44", "9ead6c4e6f8f50f9"),
        (KINDS[3], "8be30ad06cb22e42", "95c9e679c1de5c72"),
    ],
)
def test_models_have_the_ids_that_they_always_had(process, own_id, id_at_levels):
    model = DiffusionModel.from_training(record(process), {}, name="old")
    assert model.id.hex().startswith(own_id)
    assert model.with_gammas(LEVELS).id.hex().startswith(id_at_levels)


def test_the_configuration_of_a_file_is_the_known_text():
    model = DiffusionModel.from_training(record(KINDS[3]), {}, name="old").with_gammas(LEVELS)
    assert model.arrays["config"].tobytes() == (
        b'{"format": 1, "forward_kernel_scale": false, "gamma_max": 6.0, "gamma_min": -9.1, '
        b'"gammas": [5.5, 0.25, -7.0], "logistic": false, "name": "old", '
        b'"network": {"attention_everywhere": false, "bfloat16": false, "blocks": 1, "fourier": [5], '
        b'"gamma_range": [-12.3, 6.0], "growth": 1.5, "heads": 1, "learned_scale": false, "levels": 2, '
        b'"norm_groups": 4, "width": 8}, "process": "gaussian", "steps": 2}'
    )


@pytest.mark.parametrize("process", KINDS)
def test_a_record_comes_back_from_its_configuration(process):
    for config in (record(process), record(process).with_gammas(LEVELS)):
        assert DiffusionConfig.from_config(config.to_config()) == config


@pytest.mark.parametrize("process", KINDS)
def test_every_kind_is_a_family_of_models_and_is_found_by_its_name(process):
    assert process.name in FAMILIES
    assert type(process_named(process.name)) is type(process)


def test_records_of_no_process_are_refused():
    with pytest.raises(ValueError, match="uniform or gaussian, got 'nested'"):
        process_named("nested")
    with pytest.raises(ValueError, match="steps must be 1 to 255, got 256"):
        replace(record(KINDS[0]), steps=256)
    with pytest.raises(ValueError, match="3 steps have 4 levels, got 3"):
        replace(record(KINDS[0]), levels=LEVELS)
    with pytest.raises(ValueError, match="fall from noise to signal"):
        record(KINDS[0]).with_gammas([0.0, 1.0])


def test_only_a_learned_scale_moves_the_gaussian_reference_from_its_target():
    z, prediction = jnp.full((5,), 0.2), Prediction(jnp.zeros(5), jnp.ones(5))
    target = posterior(z, prediction.denoised(z, 2.0), 2.0, -1.0)
    for process in KINDS[2:]:
        reference = process.reference(z, prediction, 2.0, -1.0, learned_scale=False)
        np.testing.assert_array_equal(reference.std, target.std)
        np.testing.assert_array_equal(process.cost_bits(target, reference, z), 0.0)
    scaled = GaussianProcess().reference(z, prediction, 2.0, -1.0, learned_scale=True)
    assert (np.asarray(scaled.std) > np.asarray(target.std)).all()
    with pytest.raises(ValueError, match="no-learned-scale"):
        GaussianProcess().require_channel(replace(NETWORK, learned_scale=True))


def test_the_uniform_cost_of_a_cell_is_its_probability():
    """Over all cells of a lattice probabilities add up to one."""
    reference, target = Moments(jnp.float32(0.3), jnp.float32(0.5)), Moments(jnp.float32(0), jnp.float32(1 / 12**0.5))
    centres = jnp.arange(-20.0, 21.0) + 0.125
    for process in KINDS[:2]:
        assert float(jnp.exp2(-process.cost_bits(target, reference, centres)).sum()) == pytest.approx(1.0, abs=1e-5)


def test_states_of_the_uniform_process_end_within_half_a_cell_of_their_targets():
    x, gammas = jnp.full((2, 4, 4, 3), 0.4), jnp.array([6.0, 1.0, -4.0, -9.0])
    states = UniformProcess().states(x, gammas, jax.random.key(0))
    for before, after, pair in zip(states, states[1:], zip(gammas, gammas[1:], strict=False), strict=False):
        target = posterior(before, x, *pair)
        assert float(jnp.abs(after - target.mean).max()) <= float(target.width) / 2 * 1.0001
