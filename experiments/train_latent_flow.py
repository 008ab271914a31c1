"""Trains a network that takes noise from the latents of an autoencoder, and makes models of it (uqdm.latent).

    python experiments/train_latent_flow.py --folder run --autoencoder taef2.npz --pictures photographs/ \\
        --validate val_photos/ --export models/ --rounded 3 2 1.5 --dithered 4 2

Latents of random crops are made once and kept in the folder. A run that was killed goes on when the same command is
given again, with the same result as if it had not been. `--recipe.NAME` changes a number of the recipe;
`--stop-after 1` exports what the last checkpoint has. With `--linear` nothing is trained: noise is taken from
latents by the best linear denoiser (uqdm.latent.linear).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from uqdm.errors import PictureError
from uqdm.latent.file import LatentFile
from uqdm.latent.linear import moments
from uqdm.latent.prediction import fitted
from uqdm.latent.train import Recipe, fit, latents_of
from uqdm.training.dataset import load_pictures, open_source
from uqdm.training.kept import kept_arrays
from uqdm.training.loop import Run
from uqdm.transforms.autoencoder import Autoencoder

_FITTED = 320
"""Latents that predictions are fitted to."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a network on latents."""

    folder: Path
    """Checkpoints, logs and latents go here."""
    autoencoder: Path
    """A file as `uqdm import-autoencoder` makes them."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on."""
    export: Path | None = None
    """A folder for models, one for every width: rounded_3.npz, dithered_4.npz, ..."""
    rounded: tuple[float, ...] = (3.0, 2.0, 1.5)
    """Widths of models that round."""
    dithered: tuple[float, ...] = ()
    """Widths of models with dithered quantization."""
    linear: bool = False
    """Make models with a linear denoiser, without training."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = field(default_factory=Recipe)


def latents(path: Path, autoencoder: Autoencoder, sources: tuple[str, ...], side: int, count: int, seed: int):
    """Those of a file, or made now and kept in it."""

    def make() -> list[np.ndarray]:
        pictures = load_pictures(*(open_source(source) for source in sources))
        with tqdm(total=count, desc=path.stem, mininterval=5) as bar:
            return [
                latents_of(autoencoder, pictures, side=side, count=count, seed=seed, on_batch=lambda: bar.update(2))
            ]

    about = f"{count} latents of {side} pixels of {' '.join(sources)} by the autoencoder {autoencoder.id.hex()[:8]}"
    return kept_arrays(path, f"{about}, seed {seed}", make)[0]


def main(arguments: Arguments) -> None:
    """Trains and exports."""
    autoencoder = Autoencoder.from_bytes(arguments.autoencoder.read_bytes())
    recipe, folder = arguments.recipe, arguments.folder
    own = latents(folder / "latents.npz", autoencoder, arguments.pictures, recipe.pixels, recipe.latents, recipe.seed)
    if arguments.linear:
        export(arguments, autoencoder, own, None)
        return
    validation = {}
    for number, source in enumerate(arguments.validate):
        path = folder / f"validation_{number}.npz"
        validation[Path(source).stem] = latents(path, autoencoder, (source,), recipe.pixels, 24, recipe.seed + 1)
    export(arguments, autoencoder, own, fit(recipe, own, validation, folder, run=arguments.run))


def export(arguments: Arguments, autoencoder: Autoencoder, own: np.ndarray, network) -> None:
    """Writes a model for every width."""
    if not arguments.export:
        return
    arguments.export.mkdir(parents=True, exist_ok=True)
    for dithered, widths in ((False, arguments.rounded), (True, arguments.dithered)):
        for width in widths:
            name = f"{'dithered' if dithered else 'rounded'}_{width:g}"
            file = LatentFile.from_parts(
                autoencoder=autoencoder,
                width=width,
                dithered=dithered,
                prediction=fitted(own[:_FITTED], width, dithered=dithered),
                network=network,
                linear=None if network else moments(own[:_FITTED], width, dithered=dithered),
                name=name,
            )
            file.save(arguments.export / f"{name}.npz")
            print(f"{arguments.export / name}.npz: model {file.id[:4].hex()}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
