"""Masses and divergences are written once for numpy and once for JAX: both are the integral, and both are the same."""

import hashlib

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import logistic, norm

from channel_sim import Gaussian, Logistic, SplitTables, Uniform, kl_bits
from uqdm.training import densities

TWINS = {"logistic": (Logistic, densities.logistic_log_mass), "gaussian": (Gaussian, densities.gaussian_log_mass)}
EPS = np.finfo(np.float32).eps
WIDTHS = (1e-3, 0.1, 1.0, 7.0, 60.0)
"""From narrow to wide, in scales."""


def intervals() -> tuple[np.ndarray, np.ndarray]:
    """In both tails, in the middle, and open at one end; float32 numbers."""
    low, width = np.meshgrid(np.concatenate([np.linspace(-40, 40, 161), [-0.0]]), WIDTHS)
    low, high = (ends.reshape(-1).astype(np.float32) for ends in (low, low + width))
    return np.append(low, [-np.inf, 3.0, -np.inf, -9.0]), np.append(high, [3.0, np.inf, -9.0, np.inf])


def precision(family: str, log_mass: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What single precision allows: log Phi of both ends has that many digits, and their difference is the mass."""
    allowed = 8 * EPS * (1 + np.abs(log_mass))
    return allowed / np.minimum(1.0, high - low) if family == "gaussian" else allowed


@pytest.mark.parametrize("family", TWINS)
def test_the_two_libraries_agree_on_masses_in_both_tails(family):
    density, twin = TWINS[family]
    low, high = intervals()
    expected = density(0.0, 1.0).log_mass(low.astype(np.float64), high.astype(np.float64))
    found = np.asarray(jax.jit(twin)(low, high), np.float64)
    allowed = precision(family, expected, low, high)
    assert (np.abs(found - expected) <= allowed).all()
    # A plain difference of distribution functions would not do.
    cdf = {"logistic": lambda x: 1 / (1 + np.exp(-x)), "gaussian": ndtr}[family]
    with np.errstate(divide="ignore"):
        plain = np.log(cdf(high) - cdf(low))
    assert (np.abs(plain - expected) > allowed).any()


@pytest.mark.parametrize("family", TWINS)
def test_masses_of_mirror_images_are_equal(family):
    density, twin = TWINS[family]
    low, high = intervals()
    aside = (low > 0) | (high < 0)
    for log_mass in (density(0.0, 1.0).log_mass, twin):
        np.testing.assert_array_equal(log_mass(low, high)[aside], log_mass(-high, -low)[aside])


@pytest.mark.parametrize(
    ("density", "law"),
    [
        (Logistic(0.5, 2.0), logistic(0.5, 2.0)),
        (Gaussian(0.5, 2.0), norm(0.5, 2.0)),
        (Uniform(0.5, 2.0), None),
    ],
)
def test_masses_are_integrals_of_the_density(density, law):
    for low, high in ((-0.3, 0.2), (0.6, 1.2), (-1.5, 0.0), (20.0, 21.0), (-21.0, -20.0)):
        found = np.exp(density.log_mass(low, high))
        if law is None:
            expected = max(0.0, min(high, 1.5) - max(low, -0.5)) / 2
        else:
            expected = quad(law.pdf, low, high, epsabs=0)[0]
        assert found == pytest.approx(expected, rel=1e-9)
        if isinstance(density, Gaussian):
            assert density.mass(low, high) == pytest.approx(expected, rel=1e-9)
    assert density.log_mass(-np.inf, np.inf) == 0
    assert density.log_mass(0.5, 0.5) == -np.inf


def test_a_gap_that_single_precision_cannot_see_has_a_finite_gradient():
    for _, twin in TWINS.values():
        assert np.isfinite(jax.grad(lambda high, twin=twin: twin(1.0, high))(1.0))


def test_the_two_libraries_agree_on_divergences():
    shift, ratio = (grid.reshape(-1).astype(np.float32) for grid in np.meshgrid([-30.0, 0.0, 0.4], [1e-3, 1.0, 20.0]))
    expected = kl_bits(Gaussian(1.0 + shift.astype(np.float64), ratio.astype(np.float64)), Gaussian(1.0, 1.0))
    np.testing.assert_allclose(densities.gaussian_kl_bits(shift, ratio), expected, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize(("law", "digest"), [("logistic", "6a6809079219a2c9"), ("gaussian", "96da00072fa57de7")])
def test_the_integers_of_split_tables_are_those_of_model_ids(law, digest):
    tables = getattr(SplitTables, law)().to_arrays()
    assert hashlib.sha256(b"".join(t.astype("<u2").tobytes() for t in tables.values())).hexdigest()[:16] == digest
