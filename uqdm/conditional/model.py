"""A trained conditional flow or diffusion: what its file holds, and its evaluation on pictures of any size.

The file (uqdm.archive) has

    config         JSON: format, kind ("conditional flow" or "conditional diffusion"), model (the id of the nested
                   model whose prefixes it restores), network
    error/...      float32: the tables of uqdm.conditional.errors.Errors
    weight/...     float16: parameters of the network (uqdm.conditional.network)

Flows of the package lie beside their models, as NAME_flow.npz. Large pictures are evaluated on tiles that overlap, so
that few shapes are compiled and memory stays bounded. The flow is in floating point: a draw is the same for the same
seed on one machine, and nearly the same on others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from uqdm import archive
from uqdm.conditional import network as networks
from uqdm.conditional.errors import Errors
from uqdm.conditional.network import Condition, ConditionalConfig
from uqdm.conditional.paths import PATHS
from uqdm.contract import Model
from uqdm.exact.programs import run
from uqdm.exact.tiles import in_tiles
from uqdm.nested.model import NestedModel

__all__ = ["ConditionalModel", "flow_of"]

_FORMAT = 1
_KINDS = tuple(f"conditional {path}" for path in PATHS)
_SIDES, _HALO = (64, 128, 256, 512), 32
"""Of tiles in pixels, and how much they overlap on each side."""
_GREY = 127.5
"""Tiles are this beyond the picture: the network sees zeros there."""


def _predict(config: ConditionalConfig, parameters: Any, x: Any, y: Any, given: Condition) -> tuple[Any]:
    return (networks.apply(config, parameters, x + _GREY, y + _GREY, given) - _GREY,)


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionalModel(archive.Contents):
    """Contents of a file."""

    @classmethod
    def from_training(
        cls, *, model: NestedModel, network: ConditionalConfig, errors: Errors, parameters: Any
    ) -> "ConditionalModel":
        """Rounds trained parameters to what a file holds."""
        config = {
            "format": _FORMAT,
            "kind": f"conditional {network.path}",
            "model": model.id.hex(),
            "network": networks.to_config(network),
        }
        arrays = {
            "config": archive.pack_config(config),
        }
        arrays |= {f"error/{name}": np.asarray(table, np.float32) for name, table in errors._asdict().items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
            name = "/".join(str(part.key) for part in path)
            arrays[f"weight/{name}"] = np.asarray(leaf, np.float16)
        return cls(arrays=arrays)

    def of_states(self, states: Int[np.ndarray, " t"], model: NestedModel, errors: Errors) -> "ConditionalModel":
        """The flow for another model, whose states are like these states of its own: (steps + 1,).

        Args:
          states: of the model that it was trained for.
          model: the other one.
          errors: of its previews.
        """
        network = replace(self.network, steps=model.steps)
        parameters = {**self.parameters, "steps": self.parameters["steps"][states]}
        return self.from_training(model=model, network=network, errors=errors, parameters=parameters)

    @cached_property
    def network(self) -> ConditionalConfig:
        """Shape of the network."""
        return networks.from_config(self.config["network"])

    @cached_property
    def errors(self) -> Errors:
        """Of previews."""
        return Errors(**archive.under("error/", self.arrays))

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Of the network, float32."""
        leaves = archive.under("weight/", self.arrays)
        return archive.nested({name: leaf.astype(np.float32) for name, leaf in leaves.items()})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ConditionalModel":
        """Takes the contents of a file.

        Raises:
          ValueError: the format is unknown.
        """
        model = cls(arrays=arrays)
        kind, known = (model.config.get(name) for name in ("kind", "format"))
        if kind not in _KINDS or known != _FORMAT:
            raise ValueError(f"a {kind or 'model'} of format {known} is no {' or '.join(_KINDS)} of format {_FORMAT}")
        if kind != f"conditional {model.network.path}":
            raise ValueError(f"a {kind} cannot have a network for a {model.network.path}")
        return model

    @classmethod
    def from_bytes(cls, data: bytes) -> "ConditionalModel":
        """Reads the file.

        Raises:
          ValueError: it is no such file, or as `from_arrays`.
        """
        return cls.from_arrays(archive.from_bytes(data))

    def restores(self, model: Model) -> bool:
        """Whether it was trained on prefixes of a model's streams."""
        return self.config["model"] == model.id.hex()

    def predict(
        self, x: Float[np.ndarray, "H W 3"], y: Float[np.ndarray, "H W 3"], step: int, t: float, s: float
    ) -> Float[np.ndarray, "H W 3"]:
        """The network's prediction of a picture (uqdm.conditional.flow, uqdm.conditional.diffusion).

        Args:
          x: x_t, in pixel values; sides are multiples of the network's stride.
          y: what the prefix shows.
          step: how many steps are known.
          t: the time.
          s: the time that is gone to.
        """
        start, end = (np.full(1, time, np.float32) for time in (t, s))
        given = Condition(np.full(1, step, np.int32), start, end, self.errors.of_pixels[step : step + 1])

        def evaluate(tile: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray]:
            parts = (np.ascontiguousarray(part)[None] for part in np.split(tile, 2, axis=-1))
            (predicted,) = run(_predict, (self.network,), self.parameters, *parts, given)
            return (np.asarray(predicted)[0],)

        both = np.concatenate([x, y], axis=-1, dtype=np.float32) - np.float32(_GREY)
        return in_tiles(evaluate, _HALO, both, _SIDES)[0] + np.float32(_GREY)


def flow_of(model: Model) -> ConditionalModel | None:
    """The flow of the package that restores prefixes of a model's streams, if there is one."""
    flow = _shipped(model.name)
    return flow if flow is not None and flow.restores(model) else None


@lru_cache(maxsize=4)
def _shipped(name: str) -> ConditionalModel | None:
    file = resources.files("uqdm") / "weights" / f"{name}_flow.npz"
    return ConditionalModel.from_bytes(file.read_bytes()) if file.is_file() else None
