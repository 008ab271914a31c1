"""Model files: numpy `.npz` archives of named arrays, without pickles, identified by their contents.

The identity of a file is the SHA-256 over its arrays, sorted by name, as (name, dtype, shape, bytes); those whose names
begin with `preview/` are left out: they change how streams are shown, not what they say. An array named `config` holds
JSON.
"""

import hashlib
import io
import json
import math
import types
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from uqdm.files import write_whole

__all__ = [
    "Contents",
    "config_of",
    "digest",
    "from_bytes",
    "nested",
    "pack_config",
    "parameters",
    "record",
    "to_bytes",
    "under",
]

Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")

_UNPACKED_ALWAYS, _MOST_TIMES = 2**28, 16
"""Bytes that arrays may have, and how many times those of the file where they are more."""
_MOST, _LARGEST = 2**16, 1e9
"""Of whole and of real numbers in configurations."""


def digest(arrays: Arrays, *, previews: bool = False) -> bytes:
    """The identity, 32 bytes; with `previews` that of how streams are shown as well."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if name.startswith("preview/") and not previews:
            continue
        total.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.digest()


def to_bytes(arrays: Arrays) -> bytes:
    """The file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """Mirror image of `to_bytes`.

    Raises:
      ValueError: it is no such file, or one without a configuration.
    """
    try:
        _check_unpacked_size(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        config_of(arrays)
    except Exception as error:
        raise ValueError(f"not a model file ({error})") from error
    return arrays


def _check_unpacked_size(data: bytes) -> None:
    """Refuses files that fill the memory, which no weights do."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > max(_UNPACKED_ALWAYS, _MOST_TIMES * len(data)):
        raise ValueError(f"{len(data)} bytes would become {size}")


def pack_config(config: dict[str, Any]) -> np.ndarray:
    """JSON as an array."""
    return np.frombuffer(json.dumps(config, sort_keys=True).encode(), np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a model file holds, with what all kinds of models have in common.

    Attributes:
      arrays: by name.
    """

    arrays: Arrays

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        return config_of(self.arrays)

    @cached_property
    def _digest(self) -> bytes:
        return digest(self.arrays)

    @property
    def id(self) -> bytes:
        """SHA-256 of the contents, 32 bytes."""
        return self._digest

    @property
    def name(self) -> str:
        """For people; has no meaning, and is empty where the file has none."""
        return str(self.config.get("name", ""))

    def to_bytes(self) -> bytes:
        """The file."""
        return to_bytes(self.arrays)

    def save(self, path: str | Path) -> None:
        """Writes the file, all of it or nothing."""
        write_whole(Path(path), self.to_bytes(), force=True)


def config_of(arrays: Arrays) -> dict[str, Any]:
    """Mirror image of `pack_config`, from the array of that name."""
    config = json.loads(arrays["config"].tobytes())
    if not isinstance(config, dict):
        raise ValueError("its configuration is no dictionary")
    return config


def under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def nested(leaves: Arrays) -> dict[str, Any]:
    """Names with slashes as nested dictionaries."""
    tree: dict[str, Any] = {}
    for name, array in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return tree


def record(kind: type[T], values: Any) -> T:
    """A dataclass from a part of a configuration: JSON's lists become tuples, and types are those of the fields.

    Raises:
      ValueError: a value is missing, unknown, of another type, or a number that no model has.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping) or not set(values) <= set(hints):
        given = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
        raise ValueError(f"a {kind.__name__} has {', '.join(hints)}, got {given}")
    try:
        return kind(**{name: _typed(name, hints[name], value) for name, value in values.items()})
    except TypeError as error:  # the constructor's, of fields that are missing
        raise ValueError(str(error)) from None


def _typed(name: str, hint: Any, value: Any) -> Any:
    """A value of a type that a field may have, made of JSON's."""
    kinds = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return None if value is None and type(None) in kinds else _typed(name, kinds[0], value)
    if is_dataclass(hint) and isinstance(hint, type):
        return record(hint, value)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(each) == len(value):
            return tuple(_typed(name, kind, part) for kind, part in zip(each, value, strict=True))
    elif (hint in (bool, str) and type(value) is hint) or (hint is int and type(value) is int and 0 <= value <= _MOST):
        return value
    elif hint is float and type(value) in (int, float) and math.isfinite(value) and abs(value) <= _LARGEST:
        return float(value)
    raise ValueError(f"{name} cannot be {value!r} in the configuration of a model")


def parameters(leaves: Arrays, fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a network as nested dictionary, float32.

    Args:
      leaves: by names with slashes.
      fresh: the same of a fresh network, nested; shapes are enough.

    Raises:
      ValueError: one is missing, has another shape, or is not finite.
    """
    wanted, found = dict(_shapes(fresh)), {name: leaf.shape for name, leaf in leaves.items()}
    if wanted != found:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        shapes = f"{found.get(name, 'missing')}, and must be {wanted.get(name, 'left out')}"
        raise ValueError(f"weights do not fit the network: {name} is {shapes}")
    for name, leaf in leaves.items():
        if leaf.dtype.kind != "f" or not np.isfinite(leaf).all():
            raise ValueError(f"weights must be finite numbers: {name} are not")
    return nested({name: leaf.astype(np.float32) for name, leaf in leaves.items()})


def _shapes(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, part in tree.items():
        if isinstance(part, Mapping):
            yield from _shapes(part, f"{prefix}{name}/")
        else:
            yield prefix + name, tuple(part.shape)
