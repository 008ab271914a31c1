"""Simulates a noisy channel in ten lines: the receiver gets a sample, not a number, and for fewer bits.

    python experiments/simulate_a_channel.py

The sender knows x and the receiver shall hold y = x + Gaussian noise of standard deviation s. Sending x first and
adding noise later would cost as many bits as x has digits; simulating the channel costs little more than the
information that y gives about x. What the receiver expects, the reference distribution, decides the cost, never the
law of y.
"""

import numpy as np

import channel_sim as cs
from channel_sim import bounds


def main() -> None:
    """Prints what was sent and what it cost."""
    # A step of a Gaussian diffusion model: 64 x 64 x 3 coordinates, not far from what the receiver expects.
    rng, s = np.random.default_rng(0), 0.5
    expected = rng.normal(size=12_288)
    x = expected + 0.1 * rng.normal(size=12_288)

    channel = cs.GaussianChannel()
    target, reference = cs.Gaussian(x, s), cs.Gaussian(expected, s)
    data, y = cs.encode(channel, target, reference, seed=1)
    received = cs.decode(channel, data, reference, seed=1)

    assert np.array_equal(received, y)
    kl = float(cs.kl_bits(target, reference).sum())
    print(f"Gaussian noise: {8 * len(data)} bits for a divergence of {kl:.0f};", end=" ")
    print(f"y - x has mean {(y - x).mean():.3f} and standard deviation {(y - x).std():.3f}, asked for 0 and {s}")

    # The same with uniform noise: dithered quantization, one symbol per coordinate, exact and without a search.
    uniform = cs.DitheredQuantization(width=1.0)
    data, y = cs.encode(uniform, cs.Uniform(x, 1.0), cs.Gaussian(expected, np.full(x.shape, 0.1)), seed=2)
    rate = float(bounds.dithered_bits(0.1, np.array(1.0)))
    print(f"Uniform noise: {8 * len(data)} bits for an information of {rate * len(x):.0f};", end=" ")
    print(f"|y - x| is at most {np.abs(y - x).max():.3f}")

    # A choice among five, a hundred times: any target on a finite alphabet.
    reference = cs.Categorical(np.full((100, 5), 0.2))
    target = cs.Categorical(np.tile([0.9, 0.1, 0.0, 0.0, 0.0], (100, 1)))
    floor = 100 * bounds.categorical_floor_bits(target.probabilities[0], reference.probabilities[0])
    for search in (cs.PoissonFunctionalRepresentation(), cs.GreedyRejection()):
        data, y = cs.encode(search, target, reference, seed=3)
        print(f"{type(search).__name__}: {8 * len(data)} bits, no scheme needs fewer than {floor:.0f}", end="; ")
        print(f"chosen {np.bincount(y, minlength=5)} times")


if __name__ == "__main__":
    main()
