"""Finding models and their lossless residuals.

The package has two models. `photo` is for photographs, `small` for small pictures, where it is three times as fast and
as good: the network of `photo` is as large as it is for what it knows of large pictures. Models that streams were made
with stay in the package, and a stream names its own.
"""

from functools import lru_cache
from importlib import resources
from pathlib import Path

from uqdm import archive
from uqdm.contract import Model, Residual
from uqdm.diffusion.model import DiffusionModel
from uqdm.errors import ModelMismatchError
from uqdm.lossless.direct import DirectResidual
from uqdm.lossless.predicted import load_residual
from uqdm.nested.model import NestedModel

__all__ = ["SHIPPED", "default_model", "load_model", "model_from_bytes", "model_of_stream", "residual_of"]

SHIPPED = ("small", "photo")
"""Models of the package, those that load faster first."""
_SMALL_PIXELS = 64 * 64
"""Pictures of at most so many pixels are small."""


def model_from_bytes(data: bytes) -> NestedModel | DiffusionModel:
    """Reads a model file of either kind.

    Raises:
      ValueError: it is no model file, or one of an unknown format.
    """
    arrays = archive.from_bytes(data)
    if "process" in archive.config_of(arrays):
        return DiffusionModel.from_arrays(arrays)
    return NestedModel.from_arrays(arrays)


@lru_cache(maxsize=8)
def load_model(name_or_path: str | Path = "photo") -> NestedModel | DiffusionModel:
    """Loads a model: the name of one that comes with the package ("photo"), or the path of a file.

    Raises:
      FileNotFoundError: there is neither.
      ValueError: the file is no model.
    """
    packaged = resources.files("uqdm") / "weights" / f"{name_or_path}.npz"
    if packaged.is_file():
        return model_from_bytes(packaged.read_bytes())
    if Path(name_or_path).is_file():
        return model_from_bytes(Path(name_or_path).read_bytes())
    raise FileNotFoundError(f"no model {str(name_or_path)!r}: neither a model of this package nor a file")


def default_model(height: int, width: int, *, lossless: bool = False) -> NestedModel:
    """What pictures of a size are encoded with by default; the lossless residual was trained for `photo`."""
    model = load_model("small" if height * width <= _SMALL_PIXELS and not lossless else "photo")
    assert isinstance(model, NestedModel)
    return model


def model_of_stream(model_id: bytes) -> NestedModel | DiffusionModel:
    """The model of the package that a stream was made with.

    Args:
      model_id: the first bytes of its identity, as the header has them.

    Raises:
      ModelMismatchError: the package has no such model.
    """
    for name in SHIPPED:
        model = load_model(name)
        if model.id.startswith(model_id):
            return model
    known = ", ".join(f"{name} {load_model(name).id[: len(model_id)].hex()}" for name in SHIPPED)
    raise ModelMismatchError(
        f"the stream was made with model {model_id.hex()}, which this package has not ({known}): "
        "give the one it was made with"
    )


def residual_of(model: Model) -> Residual:
    """The lossless residual for streams of a model.

    Raises:
      ValueError: the model's process has none.
    """
    if isinstance(model, NestedModel):
        return load_residual()
    if isinstance(model, DiffusionModel) and model.process == "uniform":
        return DirectResidual()
    raise ValueError("lossless coding needs a model of the nested or the uniform process")
