import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import chi, kstest

from channel_sim import SharedRandomness
from channel_sim.quantile import TICKS, QuantileTable, normal_table, normal_ticks, normals


def test_golden_normal_numbers():
    assert normal_ticks(SharedRandomness(0).words(6)).tolist() == GOLDEN_TICKS
    assert normal_table().lookup(np.array([1, 2**32 + 1, 2**64 - 1], np.uint64)).tolist() == GOLDEN_FAR_TICKS


GOLDEN_TICKS = [3453458, -21453244, 8097074, -11137658, 4548164, -643205]
GOLDEN_FAR_TICKS = [153600341, 106333286, 1]


def test_the_table_does_not_depend_on_the_last_digits_of_libm():
    exact = -TICKS * ndtri(QuantileTable.points())
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 5e-6


def test_the_table_drops_slowly_enough_for_its_interpolation():
    assert np.abs(np.diff(normal_table().ticks)).max() < 2**16


def test_interpolation_stays_close_to_the_quantile():
    rng = np.random.default_rng(0)
    v = rng.integers(0, 2**64, 50_000, np.uint64) >> rng.integers(0, 60, 50_000).astype(np.uint64) | np.uint64(1)
    assert np.abs(normal_table().lookup(v) / TICKS + ndtri(v / 2.0**65)).max() < 4e-7


def test_normal_numbers_are_normal():
    """Kolmogorov-Smirnov at a false-alarm rate of 1e-4, and moments within four standard errors."""
    x = normal_ticks(SharedRandomness(3).words(10**6)) / TICKS
    assert kstest(x, "norm")[1] > 1e-4
    for power, moment, deviation in ((1, 0, 1), (2, 1, np.sqrt(2)), (3, 0, np.sqrt(15)), (4, 3, np.sqrt(96))):
        assert abs((x**power).mean() - moment) < 4 * deviation / 1000


def test_numbers_at_places_are_those_of_the_sequence():
    shared = SharedRandomness(9, 1)
    places = np.array([[5, 0], [7, 2**40]], np.uint64)
    expected = [[normal_ticks(shared.words(1, int(p)))[0] for p in row] for row in places]
    np.testing.assert_array_equal(normals(shared, places), np.array(expected) / TICKS)


def test_a_machine_with_another_table_refuses():
    with pytest.raises(ArithmeticError, match="must have 0x00000001"):
        QuantileTable(lambda u: -ndtri(u), crc=1)


def test_half_widths_of_gaussian_layers_are_chi_with_three_degrees():
    g = normals(SharedRandomness(4), np.arange(60_000, dtype=np.uint64)).reshape(3, -1)
    assert kstest(np.sqrt((g * g).sum(0)), chi(3).cdf)[1] > 1e-4
