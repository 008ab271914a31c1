"""What a change of the schedule or of the network is worth: short trainings in pairs, measured in ideal bits.

    python benchmarks/levers.py SHARED base coarse_levels --out LEVERS [--steps 160]

Every design starts from the weights of `photo` (uqdm.nested.transfer), takes the same number of steps on the same crops
with the same seeds, and is measured on the centres (192 x 192) of the 24 pictures of photos_val: ideal bits and PSNR
after every step, without entropy coding. BD-rates are taken per picture against the first design, over what that one
has between two rates, and then averaged. A short training favours designs that are near the starting point: what it
shows of others is a lower bound. Curves go to LEVERS/NAME.npz (bpp and psnr_db, (pictures, steps + 1)); those that are
there are not measured again.
"""

import argparse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rate_distortion import Curve, within
from tqdm import tqdm

from uqdm.metrics import bd_rate_percent
from uqdm.nested.model import NestedModel
from uqdm.nested.train import Recipe, Trainer
from uqdm.training.batches import Crops
from uqdm.training.dataset import load_pictures
from uqdm.transforms.wavelet import analysis

PHOTO = Path(__file__).parents[1] / "uqdm" / "weights" / "photo.npz"
SIDE = 192
"""Of the crops that are measured, in pixels."""
RANGES = ((0.1, 0.3), (0.3, 1.0), (1.0, 3.0), (0.1, 3.0))
"""Rates of the first design, in bits per pixel."""

PHASES = Recipe().phases
DESIGNS: dict[str, dict] = {
    "base": {},
    "coarse_levels": {"phases": ((2, 0), (2, 0), *PHASES)},
    "more_phases": {"phases": ((4, 0), (4, 4), (4, 4), (4, 2), *PHASES[4:])},
}
"""What differs from the recipe of `photo`."""


def ideal_curves(
    trainer: Trainer, parameters: Mapping, pictures: np.ndarray, *, together: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Bits per pixel and PSNR of pictures (n, H, W, 3) after every step, each (n, steps + 1).

    Args:
      trainer: of the design.
      parameters: of its network.
      pictures: sides are multiples of the block.
      together: how many at once.
    """
    halving, pixels = [step.halving for step in trainer.section.steps], pictures.shape[1] * pictures.shape[2]
    evaluate, parameters = jax.jit(partial(trainer.terms, quantized=True)), jax.device_put(parameters)
    bpp, psnr_db = [], []
    for start in range(0, len(pictures), together):
        coefficients = analysis(jnp.asarray(pictures[start : start + together], jnp.float32), trainer.recipe.block)
        sent, errors = [np.zeros(len(coefficients))], []
        waiting = np.zeros(len(coefficients))
        for step in range(len(halving) + 1):
            at = jnp.full(len(coefficients), step)
            terms = jax.device_get(evaluate(parameters, coefficients, at, jax.random.key(start)))
            errors.append(terms.squared_error)
            if step < len(halving):
                sent.append(sent[-1] + (waiting if halving[step] else terms.rate_bits))
                waiting = np.zeros_like(waiting) if halving[step] else waiting + terms.halving_bits
        bpp.append(np.stack(sent, 1) / pixels)
        psnr_db.append(10 * np.log10(255**2 / np.stack(errors, 1)))
    return np.concatenate(bpp), np.concatenate(psnr_db)


def trained(name: str, pictures: list[np.ndarray], *, steps: int) -> tuple[Trainer, Mapping]:
    """A design after a short training, and its averaged parameters."""
    model = NestedModel.from_bytes(PHOTO.read_bytes())
    recipe = replace(
        Recipe(),
        steps=steps,
        warm_up=max(1, steps // 5),
        quantize_from=0,
        learning_rate=5e-4,
        ema=0.98,
        crops=((128, 8), (64, 8)),
        **DESIGNS[name],
    )
    trainer = Trainer(recipe=recipe, section=recipe.schedule(model.schedule.prior_std).sections[0], start_from=model)
    with jax.numpy_dtype_promotion("standard"), closing(Crops(pictures, recipe.crops, seed=recipe.seed)) as crops:
        state = trainer.init()
        for step in tqdm(range(steps), name):
            state, _ = trainer.update(state, crops(step), step)
    return trainer, jax.device_get(state.average)


def curve_of(bpp: np.ndarray, psnr_db: np.ndarray) -> Curve:
    """Of one picture, from the first step on."""
    return sorted(zip(bpp[1:].tolist(), psnr_db[1:].tolist(), strict=True))


def centres(pictures: list[np.ndarray]) -> np.ndarray:
    """(n, SIDE, SIDE, 3)."""
    corners = [((picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2) for picture in pictures]
    return np.stack([p[y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(pictures, corners, strict=True)])


def main() -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("designs", nargs="+", choices=DESIGNS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=160)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data, curves = options.shared / "data", {}
    for name in options.designs:
        path = options.out / f"{name}.npz"
        if not path.exists():
            trainer, parameters = trained(name, load_pictures(data / "photos_train"), steps=options.steps)
            bpp, psnr_db = ideal_curves(trainer, parameters, centres(load_pictures(data / "photos_val")))
            np.savez(path, bpp=bpp, psnr_db=psnr_db)
        with np.load(path) as stored:
            curves[name] = [curve_of(*pair) for pair in zip(stored["bpp"], stored["psnr_db"], strict=True)]
    print("| design | " + " | ".join(f"{low:g} to {high:g} bpp" for low, high in RANGES) + " |")
    print("|---" * (len(RANGES) + 1) + "|")
    first = curves[options.designs[0]]
    for name, own in curves.items():
        pairs = [[bd_rate_percent(a, within(b, rates)) for a, b in zip(own, first, strict=True)] for rates in RANGES]
        print(f"| {name} | " + " | ".join(f"{np.mean(values):+.1f} %" for values in pairs) + " |")


if __name__ == "__main__":
    main()
