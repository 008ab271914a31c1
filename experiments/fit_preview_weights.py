"""Measures how much to trust a model's fresh estimates (uqdm.nested.preview_weights), and writes that into its file.

    python experiments/fit_preview_weights.py MODEL.npz PICTURES... [--views 256] [--side 64]

Streams and the model's id stay the same; previews get better. experiments/train_photo.py does the same when it exports.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from uqdm.nested.model import NestedModel
from uqdm.nested.preview_weights import fit_preview_weights
from uqdm.training.batches import random_crops
from uqdm.training.dataset import PictureSet, load_pictures


def with_fitted_preview_weights(
    model: NestedModel, sources: Sequence[str | PictureSet], views: int = 256, side: int = 64
) -> NestedModel:
    """The model with weights that were measured on crops of pictures."""
    crops = random_crops(load_pictures(*sources), side, seed=0).batch(views)[0]
    return model.with_preview_weights(fit_preview_weights(model, tqdm(crops, desc="views", mininterval=5)))


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--views", type=int, default=256)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    model = NestedModel.from_bytes(options.model.read_bytes())
    model = with_fitted_preview_weights(model, options.pictures, options.views, options.side)
    model.save(options.model)
    print(f"{options.model}: {np.array2string(model.preview_weights, precision=2, max_line_width=110)}")


if __name__ == "__main__":
    main()
