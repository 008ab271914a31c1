"""A model: schedule, process and weights in one file, and the functions that codecs call.

The file is a numpy `.npz` archive (no pickles) with

    config       JSON: format, name, block, finest_width, phases, threshold, width, blocks
    prior_std    float32 (C,)
    table/...    uint16: the split tables (channel_sim.split_tables)
    weight/...   parameters: convolution kernels as int8 together with `scale/...`, one float32 step size
                 per output channel; everything else as float32

and the model id is the SHA-256 over all of these, sorted by name, as (name, dtype, shape, bytes).
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from channel_sim.split_tables import SCALE_STEPS, SplitTables
from uqdm import network as networks
from uqdm import process
from uqdm.network import NetworkConfig, Parameters
from uqdm.process import TICKS, Prior
from uqdm.schedule import Schedule, phase_classes
from uqdm.transform import analysis, synthesis

__all__ = ["Model", "load_model"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Everything that sender and receiver must share.

    Attributes:
      schedule: what is sent when.
      network: shape of the network.
      parameters: its weights, kernels on their 8-bit grid.
      tables: integer probabilities of the reference distributions.
      name: for people; has no meaning.
    """

    schedule: Schedule
    network: NetworkConfig
    parameters: Parameters
    tables: SplitTables
    name: str = "unnamed"

    @classmethod
    def from_training(
        cls, *, schedule: Schedule, network: NetworkConfig, parameters: Parameters, name: str = "unnamed"
    ) -> "Model":
        """Rounds trained parameters to what a file can hold, and computes the tables."""
        rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), networks.round_kernels(parameters))
        model = cls(
            schedule=schedule,
            network=network,
            parameters=rounded,
            tables=SplitTables.logistic(),
            name=name,
        )
        return cls.from_bytes(model.to_bytes())

    @property
    def block(self) -> int:
        """Side of the blocks in pixels."""
        return self.schedule.block

    @property
    def steps(self) -> int:
        return len(self.schedule.steps)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The contents of the file."""
        config = {
            "format": _FORMAT,
            "name": self.name,
            "block": self.schedule.block,
            "finest_width": self.schedule.finest_width,
            "phases": [list(pair) for pair in self.schedule.phases],
            "threshold": self.schedule.threshold,
            "network": networks.to_config(self.network),
        }
        arrays = {
            "config": np.frombuffer(json.dumps(config, sort_keys=True).encode(), np.uint8),
            "prior_std": np.asarray(self.schedule.prior_std, np.float32),
        }
        arrays |= {f"table/{name}": table for name, table in self.tables.to_arrays().items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.parameters):
            name = "/".join(str(part.key) for part in path)
            if path[-1].key == "kernel":
                scale = np.asarray(networks.kernel_scales(jnp.asarray(leaf)), np.float32)
                arrays[f"scale/{name}"] = scale
                arrays[f"weight/{name}"] = np.rint(leaf / scale).astype(np.int8)
            else:
                arrays[f"weight/{name}"] = np.asarray(leaf, np.float32)
        return arrays

    @cached_property
    def id(self) -> bytes:
        """SHA-256 of the contents, 32 bytes."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()

    def to_bytes(self) -> bytes:
        """The file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Model":
        """Reads the file.

        Raises:
          ValueError: it is no model file, or one of an unknown format.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            config = json.loads(arrays["config"].tobytes())
        except Exception as error:
            raise ValueError(f"not a model file ({error})") from error
        if config.get("format") != _FORMAT:
            raise ValueError(f"model format {config.get('format')} is unknown here (this program reads {_FORMAT})")
        schedule = Schedule(
            block=config["block"],
            finest_width=config["finest_width"],
            phases=tuple((coarse, fine) for coarse, fine in config["phases"]),
            prior_std=tuple(arrays["prior_std"].tolist()),
            threshold=config["threshold"],
        )
        tables = {name[6:]: array for name, array in arrays.items() if name.startswith("table/")}
        return cls(
            schedule=schedule,
            network=networks.from_config(config["network"]),
            parameters=_parameters(arrays),
            tables=SplitTables.from_arrays(**tables),
            name=config["name"],
        )

    def save(self, path: str | Path) -> None:
        """Writes the file."""
        Path(path).write_bytes(self.to_bytes())

    @cached_property
    def _device_parameters(self) -> Parameters:
        return jax.device_put(self.parameters)

    @cached_property
    def _prior(self) -> Prior:
        return Prior(*(jnp.asarray(table) for table in process.prior_tables(self.schedule)))

    @cached_property
    def _static(self) -> "_Static":
        return _Static(self.block, self.network, TICKS / self.schedule.finest_width)

    def reference(self, midpoint: Int[Array, "h w C"], shift: Int[Array, "h w C"], step: int) -> tuple[Array, Array]:
        """Location and scale of psi for every coefficient, before a step.

        Args:
          midpoint: twice the midpoint of every cell in ticks, relative to the shift; 0 where nothing was sent.
          shift: o in ticks.
          step: how many steps are behind us.

        Returns:
          The location in ticks relative to the shift, int32 (h, w, C), and round(8 log2(scale in ticks)), int32.
        """
        return _reference(self._static, self._device_parameters, self._prior, midpoint, shift, jnp.int32(step))

    def estimate(self, midpoint: Int[Array, "h w C"], shift: Int[Array, "h w C"], step: int) -> Float[Array, "h w C"]:
        """Denoised coefficients of a state, in units of pixel values, clipped to their cells; arguments as above."""
        return _estimate(self._static, self._device_parameters, self._prior, midpoint, shift, jnp.int32(step))

    def ticks(self, pixels: np.ndarray) -> np.ndarray:
        """The source X of a picture (uint8, whole blocks): its coefficients in ticks, int32 (h, w, C)."""
        return np.asarray(_ticks(self._static, jnp.asarray(pixels)))

    def picture(self, coefficients: Array | np.ndarray) -> np.ndarray:
        """The picture of coefficients (h, w, C), uint8, still extended to whole blocks."""
        return np.asarray(_picture(self.block, jnp.asarray(coefficients)))


@dataclass(frozen=True)
class _Static:
    """What the jitted functions are compiled for, besides shapes."""

    block: int
    network: NetworkConfig
    ticks_per_unit: float


def _parameters(arrays: Mapping[str, np.ndarray]) -> Parameters:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        if not name.startswith("weight/"):
            continue
        *parents, last = name.removeprefix("weight/").split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        scale = arrays.get("scale/" + name.removeprefix("weight/"))
        node[last] = array if scale is None else array.astype(np.float32) * scale
    return tree


def _state(static: _Static, tables: Prior, midpoint, shift, step):
    """z, the prior and the classes of one state."""
    classes = jnp.asarray(phase_classes(*midpoint.shape[:2]))
    prior = Prior(*(table[step][classes][None] for table in tables))
    seen = jnp.isfinite(prior.width)
    z_ticks = jnp.where(seen[0], midpoint.astype(jnp.float32) * 0.5 + shift.astype(jnp.float32), 0.0)
    return z_ticks[None] / static.ticks_per_unit, prior, seen, classes


@partial(jax.jit, static_argnums=0)
def _reference(static: _Static, parameters, tables: Prior, midpoint, shift, step):
    z, prior, seen, classes = _state(static, tables, midpoint, shift, step)
    known = process.known_state(z, prior, seen & (midpoint == 0)[None], classes, step[None])
    outputs = networks.reference(static.network, parameters, known)
    location, log2_scale = process.location_and_log2_scale(z, *outputs, prior)
    ticks = jnp.round(location[0] * static.ticks_per_unit).astype(jnp.int32) - shift
    scale_class = jnp.round(SCALE_STEPS * (log2_scale[0] + np.log2(static.ticks_per_unit))).astype(jnp.int32)
    return ticks, scale_class


@partial(jax.jit, static_argnums=0)
def _estimate(static: _Static, parameters, tables: Prior, midpoint, shift, step):
    z, prior, seen, classes = _state(static, tables, midpoint, shift, step)
    known = process.known_state(z, prior, seen & (midpoint == 0)[None], classes, step[None])
    guess = process.estimate(z, networks.estimate(static.network, parameters, known), prior)
    reach = jnp.where((midpoint == 0)[None], prior.width, prior.width / 2)
    middle = midpoint.astype(jnp.float32) * 0.5 + shift.astype(jnp.float32)
    middle = middle[None] / static.ticks_per_unit
    return jnp.where(seen, jnp.clip(guess, middle - reach, middle + reach), guess)[0]


@partial(jax.jit, static_argnums=0)
def _ticks(static: _Static, pixels):
    coefficients = analysis(pixels.astype(jnp.float32)[None], static.block)[0]
    return jnp.round(coefficients * static.ticks_per_unit).astype(jnp.int32)


@partial(jax.jit, static_argnums=0)
def _picture(block: int, coefficients):
    pixels = synthesis(coefficients[None], block)[0]
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


@lru_cache(maxsize=8)
def load_model(name_or_path: str | Path = "photo") -> Model:
    """Loads a model: the name of one that comes with the package ("photo"), or the path of a file.

    Raises:
      FileNotFoundError: there is neither.
      ValueError: the file is no model.
    """
    packaged = resources.files("uqdm") / "models" / f"{name_or_path}.npz"
    if packaged.is_file():
        return Model.from_bytes(packaged.read_bytes())
    if Path(name_or_path).is_file():
        return Model.from_bytes(Path(name_or_path).read_bytes())
    raise FileNotFoundError(f"no model {str(name_or_path)!r}: neither a model of this package nor a file")
