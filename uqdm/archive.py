"""Model files: numpy `.npz` archives of named arrays, without pickles, identified by their contents.

The identity of a file is the SHA-256 over its arrays, sorted by name, as (name, dtype, shape, bytes); those whose names
begin with `preview/` are left out: they change how streams are shown, not what they say. An array named `config` holds
JSON.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Contents", "config_of", "digest", "from_bytes", "nested", "pack_config", "to_bytes", "under"]

Arrays = Mapping[str, np.ndarray]


def digest(arrays: Arrays) -> bytes:
    """The identity, 32 bytes."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if name.startswith("preview/"):
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
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        config_of(arrays)
    except Exception as error:
        raise ValueError(f"not a model file ({error})") from error
    return arrays


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
        return self.config.get("name", "")

    def to_bytes(self) -> bytes:
        """The file."""
        return to_bytes(self.arrays)

    def save(self, path: str | Path) -> None:
        """Writes the file."""
        Path(path).write_bytes(self.to_bytes())


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
