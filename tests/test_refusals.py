"""What no channel can work with is refused by name, before anything is written; what is unusual and sound is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from channel_cases import CASES, FALSE_ALARM, LN2
from refusal_cases import PROBLEMS, table
from scipy.stats import kstest

import channel_sim
from channel_sim import Categorical, Gaussian, GaussianChannel, GreedyRejection, SharedRandomness, Uniform, kl_bits
from channel_sim.entropy import Writer

ROWS = table()
STRANGE = ("truth value", "out of bounds", "convert", "damaged", "no attribute", "operand", "ufunc", "len()", "dtype('")
"""Words of those who did not check."""


@pytest.fixture(scope="module")
def outcomes():
    """Of all rows, in a process of its own: here, calls with wrong types do not reach channel_sim."""
    here = Path(__file__).resolve()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here.parent)])}
    command = [sys.executable, str(here.with_name("refusal_cases.py"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def test_every_channel_is_in_the_table():
    assert {type(problem.channel) for problem in PROBLEMS.values()} == {type(case.channel) for case in CASES.values()}


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.error])
def test_what_is_not_sound_is_refused_by_name(name, outcomes):
    found, row = outcomes[name], ROWS[name]
    assert found["error"] == row.error.__name__, found
    message = found["message"]
    assert "\n" not in message
    assert len(message) < 320
    assert not [word for word in row.words if word not in message], message
    assert not [word for word in STRANGE if word in message], message
    assert not found["warnings"]
    assert not found["written"], "a refusal comes before the message"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.error])
def test_what_is_unusual_and_sound_is_sent(name, outcomes):
    assert outcomes[name] == {"error": "", "message": "", "warnings": [], "written": 0.0, "finite": True}


@pytest.mark.parametrize("below_one", [2.0**-53, 2.0**-52, 1e-13, 1e-9])
def test_deviations_that_are_nearly_equal_give_the_law_of_equal_ones(below_one):
    """Where 1 / ratio^2 - 1 cancels: 20,000 blocks."""
    reference = Gaussian(np.zeros(20_000), 1.0)
    sample = GreedyRejection().encode(Writer(), Gaussian(1.5, 1 - below_one), reference, SharedRandomness(1))
    assert kstest(sample - 1.5, "norm")[1] > FALSE_ALARM


def test_the_global_search_of_many_steps_ends():
    """2^14 steps on average, drawn in batches: their number is geometric."""
    share, blocks = 2.0**-14, 16
    reference = Categorical(np.tile([share, 1 - share], (blocks, 1)))
    target = Categorical(np.tile([1.0, 0.0], (blocks, 1)))
    data, sample = channel_sim.encode(GreedyRejection(), target, reference, seed=2)
    assert not sample.any()
    np.testing.assert_array_equal(channel_sim.decode(GreedyRejection(), data, reference, seed=2), sample)


def test_uniform_targets_may_touch_the_ends_of_the_reference():
    """However their ends are rounded."""
    rng = np.random.default_rng(0)
    low, high = np.sort(rng.normal(0, 100, (2, 1000)), axis=0)
    inner = low + (high - low) * 0.3
    reference = Uniform((low + high) / 2, high - low)
    for target in (Uniform((low + inner) / 2, inner - low), Uniform((high + inner) / 2, high - inner), reference):
        assert reference.contains(target).all()
        assert np.isfinite(kl_bits(target, reference)).all()
    assert not reference.contains(Uniform(reference.center, reference.width * 1.001)).any()


def test_chunks_are_refused_where_the_classes_of_divergence_end_and_layers_are_not():
    far = Gaussian(np.full(8, 1e4 * np.sqrt(2 * LN2)), 1.0)
    reference = Gaussian(np.zeros(8), 1.0)
    data, sample = channel_sim.encode(GaussianChannel(), far, reference, seed=1)
    assert np.abs(sample - far.mean).max() < 6
    np.testing.assert_array_equal(channel_sim.decode(GaussianChannel(), data, reference, seed=1), sample)
