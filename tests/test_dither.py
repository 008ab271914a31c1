import numpy as np
import pytest
from scipy.stats import kstest, norm

from channel_sim import (
    DitheredQuantization,
    Gaussian,
    Logistic,
    NestedDitheredQuantization,
    SharedRandomness,
    SplitTables,
    Uniform,
)
from channel_sim.entropy import Reader, Writer
from channel_sim.refinement import (
    OPEN,
    DensityReference,
    TableReference,
    receive_last_split,
    receive_refinement,
    send_last_split,
    send_refinement,
    whole_line,
)

WIDTH = 0.75
CHANNELS = {
    "plain": DitheredQuantization(width=WIDTH),
    "nested 3": NestedDitheredQuantization(width=WIDTH, levels=3),
    "nested 6": NestedDitheredQuantization(width=WIDTH, levels=6),
    "regular 4": NestedDitheredQuantization(width=WIDTH, levels=4, regular=True),
}
REFERENCES = {"logistic": Logistic, "gaussian": Gaussian}


def sent(channel, x, reference, seed=0):
    writer, shared = Writer(), SharedRandomness(seed, 1)
    sample = channel.encode(writer, Uniform(x, WIDTH), reference, shared)
    return writer, sample, shared


@pytest.mark.parametrize("family", REFERENCES)
@pytest.mark.parametrize("name", CHANNELS)
def test_the_receiver_holds_the_senders_sample(name, family):
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 5.0, 2000) * np.where(rng.random(2000) < 0.01, 40, 1)
    reference = REFERENCES[family](np.full(2000, 2.0), np.full(2000, 4.0))
    writer, sample, shared = sent(CHANNELS[name], x, reference)
    received = CHANNELS[name].decode(Reader(writer.getvalue()), reference, shared)
    np.testing.assert_array_equal(received, sample)
    assert 8 * len(writer.getvalue()) <= 1.001 * writer.ideal_bits + 16


def rejects_uniformity(error: np.ndarray) -> bool:
    """Kolmogorov-Smirnov at a false-alarm rate of 1e-4."""
    return kstest(error / WIDTH + 0.5, "uniform").pvalue < 1e-4


@pytest.mark.parametrize("name", CHANNELS)
def test_the_error_is_uniform_and_independent_of_the_input(name):
    count = 40_000
    x = np.random.default_rng(1).laplace(0.0, 0.6, count)
    _, sample, _ = sent(CHANNELS[name], x, Logistic(np.zeros(count), np.ones(count)))
    error = sample - x
    assert np.abs(error).max() <= WIDTH / 2 * (1 + 1e-5)
    assert not rejects_uniformity(error)
    # Independence: the law is the same wherever x lies in its cell, near zero and far out.
    phase = np.mod(x / WIDTH, 1.0)
    for part in (phase < 0.25, phase > 0.75, np.abs(x) < 0.1, np.abs(x) > 1.0):
        assert not rejects_uniformity(error[part])
    assert abs(np.corrcoef(x, error)[0, 1]) < 4 / np.sqrt(count)


@pytest.mark.parametrize(
    "wrong",
    [
        NestedDitheredQuantization(width=WIDTH, shift_amplitude=0.0),
        NestedDitheredQuantization(width=WIDTH, levels=3, last_split=False),
    ],
    ids=["no shift", "no last split"],
)
def test_a_wrong_channel_is_told_apart(wrong):
    count = 40_000
    x = np.random.default_rng(1).laplace(0.0, 0.6, count)
    _, sample, _ = sent(wrong, x, Logistic(np.zeros(count), np.ones(count)))
    error, near = sample - x, np.abs(np.mod(x / WIDTH, 1.0) - 0.5) > 0.25
    assert rejects_uniformity(error) or rejects_uniformity(error[near])


def test_more_nested_steps_cost_no_bits():
    count = 5000
    x = np.random.default_rng(2).laplace(0.0, 3.0, count)
    reference = Logistic(np.full(count, 0.4), np.full(count, 1.7))
    bits = {
        levels: sent(NestedDitheredQuantization(width=WIDTH, levels=levels), x, reference)[0].ideal_bits
        for levels in (1, 2, 8)
    }
    assert bits[2] == pytest.approx(bits[1], rel=1e-5)
    assert bits[8] == pytest.approx(bits[1], rel=1e-5)
    regular, _, _ = sent(NestedDitheredQuantization(width=WIDTH, levels=8, regular=True), x, reference)
    assert regular.ideal_bits == pytest.approx(bits[1], rel=1e-5)


def test_the_rate_is_the_mutual_information():
    """Eq. 14: the mean cost is I(X; X + U) = h(X + U) - log2 width when psi is the truth."""
    count, scale = 60_000, 1.3
    x = np.random.default_rng(3).logistic(0.0, scale, count)
    writer, _, _ = sent(CHANNELS["plain"], x, Logistic(np.zeros(count), np.full(count, scale)))
    y = np.linspace(-60, 60, 200_001)
    density = (1 / (1 + np.exp(-(y + WIDTH / 2) / scale)) - 1 / (1 + np.exp(-(y - WIDTH / 2) / scale))) / WIDTH
    entropy = -np.trapezoid(density * np.log2(np.maximum(density, 1e-300)), y)
    # Standard error of the mean cost is below 0.008 bit.
    assert writer.ideal_bits / count == pytest.approx(entropy - np.log2(WIDTH), abs=0.03)


def test_independent_dither_at_every_step_costs_more():
    """What nesting does away with: refining by a fresh dithered quantizer each time pays again for the noise."""
    count, scale = 20_000, 2.0
    x = np.random.default_rng(4).logistic(0.0, scale, count)
    once, _, _ = sent(CHANNELS["plain"], x, Logistic(np.zeros(count), np.full(count, scale)))
    writer, shared = Writer(), SharedRandomness(0, 5)
    coarse = DitheredQuantization(width=4 * WIDTH)
    sample = coarse.encode(writer, Uniform(x, 4 * WIDTH), Logistic(np.zeros(count), np.full(count, scale)), shared)
    # What the receiver knows now, as the best logistic around its sample.
    residual = np.std(x - sample)
    reference = Logistic(sample, np.full(count, residual * np.sqrt(3) / np.pi))
    CHANNELS["plain"].encode(writer, Uniform(x, WIDTH), reference, SharedRandomness(0, 6))
    assert writer.ideal_bits > once.ideal_bits + 0.1 * count


def test_a_message_that_ends_early_is_noticed():
    x = np.random.default_rng(5).normal(0, 3, 500)
    reference = Logistic(np.zeros(500), np.ones(500))
    writer, _, shared = sent(CHANNELS["nested 3"], x, reference)
    with pytest.raises(EOFError, match="ends before"):
        CHANNELS["nested 3"].decode(Reader(writer.getvalue()[:-5]), reference, shared)


def test_a_message_that_ends_before_magnitudes_is_noticed():
    """Though all signs are known, so that there is nothing to split last."""
    x, reference = np.array([50.0, -70.0]), Logistic(np.zeros(2), np.full(2, 30.0))
    channel = NestedDitheredQuantization(width=WIDTH)
    writer, _, shared = sent(channel, x, reference)
    data = writer.getvalue()
    for size in range(len(data) - 4):
        with pytest.raises(EOFError, match="ends before"):
            channel.decode(Reader(data[:size]), reference, shared)


def test_no_zero_cell_means_no_last_split():
    x, reference = np.array([50.0, -70.0]), Logistic(np.zeros(2), np.full(2, 30.0))
    writer, sample, shared = sent(CHANNELS["plain"], x, reference)
    assert (np.abs(sample - x) <= WIDTH / 2 * (1 + 1e-5)).all()
    np.testing.assert_array_equal(CHANNELS["plain"].decode(Reader(writer.getvalue()), reference, shared), sample)


def test_the_target_must_be_the_channels():
    with pytest.raises(ValueError, match="adds noise of width"):
        CHANNELS["plain"].encode(
            Writer(), Uniform(np.zeros(1), 2 * WIDTH), Logistic(np.zeros(1), np.ones(1)), SharedRandomness(0)
        )


# --- the integer path --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    return SplitTables.logistic()


def integer_case(tables, count=3000, seed=0):
    rng = np.random.default_rng(seed)
    scale_class = rng.integers(40, 110, count)
    location = rng.normal(0, 2000, count).astype(np.int32)
    y = np.rint(location + 2.0 ** (scale_class / 8) * rng.logistic(size=count)).astype(np.int64)
    return TableReference(tables, location, scale_class), y


@pytest.mark.parametrize("levels", [(8,), (10, 8), (14, 13, 12, 11, 10, 9, 8)])
def test_integer_refinement_reaches_the_cell_of_every_source(tables, levels):
    reference, y = integer_case(tables)
    writer, cells = Writer(), whole_line(len(y))
    for level in levels:
        cells = send_refinement(writer, reference, cells, 1 << level, y)
        magnitude = np.abs(y) >> level
        np.testing.assert_array_equal(cells.sign, np.sign(y) * (magnitude > 0))
        np.testing.assert_array_equal(cells.low, magnitude << level)
        np.testing.assert_array_equal(cells.high, (magnitude + 1) << level)
    reader, received = Reader(writer.getvalue()), whole_line(len(y))
    for level in levels:
        received, complete = receive_refinement(reader, reference, received, 1 << level)
        assert complete
    for ours, theirs in zip(cells, received, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tables_cost_little_beside_exact_probabilities(tables):
    """Rounding location and scale to classes: below 0.3 % of the bits for a reference that is true."""
    rng = np.random.default_rng(1)
    count, log2_scale = 40_000, 9.3
    location = rng.normal(0, 300, count)
    y = np.rint(location + 2.0**log2_scale * rng.logistic(size=count)).astype(np.int64)
    scale_class = np.full(count, round(8 * log2_scale))
    writer = Writer()
    reference = TableReference(tables, np.rint(location).astype(np.int32), scale_class)
    send_refinement(writer, reference, whole_line(count), 256, y)
    exact = Writer()
    density = DensityReference(Logistic(location, np.full(count, 2.0**log2_scale)), 1.0, np.zeros(count))
    send_refinement(exact, density, whole_line(count), 256, y)
    assert writer.ideal_bits == pytest.approx(exact.ideal_bits, rel=0.003)


def test_a_coarse_beginning_makes_what_lies_far_away_cheap(tables):
    """Tables resolve locations within 4 units, of what is told first to begin with; the cells are the same."""
    rng = np.random.default_rng(2)
    count, scale_class = 20_000, 64
    location = rng.choice([-2800, 2800], count)
    y = np.rint(location + 2.0 ** (scale_class / 8) * rng.logistic(size=count)).astype(np.int64)
    density = DensityReference(Logistic(location, np.full(count, 2.0 ** (scale_class / 8))), 1.0, np.zeros(count))
    reference = TableReference(tables, location.astype(np.int32), np.full(count, scale_class))
    unit, bits, cells = 256, {}, {}
    for first in (None, 8 * unit):
        writer = Writer()
        cells[first] = send_refinement(writer, reference, whole_line(count), unit, y, first=first)
        bits[first] = writer.ideal_bits
        reader = Reader(writer.getvalue())
        received, complete = receive_refinement(reader, reference, whole_line(count), unit, first=first)
        assert complete
        np.testing.assert_array_equal(received.doubled_midpoint, cells[first].doubled_midpoint)
    exact = Writer()
    send_refinement(exact, density, whole_line(count), unit, y)
    np.testing.assert_array_equal(cells[None].doubled_midpoint, cells[8 * unit].doubled_midpoint)
    assert bits[8 * unit] == pytest.approx(exact.ideal_bits, rel=0.003)
    assert bits[None] > 1.05 * exact.ideal_bits


def test_the_last_split_makes_the_lattice_regular(tables):
    reference, y = integer_case(tables)
    writer = Writer()
    cells = send_refinement(writer, reference, whole_line(len(y)), 256, y)
    regular = send_last_split(writer, reference, cells, y)
    assert (np.abs(2 * y - regular.doubled_midpoint) <= 256).all()
    assert (np.abs(regular.doubled_midpoint) % 512 == 256).all()
    reader = Reader(writer.getvalue())
    received, _ = receive_refinement(reader, reference, whole_line(len(y)), 256)
    received, complete = receive_last_split(reader, reference, received)
    assert complete
    np.testing.assert_array_equal(received.doubled_midpoint, regular.doubled_midpoint)


def test_a_prefix_tells_intervals_that_hold_the_source(tables):
    reference, y = integer_case(tables, 300)
    writer = Writer()
    send_refinement(writer, reference, whole_line(300), 256, y)
    data, known = writer.getvalue(), []
    for cut in range(0, len(data), 3):
        cells, complete = receive_refinement(Reader(data[:cut]), reference, whole_line(300), 256)
        assert not complete
        inside = np.where(cells.sign == 0, np.abs(y) < cells.high, cells.sign * y >= cells.low)
        assert (inside & (cells.sign * y < cells.high)).all()
        known.append(np.mean(cells.high < OPEN))
    assert known == sorted(known)


def test_garbage_ends_in_a_clear_error_or_in_cells(tables):
    reference, y = integer_case(tables, 200)
    rng = np.random.default_rng(9)
    for _ in range(100):
        try:
            receive_refinement(Reader(rng.bytes(200)), reference, whole_line(200), 256)
        except OverflowError as error:
            assert "damaged" in str(error)


def test_split_tables_are_probabilities_of_the_splits(tables):
    """Row by row against a numerical integral of the logistic density, and mirrored in the location."""

    def cdf(x):
        return 1 / (1 + np.exp(-x))

    def row(a, r):
        return (r + 32) * 257 + a + 128

    for a, r in ((0, 0), (17, -5), (-60, 12), (100, 30)):
        m, s = a / 32, 2 ** (r / 8)
        first = np.diff(cdf((np.array([-np.inf, -1, 1, np.inf]) - m) / s))
        half = np.diff(cdf((np.array([-1, 0, 1]) - m) / s))
        np.testing.assert_allclose(tables.first.frequencies[row(a, r)] / 2**24, first, atol=2**-14)
        np.testing.assert_allclose(tables.half.frequencies[row(a, r)] / 2**24, half / half.sum(), atol=2**-13)
        np.testing.assert_array_equal(tables.zero.frequencies[row(a, r)], tables.zero.frequencies[row(-a, r)][::-1])


def test_split_tables_of_the_normal_density_are_its_probabilities():
    normal = SplitTables.gaussian()
    for a, r in ((0, 0), (17, -5), (-60, 12), (100, 30)):
        m, s = a / 32, 2 ** (r / 8)
        row = (r + 32) * 257 + a + 128
        zero = np.diff(norm.cdf((np.array([-2, -1, 1, 2]) - m) / s))
        np.testing.assert_allclose(normal.zero.frequencies[row] / 2**24, zero / zero.sum(), atol=2**-13)
        outer = -np.diff(norm.sf((np.array([1, 2, np.inf]) - m) / s))
        np.testing.assert_allclose(normal.outer.frequencies[row] / 2**24, outer / outer.sum(), atol=2**-13)
        mirrored = (r + 32) * 257 - a + 128
        np.testing.assert_array_equal(normal.half.frequencies[row], normal.half.frequencies[mirrored][::-1])


def test_stored_tables_come_back(tables):
    again = SplitTables.from_arrays(**tables.to_arrays())
    np.testing.assert_array_equal(again.outer.frequencies, tables.outer.frequencies)
    with pytest.raises(ValueError, match="table 'half' must be"):
        SplitTables.from_arrays(**(tables.to_arrays() | {"half": np.ones((3, 2), np.uint16)}))
