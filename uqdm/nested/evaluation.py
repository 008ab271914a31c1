"""Asking the network of the nested process: pictures of any size, by a few programmes that are compiled once.

One programme per capacity (uqdm.exact.grids) evaluates the trunk, and one per capacity and band each of references and
estimates (uqdm.nested.integer_network). All steps share them: tables of all steps are arguments, and the step is a
number. Pictures are cut and put together here.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Float32, Int, Int8, Int16

from uqdm.exact.convolution import proven_convolution
from uqdm.exact.fixed_point import Parameters
from uqdm.exact.grids import Capacity, Cells, Piece, cells_of, laid_out, pieces, taken_back
from uqdm.exact.programs import Program, prepare, ready
from uqdm.nested import integer_network as integer
from uqdm.nested.context import channel_range
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import phase_classes

__all__ = ["Evaluation"]


class Evaluation:
    """A network, ready to be asked."""

    def __init__(
        self,
        config: NetworkConfig,
        integers: integer.IntegerArrays,
        parameters: Parameters,
        convolution: str | None = None,
    ):
        """Nothing is computed yet.

        Args:
          config: shape of the network.
          integers: the network in integers (uqdm.nested.integer_network).
          parameters: of the estimate's head.
          convolution: as for `uqdm.nested.model.NestedModel`.
        """
        self._config, self._integers, self._parameters = config, integers, parameters
        self._given_convolution = convolution
        self._weights: dict[tuple[str, int], integer.Weights] = {}

    @cached_property
    def _convolution(self) -> str:
        return self._given_convolution or proven_convolution()

    @property
    def _halo(self) -> int:
        """Blocks around one that its outputs depend on."""
        return 2 * self._config.blocks + 2

    def references(
        self, units: Int8[np.ndarray, "n h w C"], step: int, bands: range
    ) -> tuple[Int16[np.ndarray, "n h w c"], Int16[np.ndarray, "n h w c"]]:
        """Locations a and log2-scales b before a step, for the channels of neighbouring bands."""
        return self._outputs(("references", 2, np.int16), units, step, bands)

    def estimates(self, units: Int8[np.ndarray, "n h w C"], step: int) -> Float32[np.ndarray, "n h w C"]:
        """The third output d (uqdm.nested.process, Eq. 6)."""
        return self._outputs(("estimates", 1, np.float32), units, step, range(self._config.bands))[0]

    def _outputs(self, kind, units: np.ndarray, step: int, bands: range) -> tuple[np.ndarray, ...]:
        name, count, dtype = kind
        first, last = channel_range(bands)
        whole = tuple(np.empty((*units.shape[:3], last - first), dtype) for _ in range(count))
        classes, step_array = phase_classes(*units.shape[1:3]), np.asarray(step, np.int32)
        for piece in pieces(*units.shape[:3], self._halo):
            part = units[piece.grids, piece.rows, piece.columns]
            laid = jax.device_put(laid_out(part, piece.capacity))
            cells = jax.device_put(cells_of(piece.capacity, len(part), classes[piece.rows, piece.columns]))
            (hidden,) = self._program("trunk", 0, piece.capacity)(self._of("trunk", 0), step_array, laid, cells)
            given = []
            for band in bands:
                weights = (self._of("references", band), self._of("estimates", band))[:3 - count]
                given.append(self._program(name, band, piece.capacity)(*weights, step_array, laid, hidden, cells))
            for band, results in zip(bands, given, strict=True):
                channels = (end - first for end in channel_range(range(band, band + 1)))
                channels = slice(*channels)
                for array, result in zip(whole, results, strict=True):
                    back = taken_back(np.asarray(result), piece.capacity, *part.shape[:3])
                    array[piece.target][..., channels] = back[:, piece.inner_rows, piece.inner_columns]
        return whole

    def _of(self, kind: str, band: int) -> integer.Weights:
        key = kind, band
        if key not in self._weights:
            if kind == "trunk":
                w = integer.trunk_weights_of(self._config, self._integers, self._convolution)
            elif kind == "references":
                w = integer.band_weights_of(self._config, self._integers, self._convolution, band)
            else:
                w = integer.estimate_weights_of(self._config, self._parameters, self._convolution, band)
            self._weights[key] = jax.device_put(w)
        return self._weights[key]

    def _program(self, kind: str, band: int, capacity: Capacity):
        config = self._config
        units = jax.ShapeDtypeStruct((capacity.places, config.channels), np.int8)
        hidden = jax.ShapeDtypeStruct((capacity.places, config.width), np.uint8)
        cells = Cells(jax.ShapeDtypeStruct((capacity.places,), np.int8), *(jax.ShapeDtypeStruct((), np.int32),) * 2)
        step = jax.ShapeDtypeStruct((), np.int32)
        if kind == "trunk":
            return ready(Program(integer.trunk, (config, capacity, self._convolution), (self._of("trunk", 0), step, units, cells)))
        weights = (self._of("references", band), self._of("estimates", band))[: 1 + (kind == "estimates")]
        return ready(Program(getattr(integer, kind), (config, band, capacity, self._convolution), (*weights, step, units, hidden, cells)))
