"""Two-dimensional swirl: what do steps cost a Gaussian, a uniform and a nested diffusion process?

    python experiments/swirl.py OUT_FOLDER [--train-steps 3000]

The source is a noisy spiral in the plane (as in Yang, Will and Mandt 2025). Every process ends with the same noise
variance per coordinate, sends in T steps, and has its references from an equal small network, trained for it alone:

- Gaussian (the ideal of DiffC): posteriors and references of `uqdm.diffusion.process`; the cost is the divergence,
  which only one-shot simulation of unbounded complexity reaches;
- uniform (UQDM): the same moments, dithered quantization with fresh noise at every step;
- nested (ours): partitions that refine each other under one shift (channel_sim.dither), two coordinates at once up to
  8 steps and one after the other for 16.

Writes costs.csv (bits per point) and swirl.png: the cost against T, and what each process knows of one point at a time.
The open problem of the review (end of Section IV-B) is that more steps cost the uniform process more; it goes away with
the nested one. Costs are means over 50,000 fresh points, log2 of real numbers without entropy coding.
"""

import argparse
import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.patches import Rectangle

from uqdm.diffusion import process as diffusion
from uqdm.diffusion.process import NoiseSchedule, Prediction
from uqdm.training.densities import logistic_log_mass

STEPS = (1, 2, 4, 8, 16)
FINEST = 2.0**-4
"""Width of the last lattice of the nested process; the others end with the variance of its noise."""
COARSEST = 2.0**4
SCALE = 3**0.5 / np.pi


def swirl(key: jax.Array, count: int) -> jax.Array:
    """Points (count, 2) of unit variance, about."""
    angle, noise = jax.random.split(key)
    t = 3 * np.pi * jnp.sqrt(jax.random.uniform(angle, (count,), minval=0.02))
    points = jnp.stack([t * jnp.cos(t), t * jnp.sin(t)], -1) / 4.6
    return points + 0.03 * jax.random.normal(noise, (count, 2))


def init(key: jax.Array, inputs: int, outputs: int, width: int = 128) -> list[tuple[jax.Array, jax.Array]]:
    """A network of three hidden layers whose outputs start at zero."""
    sides = [inputs, width, width, width, outputs]
    layers = []
    for i, own in enumerate(jax.random.split(key, 4)):
        spread = 0.0 if i == 3 else (2 / sides[i]) ** 0.5
        layers.append((spread * jax.random.normal(own, (sides[i], sides[i + 1])), jnp.zeros(sides[i + 1])))
    return layers


def apply(layers: list, x: jax.Array) -> jax.Array:
    """The network."""
    for weights, bias in layers[:-1]:
        x = jax.nn.silu(x @ weights + bias[None])
    weights, bias = layers[-1]
    return x @ weights + bias[None]


def features(z: jax.Array, step: int, steps: int) -> jax.Array:
    """What the network sees: the state at four scales, and the step."""
    waves = [f(z * 2.0**k * np.pi / 2) for k in range(3) for f in (jnp.sin, jnp.cos)]
    when = jnp.zeros((z.shape[0], steps)).at[:, step].set(1.0)
    return jnp.concatenate([z, *waves, when], -1)


INPUTS = 14


def diffusion_bits(process: str, steps: int, layers: list, x: jax.Array, key: jax.Array) -> jax.Array:
    """Cost of every step of the Gaussian or the uniform process, (T, n)."""
    variance = FINEST**2 / 12
    noise = NoiseSchedule(gamma_min=float(np.log(variance)), gamma_max=5.0)
    gammas, bits = noise.gammas(steps), []
    first, *keys = jax.random.split(key, steps + 1)
    z: Any = jax.random.normal(first, x.shape)
    for i, own in enumerate(keys):
        gamma_t, gamma_s = gammas[i], gammas[i + 1]
        out = apply(layers, features(z, i, steps))
        prediction = Prediction(z + out[:, :2], jax.nn.softplus(out[:, 2:] + 0.5413))
        reference = diffusion.reference(z, prediction, gamma_t, gamma_s, clip=False)
        target = diffusion.posterior(z, x, gamma_t, gamma_s)
        if process == "gaussian":
            bits.append(diffusion.gaussian_kl_bits(target, reference).sum(-1))
            z = target.mean + target.std * jax.random.normal(own, x.shape)
        else:
            z = target.mean + target.width * jax.random.uniform(own, x.shape, minval=-0.5, maxval=0.5)
            half = target.width / 2
            bits.append(-diffusion.log_psi_mass(z - half, z + half, reference).sum(-1) / jnp.log(2))
    return jnp.stack(bits)


def refinements(steps: int) -> list[tuple[float, tuple[int, ...]]]:
    """Width after every step of the nested process, and which coordinates it refines."""
    octaves = round(np.log2(COARSEST / FINEST))
    if steps > octaves:
        return [(COARSEST / 2 ** (i // 2 + 1), (i % 2,)) for i in range(2 * octaves)]
    ends = np.rint(np.linspace(0, octaves, steps + 1)).astype(int)[1:]
    return [(COARSEST / 2**end, (0, 1)) for end in ends.tolist()]


def nested_bits(steps: int, layers: list, x: jax.Array, key: jax.Array) -> jax.Array:
    """Cost of every step of the nested process, (T, n): -log2 psi(child) / psi(parent)."""
    shift = FINEST * (jax.random.uniform(key, x.shape) - 0.5)
    y = x - shift
    low, high = jnp.full(x.shape, -COARSEST), jnp.full(x.shape, COARSEST)
    bits = []
    for i, (width, chosen) in enumerate(refinements(steps)):
        middle, own = (low + high) / 2 + shift, (high - low) / 4
        out = apply(layers, features(middle, i, steps))
        location, scale = middle + out[:, :2] * own, SCALE * own * jnp.exp(out[:, 2:])
        member = jnp.zeros(2, bool).at[jnp.asarray(chosen)].set(True)[None]
        start = jnp.floor(y / width) * width
        child = [jnp.where(member, ends, old) for ends, old in ((start, low), (start + width, high))]

        def mass(ends, location=location, scale=scale):
            standard = [jnp.clip((end + shift - location) / scale, -60.0, 60.0) for end in ends]
            return logistic_log_mass(*standard)

        bits.append(jnp.where(member, mass((low, high)) - mass(child), 0.0).sum(-1) / jnp.log(2))
        low, high = child
    return jnp.stack(bits)


def train(bits: Callable, steps: int, count: int) -> tuple[list, np.ndarray]:
    """Trains a network for one process; returns it and the mean cost of every step on fresh points."""
    layers = init(jax.random.key(0), INPUTS + steps, 4)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(2e-3, count)))

    def loss(layers, key):
        points, own = jax.random.split(key)
        return bits(layers, swirl(points, 1024), own).sum(0).mean()

    @jax.jit
    def update(layers, state, key):
        gradients = jax.grad(loss)(layers, key)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(layers, updates), state

    state = optimizer.init(layers)
    for i in range(count):
        layers, state = update(layers, state, jax.random.key(i + 1))
    points = swirl(jax.random.key(2**20), 50_000)
    return layers, np.asarray(jax.jit(bits)(layers, points, jax.random.key(2**20 + 1)).mean(1))


def main() -> None:
    """Trains, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-steps", type=int, default=3000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    costs: dict[str, list[float]] = {"gaussian": [], "uniform": [], "nested": []}
    for steps in STEPS:
        processes = {name: partial(diffusion_bits, name, steps) for name in ("gaussian", "uniform")}
        for name, bits in (processes | {"nested": partial(nested_bits, steps)}).items():
            _, cost = train(bits, steps, options.train_steps)
            costs[name].append(float(cost.sum()))
        print(
            f"{steps:2} steps: " + ", ".join(f"{name} {cost[-1]:.3f} bits" for name, cost in costs.items()), flush=True
        )
    with (options.out / "costs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["steps", *costs])
        writer.writerows(
            [steps, *(f"{cost:.4f}" for cost in row)] for steps, *row in zip(STEPS, *costs.values(), strict=True)
        )
    draw(costs, options.out / "swirl.png")


def draw(costs: dict[str, list[float]], path: Path) -> None:
    """Costs against steps, and the source with the cells that it is sent in."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    names = {
        "gaussian": "Gaussian (unbounded simulation)",
        "uniform": "uniform (UQDM)",
        "nested": "nested",
    }
    for (process, name), marker in zip(names.items(), "^so", strict=True):
        left.plot(STEPS, costs[process], marker=marker, label=name)
    left.legend(frameon=False)
    left.set(xscale="log", xticks=STEPS, xticklabels=STEPS, xlabel="steps", ylabel="bits per point")
    left.minorticks_off()
    left.set_title("Cost at equal final noise")
    points = np.asarray(swirl(jax.random.key(1), 3000))
    right.scatter(*points.T, s=1, color="0.6")
    point = points[7]
    for width in (2.0, 1.0, 0.5, 0.25, FINEST):
        corner = np.floor(point / width) * width
        right.add_patch(Rectangle(corner, width, width, fill=False, lw=1.2))
    right.set(aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[])
    right.set_title("Nested cells around one point")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
