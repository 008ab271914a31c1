"""The noise levels at which the steps of DiffC cost least (review, Section IV-B; Vonderfecht and Liu 2025).

A step from gamma_t to gamma_s, of which the estimate before it is off by e(gamma_t) = |x - x_hat|^2, carries

    C(t, s) = (xi_s - xi_t) e(gamma_t) / (2 ln 2)    bits,        xi = exp(-gamma),                        (1)

so that the error, measured once per noise level, tells the information of every step between any two levels. What the
channel spends on C bits, f(C) = GaussianChannel.cost, has a sweet spot:

- Little information is dear: nine bits go ahead of every step, and a chunk costs log2 C bits more than C. Steps that
  carry less than a chunk or two should be skipped.
- Long steps are dear: Eq. 1 is the left sum of the I-MMSE integral (review, Eq. 26), and exceeds it, since the
  network's estimate improves within the step but is asked for at its beginning only. They should be split, until what
  a further step saves is what it costs.

Both are settled at once by the cheapest path through the levels,

    L(s) = min_{t < s} L(t) + E f(C(t, s)),        L(first level) = 0,                                     (2)

with the mean over the pictures that were measured, and at most so many steps as there is time for. Every prefix of
the path is the cheapest way to its end, so previews profit as well.

    errors = denoising_errors(model, pictures, np.linspace(6.0, -7.0, 105))
    model = dataclasses.replace(model, gammas=sweet_spot_schedule(errors))        (PredictorModel)
    model = model.with_gammas(sweet_spot_schedule(errors))                        (DiffusionModel)

Only the sender of a model measures: the levels are part of the model and of its id.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from channel_sim.gaussian import GaussianChannel
from channel_sim.index_code import KL_CLASSES, class_of, kl_of
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.state import ReverseProcess

__all__ = ["DenoisingErrors", "denoising_errors", "expected_bits", "information_bits", "sweet_spot_schedule"]


_DEFAULT = GaussianChannel()


class DenoisingErrors(NamedTuple):
    """How well a model denoises."""

    gammas: tuple[float, ...]
    """Levels, falling."""
    squared_error: Float[np.ndarray, "pictures levels"]
    """e(gamma) of every picture, sums over all coordinates."""
    dimension: int
    """Coordinates of x."""


def denoising_errors(
    model: ReverseProcess, pictures: Iterable[np.ndarray], gammas: Sequence[float] | np.ndarray, *, seed: int = 0
) -> DenoisingErrors:
    """Measures e(gamma) at every level, with one draw of noise for each picture and level.

    Args:
      model: asked once per picture and level.
      pictures: uint8 (H, W, 3), all of one size.
      gammas: levels, falling: candidates for a schedule.
      seed: of the noise.

    Raises:
      ValueError: the levels do not fall, or there are no pictures of one size.
    """
    levels = diffusion.falling_gammas(gammas)
    noise, rows, sizes = np.random.default_rng(seed), [], set()
    for picture in pictures:
        x = model.course.source.values(picture)
        sizes.add(x.size)
        row = []
        for gamma in levels:
            scales = float(diffusion.alpha(gamma)), float(diffusion.sigma(gamma))
            z = scales[0] * x + scales[1] * noise.standard_normal(x.shape, np.float32)
            x_hat = model.expectation(z.astype(np.float32), gamma, gamma - 1.0).denoised
            row.append(np.square(x - x_hat, dtype=np.float64).sum())
        rows.append(row)
    if len(sizes) != 1:
        raise ValueError(f"a schedule needs pictures of one size, got {len(sizes)} sizes")
    return DenoisingErrors(levels, np.array(rows), sizes.pop())


def information_bits(errors: DenoisingErrors) -> Float[np.ndarray, "pictures levels levels"]:
    """Eq. 1 of the step from level t to level s, at [:, t, s]; zero for s <= t."""
    snr = np.exp(-np.array(errors.gammas))
    gained = np.maximum(snr[None, :] - snr[:, None], 0.0)
    return errors.squared_error[:, :, None] * gained / (2 * np.log(2))


def sweet_spot_schedule(
    errors: DenoisingErrors, channel: GaussianChannel = _DEFAULT, *, most_steps: int = diffusion.MOST_STEPS
) -> tuple[float, ...]:
    """Chooses among the measured levels, from the first to the last, by Eq. 2; no step is one that cannot be sent.

    Args:
      errors: measured.
      channel: what sends the steps.
      most_steps: how many there may be; a step takes one evaluation of the network and one search.

    Returns:
      gamma before every step and after the last, falling.

    Raises:
      ValueError: most_steps is out of range, or neighbouring levels lie too far from each other.
    """
    if not 1 <= most_steps <= diffusion.MOST_STEPS:
        raise ValueError(f"most_steps must be 1 to 255, got {most_steps}")
    step_bits = _step_bits(errors, channel)
    levels = len(errors.gammas)
    step_bits[np.tril_indices(levels, -1)] = np.inf
    np.fill_diagonal(step_bits, 0.0)  # to stay is no step
    total, came_from = np.full(levels, np.inf), []
    total[0] = 0.0
    for _ in range(most_steps):
        paths = total[:, None] + step_bits
        came_from.append(paths.argmin(0))
        shortest = paths.min(0)
        if (shortest == total).all():
            break
        total = shortest
    if not np.isfinite(total[-1]):
        raise ValueError(
            f"steps between some levels would send more than {kl_of(KL_CLASSES - 1):.3g} bits: measure finer ones, or "
            "allow more steps"
        )
    path = [levels - 1]
    for best in reversed(came_from):
        path.append(int(best[path[-1]]))
    return tuple(errors.gammas[i] for i in sorted(set(path)))


def expected_bits(errors: DenoisingErrors, schedule: Sequence[float], channel: GaussianChannel = _DEFAULT) -> float:
    """What a schedule, of measured levels, is expected to cost: the sum of Eq. 2."""
    places = [errors.gammas.index(gamma) for gamma in schedule]
    return float(_step_bits(errors, channel)[places[:-1], places[1:]].sum())


def _step_bits(errors: DenoisingErrors, channel: GaussianChannel) -> Float[np.ndarray, "levels levels"]:
    """E f(C(t, s)); between the classes in which the channel states divergences, f is linear in the logarithm."""
    information = np.clip(information_bits(errors), kl_of(1), None)
    classes = range(max(1, class_of(information.min()) - 1), min(class_of(information.max()) + 1, KL_CLASSES - 1) + 1)
    known = [(np.log2(kl_of(c)), channel.cost(kl_of(c), errors.dimension).bits) for c in classes]
    costs = np.interp(np.log2(information), *np.array(known).T)
    return np.where(information > kl_of(KL_CLASSES - 1), np.inf, costs).mean(0)
