"""A trained filter: what a model file holds of it, and its evaluation on pictures of any size.

A model file has, besides the model's own arrays (`preview/postfilter/` before each name, so that they are no part of
the model's identity),

    config      JSON: format, the shape of the network (uqdm.postfilter.config)
    filtered    uint8 (steps + 1,): after which steps previews are filtered
    ...         the network in integers (uqdm.postfilter.integers)

One programme per capacity of grids (uqdm.exact.grids) evaluates it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, UInt16

from uqdm import archive
from uqdm.exact.convolution import proven_convolution
from uqdm.exact.fixed_point import Parameters
from uqdm.exact.grids import CAPACITIES, FARTHEST, Capacity, Cells, laid_out, pieces, taken_back
from uqdm.exact.parts import concurrently, joined, placed
from uqdm.exact.programs import Program, ready
from uqdm.postfilter import config as configs
from uqdm.postfilter import integer_network as integer
from uqdm.postfilter.config import GREY, FilterConfig
from uqdm.postfilter.integers import CORRECTION_UNITS, check, from_parameters, to_parameters

__all__ = ["Postfilter"]

_FORMAT = 1
_CHUNK = 16
"""Cells that are worked on at once, at most: they have many positions."""
_MOST_CELLS = 2048
"""That are laid out at once: larger pictures go in tiles, since a cell takes tens of kilobytes in every thread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Postfilter:
    """A filter of previews.

    Attributes:
      arrays: its contents, by name (module docstring).
      convolution: as for `uqdm.nested.model.NestedModel`.
    """

    arrays: Mapping[str, np.ndarray]
    convolution: str | None = None

    @classmethod
    def from_training(cls, config: FilterConfig, parameters: Parameters, states: range) -> "Postfilter":
        """Computes the integers.

        Args:
          config: shape of the network.
          parameters: trained with rounding (uqdm.postfilter.train).
          states: steps after which previews are filtered.

        Raises:
          ValueError: sums could leave the range in which they are exact.
        """
        about = archive.pack_config({"format": _FORMAT, "network": configs.to_config(config)})
        filtered = np.isin(np.arange(config.steps + 1), states).astype(np.uint8)
        return cls(arrays={"config": about, "filtered": filtered, **from_parameters(config, parameters)})

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], steps: int, convolution: str | None = None
    ) -> "Postfilter | None":
        """Takes the contents of a file for a process of so many steps; None where there are none.

        Raises:
          ValueError: the format is unknown, the filter is for another number of steps, or it is not exact.
        """
        if not arrays:
            return None
        postfilter = cls(arrays=arrays, convolution=convolution)
        if (known := postfilter._about.get("format")) != _FORMAT:
            raise ValueError(f"filters of format {known} are unknown here (this program reads {_FORMAT})")
        filtered, wanted = arrays.get("filtered"), (steps + 1,)
        if filtered is None or filtered.shape != wanted or postfilter.config.steps != steps:
            raise ValueError(f"the filter is for another process than one of {steps} steps")
        check(postfilter.config, arrays)
        return postfilter

    def of_states(self, states: Int[np.ndarray, " t"]) -> "Postfilter":
        """The filter for another process, whose states are like these states of its own: (steps + 1,)."""
        config = replace(self.config, steps=len(states) - 1)
        about = archive.pack_config({"format": _FORMAT, "network": configs.to_config(config)})
        taken = {name: array[states] if array.ndim == 2 else array for name, array in self.arrays.items()}
        return Postfilter(
            arrays={**taken, "config": about, "filtered": self.arrays["filtered"][states]}, convolution=self.convolution
        )

    @property
    def parameters(self) -> Parameters:
        """Of the network, to train it further."""
        return to_parameters(self.config, self._network)

    @property
    def _about(self) -> dict[str, Any]:
        return archive.config_of(self.arrays)

    @cached_property
    def config(self) -> FilterConfig:
        """Shape of the network."""
        return configs.from_config(self._about["network"])

    @property
    def cell_side(self) -> int:
        """Sides of pictures are multiples of this."""
        return integer.cell_side(self.config)

    def filters(self, step: int) -> bool:
        """Whether previews after so many steps are filtered."""
        return bool(self.arrays["filtered"][step])

    def programs_of(self, height: int, width: int) -> list[Program]:
        """The programmes that a picture of so many pixels takes."""
        rows, columns = (-(-side // self.cell_side) for side in (height, width))
        capacities = {_of_chunks(piece.capacity) for piece in pieces(1, rows, columns, self._halo, _MOST_CELLS)}
        return [self.program(capacity) for capacity in capacities]

    def programs(self) -> list[Program]:
        """All programmes, for pictures of all sizes."""
        return [self.program(_of_chunks(capacity)) for capacity in CAPACITIES if capacity.cells <= _MOST_CELLS]

    def program(self, capacity: Capacity) -> Program:
        """The programme of a capacity."""
        side, places = self.cell_side // 2, capacity.places
        number = jax.ShapeDtypeStruct((), np.int32)
        part, around = (jax.ShapeDtypeStruct((count,), np.int32) for count in (2, FARTHEST + 1))
        cells = Cells(jax.ShapeDtypeStruct((places,), np.int8), number, number, part, around)
        shown = jax.ShapeDtypeStruct((places, side, 12 * side), np.int8)
        statics = self.config, capacity, self._convolution
        return Program(integer.correction, statics, (self._weights, number, shown, cells))

    def __call__(self, pixels: UInt16[np.ndarray, "H W 3"], step: int) -> UInt16[np.ndarray, "H W 3"]:
        """The filtered picture.

        Args:
          pixels: what is shown after so many steps, in units of 1/256 of a pixel value, at most 255 of these
            (uqdm.transforms.integer_wavelet); sides are multiples of `cell_side`.
          step: complete steps.
        """
        cell = self.cell_side
        rows, columns = (side // cell for side in pixels.shape[:2])
        shown = (((pixels + np.uint16(128)) >> 8).astype(np.int16) - GREY).astype(np.int8)
        # Cells, inside of them positions, inside of these 2 x 2 pixels.
        half = cell // 2
        laid = shown.reshape(rows, half, 2, columns, half, 2, 3).transpose(0, 3, 1, 4, 2, 5, 6)
        corrections = self._evaluated(laid.reshape(1, rows, columns, half, 12 * half), step)
        corrections = corrections.reshape(rows, columns, half, half, 2, 2, 3).transpose(0, 2, 4, 1, 3, 5, 6)
        filtered = pixels.astype(np.int32) + corrections.reshape(pixels.shape)
        return np.clip(filtered, 0, 255 * CORRECTION_UNITS).astype(np.uint16)

    def _evaluated(self, shown: np.ndarray, step: int) -> np.ndarray:
        corrections, number = np.empty(shown.shape[1:], np.int16), np.asarray(step, np.int32)
        for own in placed(1, np.zeros(shown.shape[1:3], np.int8), self._halo, chunk=_CHUNK, most_cells=_MOST_CELLS):
            piece, weights, program = own.piece, self._on_device, ready(self.program(own.capacity))
            laid = jax.device_put(laid_out(shown[piece.grids, piece.rows, piece.columns], own.capacity))

            def ask(cells: Cells, laid=laid, weights=weights, program=program) -> np.ndarray:
                return np.asarray(program(weights, number, laid, cells)[0])

            result = joined(concurrently(ask, own.parts), own.places)
            (back,) = taken_back(result, own.capacity, *own.shape)
            corrections[piece.target[1:]] = back[piece.inner_rows, piece.inner_columns]
        return corrections

    @property
    def _halo(self) -> int:
        """Cells around one that its corrections depend on."""
        return -(-integer.reach_pixels(self.config) // self.cell_side)

    @cached_property
    def _convolution(self) -> str:
        return self.convolution or proven_convolution()

    @cached_property
    def _weights(self) -> integer.Weights:
        return integer.weights_of(self.config, self._network, self._convolution)

    @property
    def _network(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.arrays.items() if name not in ("config", "filtered")}

    @cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self._weights)


def _of_chunks(capacity: Capacity) -> Capacity:
    return capacity._replace(chunk=min(_CHUNK, capacity.chunk))
