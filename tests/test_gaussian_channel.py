"""The Gaussian channel in chunks: its laws, and the published setting as a wrong channel that they must reject."""

import numpy as np
import pytest
from channel_cases import CASES, FALSE_ALARM, LN2, white_vector
from scipy.stats import chi2, chisquare, kstest

from channel_sim import (
    Gaussian,
    GaussianChannel,
    SharedRandomness,
    bounds,
    gaussian,
)
from channel_sim.entropy import Reader, Writer
from channel_sim.index_code import (
    class_of,
    gaussian_tail,
    index_table,
    kl_of,
    receive_class,
    receive_flag,
    receive_indices,
)
from channel_sim.quantile import TICKS, normal_ticks
from channel_sim.rotation import rotate, unrotate


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


def test_impossible_budgets_are_explained():
    with pytest.raises(ValueError, match="candidates_log2 from 9"):
        GaussianChannel(candidates_log2=8)
