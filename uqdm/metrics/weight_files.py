"""Weights of the networks that metrics see pictures with: `.npz` files that others have made."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

__all__ = ["read_arrays"]


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file, by name.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no such file, or damaged; in one line.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        what = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no file of weights, or damaged ({what}): give an .npz file") from None
