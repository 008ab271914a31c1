import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uqdm import metrics
from uqdm.metrics import (
    bd_psnr_db,
    bd_rate_percent,
    bpp,
    mean_psnr_db,
    ms_ssim,
    pooled_psnr_db,
    psnr_db,
    wasserstein_distortion,
)

# Two curves of the examples of VCEG-M33's spreadsheet, as in the package `bjontegaard`.
ANCHOR = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
CURVE = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]


def test_all_names_are_there():
    assert all(getattr(metrics, name) for name in metrics.__all__)
    with pytest.raises(AttributeError, match="attribute '?beauty"):
        metrics.beauty  # noqa: B018


def test_no_module_hides_a_name():
    """An imported module becomes an attribute of its package, before `__getattr__` is asked."""
    assert not {file.stem for file in Path(metrics.__file__).parent.glob("*.py")} & set(metrics.__all__)


@pytest.mark.parametrize(
    ("names", "library"),
    [("psnr_db, bpp, bd_rate_percent", "scipy"), ("psnr_db, ms_ssim, fid, kid, sliced_wasserstein", "jax")],
)
def test_light_measures_do_not_wait_for_heavy_libraries(names, library):
    code = f"import sys; from uqdm.metrics import {names}; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("measure", [psnr_db, ms_ssim, lambda x, y: wasserstein_distortion(x, y, 1.0)])
def test_only_pairs_of_pictures_in_bytes_are_compared(measure):
    x = np.zeros((200, 180, 3), np.uint8)
    with pytest.raises(ValueError, match=r"one shape, got \(200, 180, 3\) and \(200, 180, 1\)"):
        measure(x, x[..., :1])
    with pytest.raises(ValueError, match=r"must be uint8 \(H, W, 3\), got float32 \(200, 180, 3\)"):
        measure(x, x.astype(np.float32) / 255)
    with pytest.raises(ValueError, match=r"must be uint8 \(H, W, 3\), got uint8 \(200, 180\)"):
        measure(x[..., 0], x[..., 0])


def test_psnr_of_known_errors():
    x = np.full((4, 5, 3), 100, np.uint8)
    assert psnr_db(x, x) == float("inf")
    assert psnr_db(x, x + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_db(np.zeros_like(x), np.full_like(x, 255)) == 0


def test_mean_and_pooled_psnr_differ():
    x = [np.zeros((4, 5, 3), np.uint8), np.zeros((8, 5, 3), np.uint8)]
    y = [np.full_like(x[0], 1), np.full_like(x[1], 10)]
    assert mean_psnr_db(x, y) == pytest.approx((48.1308 + 28.1308) / 2, abs=1e-4)
    assert pooled_psnr_db(x, y) == pytest.approx(10 * np.log10(255**2 / ((1 + 2 * 100) / 3)))
    assert pooled_psnr_db(x, [x[0], y[1]]) < mean_psnr_db(x, [x[0], y[1]]) == float("inf")
    with pytest.raises(ValueError, match="zip"):
        mean_psnr_db(x, y[:1])
    with pytest.raises(ValueError, match="no pictures"):
        pooled_psnr_db([], [])


def test_bpp_counts_pixels_not_samples():
    assert bpp(100, np.zeros((10, 20, 3))) == 4


def test_bd_rate_of_a_shifted_curve_is_the_shift():
    curve = [(0.1, 25.0), (0.2, 28.0), (0.5, 32.0), (1.0, 36.0)]
    assert bd_rate_percent(curve, curve) == pytest.approx(0, abs=1e-9)
    assert bd_rate_percent([(0.8 * r, p) for r, p in curve], curve) == pytest.approx(-20, abs=1e-6)
    assert bd_rate_percent([(1.25 * r, p) for r, p in curve], curve) == pytest.approx(25, abs=1e-6)


def test_bd_psnr_of_a_lifted_curve_is_the_lift():
    curve = [(0.1, 25.0), (0.2, 28.0), (0.5, 32.0), (1.0, 36.0)]
    assert bd_psnr_db([(r, p + 0.7) for r, p in curve], curve) == pytest.approx(0.7)
    assert bd_psnr_db([(r, p - 0.7) for r, p in reversed(curve)], curve) == pytest.approx(-0.7)


def test_bjontegaard_deltas_of_two_straight_lines_agree():
    """4 dB per octave and 1 dB above: 2^(-1/4) of the rate."""
    anchor, curve = ([(2.0**k, 30.0 + 4 * k + lift) for k in range(4)] for lift in (0, 1))
    assert bd_psnr_db(curve, anchor) == pytest.approx(1)
    assert bd_rate_percent(curve, anchor) == pytest.approx(100 * (2**-0.25 - 1))


def test_bjontegaard_deltas_are_close_to_those_of_cubic_fits():
    """-4.4205 % is the value of the original method for these curves; four points are few for straight lines."""

    def cubic(ours, theirs):
        low, high = max(min(x for x, _ in c) for c in (ours, theirs)), min(max(x for x, _ in c) for c in (ours, theirs))
        integrals = [np.polyint(np.polyfit(*np.transpose(c), 3)) for c in (ours, theirs)]
        a, b = (np.polyval(i, high) - np.polyval(i, low) for i in integrals)
        return (a - b) / (high - low)

    def over_psnr(c):
        return [(p, np.log(r)) for r, p in c]

    def over_rate(c):
        return [(np.log(r), p) for r, p in c]

    published = 100 * np.expm1(cubic(over_psnr(CURVE), over_psnr(ANCHOR)))
    assert published == pytest.approx(-4.420462706, abs=1e-6)
    assert bd_rate_percent(CURVE, ANCHOR) == pytest.approx(published, abs=0.25)
    assert bd_psnr_db(CURVE, ANCHOR) == pytest.approx(cubic(over_rate(CURVE), over_rate(ANCHOR)), abs=0.01)


def test_curves_without_common_quality_are_refused():
    with pytest.raises(ValueError, match="no range of PSNR"):
        bd_rate_percent([(0.1, 20.0), (0.2, 22.0)], [(0.1, 30.0), (0.2, 32.0)])
    with pytest.raises(ValueError, match="no range of rate"):
        bd_psnr_db([(0.1, 20.0), (0.2, 22.0)], [(1.1, 20.0), (1.2, 22.0)])
