"""Finding models, and what families of models have.

The package has two models. `photo` is for photographs, `small` for small pictures, where it is three times as fast and
as good: the network of `photo` is as large as it is for what it knows of large pictures. A third way to code, `drawn`,
has no file: it is for what is no photograph. Models that streams were made
with stay in the package, and a stream names its own.

A family is a row of `FAMILIES`: who reads its files, which lossless residual its streams may end in, and how what is
missing is reconstructed. A new family adds a row; nothing that the loop imports grows.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np

from uqdm import archive
from uqdm.contract import Model, Residual
from uqdm.drawn.model import DrawnModel
from uqdm.errors import ModelMismatchError

__all__ = [
    "FAMILIES",
    "SHIPPED",
    "Family",
    "default_model",
    "family_of",
    "load_model",
    "model_from_arrays",
    "model_from_bytes",
    "model_of_stream",
    "reconstructions_of",
    "residual_of",
]

SHIPPED = ("small", "photo")
"""Models of the package, those that load faster first."""
_SMALL_PIXELS = 64 * 64
"""Pictures of at most so many pixels are small."""


class Family(NamedTuple):
    """What models of one kind have; functions by their names, so that only what is used is imported."""

    reader: str | None = None
    """Of model files: from arrays (uqdm.archive) to a model."""
    residual: str | None = None
    """Gives the lossless residual."""
    reconstructions: tuple[str, ...] = ("denoise",)
    """Names of ways to reconstruct (uqdm.reconstruction): the mean first, the usual draw second."""
    flow: str | None = None
    """Gives the flow that the package has for a model, or None; a model that has one is usually drawn by it."""


_BY_FLOW = ("restore", "refine")
_REVERSE = ("denoise", "ancestral", "flow")

FAMILIES: dict[str, Family] = {
    "nested": Family(
        reader="uqdm.nested.model:NestedModel.from_arrays",
        residual="uqdm.lossless.predicted:load_residual",
        reconstructions=("denoise", "sample", "refine", "restore"),
        flow="uqdm.conditional.model:flow_of",
    ),
    "nested latents": Family(reader="uqdm.nested.model:NestedModel.from_arrays", reconstructions=("denoise", "sample")),
    "autoencoder": Family(reader="uqdm.nested.latent_model:of_autoencoder"),
    "uniform": Family(
        reader="uqdm.diffusion.model:DiffusionModel.from_arrays",
        residual="uqdm.lossless.direct:DirectResidual",
        reconstructions=_REVERSE,
    ),
    "gaussian": Family(reader="uqdm.diffusion.model:DiffusionModel.from_arrays", reconstructions=_REVERSE),
    "latent": Family(reader="uqdm.latent.file:read_model", reconstructions=("denoise", "latent_flow")),
    "predictor": Family(reconstructions=_REVERSE),
    "drawn": Family(),
    "PerCo": Family(),
    "Text+Sketch": Family(),
    "transform coding": Family(reader="uqdm.transform_coding.model:TransformModel.from_arrays"),
    "conditional diffusion": Family(
        reader="uqdm.transform_coding.model:TransformModel.from_arrays", reconstructions=("denoise", "diffuse")
    ),
}
"""By `Model.family`; a family that is not here has neither files nor a residual, and is denoised."""


def family_of(model: Model) -> Family:
    """The row of a model's family."""
    return FAMILIES.get(model.family, Family())


def reconstructions_of(model: Model) -> tuple[str, ...]:
    """Names of ways to reconstruct that a model has without being given anything: the mean, the usual draw, others."""
    row = family_of(model)
    if row.flow is None:
        return row.reconstructions
    mean, *draws = (name for name in row.reconstructions if name not in _BY_FLOW)
    return (mean, *draws) if resolve_name(row.flow)(model) is None else (mean, *_BY_FLOW, *draws)


def model_from_bytes(data: bytes) -> Model[Any]:
    """Reads a model file of any family; a file that names no process is of the nested one.

    Raises:
      ValueError: it is no model file, or one of an unknown format or family.
    """
    return model_from_arrays(archive.from_bytes(data))


def model_from_arrays(arrays: Mapping[str, np.ndarray]) -> Model[Any]:
    """Takes the contents of a model file of any family.

    Raises:
      ValueError: as `model_from_bytes`, in one line.
    """
    name = archive.config_of(arrays).get("process", "nested")
    reader = FAMILIES.get(name, Family()).reader if isinstance(name, str) else None
    if reader is None:
        raise ValueError(f"a model of the process {name!r} is unknown here")
    try:
        return resolve_name(reader)(arrays)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # names and values that a damaged configuration has, in whatever they were meant for
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"not a model file (its configuration is damaged: {what})") from error


def load_model(name_or_path: str | Path = "photo") -> Model[Any]:
    """Loads a model: the name of one that comes with the package ("photo", "small", "drawn"), or the path of a file.

    Raises:
      TypeError: neither a name nor a path is given.
      FileNotFoundError: there is neither.
      ValueError: the file is no model.
    """
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"a model is loaded by its name or path, got {type(name_or_path).__name__}")
    if name_or_path == DrawnModel().name:
        return DrawnModel()
    packaged = resources.files("uqdm") / "weights" / f"{name_or_path}.npz"
    if Path(name_or_path).name == str(name_or_path) and packaged.is_file():
        return _packaged_model(str(name_or_path))
    if Path(name_or_path).is_file():
        path = Path(name_or_path).resolve()
        found = path.stat()
        return _model_of_file(path, found.st_mtime_ns, found.st_size)
    raise FileNotFoundError(f"no model {str(name_or_path)!r}: neither a model of this package nor a file")


@lru_cache(maxsize=8)
def _packaged_model(name: str) -> Model[Any]:
    return model_from_bytes((resources.files("uqdm") / "weights" / f"{name}.npz").read_bytes())


@lru_cache(maxsize=8)
def _model_of_file(path: Path, written: int, size: int) -> Model[Any]:
    """Kept as long as the file is the same: `written` and `size` tell that."""
    return model_from_bytes(path.read_bytes())


def default_model(height: int, width: int, *, lossless: bool = False) -> Model[Any]:
    """What pictures of a size are encoded with by default; the lossless residual was trained for `photo`."""
    return load_model("small" if height * width <= _SMALL_PIXELS and not lossless else "photo")


def model_of_stream(model_id: bytes) -> Model[Any]:
    """The model of the package that a stream was made with.

    Args:
      model_id: the first bytes of its identity, as the header has them.

    Raises:
      ModelMismatchError: the package has no such model.
    """
    drawn = DrawnModel()
    if model_id and drawn.id.startswith(model_id):
        return drawn
    for name in sorted(SHIPPED, key=lambda name: not _noted_id(name).startswith(model_id)):
        model = load_model(name)
        if model.id.startswith(model_id):
            return model
    known = ", ".join(f"{name} {load_model(name).id[: len(model_id)].hex()}" for name in SHIPPED)
    raise ModelMismatchError(
        f"the stream was made with model {model_id.hex()}, which this package has not ({known}): "
        "give the one it was made with"
    )


def _noted_id(name: str) -> bytes:
    """What lies beside the weights says of their identity: no other model is read in vain."""
    return bytes.fromhex(json.loads((resources.files("uqdm") / "weights" / f"{name}.json").read_text())["model"])


def residual_of(model: Model) -> Residual:
    """The lossless residual for streams of a model.

    Raises:
      ValueError: the model's family has none.
    """
    residual = family_of(model).residual
    if residual is None:
        having = ", ".join(name for name, family in FAMILIES.items() if family.residual)
        raise ValueError(f"lossless coding needs a model of one of the families {having}, this one is {model.family}")
    return resolve_name(residual)()
