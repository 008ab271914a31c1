"""What theory says a channel simulation costs, in bits: to be printed beside what was measured.

With C = KL(Q || P) and w = dQ/dP, any scheme that sends a sample of Q with common randomness of law P spends at least
the channel-simulation divergence (Goc and Flamich 2024, and on average over inputs Flamich, Sriramu and Wagner 2025)

    D_CS(Q || P) = -int_0^inf w_P(h) log2 w_P(h) dh,    w_P(h) = P(w >= h),    D_CS >= C,                  (1)

and the Poisson functional representation with the Zipf code at most

    C + log2(C + 1) + 4                       (Li and El Gamal 2018; review, Eq. 12).                      (2)

For N(mu, s^2 I) from N(0, s^2 I) everything depends on C = |mu|^2 / (2 s^2 ln 2) only: Eq. 1 becomes, with
m = |mu| / s and h = exp(m x - m^2 / 2),

    D_CS = -int Phi(-x) log2 Phi(-x) m exp(m x - m^2 / 2) dx,                                              (3)

the index has the law of channel_sim.index_code (Eq. 4 there), and K candidates are too few with probability P(N > K).

Additive noise. A dithered quantizer of width W costs I(X; X + U(-W/2, W/2)), which for X ~ N(0, tau^2) is

    h(X + U) - log2 W,    density of X + U:  (Phi((y + W/2) / tau) - Phi((y - W/2) / tau)) / W;            (4)

a layered one costs its mean over the layers, W = 2 s chi_3.

All raise TypeError for what is not a number and ValueError for numbers that are negative, not finite, or beyond what
these sums resolve.

Examples:
  >>> from channel_sim import bounds
  >>> round(bounds.gaussian_floor_bits(14.0), 2), round(bounds.poisson_bound_bits(14.0), 2)
  (16.78, 21.91)
  >>> round(bounds.layered_bits(3.0) - bounds.mutual_information_bits(3.0), 2)
  0.52
"""

import numpy as np
from scipy.special import log_ndtr, ndtr, xlogy

from channel_sim import checks
from channel_sim.index_code import gaussian_tail

__all__ = [
    "categorical_floor_bits",
    "dithered_bits",
    "gaussian_floor_bits",
    "layered_bits",
    "mutual_information_bits",
    "poisson_bound_bits",
    "poisson_index_bits",
    "truncation_error",
]


def mutual_information_bits(signal_std: float, noise_std: float = 1.0) -> float:
    """I(X; X + Z) = log2(1 + signal_std^2 / noise_std^2) / 2 for Gaussian X and Z."""
    signal_std, noise_std = checks.number("signal_std", signal_std, 0.0), checks.number("noise_std", noise_std)
    return 0.5 * float(np.log1p((signal_std / noise_std) ** 2) / np.log(2))


def poisson_bound_bits(kl_bits: float) -> float:
    """Eq. 2."""
    kl_bits = checks.number("kl_bits", kl_bits, 0.0)
    return kl_bits + float(np.log2(kl_bits + 1)) + 4


def gaussian_floor_bits(kl_bits: float) -> float:
    """Eq. 3, by the trapezoidal rule; for at most 10^8 bits."""
    checks.number("kl_bits", kl_bits, 0.0, 1e8)
    m = np.sqrt(2 * np.log(2) * kl_bits)
    x = np.linspace(m - 40, m + 12, 20_001)
    log_above = log_ndtr(-x)
    return float(np.trapezoid(-np.exp(log_above + m * x - m**2 / 2) * log_above * m, x) / np.log(2))


def categorical_floor_bits(target: np.ndarray, reference: np.ndarray) -> float:
    """Eq. 1 for two probability vectors.

    Args:
      target: Q, (K,).
      reference: P, (K,), positive where Q is.
    """
    target, reference = (
        np.asarray(checks.probabilities(name, table), np.float64)
        for name, table in (("target", target), ("reference", reference))
    )
    if target.ndim != 1 or target.shape != reference.shape:
        raise ValueError(f"target and reference must be two vectors (K,), got {target.shape} and {reference.shape}")
    kept = reference > 0
    if target[~kept].any():
        raise ValueError("target must be 0 where the reference is; the divergence is infinite")
    ratio = target[kept] / reference[kept]
    order = np.argsort(ratio)
    above = np.cumsum(reference[kept][order][::-1])[::-1]  # P(w >= each value of w)
    return float(-(np.diff(ratio[order], prepend=0) * xlogy(above, above)).sum() / np.log(2))


def poisson_index_bits(kl_bits: float) -> float:
    """Entropy of the index of the Poisson functional representation between Gaussians of equal variance.

    Indices are summed up to 2^200, which is enough for at most 100 bits.
    """
    checks.number("kl_bits", kl_bits, 0.0, 100.0)
    start = np.floor(2.0 ** np.arange(12, 200, 1 / 64))
    first = np.concatenate([np.arange(1.0, 4096.0), start])  # from 4096 on, the law is flat within 1/64 octave
    probability, size = -np.diff(gaussian_tail(kl_bits, first - 1)), np.diff(first)
    return float((probability @ np.log(size) - xlogy(probability, probability).sum()) / np.log(2))


def truncation_error(kl_bits: float, candidates: float) -> float:
    """P(N > K): bounds the total variation between N(mu, s^2 I) and a sample searched among K candidates."""
    checks.number("candidates", candidates, 0.0)
    return float(gaussian_tail(kl_bits, np.array(candidates)))


def dithered_bits(signal_std: float, width: np.ndarray) -> np.ndarray:
    """Eq. 4 per coordinate.

    Args:
      signal_std: tau, of the true and the reference distribution of X.
      width: W, any shape.
    """
    checks.number("signal_std", signal_std)
    width = np.asarray(checks.real("width", width, positive=True), np.float64)[..., None]
    reach = width / 2 + 9 * signal_std
    t = np.linspace(-1.0, 1.0, 4001)
    y = reach * t
    density = (ndtr((width / 2 - y) / signal_std) - ndtr((-width / 2 - y) / signal_std)) / width
    entropy = -np.trapezoid(xlogy(density, np.maximum(density, 1e-300)), dx=t[1] - t[0], axis=-1) * reach[..., 0]
    return np.asarray(np.maximum(entropy / np.log(2) - np.log2(width[..., 0]), 0))


def layered_bits(signal_std: float, noise_std: float = 1.0) -> float:
    """The mean of Eq. 4 over the layers of Gaussian noise, per coordinate."""
    checks.number("noise_std", noise_std)
    chi = np.linspace(0, 7, 141)[1:]
    weight = chi**2 * np.exp(-(chi**2) / 2)
    return float(dithered_bits(signal_std, 2 * noise_std * chi) @ weight / weight.sum())
