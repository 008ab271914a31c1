"""Greedy rejection coding (Harsha et al. 2010; Flamich, Markou and Hernandez-Lobato 2023), with search by bisection.

The sender rejects candidates of the common randomness until one is accepted; rejection is greedy if every step accepts
as much of the target Q as its proposal allows. Let r = dQ/dP, let S be the part of the space searched in this step,
rho the probability of coming here, and L what earlier steps accepted, as a level under r. A candidate X ~ P(. | S) is
accepted with density min(r - L, rho / P(S))_+ under P, so with probability

    min(r(X) - L, rho / P(S))_+ / (rho / P(S)),      and then     L' = L + rho / P(S).                     (1)

The mass that is left in a set A is

    rest(A) = int_A (r - L')_+ dP.                                                                         (2)

*Global* (for `Categorical`). S is everything, rho' = rest(S), and the message is the number of the accepted candidate.
It takes max r candidates on average, and more than 2^20 are refused; the number costs at most KL + 2 log2(KL + 1) +
O(1) bits.

*Bisection* (for `Gaussian`, one coordinate per block). S begins as everything; after a rejection the sender enters one
of its halves, of equal mass under P, with probability rest(half) / rest(S), and rho' = rest(half): every point lies on
one path, so Eq. 1 still accepts Q in all. For unimodal ratios {r > L} is an interval and Eq. 2 a difference of
distribution functions; the number of steps grows with KL where the global search takes 2^D_inf, infinite for equal
variances. The message is the path: the number D of turns, and one raw bit per turn. D is coded with a discretised
logistic law on 0, ..., 60,

    P(D = d) ~ F((d + 1/2 - c) / s) - F((d - 1/2 - c) / s),                                                (3)
    c = -4, ..., 59,    s = 2^((k - 6) / 4),    k = 0, ..., 15,

whose c and k, the cheapest for all blocks together, are sent ahead in ten bits. (Rounded to multiples of 2^-16: see
the note on portability in channel_sim.index_code.)

Why this and not greedy Poisson rejection sampling: it takes as many steps as the dyadic form of that (11.8 at 12 bits,
see docs/channels/rejection.md), and its acceptance region needs no differential equation to be solved.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit, ndtri

from channel_sim import checks
from channel_sim.candidates import Blocks
from channel_sim.channel import Categorical, Gaussian
from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer, quantize_probabilities
from channel_sim.index_code import receive_searched, send_searched
from channel_sim.quantile import TICKS, normal_table
from channel_sim.randomness import SharedRandomness

__all__ = ["GreedyRejection", "search_path"]

_DEEPEST = 60
_NARROWEST, _FARTHEST = 2.0**-18, 9.0
_MOST_STEPS, _LARGEST_BATCH = 2.0**20, 2**16
"""Of the global search, and entries of tables that candidates are drawn with at a time."""


@dataclass(frozen=True, kw_only=True)
class GreedyRejection:
    """Global search for `Categorical` (blocks, symbols), search by bisection for `Gaussian` (blocks,)."""

    def encode(self, writer: Writer, target, reference, shared: SharedRandomness) -> np.ndarray:
        """Sends a sample of `target`, one per block.

        Args:
          writer: takes the message.
          target: Q; the standard deviations of a `Gaussian` must not exceed the reference's.
          reference: P, of the same kind and shapes.
          shared: common randomness of this use.

        Returns:
          int64 or float64 (blocks,).

        Raises:
          TypeError: target and reference are not of one kind, or of another one.
          ValueError: the shapes differ, a parameter is none (channel_sim.checks), a `Categorical` target has mass where
            the reference has none or more than 2^20 times its probability, or as `search_path`.
        """
        checks.source(shared)
        match target, reference:
            case Categorical(), Categorical():
                blocks = Blocks(reference)
                index = _search(blocks, blocks.target(target), shared)
                send_searched(writer, index)
                return blocks.draw(shared, np.arange(blocks.count), index)
            case Gaussian(), Gaussian():
                mean, std = _parameters(reference)
                target = checks.distribution("target", target, Gaussian)
                checks.same_shape("target", target, mean.shape)
                shift, ratio = (np.asarray(target.mean) - mean) / std, np.broadcast_to(target.std / std, mean.shape)
                depth, path = search_path(shift, ratio, shared)
                table = _depth_table()
                row = int((np.bincount(depth, minlength=_DEEPEST + 1) @ table.bits.T).argmin())
                writer.encode(_uniform(len(table.bits)), np.zeros(1, np.int64), np.array([row]))
                writer.encode(table, np.full(len(depth), row), depth)
                for turn in range(int(depth.max(initial=0))):
                    on = np.flatnonzero(depth > turn)
                    bit = (path[on] >> (depth[on] - 1 - turn).astype(np.uint64)) & np.uint64(1)
                    writer.encode(_uniform(2), np.zeros(len(on), np.int64), bit.astype(np.int64))
                return mean + std * _point(shared, depth, path, np.arange(len(mean)), len(mean))
        raise TypeError(
            "greedy rejection knows Categorical and Gaussian, target and reference of one kind; got "
            f"{type(target).__name__} and {type(reference).__name__}"
        )

    def decode(self, reader: Reader, reference, shared: SharedRandomness) -> np.ndarray:
        """Mirror image of `encode`."""
        checks.source(shared)
        match reference:
            case Categorical():
                blocks = Blocks(reference)
                index = receive_searched(reader, blocks.count)
                return blocks.draw(shared, np.arange(blocks.count), index)
            case Gaussian():
                mean, std = _parameters(reference)
                table = _depth_table()
                row = reader.decode(_uniform(len(table.bits)), np.zeros(1, np.int64))
                depth = _all(reader.decode(table, np.full(len(mean), _all(row, 1)[0])), len(mean)).astype(np.int64)
                path = np.zeros(len(mean), np.uint64)
                for turn in range(int(depth.max(initial=0))):
                    on = np.flatnonzero(depth > turn)
                    bit = _all(reader.decode(_uniform(2), np.zeros(len(on), np.int64)), len(on))
                    path[on] = (path[on] << np.uint64(1)) | bit.astype(np.uint64)
                return mean + std * _point(shared, depth, path, np.arange(len(mean)), len(mean))
        raise TypeError(f"greedy rejection knows Categorical and Gaussian, got {type(reference).__name__}")


@cache
def _depth_table() -> ProbabilityTable:
    """The laws of Eq. 3, one per row, c major."""
    center, scale = np.arange(-4, 60), 2.0 ** ((np.arange(16) - 6) / 4)
    edges = (np.arange(_DEEPEST + 2) - 0.5 - center[:, None, None]) / scale[:, None]
    # Differences in the tail where they are accurate.
    cells = np.where(edges[..., 1:] > 0, -np.diff(expit(-edges)), np.diff(expit(edges)))
    return ProbabilityTable(quantize_probabilities(cells.reshape(-1, _DEEPEST + 1), 16) << (PRECISION - 16))


@cache
def _uniform(symbols: int) -> ProbabilityTable:
    return ProbabilityTable(np.full((1, symbols), 2**PRECISION // symbols))


def _all(symbols: np.ndarray, count: int) -> np.ndarray:
    if len(symbols) < count:
        raise EOFError("the message ends before the sample is determined")
    return symbols


def _parameters(reference: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, (blocks,)."""
    reference = checks.distribution("reference", reference, Gaussian)
    shape = checks.shape_of("reference", reference)
    if len(shape) != 1:
        raise ValueError(f"the parameters of reference must be (blocks,), one coordinate each, got the shape {shape}")
    mean, std = np.broadcast_arrays(*(np.asarray(part, np.float64) for part in reference))
    return mean, std


def _search(blocks: Blocks, target: Categorical, shared: SharedRandomness) -> np.ndarray:
    """Numbers of the accepted candidates of the global search, int64."""
    everything, symbols = np.arange(blocks.count)[:, None], np.arange(np.shape(target.probabilities)[1])[None]
    ratio = np.exp(blocks.log_ratio(target, everything, symbols))
    if not (ratio <= _MOST_STEPS).all():
        raise ValueError(
            f"the global search takes max dQ/dP steps, up to 2^{np.log2(ratio.max()):.1f} here, and is refused above "
            "2^20: use PoissonFunctionalRepresentation, which searches in batches"
        )
    reference = np.asarray(target.probabilities) / np.where(ratio > 0, ratio, 1)
    private, searching = shared.private(), np.arange(blocks.count)
    index, level, reach = np.ones(blocks.count, np.int64), np.zeros(blocks.count), np.ones(blocks.count)
    ahead, row, column = np.zeros((0, 0), np.int64), searching, 0  # candidates drawn, and those of this step
    while len(searching):
        if column == ahead.shape[1]:
            batch = max(1, min(2 * column, _LARGEST_BATCH // (len(searching) * symbols.size)))
            ahead = blocks.draw(shared, searching[:, None], index[searching, None] + np.arange(batch))
            row, column = np.arange(len(searching)), 0
        x = ahead[row, column]
        accept = (ratio[searching, x] - level[searching]) / reach[searching]
        level[searching] += reach[searching]
        reach[searching] = (np.maximum(ratio[searching] - level[searching, None], 0) * reference[searching]).sum(1)
        rejected = (private.random(len(searching)) >= accept) & (reach[searching] > 0)
        searching, row, column = searching[rejected], row[rejected], column + 1
        index[searching] += 1
    return index


def search_path(shift: np.ndarray, ratio: np.ndarray, shared: SharedRandomness) -> tuple[np.ndarray, np.ndarray]:
    """The search by bisection for N(shift, ratio^2) from N(0, 1), one per block.

    Args:
      shift: of the target's mean, in the reference's standard deviations, (blocks,).
      ratio: of the standard deviations, (blocks,).
      shared: gives the candidates, and the decisions.

    Returns:
      The number of turns, int64, and the path: its bits as an integer, first turn first, uint64.

    Raises:
      TypeError: shift or ratio are not real numbers.
      ValueError: their shapes differ, a target is wider than the reference, or it reaches where candidates are too
        coarse.
    """
    checks.source(shared)
    shift, ratio = checks.array("shift", shift), checks.array("ratio", ratio)
    if shift.ndim != 1 or shift.shape != ratio.shape:
        raise ValueError(f"shift and ratio must be of one shape (blocks,), got {shift.shape} and {ratio.shape}")
    if not (ratio <= 1).all():
        raise ValueError(
            f"a target wider than the reference has no unimodal ratio: std ratios go up to {ratio.max():.6g}, and must "
            "not exceed 1; widen the reference"
        )
    if not ((ratio >= _NARROWEST).all() and (np.abs(shift) + 4 * ratio <= _FARTHEST).all()):
        raise ValueError(
            f"candidates are multiples of 2^-24 reference deviations up to 9.16: a target must be at least 2^-18 wide, "
            f"and its mean, 4 deviations added, at most {_FARTHEST} from the reference's; got std ratios from "
            f"{ratio.min():.3g} and shifts up to {np.abs(shift).max():.3g}; widen or move the reference"
        )
    private, searching = shared.private(), np.arange(len(shift))
    depth, path = np.zeros(len(shift), np.int64), np.zeros(len(shift), np.uint64)
    level, reach = np.zeros(len(shift)), np.ones(len(shift))
    while len(searching):
        about, turns = (shift[searching], ratio[searching]), depth[searching]
        x = _point(shared, turns, path[searching], searching, len(shift))
        step = reach[searching] * 2.0**turns
        accept = (np.exp(_log_ratio(x, *about)) - level[searching]) / step
        level[searching] += step
        low, middle, high = _ends(turns, path[searching])
        span = _superlevel(level[searching], *about)
        left, right = (_rest(*ends, span, level[searching], *about) for ends in ((low, middle), (middle, high)))
        go_on = (private.random(len(searching)) >= accept) & (left + right > 0) & (turns < _DEEPEST)
        turn = private.random(len(searching)) * (left + right) >= left
        searching, turn = searching[go_on], turn[go_on]
        reach[searching] = np.where(turn, right[go_on], left[go_on])
        path[searching] = (path[searching] << np.uint64(1)) | turn.astype(np.uint64)
        depth[searching] += 1
    return depth, path


def _point(shared: SharedRandomness, depth: np.ndarray, path: np.ndarray, block: np.ndarray, count: int) -> np.ndarray:
    """The candidate of a node, standard normal.

    The path gives the first bits of Phi(x), words 2 (D B + c) and the next of block c the rest; B is `count`.
    """
    place = 2 * (depth * count + block).astype(np.uint64)
    words = shared.words_at(np.stack([place, place + np.uint64(1)])).astype(np.uint64)
    free = (words[0] << np.uint64(32)) | words[1]
    bits = depth.astype(np.uint64)
    point = free >> bits
    point |= np.where(depth > 0, path << (np.uint64(64) - np.maximum(bits, np.uint64(1))), np.uint64(0))
    upper = point >= np.uint64(2**63)
    magnitude = normal_table().lookup((np.where(upper, ~point, point) << np.uint64(1)) | np.uint64(1))
    return np.where(upper, magnitude, -magnitude) / TICKS


def _ends(depth: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Both ends and the middle of a node on the line of x, each accurate in its tail."""
    first = 2 * path.astype(np.float64)
    points = np.stack([first, first + 1, first + 2]) * 2.0 ** -(depth + 1)
    complement = np.stack([2.0 ** (depth + 1) - first - k for k in range(3)]) * 2.0 ** -(depth + 1)
    return np.where(points < 0.5, ndtri(points), -ndtri(complement))


def _log_ratio(x, shift, ratio):
    return -np.log(ratio) - ((x - shift) / ratio) ** 2 / 2 + x**2 / 2


def _superlevel(level, shift, ratio) -> tuple[np.ndarray, np.ndarray]:
    """Ends of {r > level}, where e x^2 - 2 b x + c < 0: one is infinite for equal variances, both equal if it is empty.

    With e = 1 / ratio^2 - 1, b = shift / ratio^2, c = b shift + 2 ln(ratio level) and q = b +- sqrt(b^2 - e c), whose
    sign is that of b, the roots are q / e and c / q: nothing cancels as e goes to 0.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        e, b = (1 - ratio) * (1 + ratio) / ratio**2, shift / ratio**2
        c = b * shift + 2 * np.log(ratio * level)
        root = np.sqrt(np.maximum(b * b - e * c, 0))
        q = np.where(b < 0, b - root, b + root)
        far, near = q / e, np.where(root > 0, c / q, q / e)
    flat, end = (e == 0) & (b == 0), np.where(c < 0, np.inf, 0.0)  # r = 1 everywhere
    low, high = np.where(b < 0, far, near), np.where(b < 0, near, far)
    return np.where(flat, -end, low), np.where(flat, end, high)


def _rest(low, high, span, level, shift, ratio) -> np.ndarray:
    """Eq. 2 for the interval (low, high)."""
    low, high = np.maximum(low, span[0]), np.minimum(high, span[1])
    high = np.maximum(low, high)
    rest = Gaussian(shift, ratio).mass(low, high) - level * Gaussian(0.0, 1.0).mass(low, high)
    return np.maximum(rest, 0)
