"""PyTorch checkpoints, read without PyTorch.

A checkpoint is a zip archive: `data.pkl` describes nested containers of tensors, each a view (offset, shape, strides)
of a storage, and `data/<key>` holds the storages as raw little-endian numbers. The pickle is read with an unpickler
that knows these few names and refuses all others, so that a file cannot run anything.
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_checkpoint"]

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        if (module, name) in _OF_NUMPY:
            return _OF_NUMPY[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint of weights needs")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, count = pid
        return np.frombuffer(self._archive.read(f"{self._root}/data/{key}"), dtype, count)


def _number(dtype: str, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype, 1)[0]


def _plain_dtype(name: str, *_: Any) -> "_Dtype":
    if np.dtype(name).hasobject:
        raise pickle.UnpicklingError(f"numbers of type {name!r}")
    return _Dtype(name)


class _Dtype(str):
    """A dtype that takes the state that pickles give dtypes, and ignores it."""

    def __setstate__(self, state: Any) -> None: ...


# Optimizers keep numbers of numpy.
_OF_NUMPY = {
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy", "dtype"): _plain_dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


def _rebuild(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
    if min(offset, *strides, 0) < 0:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    if not shape:
        return np.array(storage[offset])
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if min(shape) and not 0 <= last < len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, [s * storage.itemsize for s in strides])
    return np.array(view)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a PyTorch checkpoint, tensors as numpy arrays.

    Raises:
      ValueError: it is none, or holds more than containers, numbers and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            roots = [name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise ValueError("it has no data.pkl")
            return _Unpickler(archive, roots[0]).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle calls anything with anything
        raise ValueError(f"{path} is no PyTorch checkpoint that can be read here: {error}") from None
