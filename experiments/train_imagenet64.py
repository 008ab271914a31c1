"""Trains a diffusion model for progressive coding: UQDM (the uniform process) or its Gaussian counterpart.

    python experiments/train_imagenet64.py --folder run --source tfds:imagenet_resized/64x64 \\
        --validate val64.npz --export imagenet64.npz

The source is a data set of tensorflow-datasets, a folder with the official ImageNet 64 x 64 archives, a folder of
pictures, or an npz file (uqdm.training.dataset). The defaults are the published UQDM's; `--recipe.NAME` changes a
number, for example

    --recipe.network.width 128 --recipe.network.levels 3 --recipe.network.bfloat16 --recipe.batch 256

trains our own down-sampling network. A run that was killed goes on when the same command is given again, with the same
result as if it had not been. All local devices are used. On several hosts give each the same command and

    --coordinator HOST:PORT --processes N --process I

(on clusters that JAX recognises, --coordinator auto). Checkpoints go to a folder that all hosts see. A model, such as
an imported one, is trained on with --start-from MODEL.npz.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import tyro
from train_photo import validation_sets

from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.train import Recipe, fit
from uqdm.errors import PictureError
from uqdm.library import load_model
from uqdm.training.dataset import open_source
from uqdm.training.loop import Run


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a diffusion model for progressive coding."""

    folder: Path
    """Checkpoints and logs (train.csv, validation.csv) go here."""
    source: str
    """tfds:NAME, a folder, or a file of pictures."""
    validate: tuple[str, ...] = ()
    """Folders or files to validate on; of every source the first pictures are used, cut to their centres."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    start_from: Path | None = None
    """A model file to go on from, for example an imported checkpoint; what it fixes is not taken from the recipe."""
    export: Path | None = None
    """Where the model file goes."""
    name: str = "imagenet64"
    """Name in the model file."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(
        default_factory=lambda: Run(log_every=100, checkpoint_every=5_000, validate_every=10_000)
    )
    coordinator: str | None = None
    """Address of the first process, or auto."""
    processes: int = 1
    process: int = 0
    recipe: Recipe = field(default_factory=Recipe)


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    if arguments.coordinator == "auto":
        jax.distributed.initialize()
    elif arguments.coordinator:
        jax.distributed.initialize(arguments.coordinator, arguments.processes, arguments.process)
    start = None
    if arguments.start_from:
        start = load_model(arguments.start_from)
        if not isinstance(start, DiffusionModel):
            raise SystemExit(f"{arguments.start_from} is a model of the nested process: train_photo.py trains those")
    side = arguments.recipe.side
    model = fit(
        arguments.recipe,
        open_source(arguments.source, background=arguments.background),
        validation_sets(arguments.validate, arguments.background, 32, side),
        arguments.folder,
        start_from=start,
        run=arguments.run,
        name=arguments.name,
    )
    if arguments.export and jax.process_index() == 0:
        model.save(arguments.export)
        size = arguments.export.stat().st_size / 2**20
        print(f"{arguments.export}: model {model.id[:4].hex()}, {size:.2f} MiB, gamma_min {model.noise.gamma_min:.3f}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
