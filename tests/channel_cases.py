"""The table of channels that tests/test_channels.py goes through: a new channel gets all tests by a row of CASES."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import chisquare, kstest

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
    kl_bits,
)
from channel_sim.entropy import Writer

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


def run(case: Case, blocks: int, seed: int = 1):
    """Bytes, ideal bits, sample, target and reference."""
    target, reference = case.problem(np.random.default_rng(seed), blocks)
    writer = Writer()
    sample = case.channel.encode(writer, target, reference, SharedRandomness(seed))
    return writer.getvalue(), writer.ideal_bits, sample, target, reference


def digest(sample: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()[:16]


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
