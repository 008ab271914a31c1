"""What do more steps cost? Nested refinements against independent dither, with equal networks and equal training.

    python experiments/step_count.py PICTURES... [--train-steps 300] [--plot OUT.png]

UQDM sends X + U_t with fresh noise U_t at every step (review, Section IV-B), so every step pays for noise that the next
one throws away. Nested dithered quantization refines one partition under one shift, and its steps are free. Here both
send 64 x 64 pictures to the same final lattice of width 3 in 2 to 28 steps; the nested process includes the last split,
so that its final state is the same channel, X + U(-3/2, 3/2). Beside both stands the Gaussian process that ends with
noise of the same variance, in the limit of infinitely many steps, which DiffC approaches with unbounded simulations.

Each row trains small networks of the family of the shipped model. Prints a Markdown table: ideal bits per pixel in all,
PSNR of the final state, and milliseconds that the networks of all steps take per picture.
"""

import argparse
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from uqdm.nested import network as networks
from uqdm.nested.loss import NestedLoss, StepTerms, known_state, location_and_log2_scale
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import Schedule, block_classes
from uqdm.nested.train import Recipe, measure_prior
from uqdm.training.batches import Crops
from uqdm.training.dataset import load_pictures
from uqdm.training.densities import logistic_log_mass
from uqdm.transforms.wavelet import analysis

BLOCK, WIDTH, SIDE = 16, 3.0, 64
ORDERS = {
    2: ((0, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (1, 0)),
    4: ((1, 0), (0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (1, 0)),
    7: ((1, 0),) * 7,
    14: ((2, 0),) * 7,
    28: ((4, 0),) * 7,
}


class WithLastSplit:
    """The nested process whose last state is the regular lattice: the last split is charged after the last step."""

    def __init__(self, schedule: Schedule):
        self._nested, self.steps = NestedLoss(schedule), len(schedule.steps)

    def __call__(self, network, coefficients, step, key):
        terms, view = self._nested.with_view(network, coefficients, step, key)
        zero, width = jnp.zeros_like(view.y), view.width
        below, above, whole = (
            logistic_log_mass(view.standardised(low), view.standardised(high))
            for low, high in ((-width, zero), (zero, width), (-width, width))
        )
        half = jnp.where(view.y >= 0, above, below)
        zero_cells = (jnp.abs(view.y) < view.width) & (step == self.steps)[:, None, None, None]
        split_bits = -jnp.sum(jnp.where(zero_cells, half - whole, 0.0), axis=(1, 2, 3)) / np.log(2)
        # The final state is the regular cell: clip the estimate once more.
        low = jnp.where(view.low == -view.width, jnp.where(view.y >= 0, 0.0, -view.width), view.low)
        high = jnp.where(view.high == view.width, jnp.where(view.y >= 0, view.width, 0.0), view.high)
        middle = (low + high) / 2 + view.shift
        final = jnp.mean(jnp.square(middle - coefficients), axis=(1, 2, 3))
        error = jnp.where(step == self.steps, final, terms.squared_error)
        return terms._replace(rate_bits=terms.rate_bits + terms.halving_bits + split_bits, squared_error=error)


class IndependentDither:
    """UQDM's way: every level is X + U with fresh noise, sent by plain dithered quantization."""

    def __init__(self, schedule: Schedule):
        self._nested, self.steps = NestedLoss(schedule), len(schedule.steps)

    def __call__(self, network, coefficients, step, key):
        # There are no zero cells here: a step sends all of its members, and halving steps send nothing.
        prior, sent, width, classes = self._nested.tables(step, coefficients, jnp.zeros_like(coefficients))
        seen = jnp.isfinite(prior.width)
        now, then = jax.random.split(key)
        noise_std = jnp.where(seen, prior.width, 1.0) / np.sqrt(12)
        noise = (jax.random.uniform(now, coefficients.shape) - 0.5) * np.sqrt(12)
        z = jnp.where(seen, coefficients + noise * noise_std, 0.0)
        outputs = network(known_state(z, prior.input_gain, classes, step))
        # The posterior mean of a Gaussian: noise is no bounded cell here.
        shrunk = z * jnp.square(prior.std / noise_std)
        location, log2_scale = location_and_log2_scale(shrunk, outputs.location, outputs.log2_scale, prior.std)
        scale = jnp.clip(2.0**log2_scale, width / 16, width * 16)
        y = coefficients + (jax.random.uniform(then, coefficients.shape) - 0.5) * width
        ends = (jnp.clip((y + side * width / 2 - location) / scale, -60.0, 60.0) for side in (-1, 1))
        bits = -jnp.sum(jnp.where(sent, logistic_log_mass(*ends), 0.0), axis=(1, 2, 3)) / np.log(2)
        # The final state is reported as it is: X + U.
        guess = jnp.where((step == self.steps)[:, None, None, None], z, shrunk + outputs.estimate * prior.std)
        return StepTerms(bits, jnp.zeros_like(bits), jnp.mean(jnp.square(guess - coefficients), axis=(1, 2, 3)))


class GaussianNoise:
    """The Gaussian process in infinitely many steps, by the I-MMSE relation (review, Eq. 26):

        bits = (1 / 2) integral of mmse(snr) d snr / ln 2.

    Between two levels, whose snr differs by a factor of 4, the noise is log-uniform and the integral a mean over it,
    with the error of the network for mmse: an upper estimate. What the coarsest level costs is bounded by Gaussians.
    All coefficients have noise of the level that the last step belongs to.
    """

    def __init__(self, schedule: Schedule):
        levels = np.array([step.level for step in schedule.steps])
        self.steps, self._schedule = len(levels), schedule
        self._variance = np.square(np.asarray(schedule.prior_std, np.float32))[None, None, None]
        self._noise = np.array([np.inf, *(schedule.width(level) / 12**0.5 for level in levels)], np.float32)
        # Several steps may end at one level; of the last level only the state is needed.
        share = [1 / (levels == level).sum() if level else 0.0 for level in levels]
        self._share = np.array([0.0, *share], np.float32)

    def __call__(self, network, coefficients, step, key):
        now, then = jax.random.split(key)
        share, noise = (jnp.asarray(table)[step][:, None, None, None] for table in (self._share, self._noise))
        seen = jnp.isfinite(noise)
        noise = jnp.where(seen, noise, 1.0) * 2.0 ** -jnp.where(share > 0, jax.random.uniform(then, share.shape), 0.0)
        z = jnp.where(seen, coefficients + noise * jax.random.normal(now, coefficients.shape), 0.0)
        total = self._variance + jnp.square(noise)
        std = jnp.where(seen, noise * jnp.sqrt(self._variance / total), np.sqrt(self._variance))
        classes = jnp.asarray(block_classes(*coefficients.shape[1:3]))
        outputs = network(known_state(z, jnp.where(seen, 1 / jnp.sqrt(total), 0.0), classes, step))
        guess = z * self._variance / total + outputs.estimate * std
        error = jnp.square(guess - coefficients)
        first = np.log2(1 + self._variance / self._noise[1] ** 2) / 2
        bits = jnp.where(seen, share * error / jnp.square(noise), first).sum((1, 2, 3))
        done = (step == self.steps)[:, None, None, None]
        final = jnp.where(done, jnp.square(z - coefficients), error).mean((1, 2, 3))
        return StepTerms(bits, jnp.zeros_like(bits), final)


def _network(config: NetworkConfig, parameters):
    return partial(networks.apply, config, parameters, quantized=False)


def run(process, config: NetworkConfig, train: list[np.ndarray], test: np.ndarray, steps: int) -> list[float]:
    """Trains a network for a process; ideal bits per pixel, PSNR of the final state and ms per picture on others."""
    total = process.steps + 1
    parameters = networks.init(config, jax.random.key(0))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, steps, 0.02)))
    state = optimizer.init(parameters)

    def loss(parameters, crops, when, key):
        terms = process(_network(config, parameters), analysis(crops, BLOCK), when, key)
        return jnp.mean(terms.rate_bits) * total / SIDE**2 + 0.2 * jnp.mean(jnp.log(terms.squared_error + 1))

    @jax.jit
    def update(parameters, state, crops, index):
        key = jax.random.fold_in(jax.random.key(1), index)
        when = (jnp.arange(crops.shape[0]) + jax.random.randint(key, (), 0, total)) % total
        gradients = jax.grad(loss)(parameters, crops, when, key)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    with closing(Crops(train, [(SIDE, 28)], seed=0)) as batches:
        for index in range(steps):
            (crops,) = batches(index)
            parameters, state = update(parameters, state, jnp.asarray(crops, jnp.float32), index)

    @jax.jit
    def terms_of(step, key):
        coefficients = analysis(jnp.asarray(test, jnp.float32), BLOCK)
        return process(_network(config, parameters), coefficients, jnp.full((len(test),), step), key)

    bits, error, began = 0.0, 0.0, 0.0
    for step in range(total):
        terms = jax.block_until_ready(terms_of(jnp.int32(step), jax.random.key(step)))
        bits, error = bits + float(jnp.mean(terms.rate_bits)), float(jnp.mean(terms.squared_error))
        if step == 0:  # compiled by now
            began = time.monotonic()
    spent = 1000 * (time.monotonic() - began) / len(test)
    return [bits / SIDE**2, 10 * float(np.log10(255**2 / error)), spent]


def draw(rates: dict[int, tuple[float, float]], gaussian: float, path: Path) -> None:
    """Bits per pixel of both processes against the number of steps, and the Gaussian limit."""
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for name, row, style in (("independent dither (UQDM)", 1, "s-"), ("nested (ours)", 0, "o-")):
        values = [pair[row] for pair in rates.values()]
        axes.plot(list(rates), values, style)
        below = -16 if row == 0 else 8
        axes.annotate(name, (list(rates)[-1], values[-1]), (0, below), textcoords="offset points", ha="right")
    axes.axhline(gaussian, ls="--", color="0.4", lw=1)
    label = "Gaussian, infinitely many steps (upper estimate)"
    axes.annotate(label, (28, gaussian), (0, 4), textcoords="offset points", color="0.4", ha="right", fontsize=9)
    axes.set(xscale="log", xlabel="steps", ylabel="bits per pixel", ylim=(0, 1.12 * max(map(max, rates.values()))))
    axes.set_xticks(list(rates), [str(count) for count in rates])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", help="folders or npz files; the last one is for testing")
    parser.add_argument("--train-steps", type=int, default=300)
    parser.add_argument("--plot", type=Path, help="where to draw the table")
    options = parser.parse_args()
    *sources, test = options.pictures
    train = load_pictures(*sources)
    views = np.stack(load_pictures(test, count=64))
    recipe = Recipe(block=BLOCK, finest_width=WIDTH, crops=((SIDE, 28),), prior_crops=1000)
    prior = measure_prior(train, recipe)
    names = [f"{kind} {what}" for kind in ("nested", "independent dither") for what in ("bpp", "PSNR", "ms")]
    print("| steps | " + " | ".join(names) + " |\n|" + "---|" * 7)

    def measure(kind, count: int) -> list[float]:
        schedule = Schedule(block=BLOCK, finest_width=WIDTH, phases=ORDERS[count], prior_std=prior)
        config = NetworkConfig(block=BLOCK, steps=len(schedule.steps), width=64, blocks=2)
        return run(kind(schedule), config, train, views, options.train_steps)

    rates = {}
    for count in ORDERS:
        row = measure(WithLastSplit, count) + measure(IndependentDither, count)
        rates[count] = row[0], row[3]
        print(f"| {count} | " + " | ".join(f"{value:.2f}" for value in row) + " |", flush=True)
    gaussian, psnr, _ = measure(GaussianNoise, 7)
    print(f"\nGaussian process, infinitely many steps: {gaussian:.2f} bpp, PSNR {psnr:.2f}")
    if options.plot:
        draw(rates, gaussian, options.plot)


if __name__ == "__main__":
    main()
