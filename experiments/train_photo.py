"""Trains the model `photo` that comes with the package, or one like it on other pictures.

    python experiments/train_photo.py --folder run --pictures photographs/ views64.npz \\
        --validate val_photos/ val64.npz --export photo.npz

The defaults of `Recipe` are the recipe of the shipped weights. A run that was killed goes on when the same command is
given again, with the same result as if it had not been. `--recipe.NAME` changes a number of the recipe; `--start-from`
takes weights and prior of a model file and trains them further.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from fit_preview_weights import with_fitted_preview_weights

from uqdm.errors import PictureError
from uqdm.nested.model import NestedModel
from uqdm.nested.train import Recipe, fit
from uqdm.training.dataset import load_pictures, open_source
from uqdm.training.loop import Run


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a progressive codec on pictures."""

    folder: Path
    """Checkpoints and logs (train.csv, validation.csv) go here."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on; of every source the first pictures are used, cut to their centres."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    export: Path | None = None
    """Where the model file goes."""
    name: str = "photo"
    """Name in the model file."""
    start_from: Path | None = None
    """A model file to fine-tune."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=Recipe)


def validation_set(source: str, background: str | None, count: int = 16, side: int = 256) -> np.ndarray:
    """Centres of the first pictures of a source, all of one size: at most `side`."""
    pictures = load_pictures(open_source(source, background=background), count=count)
    side = min(side, *(min(picture.shape[:2]) for picture in pictures))
    centres = []
    for picture in pictures:
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        centres.append(picture[top : top + side, left : left + side])
    return np.stack(centres)


def validation_sets(
    sources: Sequence[str], background: str | None, count: int = 16, side: int = 256
) -> dict[str, np.ndarray]:
    """`validation_set` of every source, by their names.

    Raises:
      PictureError: two sources have one name.
    """
    names = [Path(source).stem for source in sources]
    if len(set(names)) < len(names):
        raise PictureError(f"sources to validate on need names of their own, got {', '.join(names)}")
    return {name: validation_set(source, background, count, side) for name, source in zip(names, sources, strict=True)}


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    pictures = [open_source(source, background=arguments.background) for source in arguments.pictures]
    model = fit(
        arguments.recipe,
        pictures,
        validation_sets(arguments.validate, arguments.background),
        arguments.folder,
        run=arguments.run,
        start_from=NestedModel.from_bytes(arguments.start_from.read_bytes()) if arguments.start_from else None,
        name=arguments.name,
    )
    if arguments.export:
        model = with_fitted_preview_weights(model, pictures, side=min(side for side, _ in arguments.recipe.crops))
        model.save(arguments.export)
        print(f"{arguments.export}: model {model.id[:4].hex()}, {arguments.export.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
