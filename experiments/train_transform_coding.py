"""Trains a transform codec, or one with a conditional diffusion decoder (uqdm.transform_coding).

    python experiments/train_transform_coding.py --folder run --pictures photographs/ views64.npz \\
        --validate val_photos/ --export ntc.npz
    python experiments/train_transform_coding.py --folder run_cdc --pictures photographs/ views64.npz \\
        --validate val_photos/ --start-from ntc.npz --recipe.diffusion --export cdc.npz

One model has one rate, which `--recipe.rate-weight` (lambda, larger for fewer bits) decides. The second command adds a
diffusion decoder and trains everything end to end; `--perceptual FILE --recipe.perceptual-weight 1` adds LPIPS to its
loss. Streams are then made by `uqdm encode --model ntc.npz`, and shown by `uqdm decode --model cdc.npz --method diffuse
--evaluations 4`. A run that was killed goes on when the same command is given again.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from train_photo import validation_sets

from uqdm.errors import PictureError
from uqdm.library import load_model
from uqdm.training.dataset import open_source
from uqdm.training.loop import Run
from uqdm.transform_coding.model import TransformModel
from uqdm.transform_coding.train import Recipe, fit


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a transform codec."""

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
    name: str = "transform"
    """Name in the model file."""
    start_from: Path | None = None
    """A model file to train further, whose shape is kept."""
    perceptual: Path | None = None
    """Weights of LPIPS, where it has a weight: SqueezeNet's, as uqdm.metrics.lpips takes them."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=Recipe)


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    start = load_model(arguments.start_from) if arguments.start_from else None
    if start is not None and not isinstance(start, TransformModel):
        raise SystemExit(
            f"--start-from {arguments.start_from}: a model of transform coding goes on, not {start.family}"
        )
    model = fit(
        arguments.recipe,
        [open_source(source, background=arguments.background) for source in arguments.pictures],
        validation_sets(arguments.validate, arguments.background),
        arguments.folder,
        run=arguments.run,
        start_from=start,
        perceptual=arguments.perceptual,
        name=arguments.name,
    )
    if arguments.export:
        model.save(arguments.export)
        print(f"{arguments.export}: model {model.id[:4].hex()}, {arguments.export.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except (PictureError, ValueError) as error:
        raise SystemExit(str(error)) from None
