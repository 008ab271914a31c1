"""What quality costs: bits per pixel at which progressive streams of several models reach 25, 30, ..., 45 dB.

    python benchmarks/quality_targets.py PICTURES MODEL... [--pictures 24]

PICTURES is a folder or file of pictures, of which the first are used; a MODEL is the name of a shipped model, a model
file, or the folder of a published checkpoint (checkpoint.pt, config.json). Of every picture one real stream is made and
decoded at 48 lengths from the bare header to the whole; the size at which it reaches a PSNR is interpolated between
them, and its mean over pictures is printed as a row of a Markdown table, header bytes included.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import numpy as np

import uqdm
from uqdm.codec.api import receiver_of
from uqdm.diffusion import network as unet
from uqdm.diffusion.model import DiffusionModel
from uqdm.metrics import bpp, psnr_db
from uqdm.nested import network as networks
from uqdm.nested.model import NestedModel
from uqdm.pretrained.published_uqdm import read_published
from uqdm.training.dataset import load_pictures

TARGETS_DB = (25, 30, 35, 40, 45)
CUTS = 48


def open_model(name: str) -> NestedModel | DiffusionModel:
    """A model of any kind."""
    folder = Path(name)
    if (folder / "checkpoint.pt").is_file():
        return read_published(folder / "checkpoint.pt", folder / "config.json").model(f"published {folder.name}")
    model = uqdm.load_model(name)
    if not isinstance(model, NestedModel | DiffusionModel):
        raise ValueError(f"{name} is a model of another family")
    return model


def count_parameters(model: NestedModel | DiffusionModel) -> int:
    """Numbers that were trained."""
    if isinstance(model, DiffusionModel):
        return unet.count_parameters(model.parameters)
    # NestedModel files of the nested process hold integers made of the parameters, of one network or two.
    shapes = [jax.eval_shape(partial(networks.init, one.config), jax.random.key(0)) for one in model.networks]
    return sum(map(unet.count_parameters, shapes))


def rates_at_targets(picture: np.ndarray, model: NestedModel | DiffusionModel) -> np.ndarray:
    """Bits per pixel at which the stream of a picture reaches each target; NaN where it does not."""
    data = uqdm.encode(picture, model=model)
    start = uqdm.info(data)["header_bytes"]
    receiver, quality = receiver_of(data[:start], model=model), []
    cuts = np.unique(np.geomspace(start, len(data), CUTS).astype(int))
    for cut in cuts:
        receiver.feed(data[receiver.file_bytes : cut])
        while receiver.receive():
            pass
        quality.append(psnr_db(picture, receiver.picture()))
    # The first length from which on a target is held.
    best = np.minimum.accumulate(quality[::-1])[::-1]
    rates = [bpp(int(cut), picture) for cut in cuts]
    return np.interp(TARGETS_DB, best, rates, right=np.nan)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pictures", type=int, default=24)
    options = parser.parse_args()
    pictures = load_pictures(options.source, count=options.pictures)
    print("| model | parameters | " + " | ".join(f"{target} dB" for target in TARGETS_DB) + " |")
    print("|" + "---|" * (2 + len(TARGETS_DB)))
    for name in options.models:
        model = open_model(name)
        rates = np.mean([rates_at_targets(picture, model) for picture in pictures], axis=0)
        cells = ["-" if np.isnan(rate) else f"{rate:.3f}" for rate in rates]
        print(f"| {model.name} | {count_parameters(model):,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
