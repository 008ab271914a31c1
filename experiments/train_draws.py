"""Trains a conditional flow, or diffusion, which draws what prefixes of streams leave open (uqdm.conditional).

    python experiments/train_draws.py --folder run --pictures photographs/ views64.npz --validate val_photos/ \\
        --export draws.npz

The defaults of `Recipe` are the recipe of the shipped weights. A run that was killed goes on when the same command is
given again, with the same result as if it had not been. `--recipe.NAME` changes a number of the recipe; `--start-from`
takes the weights of a flow and trains them further; `--recipe.path diffusion` trains a diffusion. For a GPU:
`--recipe.bfloat16 --recipe.crops 256 32`, and wider.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from train_photo import validation_sets

from uqdm.conditional.model import ConditionalModel
from uqdm.conditional.train import Recipe, fit
from uqdm.errors import PictureError
from uqdm.library import load_model
from uqdm.nested.model import NestedModel
from uqdm.training.dataset import open_source
from uqdm.training.loop import Run


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a flow from what prefixes show to pictures."""

    folder: Path
    """Checkpoints and logs (train.csv, validation.csv) go here."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on; of every source the first pictures are used, cut to their centres."""
    model: str = "photo"
    """The nested model that makes the prefixes: the name of one of the package, or a file."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    export: Path | None = None
    """Where the file goes."""
    start_from: Path | None = None
    """A file of a flow to train further."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=Recipe)


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    model = load_model(arguments.model)
    if not isinstance(model, NestedModel):
        raise SystemExit(f"--model {arguments.model}: flows restore prefixes of nested models, this is {model.family}")
    flow = fit(
        arguments.recipe,
        model,
        [open_source(source, background=arguments.background) for source in arguments.pictures],
        validation_sets(arguments.validate, arguments.background),
        arguments.folder,
        run=arguments.run,
        start_from=ConditionalModel.from_bytes(arguments.start_from.read_bytes()) if arguments.start_from else None,
    )
    if arguments.export:
        flow.save(arguments.export)
        print(f"{arguments.export}: flow {flow.id[:4].hex()}, {arguments.export.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
