"""A network of the nested process as a model file holds it: in integers, and its parameters for what comes after.

Arrays are named

    integer/...    the network in integers (uqdm.nested.network_integers)
    scale/...      float32: step sizes of the kernels, per output channel
    weight/...     the parameters of the network (uqdm.nested.network), for estimates and for further training:
                   float32, but kernels as int8; those that integer/... holds already are not repeated

where files of models say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8, Int16

from uqdm import archive
from uqdm.exact.fixed_point import Parameters, kernel_scales, kernel_steps
from uqdm.nested import network_integers as integer
from uqdm.nested.evaluation import Evaluation
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import Section

__all__ = ["StoredNetwork", "packed"]


def packed(config: NetworkConfig, parameters: Parameters) -> dict[str, np.ndarray]:
    """The arrays (module docstring) of trained parameters, rounded to what a file can hold.

    Raises:
      ValueError: sums of the integer network could leave the range in which they are exact.
    """
    parameters = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), parameters)
    integers = integer.from_parameters(config, parameters)
    arrays = {f"integer/{name}": array for name, array in integers.items()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        name = "/".join(str(part.key) for part in path)
        if path[-1].key == "kernel":
            arrays[f"scale/{name}"] = np.asarray(kernel_scales(jnp.asarray(leaf)))
            if name not in integers:
                arrays[f"weight/{name}"] = kernel_steps(leaf)
        else:
            arrays[f"weight/{name}"] = leaf
    return arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredNetwork:
    """What is asked about the steps of a section.

    Attributes:
      section: of the schedule.
      config: shape of the network.
      arrays: of the file (module docstring).
      convolution: as for `uqdm.nested.model.NestedModel`.
    """

    section: Section
    config: NetworkConfig
    arrays: Mapping[str, np.ndarray]
    convolution: str | None = None

    @cached_property
    def integers(self) -> dict[str, np.ndarray]:
        """The network in integers, which is what streams are made with."""
        return archive.under("integer/", self.arrays)

    @cached_property
    def parameters(self) -> Parameters:
        """Weights of the network, kernels on their 8-bit grid."""
        leaves, scales = archive.under("weight/", self.arrays), archive.under("scale/", self.arrays)
        for name, scale in scales.items():
            steps = leaves[name] if name in leaves else self.integers[name]
            leaves[name] = steps.astype(np.float32) * scale
        return archive.nested(leaves)

    @cached_property
    def estimate_integers(self) -> dict[str, np.ndarray]:
        """The network's third output in integers."""
        head = "estimate_head/kernel"
        tables = {name: table for name, table in archive.under("weight/", self.arrays).items() if name != head}
        steps, scale = self.arrays[f"weight/{head}"], self.arrays[f"scale/{head}"]
        return integer.estimate_integers(self.config, steps, scale, tables)

    def check(self) -> None:
        """Compares arrays with shapes.

        Raises:
          ValueError: the integer network is not exact, or parts do not fit each other.
        """
        integer.check(self.config, self.integers)
        section, config = self.section, self.config
        if (section.block, len(section.steps)) != (config.block, config.steps):
            raise ValueError(f"the network is of blocks {config.block} and {config.steps} steps only")
        estimates, wanted = self.estimate_integers, (config.steps + 1, config.channels)
        kinds = wanted[0], config.kinds
        shapes = {"head/kernel": (1, 1, config.width, wanted[1]), "sign": kinds, "logarithm": kinds}
        shapes |= {f"head/{name}": wanted for name in ("multiplier", "offset", "shift")}
        if wrong := [name for name, shape in shapes.items() if estimates[f"estimate_{name}"].shape != shape]:
            raise ValueError(f"weights of estimates do not fit the network: {wrong[0]} must be {shapes[wrong[0]]}")

    @cached_property
    def evaluation(self) -> Evaluation:
        """The network, ready to be asked."""
        return Evaluation(self.config, {**self.integers, **self.estimate_integers}, self.convolution)

    @cached_property
    def bands(self) -> list[range]:
        """For every step of the section the bands that take part, and those between them."""
        one_by_one = [range(i, i + 1) for i in range(self.config.bands)]
        chosen = []
        for step in self.section.steps:
            members = np.any(step.members, axis=0)
            taking_part = [band.start for band in one_by_one if members[slice(*self.config.channel_range(band))].any()]
            chosen.append(range(taking_part[0], taking_part[-1] + 1))
        return chosen

    def references(
        self, units: Int8[np.ndarray, "n h w C"], step: int, *, every_band: bool = False
    ) -> tuple[Int16[np.ndarray, "n h w c"], Int16[np.ndarray, "n h w c"], int]:
        """The outputs a and b before a step of the schedule (uqdm.nested.process), for pictures of one size.

        Returns:
          a and b for the channels of the bands that take part, or of all that the network has, and the first of these
          channels.
        """
        own = step - self.section.range.start
        bands = range(self.config.bands) if every_band else self.bands[own]
        a, b = self.evaluation.references(self._seen(units), own, bands)
        return a, b, self.config.channel_range(bands)[0]

    def estimates(self, units: Int8[np.ndarray, "n h w C"], step: int) -> Int16[np.ndarray, "n h w C"]:
        """The output d after so many steps of the schedule; 0 for what the network does not have."""
        d = self.evaluation.estimates(self._seen(units), step - self.section.range.start)
        left_out = units.shape[-1] - d.shape[-1]
        return np.pad(d, ((0, 0), (0, 0), (0, 0), (0, left_out))) if left_out else d

    def _seen(self, units: Int8[np.ndarray, "n h w C"]) -> Int8[np.ndarray, "n h w c"]:
        """What the network has of the inputs."""
        return np.ascontiguousarray(units[..., : self.config.channels])
