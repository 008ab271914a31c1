"""Codes and bounds beside the theory, and tables that no libm may change."""

import numpy as np
import pytest
from channel_cases import CASES, FALSE_ALARM, FLOOR, KL, LN2, REFERENCE, equal_variance
from scipy.special import expit
from scipy.stats import chisquare

import channel_sim
from channel_sim import (
    Gaussian,
    GreedyRejection,
    LayeredQuantization,
    SharedRandomness,
    bounds,
)
from channel_sim.entropy import Reader, Writer
from channel_sim.index_code import (
    KL_CLASSES,
    bin_probabilities,
    class_of,
    gaussian_tail,
    index_table,
    kl_of,
    receive_indices,
    receive_searched,
    send_indices,
)
from channel_sim.layered import _logistic_tables
from channel_sim.quantile import TICKS, QuantileTable
from channel_sim.rejection import _depth_table


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


def test_divergences_have_classes():
    for kl in (0.001, 0.3, 6.0, 500.0, 1e5):
        assert kl_of(class_of(kl)) == pytest.approx(kl, rel=0.045)
    assert class_of(0.0) == 0 == kl_of(0)
    assert class_of(1e-9) == 1
    assert class_of(1e30) == KL_CLASSES - 1


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


def distance_to_integers(scaled: np.ndarray) -> float:
    return np.abs(scaled - np.rint(scaled))[scaled > 0.5].min(initial=1)


@pytest.mark.parametrize("half", [0, 1])
def test_quantiles_of_logistic_layers_are_those_of_their_law(half):
    table, u = _logistic_tables()[half], QuantileTable.points()
    a = table.ticks / TICKS
    share = np.tanh(a / 2) - a / 2 / np.cosh(a / 2) ** 2
    known = u > 1e-9  # where this form of the law does not cancel
    np.testing.assert_allclose((1 - share if half else share)[known], u[known], rtol=2e-4)
    assert np.abs(np.diff(table.ticks)).max() < 2**16
