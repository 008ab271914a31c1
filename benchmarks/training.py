"""How fast models train: pictures per second and floating-point work, of the recipes in use.

    python benchmarks/training.py [--batch 16] [--updates 10] [--peak-tflops 989]

Times whole optimisation steps on noise of the pictures' size (compilation left out, host to device included). The work
is what XLA counts for the compiled step; with `--peak-tflops`, the device's peak, its fraction is printed. Prints a
Markdown table with the device in its first line.
"""

import argparse
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from uqdm.diffusion import train as diffusion_train
from uqdm.diffusion.network import UNetConfig
from uqdm.nested import train as nested_train

SMALL = UNetConfig(width=16, levels=3, growth=1.3)
LARGE = UNetConfig(width=128, blocks=2, levels=3, growth=1.5, heads=4)


def measure(step: Any, state, batch, updates: int) -> tuple[float, float]:
    """Seconds per update, and floating-point operations of one."""
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    analysis = compiled.cost_analysis() or {}
    state, _ = compiled(state, batch)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for _ in range(updates):
        state, _ = compiled(state, batch)
    jax.block_until_ready(state)
    return (time.perf_counter() - began) / updates, float(analysis.get("flops", float("nan")))


def diffusion(network: UNetConfig, batch: int, updates: int) -> tuple[float, float]:
    """A uniform or Gaussian process's training (uqdm.diffusion.train)."""
    trainer = diffusion_train.Trainer(recipe=diffusion_train.Recipe(network=network, batch=batch))
    pictures = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8)
    return measure(trainer.step, trainer.init(), trainer.place(pictures), updates)


def nested(batch: int, updates: int) -> tuple[float, float]:
    """The nested process's training (uqdm.nested.train), with the recipe of the shipped weights on 64 x 64 crops."""
    recipe = nested_train.Recipe(crops=((64, batch),), prior_crops=100)
    pictures = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8)
    schedule = recipe.schedule(nested_train.measure_prior(list(pictures), recipe))
    trainer = nested_train.Trainer(recipe=recipe, section=schedule.sections[0])
    return measure(partial(trainer.step, quantized=True), trainer.init(), (jax.device_put(pictures),), updates)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the fraction of it that is reached")
    parser.add_argument("--large", action="store_true", help="also a network for accelerators")
    options = parser.parse_args()
    rows = {
        "nested, recipe of the shipped weights": lambda: nested(options.batch, options.updates),
        "uniform, 3 resolutions of 16 to 32 channels": lambda: diffusion(SMALL, options.batch, options.updates),
    }
    if options.large:
        rows["uniform, 3 resolutions of 128 to 288 channels, bfloat16"] = lambda: diffusion(
            UNetConfig(**{**vars(LARGE), "bfloat16": True}), options.batch, options.updates
        )
    print(f"{len(jax.devices())} x {jax.devices()[0].device_kind}, batches of {options.batch} pictures of 64 x 64\n")
    print("| model | pictures per second | Gflop per picture | Gflop/s | of the peak |\n|---|---|---|---|---|")
    for name, job in rows.items():
        seconds, work = job()
        share = f"{100 * work / seconds / options.peak_tflops / 1e12:.1f} %" if options.peak_tflops else "-"
        speed, each = options.batch / seconds, work / options.batch / 1e9
        print(f"| {name} | {speed:.1f} | {each:.2f} | {work / seconds / 1e9:.1f} | {share} |", flush=True)


if __name__ == "__main__":
    main()
