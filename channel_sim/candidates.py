"""Candidates: samples of a reference distribution that both sides draw alike, and how the sender weighs them.

Sampling schemes (PFR, ordered random coding, greedy rejection) treat a distribution as *blocks*, each simulated by
itself: the first axis of every parameter counts blocks, a `Gaussian` or `Uniform` may have a second axis of jointly
sent coordinates. With B blocks of n coordinates, coordinate j of candidate i of block c comes from word

    (i B + c) n + j                                                                                        (1)

of the common randomness. Candidates of a `Gaussian` are mean + std * (integer ticks), of a `Uniform` center + width *
(word), in IEEE double precision without libm; of a `Categorical` they are exact integers, drawn from the frequencies
out of 2^24 nearest to the reference's probabilities; the ratio is taken to these frequencies, so the law of the sample
does not suffer.
"""

from typing import Any

import numpy as np

from channel_sim import checks
from channel_sim.channel import Categorical, Gaussian, Uniform
from channel_sim.entropy import PRECISION, quantize_probabilities
from channel_sim.quantile import normals
from channel_sim.randomness import SharedRandomness

__all__ = ["Blocks"]


class Blocks:
    """A reference distribution as blocks of candidates.

    Attributes:
      count: B.
      width: n; 1 for distributions without a second axis.
    """

    def __init__(self, reference: Gaussian | Uniform | Categorical):
        """Reads the shapes.

        Raises:
          TypeError: the distribution is of another kind.
          ValueError: it has not one or two axes (a `Categorical`: exactly two), or a parameter is none
            (channel_sim.checks).
        """
        reference = checks.distribution("reference", reference, Gaussian, Uniform, Categorical)
        match reference:
            case Categorical(probabilities):
                shape = np.shape(probabilities)
                if len(shape) != 2:
                    raise ValueError(f"reference.probabilities must be (blocks, symbols), got the shape {shape}")
                frequencies = quantize_probabilities(probabilities)
                self._cumulative = np.cumsum(frequencies, axis=1)
                self._log_reference = np.log(frequencies) - PRECISION * np.log(2)
                shape = shape[:1]
            case Gaussian() | Uniform():
                shape = checks.shape_of("reference", reference)
                if len(shape) not in (1, 2):
                    raise ValueError(
                        f"the parameters of reference must be (blocks,) or (blocks, coordinates), got the shape {shape}"
                    )
        self._reference = reference
        self.count, self.width = shape[0], shape[1] if len(shape) == 2 else 1
        self._shape = shape

    def target(self, target) -> Any:
        """What the sender wants, checked.

        Raises:
          TypeError: it is of another kind than the reference.
          ValueError: it has another shape, a parameter is none (channel_sim.checks), it has mass where the reference
            has none, or is so narrow that candidates cannot tell its law.
        """
        reference: Any = self._reference
        if type(target) is not type(reference):
            raise self._mixed(target)
        target = checks.distribution("target", target, type(reference))
        checks.same_shape("target", target, checks.shape_of("reference", reference))
        match target:
            case Categorical(wanted):
                _refuse_mass((wanted > 0) & (reference.probabilities == 0))
            case Uniform(_, width):
                _refuse_mass(~reference.contains(target))
                _refuse_narrow("width", width, reference.width, -24)
            case Gaussian(_, std):
                _refuse_narrow("std", std, reference.std, -18)
        return target

    def draw(self, shared: SharedRandomness, block: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Candidates number `index` of the blocks `block`: one per element of the two, which broadcast.

        Returns:
          The candidates, with an axis of coordinates at the end if the reference has one.
        """
        place = np.asarray(index, np.uint64) * np.uint64(self.count) + np.asarray(block, np.uint64)
        if len(self._shape) == 2:
            place = place[..., None] * np.uint64(self.width) + np.arange(self.width, dtype=np.uint64)
        match self._reference:
            case Gaussian(mean, std):
                return self._of(mean, block) + self._of(std, block) * normals(shared, place)
            case Uniform(center, width):
                uniform = (shared.words_at(place) + 0.5) / 2**32 - 0.5
                return self._of(center, block) + self._of(width, block) * uniform
        level = shared.words_at(place).astype(np.int64) >> (32 - PRECISION)
        return (level[..., None] >= self._cumulative[block]).sum(-1)

    def log_ratio(self, target, block: np.ndarray, sample: np.ndarray) -> np.ndarray:
        """ln dQ/dP of candidates, as `draw` gives them for these blocks."""
        match target, self._reference:
            case Gaussian(), Gaussian():
                terms = 0.0
                for sign, part in ((-1, target), (1, self._reference)):
                    std = self._of(part.std, block)
                    terms = terms + sign * (((sample - self._of(part.mean, block)) / std) ** 2 / 2 + np.log(std))
            case Uniform(), Uniform():
                inside = np.abs(sample - self._of(target.center, block)) <= self._of(target.width, block) / 2
                terms = np.where(inside, self._log_widths(target, block), -np.inf)
            case Categorical(), Categorical():
                with np.errstate(divide="ignore"):
                    log_target = np.log(np.asarray(target.probabilities, np.float64))
                return log_target[block, sample] - self._log_reference[block, sample]
            case _:
                raise self._mixed(target)
        return terms.sum(-1) if len(self._shape) == 2 else terms

    def log_ratio_bound(self, target) -> np.ndarray:
        """ln sup dQ/dP per block, or per coordinate if there is an axis of them; infinite where there is no bound."""
        match target, self._reference:
            case Gaussian(), Gaussian(mean, std):
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    excess = np.square(std) - np.square(target.std)
                    shift = np.square(np.subtract(target.mean, mean))
                    peak = np.log(std / np.asarray(target.std)) + shift / (2 * excess)
                    bound = np.where(excess > 0, peak, np.where((excess == 0) & (shift == 0), 0.0, np.inf))
            case Uniform(), Uniform():
                bound = self._log_widths(target, np.arange(self.count))
            case Categorical(), Categorical():
                everything = np.arange(self.count)[:, None]
                symbols = np.arange(self._cumulative.shape[1])[None]
                return self.log_ratio(target, everything, symbols).max(1)
            case _:
                raise self._mixed(target)
        return np.broadcast_to(bound, self._shape)

    def reach(self, target) -> float:
        """How far Gaussian targets reach, 4 of their deviations added, in those of the reference; 0 of other kinds."""
        match target, self._reference:
            case Gaussian(), Gaussian(mean, std):
                reached = (np.abs(np.subtract(target.mean, mean)) + 4 * np.asarray(target.std)) / std
                return float(np.max(reached, initial=0.0))
        return 0.0

    def _mixed(self, target) -> TypeError:
        return TypeError(
            f"target and reference must be of one kind, but they are {type(target).__name__} and "
            f"{type(self._reference).__name__}; a candidate of the reference must have a density under the target"
        )

    def _of(self, parameter, block) -> np.ndarray:
        return checks.spread(parameter, self._shape)[block]

    def _log_widths(self, target: Uniform, block) -> np.ndarray:
        reference = self._reference
        assert isinstance(reference, Uniform)
        return np.log(self._of(reference.width, block) / self._of(target.width, block))


def _refuse_mass(outside: np.ndarray) -> None:
    """Of targets where the reference has none."""
    if outside.any():
        place = [int(axis[0]) for axis in np.nonzero(np.atleast_1d(outside))]
        raise ValueError(f"target must have no mass where the reference has none, got some at {place}")


def _refuse_narrow(field: str, target, reference, log2: int) -> None:
    """Candidates of a Gaussian are multiples of 2^-24 deviations, those of a uniform distribution of 2^-32 widths."""
    if (np.asarray(target) < np.multiply(reference, 2.0**log2)).any():
        raise ValueError(
            f"target.{field} must be at least 2^{log2} of reference.{field}, or candidates are too coarse for it; got "
            f"{np.min(target):.6g} and {np.max(reference):.6g}"
        )
