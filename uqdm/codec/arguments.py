"""What callers give, checked and named: pictures, models, numbers."""

from os import PathLike
from pathlib import Path

import numpy as np

from uqdm.codec import container
from uqdm.contract import Model
from uqdm.library import load_model

__all__ = ["as_model", "as_picture", "check_number"]


def as_picture(x) -> np.ndarray:
    if x is None or isinstance(x, str | bytes | PathLike):
        reading = "" if x is None else ": read the file first, as uqdm.pictures.read_picture(bytes) does"
        raise TypeError(f"a picture must be an array, uint8 of shape (H, W, 3), got {type(x).__name__}{reading}")
    picture = np.asarray(x)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        given = f"{picture.dtype} of shape {picture.shape}"
        raise ValueError(f"a picture must be uint8 of shape (H, W, 3), got {given}")
    container.check_size(picture.shape[1], picture.shape[0])
    return picture


def as_model(model: Model | str | Path | None) -> Model | None:
    """A model, or the one of a name or path."""
    if isinstance(model, str | PathLike):
        return load_model(Path(model) if isinstance(model, PathLike) else model)
    if model is not None and not hasattr(model, "new_state"):
        raise TypeError(f"model must be a model, or the name or path of one, got {type(model).__name__}")
    return model


def check_number(name: str, value, *, whole: bool = False) -> None:
    """Refuses what is no number, or no whole one; None is one that was not given."""
    needed, what = ("__index__", "a whole number") if whole else ("__float__", "a number")
    if value is not None and (isinstance(value, bool) or not hasattr(value, needed)):
        raise TypeError(f"{name} must be {what}, got {value!r}")
