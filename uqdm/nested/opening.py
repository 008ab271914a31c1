"""The opening of a nested model (uqdm.nested.schedule): a network of its own for the first levels, trained alone.

Steps of later levels are about the same cells with and without it, so that a model keeps its network, but for the rows
of the steps that are replaced, and what shapes previews: of a state of the opening, what there was for the old state
that knows as much.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from uqdm import archive
from uqdm.exact.fixed_point import Parameters
from uqdm.nested import network_config as networks
from uqdm.nested.model import OPENING, NestedModel, format_of
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.network_integers import rows_of_integers
from uqdm.nested.stored_network import packed
from uqdm.nested.train import Recipe, Trainer, averaged
from uqdm.nested.transfer import rows_of_parameters, similar_states
from uqdm.training.dataset import PictureSet, load_pictures
from uqdm.training.loop import Run

__all__ = ["RECIPE", "fit_opening", "trainer_of", "with_opening"]

RECIPE = Recipe(
    width=128,
    local_width=16,
    classes=16,
    crops=((192, 8), (64, 16)),
    steps=7_000,
    quantize_from=5_000,
    distortion_weight=0.05,
    rate_balance=0.0,
)
"""How openings of the package were trained. What it says of the process is not read: that is the model's."""


def trainer_of(recipe: Recipe, model: NestedModel, levels: int) -> Trainer:
    """Trains the network of an opening of so many levels."""
    schedule = replace(model.schedule, opening=levels)
    own = {name: getattr(schedule, name) for name in ("block", "colours", "finest_width", "phases", "threshold")}
    return Trainer(recipe=replace(recipe, **own), section=schedule.sections[0])


def with_opening(model: NestedModel, levels: int, network: NetworkConfig, parameters: Parameters) -> NestedModel:
    """A model with an opening of so many levels in place of its own first steps.

    Args:
      model: without an opening, or with another one of as many levels.
      levels: of the opening.
      network: shape of its network.
      parameters: trained.

    Raises:
      ValueError: the model has an opening of another number of levels.
    """
    arrays = {name: array for name, array in model.arrays.items() if not name.startswith(OPENING)}
    schedule = replace(model.schedule, opening=levels)
    rest = schedule.sections[1].range
    if model.schedule.opening not in (0, levels):
        raise ValueError(f"the model has an opening of {model.schedule.opening} levels")
    replaced = len(model.schedule.steps) - len(rest)
    rows = np.arange(replaced, len(model.schedule.steps) + 1)
    if not model.schedule.opening:
        integers = rows_of_integers(model.network, model.integers, rows)
        arrays |= {f"integer/{name}": array for name, array in integers.items()}
        for name, array in archive.under("weight/", arrays).items():
            arrays[f"weight/{name}"] = rows_of_parameters(name, array, rows)
    shape = replace(model.network, steps=len(rest))
    config = {**model.config, "network": networks.to_config(shape)}
    config["opening"] = {"levels": levels, "network": networks.to_config(network)}
    config["format"] = format_of(config, arrays)
    arrays |= {OPENING + name: array for name, array in packed(network, parameters).items()}
    states = similar_states(model.schedule, schedule)
    trusted = np.arange(len(states)) >= rest.start
    weights = np.where(trusted, model.preview_weights[states], np.float32(1))
    arrays = {name: array for name, array in arrays.items() if not name.startswith("preview/")}
    opened = NestedModel.from_arrays({**arrays, "config": archive.pack_config(config)}).with_preview_weights(weights)
    return opened.with_postfilter(model.postfilter and model.postfilter.of_states(states))


def fit_opening(
    recipe: Recipe,
    model: NestedModel,
    levels: int,
    sources: Sequence[str | Path | np.ndarray | PictureSet],
    validation: dict[str, np.ndarray],
    folder: str | Path,
    *,
    run: Run | None = None,
) -> NestedModel:
    """Trains an opening, or goes on where a checkpoint in `folder` left off, and returns the model with it.

    Args:
      recipe: what to train (`RECIPE`).
      model: what it is the opening of.
      levels: of the opening.
      sources: pictures, as `uqdm.training.dataset.open_source` takes them.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go, as of `uqdm.nested.train.fit`.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.

    Raises:
      FloatingPointError: the loss became infinite or undefined.
    """
    trainer = trainer_of(recipe, model, levels)
    parameters = averaged(trainer, load_pictures(*sources), validation, folder, run=run)
    return with_opening(model, levels, trainer.network, parameters)
