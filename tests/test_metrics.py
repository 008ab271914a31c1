import numpy as np
import pytest

from uqdm.metrics import bd_rate_percent, bpp, psnr_db


def test_psnr_of_known_errors():
    x = np.full((4, 5, 3), 100, np.uint8)
    assert psnr_db(x, x) == float("inf")
    assert psnr_db(x, x + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_db(np.zeros_like(x), np.full_like(x, 255)) == 0


def test_bpp_counts_pixels_not_samples():
    assert bpp(100, np.zeros((10, 20, 3))) == 4


def test_bd_rate_of_a_shifted_curve_is_the_shift():
    curve = [(0.1, 25.0), (0.2, 28.0), (0.5, 32.0), (1.0, 36.0)]
    assert bd_rate_percent(curve, curve) == pytest.approx(0, abs=1e-9)
    assert bd_rate_percent([(0.8 * r, p) for r, p in curve], curve) == pytest.approx(-20, abs=1e-6)
    assert bd_rate_percent([(1.25 * r, p) for r, p in curve], curve) == pytest.approx(25, abs=1e-6)


def test_curves_without_common_quality_are_refused():
    with pytest.raises(ValueError, match="no range of PSNR"):
        bd_rate_percent([(0.1, 20.0), (0.2, 22.0)], [(0.1, 30.0), (0.2, 32.0)])
