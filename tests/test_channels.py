"""Every channel goes through the same tests: a new one gets them all by a row of CASES.

Statistical tests have fixed seeds, so their outcome is fixed; each p-value would reject a right channel with
probability 1e-4 if the seed were drawn anew.
"""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import chi2, chi2_contingency, chisquare, kstest

import channel_sim
from channel_sim import (
    Categorical,
    DitheredQuantization,
    Gaussian,
    GaussianChannel,
    GreedyRejection,
    LayeredQuantization,
    Logistic,
    NestedDitheredQuantization,
    OrderedRandomCoding,
    PoissonFunctionalRepresentation,
    SharedRandomness,
    Uniform,
    bounds,
    gaussian,
    kl_bits,
)
from channel_sim.candidates import Blocks
from channel_sim.entropy import Reader, Writer
from channel_sim.index_code import (
    KL_CLASSES,
    bin_probabilities,
    class_of,
    gaussian_tail,
    index_table,
    kl_of,
    receive_class,
    receive_flag,
    receive_indices,
    receive_searched,
    send_indices,
)
from channel_sim.layered import _logistic_tables
from channel_sim.quantile import TICKS, QuantileTable, normal_ticks
from channel_sim.rejection import _depth_table
from channel_sim.rotation import rotate, unrotate

FALSE_ALARM = 1e-4
TARGET = np.array([0.02, 0.6, 0.0, 0.3, 0.05, 0.03])
REFERENCE = np.array([0.3, 0.05, 0.1, 0.1, 0.25, 0.2])
LN2 = np.log(2)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A channel and what it is tested on.

    Attributes:
      channel: the channel.
      problem: (rng, blocks) to target and reference.
      residual: (sample, target) to numbers that are uniform on (0, 1) and independent if the law is right, or None for
        `Categorical`.
      least, most: bounds of the mean bits per block.
      blocks: how many for the law.
      portable: whether the decoder's arithmetic is the same on every machine.
    """

    channel: channel_sim.Channel
    problem: Callable
    residual: Callable | None
    least: float
    most: float
    blocks: int
    portable: bool = True


def additive(noise, width_std):
    def problem(rng, blocks):
        x = rng.normal(0, width_std, blocks)
        target = Uniform(x, noise[1]) if isinstance(noise, Uniform) else type(noise)(x, noise[1])
        return target, Gaussian(np.zeros(blocks), np.full(blocks, width_std))

    return problem


def uniform_residual(sample, target):
    return (sample - target.center) / target.width + 0.5


def normal_residual(sample, target):
    from scipy.special import ndtr

    return ndtr((sample - target.mean) / target.std).reshape(-1)


def logistic_residual(sample, target):
    return 1 / (1 + np.exp(-(sample - target.location) / target.scale))


def categorical(rng, blocks):
    return Categorical(np.tile(TARGET, (blocks, 1))), Categorical(np.tile(REFERENCE, (blocks, 1)))


def narrower(rng, blocks):
    """Means as a Gaussian source of 2 bits of mutual information has them."""
    std = 0.25
    target = Gaussian(rng.normal(0, np.sqrt(1 - std**2), blocks), std)
    return target, Gaussian(np.zeros(blocks), np.ones(blocks))


def vectors(rng, blocks):
    target = Gaussian(rng.normal(0, 0.4, (blocks, 3)), np.full((blocks, 3), 0.8))
    return target, Gaussian(np.zeros((blocks, 3)), np.ones((blocks, 3)))


def equal_variance(kl, blocks_std=1.0):
    def problem(rng, blocks):
        mean = 5.0 + blocks_std * np.sqrt(2 * LN2 * kl) * rng.choice([-1.0, 1.0], blocks)
        return Gaussian(mean, np.full(blocks, blocks_std)), Gaussian(np.full(blocks, 5.0), np.full(blocks, blocks_std))

    return problem


def nested_uniforms(rng, blocks):
    return Uniform(rng.uniform(-3, 3, blocks), 2.0), Uniform(np.zeros(blocks), 8.0)


def white_vector(kl_bits_per_dimension):
    def problem(rng, blocks):
        x = rng.normal(size=blocks)
        mean = x * np.sqrt(kl_bits_per_dimension * blocks * 2 * LN2 / (x @ x))
        return Gaussian(2.0 + 0.5 * mean, 0.5), Gaussian(np.full(blocks, 2.0), 0.5)

    return problem


KL = float(kl_bits(Categorical(TARGET), Categorical(REFERENCE)))
FLOOR = bounds.categorical_floor_bits(TARGET, REFERENCE)
KL_VECTORS = 3 * float(kl_bits(Gaussian(0.4, 0.8), Gaussian(0.0, 1.0)))
CASES = {
    "dithered": Case(
        channel=DitheredQuantization(width=0.75),
        problem=additive(Uniform(0.0, 0.75), 1.0),
        residual=uniform_residual,
        least=float(bounds.dithered_bits(1.0, np.array(0.75))) - 0.03,
        most=float(bounds.dithered_bits(1.0, np.array(0.75))) + 0.03,
        blocks=20_000,
        portable=False,
    ),
    "nested": Case(
        channel=NestedDitheredQuantization(width=0.75, levels=4, regular=True),
        problem=additive(Uniform(0.0, 0.75), 1.0),
        residual=uniform_residual,
        least=float(bounds.dithered_bits(1.0, np.array(0.75))) - 0.03,
        most=float(bounds.dithered_bits(1.0, np.array(0.75))) + 0.03,
        blocks=20_000,
        portable=False,
    ),
    "layered Gaussian": Case(
        channel=LayeredQuantization(noise=Gaussian(0.0, 0.5)),
        problem=additive(Gaussian(0.0, 0.5), 1.0),
        residual=normal_residual,
        least=bounds.layered_bits(1.0, 0.5) - 0.03,
        most=bounds.layered_bits(1.0, 0.5) + 0.03,
        blocks=20_000,
    ),
    "layered logistic": Case(
        channel=LayeredQuantization(noise=Logistic(0.0, 0.5)),
        problem=additive(Logistic(0.0, 0.5), 1.0),
        residual=logistic_residual,
        least=bounds.mutual_information_bits(1.0, 0.5 * np.pi / np.sqrt(3)),
        most=bounds.mutual_information_bits(1.0, 0.5 * np.pi / np.sqrt(3)) + 0.6,
        blocks=20_000,
    ),
    "PFR categorical": Case(
        channel=PoissonFunctionalRepresentation(),
        problem=categorical,
        residual=None,
        least=FLOOR,
        most=bounds.poisson_bound_bits(KL),
        blocks=20_000,
    ),
    "PFR narrower Gaussian": Case(
        channel=PoissonFunctionalRepresentation(),
        problem=narrower,
        residual=normal_residual,
        least=2.0,
        most=bounds.poisson_bound_bits(2.0),
        blocks=4000,
    ),
    "PFR vectors": Case(
        channel=PoissonFunctionalRepresentation(),
        problem=vectors,
        residual=normal_residual,
        least=KL_VECTORS,
        most=bounds.poisson_bound_bits(KL_VECTORS),
        blocks=4000,
    ),
    "PFR uniform": Case(
        channel=PoissonFunctionalRepresentation(),
        problem=nested_uniforms,
        residual=uniform_residual,
        least=2.0,
        most=bounds.poisson_bound_bits(2.0),
        blocks=10_000,
    ),
    "PFR equal variance": Case(
        channel=PoissonFunctionalRepresentation(budget=2**11),
        problem=equal_variance(2.0),
        residual=normal_residual,
        least=bounds.gaussian_floor_bits(2.0),
        most=bounds.poisson_bound_bits(2.0),
        blocks=4000,
    ),
    "ordered categorical": Case(
        channel=OrderedRandomCoding(candidates_log2=9),
        problem=categorical,
        residual=None,
        least=FLOOR,
        most=bounds.poisson_bound_bits(KL),
        blocks=5000,
    ),
    "ordered Gaussian": Case(
        channel=OrderedRandomCoding(candidates_log2=10),
        problem=equal_variance(1.0),
        residual=normal_residual,
        least=bounds.gaussian_floor_bits(1.0),
        most=bounds.poisson_bound_bits(1.0),
        blocks=4000,
    ),
    "rejection categorical": Case(
        channel=GreedyRejection(),
        problem=categorical,
        residual=None,
        least=FLOOR,
        most=KL + 2 * np.log2(KL + 1) + 4,
        blocks=20_000,
    ),
    "rejection narrower Gaussian": Case(
        channel=GreedyRejection(),
        problem=narrower,
        residual=normal_residual,
        least=2.0,
        most=bounds.poisson_bound_bits(2.0),
        blocks=20_000,
    ),
    "rejection equal variance": Case(
        channel=GreedyRejection(),
        problem=equal_variance(6.0, 0.1),
        residual=normal_residual,
        least=bounds.gaussian_floor_bits(6.0),
        most=bounds.poisson_bound_bits(6.0) + 4,
        blocks=20_000,
    ),
    "Gaussian in chunks": Case(
        channel=GaussianChannel(chunk_bits=6.0, candidates_log2=16, method="poisson"),
        problem=white_vector(0.02),
        residual=normal_residual,
        least=0.02 * bounds.gaussian_floor_bits(6.0) / 6,
        most=0.02 * bounds.poisson_bound_bits(6.0) / 6,
        blocks=4097,
    ),
    "Gaussian in layers": Case(
        channel=GaussianChannel(),
        problem=white_vector(2.0),
        residual=normal_residual,
        least=bounds.mutual_information_bits(np.sqrt(4 * LN2)),
        most=bounds.layered_bits(np.sqrt(4 * LN2)) + 0.03,
        blocks=20_000,
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def run(case: Case, blocks: int, seed: int = 1):
    """Bytes, ideal bits, sample, target and reference."""
    target, reference = case.problem(np.random.default_rng(seed), blocks)
    writer = Writer()
    sample = case.channel.encode(writer, target, reference, SharedRandomness(seed))
    return writer.getvalue(), writer.ideal_bits, sample, target, reference


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


def digest(sample: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()[:16]


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
        "import pickle, sys, channel_sim, test_channels as t\n"
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


def rejects(name: str, sample, target) -> bool:
    """Two-sided tests of the law: chi-square for categories, otherwise Kolmogorov-Smirnov."""
    residual = CASES[name].residual
    if residual is None:
        present = TARGET > 0
        counts = np.bincount(sample, minlength=len(TARGET))
        return (
            bool(counts[~present].any()) or chisquare(counts[present], len(sample) * TARGET[present])[1] < FALSE_ALARM
        )
    return kstest(residual(sample, target), "uniform")[1] < FALSE_ALARM


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


@pytest.mark.parametrize("kl", [0.02, 0.2, 1.0, 3.0])
def test_the_gaussian_channel_takes_the_cheaper_way(kl):
    """Chunks below about 0.6 bit per coordinate, layers above: never 3 % more than the better of the two."""
    target, reference = white_vector(kl)(np.random.default_rng(3), 300)
    bits = {}
    for method in ("poisson", "layered", None):
        writer = Writer()
        channel = GaussianChannel(chunk_bits=6.0, candidates_log2=12, method=method)
        channel.encode(writer, target, reference, SharedRandomness(0))
        bits[method] = writer.ideal_bits
    assert bits[None] <= 1.03 * min(bits["poisson"], bits["layered"])
    assert bits[None] == bits["poisson" if kl < 0.6 else "layered"]


# --- wrong channels, which the tests above must reject -----------------------------------------------------------


def shift_residuals(channel: GaussianChannel, kl: float, dimension: int, seeds: int) -> dict[str, np.ndarray]:
    """Per chunk, what should be standard normal along the shift and orthogonal to it, and chi-square in the norm."""
    gathered = {"along": [], "orthogonal": [], "norm": [], "length": [], "index": []}
    for seed in range(seeds):
        x = np.random.default_rng(seed).normal(size=dimension)
        delta, shared, writer = x * np.sqrt(2 * LN2 * kl / (x @ x)), SharedRandomness(seed, 3), Writer()
        reference = Gaussian(np.zeros(dimension), 1.0)
        sample = channel.encode(writer, Gaussian(delta, 1.0), reference, shared)
        chunks = int(np.ceil(kl_of(class_of(kl)) / channel.chunk_bits))
        assert dimension % chunks == 0
        reader = Reader(writer.getvalue())
        table = channel._plan(receive_class(reader), dimension).table
        assert not receive_flag(reader)
        gathered["index"].append(receive_indices(reader, table, chunks))
        parts = [rotate(v, shared, gaussian._ROTATION_FROM).reshape(-1, chunks).T for v in (delta, sample)]
        length = np.linalg.norm(parts[0], axis=1)
        unit = parts[0] / length[:, None]
        other = np.roll(unit, 1, axis=1)
        other -= unit * (unit * other).sum(1)[:, None]
        error = parts[1] - parts[0]
        gathered["along"].append((error * unit).sum(1))
        gathered["orthogonal"].append((error * other).sum(1) / np.linalg.norm(other, axis=1))
        gathered["norm"].append((error**2).sum(1))
        gathered["length"].append(length)
    return {name: np.concatenate(values) for name, values in gathered.items()}


PUBLISHED = GaussianChannel(chunk_bits=14.0, candidates_log2=16, method="poisson")
"""DiffC's setting: 14 bits of divergence and 2 bits more for the candidates."""


def test_chunks_and_their_indices_have_the_laws_of_the_theory():
    # 40 chunks of 256 coordinates and 5.87 bits each.
    found = shift_residuals(CASES["Gaussian in chunks"].channel, 235.0, 10_240, 20)
    assert kstest(found["along"], "norm")[1] > FALSE_ALARM
    assert kstest(found["orthogonal"], "norm")[1] > FALSE_ALARM
    assert kstest(found["norm"], chi2(256).cdf)[1] > FALSE_ALARM
    edges = np.array([1, 4, 16, 64, 256, 1024, 4096, 16_384])
    tails = np.mean([gaussian_tail(length**2 / (2 * LN2), edges - 1) for length in found["length"]], axis=0)
    counts = np.histogram(found["index"], np.append(edges, 2**17))[0]
    assert chisquare(counts, len(found["index"]) * -np.diff(np.append(tails, 0)))[1] > FALSE_ALARM
    assert abs(found["along"].mean()) < 4 / np.sqrt(len(found["along"]))
    assert abs(np.corrcoef(found["along"][:-1], found["along"][1:])[0, 1]) < 4 / np.sqrt(len(found["along"]))


def test_the_published_setting_is_rejected():
    """Its mean along the shift is 13.5 % short (reference: a simulation in one dimension; here: 40 chunks of 256)."""
    found = shift_residuals(PUBLISHED, 558.0, 10_240, 10)
    assert kstest(found["along"], "norm")[1] < 1e-20
    short = -found["along"].mean() / found["length"].mean()
    # The standard error is 0.7 / sqrt(400) / 4.4 = 0.008.
    assert short == pytest.approx(0.135, abs=0.03)
    assert kstest(found["along"], "norm")[0] < PUBLISHED.truncation_error


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


# --- theory ------------------------------------------------------------------------------------------------------


def test_the_index_has_the_geometric_mixture_law():
    """Eq. 4 of channel_sim.index_code, by chi-square over its bins, for the plain search with 2 bits."""
    blocks, channel = 4000, CASES["PFR equal variance"].channel
    target, reference = equal_variance(2.0)(np.random.default_rng(2), blocks)
    data, _ = channel_sim.encode(channel, target, reference, seed=2)
    reader = Reader(data)
    index = receive_searched(reader, blocks)
    edges = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128])
    counts = np.histogram(index, np.append(edges, 2**12))[0]
    assert chisquare(counts, blocks * expected_shares(edges))[1] > FALSE_ALARM
    # The Zipf law of Li and El Gamal is another one.
    zipf = edges ** -(1 / (2 + np.log2(np.e) / np.e + 1))
    assert chisquare(counts, blocks * (zipf - np.append(zipf[1:], 0)) / zipf[0])[1] < FALSE_ALARM


def expected_shares(edges: np.ndarray) -> np.ndarray:
    return -np.diff(np.append(gaussian_tail(2.0, edges - 1), 0))


@pytest.mark.parametrize(("kl", "percent"), [(6.0, 49), (8.0, 39), (14.0, 24.5)])
def test_exact_index_coding_has_the_overhead_of_the_theory(kl, percent):
    """The reference's table; indices drawn from Eq. 4 and coded with the integer tables, 100,000 of them."""
    theory = bounds.poisson_index_bits(kl)
    assert theory - kl == pytest.approx(percent / 100 * kl, abs=0.1)
    rng, m = np.random.default_rng(0), np.sqrt(2 * LN2 * kl)
    z = m + rng.normal(size=100_000)
    from scipy.special import ndtr

    mean = np.exp(m * z - m**2 / 2) * ndtr(z) - ndtr(z - m)
    index = 1 + np.floor(rng.exponential(size=len(z)) / np.log1p(1 / mean))
    index = index[index < 2.0**60].astype(np.int64)
    writer = Writer()
    send_indices(writer, index_table(class_of(kl), "gaussian"), index)
    # The standard deviation of a code length is below 6 bits.
    assert writer.ideal_bits / len(index) == pytest.approx(theory, abs=0.1)
    received = receive_indices(Reader(writer.getvalue()), index_table(class_of(kl), "gaussian"), len(index))
    np.testing.assert_array_equal(received, index)


@pytest.mark.slow
def test_the_real_search_costs_what_the_theory_says():
    """5.9 bits a chunk: 3,451 chunks, whose code lengths have a standard deviation of 4 bits."""
    channel, bits, divergence, chunks = CASES["Gaussian in chunks"].channel, 0.0, 0.0, 0
    for seed in range(17):
        x = np.random.default_rng(seed).normal(size=51_200)
        kl = 1195.0  # 2^(82 / 8) = 1217.7: 203 chunks
        writer = Writer()
        mean = x * np.sqrt(2 * LN2 * kl / (x @ x))
        channel.encode(writer, Gaussian(mean, 1.0), Gaussian(np.zeros(51_200), 1.0), SharedRandomness(seed))
        bits, divergence, chunks = bits + writer.ideal_bits - 9, divergence + kl, chunks + 203
    assert bits / chunks == pytest.approx(bounds.poisson_index_bits(divergence / chunks), abs=0.2)


def test_bounds_are_in_order_and_match_the_reference():
    for kl, floor in ((0.1, 0.447), (1.0, 1.201), (6.0, 2.214), (14.0, 2.780), (32.0, 3.356)):
        assert bounds.gaussian_floor_bits(kl) - kl == pytest.approx(floor, abs=2e-3)
        assert kl < bounds.gaussian_floor_bits(kl) < bounds.poisson_index_bits(kl) < bounds.poisson_bound_bits(kl)
    for kl, candidates_log2 in ((6.0, 15.6), (8.0, 19.0), (14.0, 28.5)):
        assert bounds.truncation_error(kl, 2**candidates_log2) == pytest.approx(0.01, abs=3e-4)
    assert KL < FLOOR < bounds.poisson_bound_bits(KL)
    assert bounds.categorical_floor_bits(REFERENCE, REFERENCE) == pytest.approx(0)


@pytest.mark.parametrize(
    ("information", "published"), [(0.94, 4.45), (2.63, 6.23), (4.31, 7.88), (6.0, 9.43), (12.0, 17.95)]
)
def test_rejection_beats_the_published_codelengths_in_one_dimension(information, published):
    """Greedy Poisson rejection sampling, global up to 6 bits and dyadic at 12 bits (Flamich 2023, Figure 2)."""
    std = 2.0**-information
    mean = np.random.default_rng(0).normal(0, np.sqrt(1 - std**2), 10_000)
    writer = Writer()
    reference = Gaussian(np.zeros(10_000), 1.0)
    GreedyRejection().encode(writer, Gaussian(mean, std), reference, SharedRandomness(0))
    assert information < writer.ideal_bits / 10_000 < published - 1


# --- what both sides must agree on -------------------------------------------------------------------------------


def test_candidates_far_out_are_those_of_their_index():
    """Places beyond 2^32, against the definition in Python integers."""
    shared, blocks, width = SharedRandomness(3, 4), 1000, 5
    drawn = Blocks(Uniform(np.zeros((blocks, width)), 1.0))
    index, block = 2**40 + 12345, 17
    sample = drawn.draw(shared, np.array([block]), np.array([index]))
    words = shared.words(width, (index * blocks + block) * width)
    np.testing.assert_array_equal(sample[0], (words + 0.5) / 2**32 - 0.5)


def test_many_chunks_times_candidates_times_coordinates_exceed_32_bits():
    """Rows of candidates beyond 2^31 words: 16,400 chunks of 256 coordinates with 512 rows."""
    plan = gaussian._Plan(16_400, 256, 16, index_table(120, "gaussian", 17))
    index = np.full(plan.chunks, 2**16, np.int64)
    row, words = 511 + 512 * 16_399, SharedRandomness(5)
    vector = rotate(gaussian._candidates(plan, index, words), words, gaussian._ROTATION_FROM)
    last = normal_ticks(words.words(256, row * 256)) / TICKS
    np.testing.assert_allclose(np.abs(vector.reshape(256, -1)[:, -1]), np.abs(last), atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 12_289])
def test_the_rotation_keeps_norms_and_spreads_a_spike(size):
    shared, spike = SharedRandomness(1), np.zeros(size)
    for place in {0, size // 2, size - 1}:
        spike[:] = 0
        spike[place] = 1.0
        y = rotate(spike, shared, 0)
        assert np.linalg.norm(y) == pytest.approx(1)
        np.testing.assert_allclose(unrotate(y, shared, 0), spike, atol=1e-12)
        if size >= 255:
            shares = np.array([(part**2).sum() for part in (y[::4], y[1::4], y[2::4], y[3::4])])
            assert shares.max() < 0.5


def test_divergences_have_classes():
    for kl in (0.001, 0.3, 6.0, 500.0, 1e5):
        assert kl_of(class_of(kl)) == pytest.approx(kl, rel=0.045)
    assert class_of(0.0) == 0 == kl_of(0)
    assert class_of(1e-9) == 1
    assert class_of(1e30) == KL_CLASSES - 1


@pytest.mark.parametrize(("law", "limit_log2"), [("zipf", 62), *(("gaussian", n) for n in (15, 17, 20, 22, 23))])
def test_no_index_table_depends_on_the_last_digits_of_libm(law, limit_log2):
    """Entries are floors of shares of 2^16: none may lie within 1e-5 of an integer that it could cross."""
    for kl_class in range(1, 130 if law == "gaussian" else KL_CLASSES):
        shares = bin_probabilities(kl_of(kl_class), law, limit_log2)
        assert distance_to_integers(shares / shares.sum() * (2**16 - len(shares))) > 1e-5


def test_no_law_of_searched_indices_depends_on_the_last_digits_of_libm():
    for law, kls in (("gaussian", 2.0 ** (np.arange(-12, 12) / 2)), ("zipf", 2.0 ** (np.arange(-8, 32) / 2))):
        for kl in kls:
            shares = bin_probabilities(kl, law, 62)
            assert distance_to_integers(shares / shares.sum() * (2**16 - len(shares))) > 1e-5


def test_the_density_decides_how_layers_are_coded():
    """A reference far off costs more, one that is right what theory says, whatever its scale."""
    blocks = 20_000
    for std in (0.3, 3.0, 1000.0):
        x = np.random.default_rng(0).normal(5.0, std, blocks)
        channel, bits = LayeredQuantization(noise=Gaussian(0.0, 1.0)), []
        for scale in (std, 3 * std):
            writer = Writer()
            reference = Gaussian(np.full(blocks, 5.0), scale)
            channel.encode(writer, Gaussian(x, 1.0), reference, SharedRandomness(0))
            bits.append(writer.ideal_bits / blocks)
        # The standard error is 0.015.
        assert bits[0] == pytest.approx(bounds.layered_bits(std), abs=0.06)
        assert bits[1] > bits[0] + 0.1


def distance_to_integers(scaled: np.ndarray) -> float:
    return np.abs(scaled - np.rint(scaled))[scaled > 0.5].min(initial=1)


def test_no_code_of_paths_depends_on_the_last_digits_of_libm():
    """As above, for the logistic laws of channel_sim.rejection, against their table."""
    table = _depth_table()
    center, scale = np.meshgrid(np.arange(-4, 60), 2.0 ** ((np.arange(16) - 6) / 4), indexing="ij")
    edge = (np.arange(62) - 0.5 - center.reshape(-1, 1)) / scale.reshape(-1, 1)
    shares = np.abs(np.diff(np.sign(edge) * expit(-np.abs(edge)) - (edge > 0), axis=1))
    scaled = shares / shares.sum(1, keepdims=True) * (2**16 - 61)
    assert distance_to_integers(scaled) > 1e-5
    floors = 1 + np.floor(scaled).astype(np.int64)
    floors[np.arange(len(floors)), shares.argmax(1)] += 2**16 - floors.sum(1)
    np.testing.assert_array_equal(table.frequencies >> 8, floors)


@pytest.mark.parametrize("kl_class", [0, 1, 60, 121, 129])
@pytest.mark.parametrize("limit_log2", [10, 20, 62])
def test_every_index_comes_back(kl_class, limit_log2):
    top = 2**limit_log2 - 1
    index = np.unique(
        np.minimum(np.concatenate([np.arange(1, 100), 2 ** np.arange(1, 62), 3 ** np.arange(1, 39)]), top)
    )
    index = np.append(index, [top, min(top, 2**60 - 1)])
    for law in ("zipf", "gaussian"):
        writer, table = Writer(), index_table(kl_class, law, limit_log2)
        send_indices(writer, table, index)
        np.testing.assert_array_equal(receive_indices(Reader(writer.getvalue()), table, len(index)), index)


@pytest.mark.parametrize("half", [0, 1])
def test_quantiles_of_logistic_layers_are_those_of_their_law(half):
    table, u = _logistic_tables()[half], QuantileTable.points()
    a = table.ticks / TICKS
    share = np.tanh(a / 2) - a / 2 / np.cosh(a / 2) ** 2
    known = u > 1e-9  # where this form of the law does not cancel
    np.testing.assert_allclose((1 - share if half else share)[known], u[known], rtol=2e-4)
    assert np.abs(np.diff(table.ticks)).max() < 2**16


# --- errors teach ------------------------------------------------------------------------------------------------

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


def test_impossible_budgets_are_explained():
    with pytest.raises(ValueError, match="candidates_log2 from 9"):
        GaussianChannel(candidates_log2=8)
