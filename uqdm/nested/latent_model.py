"""Models of latents: a coder, which was trained, and an autoencoder, which somebody else has trained, in one file.

A coder of the package is of one autoencoder only, and is found by what that computes; the autoencoder itself, which is
not ours, is no part of the package.
"""

from collections.abc import Mapping
from importlib import resources

import numpy as np

from uqdm import archive
from uqdm.nested.model import NestedModel
from uqdm.transforms.autoencoder import FACTOR, Autoencoder

__all__ = ["coder_for", "coder_from_training", "joined", "of_autoencoder"]


def coder_from_training(
    coder: NestedModel, matrix: np.ndarray, mean: np.ndarray, autoencoder: Autoencoder
) -> NestedModel:
    """A trained network as the coder of an autoencoder's latents.

    Args:
      coder: as `NestedModel.from_training` gives it.
      matrix: A of uqdm.nested.source, Eq. 1.
      mean: m.
      autoencoder: whose latents it was trained on.
    """
    config = {**coder.config, "process": "nested latents", "factor": FACTOR, "autoencoder": autoencoder.identity}
    own = {"config": archive.pack_config(config), "latent/matrix": np.float32(matrix), "latent/mean": np.float32(mean)}
    return NestedModel.from_arrays({**coder.arrays, **own})


def joined(coder: NestedModel, autoencoder: Autoencoder) -> NestedModel:
    """A model that codes pictures.

    Raises:
      ValueError: the coder is of another autoencoder's latents.
    """
    if coder.config.get("autoencoder") != autoencoder.identity:
        raise ValueError(f"{coder.name} was trained on the latents of another autoencoder than {autoencoder.name}")
    return NestedModel.from_arrays({**coder.arrays, **autoencoder.own_arrays})


def coder_for(autoencoder: Autoencoder) -> NestedModel | None:
    """The coder that the package has for an autoencoder, if there is one."""
    for file in sorted((resources.files("uqdm") / "weights").iterdir(), key=lambda file: file.name):
        if file.name.endswith("_coder.npz"):
            coder = NestedModel.from_bytes(file.read_bytes())
            if coder.config.get("autoencoder") == autoencoder.identity:
                return coder
    return None


def of_autoencoder(arrays: Mapping[str, np.ndarray]) -> NestedModel:
    """The model that a file of an autoencoder alone stands for: it and the coder of the package.

    Raises:
      ValueError: it is no autoencoder, or the package has no coder for it.
    """
    autoencoder = Autoencoder.from_arrays(arrays)
    coder = coder_for(autoencoder)
    if coder is None:
        raise ValueError(
            f"the package has no coder for the latents of autoencoder {autoencoder.identity[:8]}: "
            "experiments/train_latent.py trains one"
        )
    return joined(coder, autoencoder)
