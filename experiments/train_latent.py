"""Trains a coder for the latents of an autoencoder: progressive streams whose every prefix an autoencoder shows.

    uqdm import-autoencoder encoder.pth decoder.pth autoencoder.npz
    python experiments/train_latent.py --folder run --autoencoder autoencoder.npz --pictures photographs/ \\
        --validate val_photos/ --export latent.npz --export-coder coder.npz

Pictures are encoded first, plain, mirrored, and mirrored at 0.6 of their size, and kept as `FOLDER/latents.npz`; then
the coordinates are measured in which squared errors are those of pixels (uqdm.nested.latent_training), and the network
is trained. A run that was killed goes on when the same command is given again. `--recipe.NAME` changes a number of the
recipe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image

from uqdm.errors import PictureError
from uqdm.nested.latent_model import coder_from_training, joined
from uqdm.nested.latent_training import LATENT_RECIPE, coordinates_of, fit_latents, metric_of
from uqdm.nested.preview_weights import fit_preview_weights
from uqdm.nested.source import Coordinates
from uqdm.nested.train import Recipe
from uqdm.training.dataset import load_pictures, open_source
from uqdm.training.kept import kept_arrays
from uqdm.training.loop import Run
from uqdm.transforms.autoencoder import FACTOR, Autoencoder, decode_values

_SMALLER = 0.6
_STRIDE = 8 * FACTOR
"""Sides of what is encoded are multiples of it, so that few shapes are compiled."""
_METRIC_SIDE, _METRIC_CROPS = 256, 32
_VALIDATION_SIDE = 384


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a progressive codec of latents."""

    folder: Path
    """Latents, checkpoints and logs go here."""
    autoencoder: Path
    """Made by uqdm import-autoencoder."""
    pictures: tuple[str, ...]
    """Folders, picture files, .npz or .npy files to train on."""
    validate: tuple[str, ...] = ()
    """The same, to validate on; of every source the first 16 large enough are used, cut to their centres."""
    background: str | None = None
    """A colour to lay transparent pictures on; without it they are refused."""
    export: Path | None = None
    """Where the model goes, autoencoder included."""
    export_coder: Path | None = None
    """Where the model goes without it."""
    name: str = "latent"
    """Name in the model file."""
    run: tyro.conf.OmitArgPrefixes[Run] = field(default_factory=Run)
    recipe: Recipe = LATENT_RECIPE


def centre(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a picture."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def versions(picture: np.ndarray) -> Iterator[np.ndarray]:
    """A picture as it is, mirrored, and mirrored and made smaller."""
    yield picture
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    yield mirrored
    size = round(_SMALLER * picture.shape[1]), round(_SMALLER * picture.shape[0])
    yield np.asarray(Image.fromarray(mirrored).resize(size, Image.Resampling.LANCZOS))


def latents_of(autoencoder: Autoencoder, pictures: Sequence[np.ndarray], sources: str, kept: Path) -> list[np.ndarray]:
    """Latents of all versions of all pictures, float16, from a file where there is one."""

    def make() -> list[np.ndarray]:
        latents = []
        for version in (version for picture in pictures for version in versions(picture)):
            height, width = (side // _STRIDE * _STRIDE for side in version.shape[:2])
            if height and width:
                latents.append(autoencoder.encode(centre(version, height, width)).astype(np.float16))
        return latents

    return kept_arrays(kept, f"latents of {sources} by the autoencoder {autoencoder.id.hex()[:8]}", make)


def measured(autoencoder: Autoencoder, latents: Sequence[np.ndarray]) -> Coordinates:
    """Coordinates for the latents of pictures."""
    side = _METRIC_SIDE // FACTOR
    large = [z for z in latents if min(z.shape[:2]) >= side]
    chosen = large[:: max(1, len(large) // _METRIC_CROPS)]
    decode = partial(decode_values, autoencoder.decoder)
    metrics = [
        metric_of(lambda z: 255 * decode(z), centre(z, side, side)[None], jax.random.key(number))
        for number, z in enumerate(chosen)
    ]
    flat = np.concatenate([z.reshape(-1, z.shape[-1])[::16] for z in latents])
    return coordinates_of(flat, np.mean(metrics, axis=0))


def main(arguments: Arguments) -> None:
    """Encodes, measures, trains and exports."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    autoencoder = Autoencoder.from_bytes(arguments.autoencoder.read_bytes())
    sources = [open_source(source, background=arguments.background) for source in arguments.pictures]
    pictures = load_pictures(*sources)
    latents = latents_of(autoencoder, pictures, " ".join(arguments.pictures), arguments.folder / "latents.npz")
    coordinates = measured(autoencoder, latents)
    validation = {}
    for source in arguments.validate:
        shown = load_pictures(open_source(source, background=arguments.background))
        large = [picture for picture in shown if min(picture.shape[:2]) >= _VALIDATION_SIDE][:16]
        encoded = [autoencoder.encode(centre(one, _VALIDATION_SIDE, _VALIDATION_SIDE)) for one in large]
        validation[Path(source).stem] = np.stack([coordinates.of(z) for z in encoded])
    network = fit_latents(
        arguments.recipe,
        [coordinates.of(z).astype(np.float16) for z in latents],
        validation,
        arguments.folder,
        run=arguments.run,
        name=arguments.name,
    )
    coder = coder_from_training(network, *coordinates, autoencoder)
    crops = [centre(picture, 128, 128) for picture in pictures if min(picture.shape[:2]) >= 128][:128]
    weights = fit_preview_weights(joined(coder, autoencoder), crops)
    coder = coder.with_preview_weights(weights)
    for path, model in ((arguments.export, joined(coder, autoencoder)), (arguments.export_coder, coder)):
        if path:
            model.save(path)
            print(f"{path}: model {model.id[:4].hex()}, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except PictureError as error:
        raise SystemExit(str(error)) from None
