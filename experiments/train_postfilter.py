"""Trains the filter of a model's previews (uqdm.postfilter).

    python experiments/draw_screens.py SCREENS --captions photographs/
    python experiments/train_postfilter.py --folder run --pictures photographs/ SCREENS --validate val_photos/ \\
        --export filtered.npz

The defaults of `Recipe` are those of the first of the two runs that made the shipped weights (README has both
commands). A run that was killed goes on when the same command is given again, with the same result as if it had not
been. `--recipe.NAME` changes a number of the recipe; `--start-from` takes the filter that a model has and trains it
further. The exported file is the model with its filter: streams and its id are what they were.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from train_photo import validation_sets

from uqdm.conditional.train import prefixes_of
from uqdm.errors import PictureError
from uqdm.library import load_model
from uqdm.nested.model import NestedModel
from uqdm.postfilter.postfilter import Postfilter
from uqdm.postfilter.train import Recipe, fit
from uqdm.training.dataset import open_source
from uqdm.training.loop import Run


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a filter of previews."""

    folder: Path
    """Checkpoints and logs (train.csv, validation.csv) go here."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on; of every source the first pictures are used, cut to their centres."""
    model: str = "photo"
    """The nested model whose previews are filtered: the name of one of the package, or a file."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    export: Path | None = None
    """Where the model with its filter goes."""
    start_from: str | None = None
    """A model whose filter is trained further: a name of the package, or a file."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=Recipe)


def _filter_of(name: str) -> Postfilter:
    model = load_model(name)
    if not isinstance(model, NestedModel) or model.postfilter is None:
        raise SystemExit(f"--start-from {name}: a model with a filter is trained further, this one has none")
    return model.postfilter


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    model = load_model(arguments.model)
    if not isinstance(model, NestedModel):
        raise SystemExit(f"--model {arguments.model}: filters are for nested models, this is {model.family}")
    start_from = _filter_of(arguments.start_from) if arguments.start_from else None
    network, parameters = fit(
        arguments.recipe,
        prefixes_of(model).shown,
        model.steps,
        [open_source(source, background=arguments.background) for source in arguments.pictures],
        validation_sets(arguments.validate, arguments.background),
        arguments.folder,
        run=arguments.run,
        start_from=start_from,
    )
    if arguments.export:
        first, last = arguments.recipe.states
        states = range(first, last + 1)
        model.with_postfilter(Postfilter.from_training(network, parameters, states)).save(arguments.export)
        print(f"{arguments.export}: {arguments.export.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
