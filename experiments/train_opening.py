"""Trains an opening of a nested model: a network of its own for the first levels (uqdm.nested.opening).

    python experiments/train_opening.py --folder run --pictures photographs/ views64.npz \\
        --validate val_photos/ val64.npz --export opened.npz

The defaults are the recipe of the opening of `photo`. A run that was killed goes on when the same command is given
again, with the same result as if it had not been. `--recipe.NAME` changes a number of the recipe. The exported model
has the opening in place of its first steps; its id, and so its streams, are others than before. A flow that draws what
its prefixes leave open (uqdm.conditional) goes along with `--flow` and `--export-flow`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from train_photo import validation_sets

from uqdm.conditional.errors import Errors
from uqdm.conditional.model import ConditionalModel
from uqdm.conditional.train import measure_errors, prefixes_of
from uqdm.errors import PictureError
from uqdm.library import load_model
from uqdm.nested.model import NestedModel
from uqdm.nested.opening import RECIPE, fit_opening
from uqdm.nested.train import Recipe
from uqdm.nested.transfer import similar_states
from uqdm.training.dataset import PictureSet, load_pictures, open_source
from uqdm.training.loop import Run


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train an opening."""

    folder: Path
    """Checkpoints and logs (train.csv, validation.csv) go here."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on; of every source the first pictures are used, cut to their centres."""
    model: str = "photo"
    """The nested model that gets the opening: the name of one of the package, or a file."""
    levels: int = 2
    """Of the opening."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    export: Path | None = None
    """Where the model with its opening goes."""
    flow: Path | None = None
    """A conditional flow of the model, to be made one of the exported model."""
    export_flow: Path | None = None
    """Where that goes."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=lambda: RECIPE)


def flow_along(
    flow: ConditionalModel, model: NestedModel, opened: NestedModel, sources: Sequence[PictureSet]
) -> ConditionalModel:
    """The flow of a model as that of the model with its opening, whose previews are measured."""
    pictures, first = load_pictures(*sources), opened.schedule.sections[-1].range.start
    states = similar_states(model.schedule, opened.schedule)
    fresh = measure_errors(prefixes_of(opened), pictures, 128, count=32, seed=1)
    # After the opening nothing has changed: what was measured on more crops stays.
    parts = [(a[:first], b[states][first:]) for a, b in zip(fresh, flow.errors, strict=True)]
    return flow.of_states(states, opened, Errors(*(np.concatenate(both) for both in parts)))


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    model = load_model(arguments.model)
    if not isinstance(model, NestedModel) or model.family != "nested":
        raise SystemExit(f"--model {arguments.model}: openings are for nested models of pixels")
    sources = [open_source(source, background=arguments.background) for source in arguments.pictures]
    opened = fit_opening(
        arguments.recipe,
        model,
        arguments.levels,
        sources,
        validation_sets(arguments.validate, arguments.background),
        arguments.folder,
        run=arguments.run,
    )
    if arguments.export:
        opened.save(arguments.export)
        print(f"{arguments.export}: model {opened.id[:4].hex()}, {arguments.export.stat().st_size / 2**20:.2f} MiB")
    if arguments.flow and arguments.export_flow:
        flow = ConditionalModel.from_bytes(arguments.flow.read_bytes())
        flow_along(flow, model, opened, sources).save(arguments.export_flow)


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
