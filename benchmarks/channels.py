"""Measures the channel simulators: bits beside the bounds, and speed beside the cost of the random numbers alone.

    python benchmarks/channels.py [--only overhead|one-dimension|gaussian|choice|speed]

Prints Markdown tables; takes about two minutes on two cores. "Floor" is the channel-simulation divergence, "bound" is
KL + log2(KL + 1) + 4 (see channel_sim.bounds).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from channel_sim import (
    Gaussian,
    GaussianChannel,
    GreedyRejection,
    PoissonFunctionalRepresentation,
    Reader,
    SharedRandomness,
    Writer,
    bounds,
    encode,
)
from channel_sim.index_code import Law, class_of, index_table, kl_of, send_indices
from channel_sim.quantile import normal_ticks
from channel_sim.rejection import search_path

LN2 = np.log(2)


def row(*cells: object) -> None:
    """Prints one line of a table."""
    print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def head(title: str, *cells: str) -> None:
    """Prints the head of a table."""
    print(f"\n{title}\n")
    row(*cells)
    row(*["---"] * len(cells))


def overhead() -> None:
    """Bits of exact indices, drawn from their law, in the shipped integer tables; per cent above KL."""
    head(
        "One chunk between Gaussians of equal variance, searched without end: 100,000 indices from their exact law",
        *("KL", "floor", "entropy", "exact code, measured", "above KL", "Zipf code, measured", "above KL", "bound"),
        "the reference's figure",
    )
    for kl, published in ((1.0, 192.0), (6.0, 49.0), (8.0, 39.0), (10.0, 32.0), (14.0, 24.5), (20.0, 18.3)):
        rng, m = np.random.default_rng(0), np.sqrt(2 * LN2 * kl)
        z = m + rng.normal(size=100_000)
        mean = np.exp(m * z - m**2 / 2) * ndtr(z) - ndtr(z - m)
        index = 1 + np.floor(rng.exponential(size=len(z)) / np.log1p(1 / mean))
        index = index[index < 2.0**61].astype(np.int64)
        bits = {}
        laws: tuple[Law, ...] = ("gaussian", "zipf")
        for law in laws:
            writer = Writer()
            send_indices(writer, index_table(class_of(kl), law), index)
            bits[law] = writer.ideal_bits / len(index)
        above = [f"{100 * (bits[law] / kl - 1):.1f} %" for law in laws]
        row(
            kl,
            f"{bounds.gaussian_floor_bits(kl):.2f}",
            f"{bounds.poisson_index_bits(kl):.2f}",
            f"{bits['gaussian']:.2f}",
            above[0],
            f"{bits['zipf']:.2f}",
            above[1],
            f"{bounds.poisson_bound_bits(kl):.2f}",
            f"{published} %",
        )


def one_dimension() -> None:
    """A Gaussian source through a Gaussian channel, one coordinate per block."""
    head(
        "One dimension: X ~ N(0, 1 - 2^-2I), Y - X ~ N(0, 2^-2I), 20,000 blocks. Published: greedy Poisson rejection "
        "sampling (Flamich 2023, figure 2), global or dyadic",
        *("I", "bound", "rejection by bisection: bits", "steps", "us/block", "PFR: bits", "published bits", "steps"),
    )
    published = {
        0.1: ("3.37 global", 1.5),
        0.94: ("4.45 global", 3.5),
        2.63: ("6.23 global", 9.1),
        4.31: ("7.88 global", 20.8),
        6.0: ("9.43 global", 40.1),
        7.75: ("13.20 dyadic", 7.7),
        12.0: ("17.95 dyadic", 11.8),
    }
    for information, (bits, steps) in published.items():
        blocks, std = 20_000, 2.0**-information
        mean = np.random.default_rng(0).normal(0, np.sqrt(1 - std**2), blocks)
        target, reference = Gaussian(mean, std), Gaussian(np.zeros(blocks), 1.0)
        writer, shared = Writer(), SharedRandomness(0)
        began = time.perf_counter()
        GreedyRejection().encode(writer, target, reference, shared)
        took = time.perf_counter() - began
        depth, _ = search_path(mean, np.full(blocks, std), shared)
        poisson = "-"
        if information < 5:
            few, second = 2000, Writer()
            PoissonFunctionalRepresentation().encode(
                second, Gaussian(mean[:few], std), Gaussian(np.zeros(few), 1.0), shared
            )
            poisson = f"{second.ideal_bits / few:.2f}"
        row(
            information,
            f"{bounds.poisson_bound_bits(information):.2f}",
            f"{writer.ideal_bits / blocks:.2f}",
            f"{depth.mean() + 1:.2f}",
            f"{1e6 * took / blocks:.1f}",
            poisson,
            bits,
            steps,
        )


def white(kl: float, dimension: int, seed: int = 0) -> tuple[Gaussian, Gaussian]:
    """Target and reference whose means differ by white noise, of `kl` bits in all."""
    x = np.random.default_rng(seed).normal(size=dimension)
    return Gaussian(x * np.sqrt(2 * LN2 * kl / (x @ x)), 1.0), Gaussian(np.zeros(dimension), 1.0)


def seconds(job: Callable, repeat: int = 3) -> float:
    """Median wall time after one run that fills caches."""
    job()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        job()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def gaussian() -> None:
    """A step of 500 bits on 64 x 64 x 3 coordinates."""
    head(
        "The Gaussian channel: 500 bits on 64 x 64 x 3 coordinates, mean of 20 messages",
        *("chunk bits", "log2 K", "error per chunk at most", "bits sent", "above KL", "floor of chunks"),
        *("mean along the shift", "encode s", "decode ms"),
    )
    for chunk_bits, log2 in ((6.0, 16), (8.0, 16), (8.0, 19), (10.0, 19), (10.0, 21), (14.0, 16)):
        channel, bits, along, messages = GaussianChannel(chunk_bits=chunk_bits, candidates_log2=log2), 0.0, 0.0, 20
        encoding, decoding = [], []
        for seed in range(messages):
            target, reference = white(500.0, 12_288, seed)
            writer, shared, times = Writer(), SharedRandomness(seed), [time.perf_counter()]
            sample = channel.encode(writer, target, reference, shared)
            times.append(time.perf_counter())
            channel.decode(Reader(writer.getvalue()), reference, shared)
            times.append(time.perf_counter())
            encoding.append(times[1] - times[0])
            decoding.append(1e3 * (times[2] - times[1]))
            bits += writer.ideal_bits / messages
            mean = np.asarray(target.mean)
            along += sample @ mean / (mean @ mean) / messages
        row(
            chunk_bits,
            log2,
            f"{100 * channel.truncation_error:.2f} %",
            f"{bits:.0f}",
            f"{bits / 5 - 100:.1f} %",
            f"{500 / chunk_bits * bounds.gaussian_floor_bits(chunk_bits):.0f}",
            f"{along:.3f}",
            f"{statistics.median(encoding):.2f}",
            f"{statistics.median(decoding):.1f}",
        )


def choice() -> None:
    """Chunks against layers."""
    head(
        "Which algorithm: 1,024 coordinates, bits per coordinate, the default channel",
        *("KL", "mutual information", "chunks", "layers", "chosen"),
    )
    for kl in (0.01, 0.03, 0.1, 0.3, 0.5, 0.6, 0.7, 1.0, 2.0):
        target, reference = white(1024 * kl, 1024)
        bits = []
        for method in ("poisson", "layered", None):
            writer = Writer()
            channel = GaussianChannel(method=method)
            channel.encode(writer, target, reference, SharedRandomness(0))
            bits.append(writer.ideal_bits / 1024)
        information = bounds.mutual_information_bits(float(np.sqrt(2 * LN2 * kl)))
        row(kl, information, *bits[:2], "chunks" if bits[2] == bits[0] else "layers")


def speed() -> None:
    """Rates of the search, and of what it cannot do without."""
    channel, (target, reference) = GaussianChannel(), white(500.0, 12_288)
    chunks = int(np.ceil(kl_of(class_of(500.0)) / channel.chunk_bits))
    coordinates = chunks * 256  # padded from 192 a chunk
    numbers = coordinates * 512  # rows of candidates
    whole = seconds(lambda: encode(channel, target, reference, seed=0))
    random = seconds(lambda: normal_ticks(SharedRandomness(0).words(numbers)))
    weights = np.ones((2048, 256), np.float32)
    product = seconds(lambda: weights @ weights[:1024].T)
    gigaflops = 2 * weights.size * 1024 / product / 1e9
    head(
        "Speed of the default channel (8 bits, 2^19 candidates) on that step",
        *("chunks/s", "candidates/s", "coordinates of candidates/s", "encode s", "random numbers alone s"),
        *("matrix products alone s", "random numbers/s", "Gflop/s here"),
    )
    candidates = chunks * 2.0**19
    row(
        f"{chunks / whole:.0f}",
        candidates / whole,
        coordinates * 2.0**19 / whole,
        f"{whole:.2f}",
        f"{random:.2f}",
        f"{2 * coordinates * 2.0**19 / gigaflops / 1e9:.2f}",
        numbers / random,
        f"{gigaflops:.0f}",
    )


TABLES = {"overhead": overhead, "one-dimension": one_dimension, "gaussian": gaussian, "choice": choice, "speed": speed}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES)
    only = parser.parse_args().only
    for name, table in TABLES.items():
        if only in (None, name):
            table()


if __name__ == "__main__":
    main()
