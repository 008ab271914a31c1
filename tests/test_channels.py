"""Every channel goes through the same tests: a new one gets them all by a row of CASES in channel_cases.py.

Statistical tests have fixed seeds, so their outcome is fixed; each p-value would reject a right channel with
probability 1e-4 if the seed were drawn anew.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from channel_cases import (
    CASES,
    FALSE_ALARM,
    digest,
    rejects,
    run,
    uniform_residual,
)
from scipy.stats import chi2_contingency, kstest

import channel_sim
from channel_sim import (
    Categorical,
    Gaussian,
    GaussianChannel,
    GreedyRejection,
    LayeredQuantization,
    Logistic,
    OrderedRandomCoding,
    PoissonFunctionalRepresentation,
    SharedRandomness,
    Uniform,
    gaussian,
)
from channel_sim.candidates import Blocks
from channel_sim.entropy import Reader, Writer

each_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def large():
    """The run of each case that its law is tested on, computed once."""
    runs = {}

    def run_once(name):
        if name not in runs:
            runs[name] = run(CASES[name], CASES[name].blocks)
        return runs[name]

    return run_once


@each_case
def test_the_receiver_holds_the_senders_sample(name, large):
    data, ideal_bits, sample, _, reference = large(name)
    received = channel_sim.decode(CASES[name].channel, data, reference, seed=1)
    np.testing.assert_array_equal(received, sample)
    assert 8 * len(data) <= 1.001 * ideal_bits + 16


@pytest.mark.parametrize("blocks", [1, 2, 3, 17])
@each_case
def test_a_few_blocks_come_back(name, blocks):
    data, _, sample, _, reference = run(CASES[name], blocks, seed=blocks)
    np.testing.assert_array_equal(channel_sim.decode(CASES[name].channel, data, reference, seed=blocks), sample)


@pytest.mark.parametrize("machine", ["same", "without vector instructions"])
def test_a_fresh_process_decodes_from_seed_and_bytes(machine, tmp_path):
    messages, expected = {}, {}
    for name, case in CASES.items():
        if machine == "same" or case.portable:
            data, _, sample, _, reference = run(case, 40, seed=7)
            messages[name], expected[name] = (data, reference), digest(sample)
    (tmp_path / "messages").write_bytes(pickle.dumps(messages))
    program = (
        "import pickle, sys, channel_sim, channel_cases as t\n"
        "messages = pickle.load(open(sys.argv[1], 'rb'))\n"
        "decode = lambda n, m: channel_sim.decode(t.CASES[n].channel, m[0], m[1], seed=7)\n"
        "print({n: t.digest(decode(n, m)) for n, m in messages.items()})\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": paths}
    if machine != "same":
        extensions = np.show_config(mode="dicts")["SIMD Extensions"]
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(extensions.get("found", []))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "messages")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(expected)


GOLDEN = {
    "layered Gaussian": ("87", "342f8845c120dd8b"),
    "layered logistic": ("8e", "dcd8b9f153ebfb72"),
    "PFR categorical": ("3af319", "605390e5a369ee56"),
    "PFR narrower Gaussian": ("3d66e9", "2def3c9649bdccda"),
    "PFR vectors": ("19e8", "55023bd0e8f5ffdd"),
    "PFR uniform": ("3a1f4a", "e999ed458368eda5"),
    "PFR equal variance": ("3e148aef", "0ac8e7b2d9bc753f"),
    "ordered categorical": ("3af319", "605390e5a369ee56"),
    "ordered Gaussian": ("3ccaac", "d5e9dda34003fbc1"),
    "rejection categorical": ("3af319", "605390e5a369ee56"),
    "rejection narrower Gaussian": ("151e8a", "c57db2a4698b0ecd"),
    "rejection equal variance": ("21b6d87f", "1229a913c76801d2"),
    "Gaussian in chunks": ("4100", "2b0c583135d27674"),
    "Gaussian in layers": ("76ee", "9fa1eab576af60f1"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_decode_for_ever(name):
    """Three blocks, sent when the format was made."""
    message, expected = GOLDEN[name]
    _, reference = CASES[name].problem(np.random.default_rng(11), 3)
    sample = channel_sim.decode(CASES[name].channel, bytes.fromhex(message), reference, seed=11)
    assert digest(sample) == expected


@each_case
def test_the_sample_has_the_law_of_the_target(name, large):
    _, _, sample, target, _ = large(name)
    assert not rejects(name, sample, target)


@each_case
def test_blocks_are_independent(name, large):
    """Neighbours, which share a call, by chi-square of a 4 x 4 table or of pairs of categories."""
    _, _, sample, target, _ = large(name)
    residual = CASES[name].residual
    levels = sample if residual is None else np.minimum((4 * residual(sample, target)).astype(int), 3)
    pairs = np.zeros((levels.max() + 1,) * 2)
    np.add.at(pairs, (levels[:-1], levels[1:]), 1)
    pairs = pairs[pairs.sum(1) > 0][:, pairs.sum(0) > 0]
    assert chi2_contingency(pairs)[1] > FALSE_ALARM


@each_case
def test_the_cost_lies_between_the_floor_and_the_bound(name, large):
    case = CASES[name]
    _, ideal_bits, _, _, _ = large(name)
    # Means of 4,000 and more blocks with a standard deviation below 3 bits; up to ten bits are sent ahead.
    assert case.least - 0.1 * (case.least > 1) <= ideal_bits / case.blocks <= case.most + 10 / case.blocks


@each_case
def test_seeds_give_other_samples_and_the_same_seed_the_same(name):
    first, again, other = (run(CASES[name], 5, seed=3), run(CASES[name], 5, seed=3), run(CASES[name], 5, seed=4))
    assert first[0] == again[0]
    assert CASES[name].residual is None or not np.array_equal(first[2], other[2])


@each_case
def test_a_message_that_ends_early_is_noticed(name):
    data, _, _, _, reference = run(CASES[name], 40)
    with pytest.raises(EOFError, match="ends before"):
        channel_sim.decode(CASES[name].channel, data[: len(data) // 2], reference, seed=1)


@each_case
def test_damaged_messages_end_in_a_clear_error_or_in_samples(name):
    rng = np.random.default_rng(5)
    _, _, sample, _, reference = run(CASES[name], 30)
    for _ in range(20):
        try:
            received = channel_sim.decode(CASES[name].channel, rng.bytes(int(rng.integers(0, 60))), reference, seed=1)
            assert received.shape == sample.shape
        except EOFError as error:
            assert "ends before" in str(error)
        except OverflowError as error:
            assert "damaged" in str(error)


@each_case
def test_every_case_is_a_channel(name):
    assert isinstance(CASES[name].channel, channel_sim.Channel)


@each_case
def test_work_in_other_pieces_changes_nothing_for_the_receiver(name, monkeypatch):
    """Pieces in which words are drawn, tables looked up, and candidates searched."""
    from channel_sim import ordered, poisson, quantile, randomness

    case, seed = CASES[name], 9
    first, _, _, target, reference = run(case, 30, seed)
    expected = channel_sim.decode(case.channel, first, reference, seed=seed)
    for module, piece in ((poisson, "_LARGEST_BATCH"), (ordered, "_LARGEST_BATCH"), (quantile, "_CHUNK")):
        monkeypatch.setattr(module, piece, 100)
    for module, piece in ((randomness, "_CHUNK"), (gaussian, "_GROUP"), (gaussian, "_BATCH")):
        monkeypatch.setattr(module, piece, 3)
    np.testing.assert_array_equal(channel_sim.decode(case.channel, first, reference, seed=seed), expected)
    data, sample = channel_sim.encode(case.channel, target, reference, seed=seed)
    np.testing.assert_array_equal(channel_sim.decode(case.channel, data, reference, seed=seed), sample)


ZERO_DIVERGENCE_BITS = {  # of the law with the least divergence, of no turns, of nothing but the nine bits sent ahead
    "PFR narrower Gaussian": 0.2,
    "PFR vectors": 0.2,
    "ordered Gaussian": 0.2,
    "rejection equal variance": 0.1,
    "Gaussian in chunks": 0.006,
}


@pytest.mark.parametrize("name", ZERO_DIVERGENCE_BITS)
def test_equal_distributions_give_samples_for_little(name):
    blocks, channel, writer = 2000, CASES[name].channel, Writer()
    reference = Gaussian(np.zeros(blocks), 1.0 if name.startswith("Gaussian") else np.ones(blocks))
    sample = channel.encode(writer, reference, reference, SharedRandomness(2))
    np.testing.assert_array_equal(channel.decode(Reader(writer.getvalue()), reference, SharedRandomness(2)), sample)
    assert kstest(sample, "norm")[1] > FALSE_ALARM
    assert writer.ideal_bits / blocks < ZERO_DIVERGENCE_BITS[name]


def test_too_few_candidates_are_rejected():
    case = CASES["ordered categorical"]
    target, reference = case.problem(np.random.default_rng(1), 5000)
    sample = OrderedRandomCoding(candidates_log2=3).encode(Writer(), target, reference, SharedRandomness(1))
    assert rejects("ordered categorical", sample, target)


def test_candidates_shared_by_all_blocks_are_rejected(monkeypatch):
    """As if all blocks had one codebook: every sample has the right law, but neighbours depend on each other."""
    draw = Blocks.draw
    monkeypatch.setattr(Blocks, "draw", lambda self, shared, block, index: draw(self, shared, 0 * block, index))
    _, _, sample, target, _ = run(CASES["PFR uniform"], 4000)
    levels = np.minimum((4 * uniform_residual(sample, target)).astype(int), 3)
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (levels[:-1], levels[1:]), 1)
    values, counts = np.unique(np.round(sample, 9), return_counts=True)
    assert chi2_contingency(pairs)[1] < FALSE_ALARM or counts.max() > 4


def test_candidates_far_out_are_those_of_their_index():
    """Places beyond 2^32, against the definition in Python integers."""
    shared, blocks, width = SharedRandomness(3, 4), 1000, 5
    drawn = Blocks(Uniform(np.zeros((blocks, width)), 1.0))
    index, block = 2**40 + 12345, 17
    sample = drawn.draw(shared, np.array([block]), np.array([index]))
    words = shared.words(width, (index * blocks + block) * width)
    np.testing.assert_array_equal(sample[0], (words + 0.5) / 2**32 - 0.5)


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("channel", "target", "reference", "error", "match"),
    [
        (PoissonFunctionalRepresentation(), Gaussian(ONES, ONES), Gaussian(0 * ONES, ONES), ValueError, "budget"),
        (PoissonFunctionalRepresentation(), Gaussian(6 * ONES, 0.5), Gaussian(0 * ONES, 1.0), ValueError, "2.35.6"),
        (PoissonFunctionalRepresentation(), Categorical(ONES), Categorical(ONES / 3), ValueError, "blocks, symbols"),
        (PoissonFunctionalRepresentation(), Gaussian(ONES, ONES), Uniform(ONES, 1.0), TypeError, "Gaussian"),
        (PoissonFunctionalRepresentation(), Logistic(ONES, ONES), Logistic(ONES, ONES), TypeError, "Logistic"),
        (GreedyRejection(), Gaussian(ONES, 2 * ONES), Gaussian(0 * ONES, ONES), ValueError, "widen"),
        (GreedyRejection(), Gaussian(6 * ONES, ONES), Gaussian(0 * ONES, ONES), ValueError, "at most 9"),
        (GreedyRejection(), Gaussian(ONES, 1e-7 * ONES), Gaussian(0 * ONES, ONES), ValueError, "2.-18 wide"),
        (GreedyRejection(), Uniform(ONES, 1.0), Uniform(ONES, 2.0), TypeError, "Categorical and Gaussian"),
        (GaussianChannel(), Gaussian(ONES, 1.0), Gaussian(ONES, 2.0), ValueError, "common scalar std"),
        (GaussianChannel(), Gaussian(ONES, ONES), Gaussian(ONES, ONES), ValueError, "one positive std"),
        (LayeredQuantization(noise=Gaussian(0.0, 1.0)), Gaussian(ONES, 2.0), Gaussian(ONES, 1.0), ValueError, "adds"),
    ],
)
def test_misuse_of_targets_and_references_is_explained(channel, target, reference, error, match):
    with pytest.raises(error, match=match):
        channel_sim.encode(channel, target, reference, seed=0)
