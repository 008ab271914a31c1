"""Asking the network of the nested process: pictures of any size, by a few programmes that are compiled once.

One programme per capacity (uqdm.exact.grids) evaluates the trunk, and one per capacity and band each of references and
estimates (uqdm.nested.integer_network). All steps share them: tables of all steps are arguments, and the step is a
number. Pictures are cut and put together here.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int8, Int16

from uqdm.exact.convolution import proven_convolution
from uqdm.exact.grids import CAPACITIES, Capacity, Cells, Piece, cells_of, laid_out, pieces, taken_back
from uqdm.exact.programs import Program, prepare, ready
from uqdm.nested import integer_network as integer
from uqdm.nested.context import channel_range
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import phase_classes

__all__ = ["Evaluation"]

_SIZES = 4
"""Of grids, that are remembered."""

_LARGE = 512
"""Cells of capacities from which on bands are worth a thread."""


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="uqdm-bands")


class _Placed(NamedTuple):
    """A piece of grids and where its cells are."""

    piece: Piece
    cells: Cells


class _Trunk(NamedTuple):
    """What was asked last, and what the trunk gave."""

    units: np.ndarray
    step: int
    hidden: list[jax.Array]
    """Of every piece."""


class Evaluation:
    """A network, ready to be asked."""

    def __init__(self, config: NetworkConfig, integers: integer.IntegerArrays, convolution: str | None = None):
        """Nothing is computed yet.

        Args:
          config: shape of the network.
          integers: the network in integers, estimates included (uqdm.nested.integer_network).
          convolution: as for `uqdm.nested.model.NestedModel`.
        """
        self._config, self._integers, self._given_convolution = config, integers, convolution
        self._placed: dict[tuple[int, ...], list[_Placed]] = {}
        self._weights: dict[tuple[str, int], integer.Weights] = {}
        self._executables: dict[tuple, Callable[..., tuple]] = {}
        self._trunk: _Trunk | None = None

    def references(
        self, units: Int8[np.ndarray, "n h w C"], step: int, bands: range
    ) -> tuple[Int16[np.ndarray, "n h w c"], Int16[np.ndarray, "n h w c"]]:
        """Locations a and log2-scales b before a step, for the channels of neighbouring bands."""
        a, b = self._outputs("references", 2, units, step, bands)
        return a, b

    def estimates(self, units: Int8[np.ndarray, "n h w C"], step: int) -> Int16[np.ndarray, "n h w C"]:
        """The third output d (uqdm.nested.process, Eq. 6)."""
        return self._outputs("estimates", 1, units, step, range(self._config.bands))[0]

    def prepare(self, height: int, width: int) -> None:
        """Begins to load what references of a picture's grid take, in the background."""
        size = pieces(1, height, width, self._halo)
        prepare(self.program(*name, capacity) for capacity in {p.capacity for p in size} for name in self._names(1))

    def programs(self) -> list[Program]:
        """All programmes, for pictures of all sizes."""
        return [self.program(*name, capacity) for capacity in CAPACITIES for name in self._names(2)]

    def _names(self, outputs: int) -> list[tuple[str, int]]:
        """Kinds and bands of programmes: the trunk, and the first or both of the outputs."""
        kinds = ("references", "estimates")[:outputs]
        return [("trunk", 0), *((kind, band) for kind in kinds for band in range(self._config.bands))]

    def program(self, kind: str, band: int, capacity: Capacity) -> Program:
        """One of the programmes: the trunk's, or those of references or estimates of a band."""
        config, places = self._config, capacity.places
        step = jax.ShapeDtypeStruct((), np.int32)
        units = jax.ShapeDtypeStruct((places, config.channels), np.int8)
        hidden = jax.ShapeDtypeStruct((places, config.width), np.uint8)
        cells = Cells(jax.ShapeDtypeStruct((places,), np.int8), step, step)
        weights = self._weights_of(kind, band)
        if kind == "trunk":
            return Program(integer.trunk, (config, capacity, self._convolution), (weights, step, units, cells))
        function = integer.references if kind == "references" else integer.estimates
        statics = config, band, capacity, self._convolution
        return Program(function, statics, (weights, step, units, hidden, cells))

    @cached_property
    def _convolution(self) -> str:
        return self._given_convolution or proven_convolution()

    @property
    def _halo(self) -> int:
        """Blocks around one that its outputs depend on."""
        return 2 * self._config.blocks + 2

    def _outputs(self, kind: str, count: int, units: np.ndarray, step: int, bands: range) -> tuple[np.ndarray, ...]:
        first, last = channel_range(bands)
        whole = tuple(np.empty((*units.shape[:3], last - first), np.int16) for _ in range(count))
        number, placed = self._steps[step], self._placed_of(*units.shape[:3])
        laid = [
            jax.device_put(laid_out(units[piece.grids, piece.rows, piece.columns], piece.capacity))
            for piece, _ in placed
        ]
        hidden = self._hidden(units, step, placed, laid)
        for (piece, cells), part, features in zip(placed, laid, hidden, strict=True):
            given = self._of_bands(kind, bands, piece.capacity, number, part, features, cells)
            shape = (
                piece.grids.stop - piece.grids.start,
                piece.rows.stop - piece.rows.start,
                piece.columns.stop - piece.columns.start,
            )
            for band, results in zip(bands, given, strict=True):
                start, stop = channel_range(range(band, band + 1))
                for array, result in zip(whole, results, strict=True):
                    back = taken_back(np.asarray(result), piece.capacity, *shape)
                    array[piece.target][..., start - first : stop - first] = back[
                        :, piece.inner_rows, piece.inner_columns
                    ]
        return whole

    def _of_bands(self, kind: str, bands: range, capacity: Capacity, *arguments: Any) -> list[tuple]:
        """What the programmes of some bands give; of large grids, two at a time and the finest band first."""

        def ask(band: int) -> tuple:
            return self._call(kind, band, capacity)(*arguments)

        if capacity.cells < _LARGE:
            return [ask(band) for band in bands]
        return list(_workers().map(ask, reversed(bands)))[::-1]

    def _hidden(self, units: np.ndarray, step: int, placed: list[_Placed], laid: list[jax.Array]) -> list[jax.Array]:
        """What the trunk gives, remembered: estimates after a step and references of the next ask for the same."""
        last = self._trunk
        if last is None or last.step != step or not np.array_equal(last.units, units):
            number = self._steps[step]
            hidden = [
                self._call("trunk", 0, piece.capacity)(number, part, cells)[0]
                for (piece, cells), part in zip(placed, laid, strict=True)
            ]
            self._trunk = last = _Trunk(units.copy(), step, hidden)
        return last.hidden

    @cached_property
    def _steps(self) -> list[jax.Array]:
        return [jax.device_put(np.asarray(step, np.int32)) for step in range(self._config.steps + 1)]

    def _placed_of(self, grids: int, height: int, width: int) -> list[_Placed]:
        key = grids, height, width
        if key not in self._placed:
            if len(self._placed) == _SIZES:
                self._placed.pop(next(iter(self._placed)))
            classes = phase_classes(height, width)
            self._placed[key] = [
                _Placed(
                    piece,
                    jax.device_put(
                        cells_of(
                            piece.capacity,
                            piece.grids.stop - piece.grids.start,
                            classes[piece.rows, piece.columns],
                        )
                    ),
                )
                for piece in pieces(grids, height, width, self._halo)
            ]
        return self._placed[key]

    def _call(self, kind: str, band: int, capacity: Capacity) -> Callable[..., tuple]:
        """A programme with its weights."""
        key = kind, band, capacity, bool(jax.config.jax_disable_jit)
        if key not in self._executables:
            executable, weights = ready(self.program(kind, band, capacity)), self._weights_of(kind, band)

            def call(*arguments: Any) -> tuple:
                return executable(weights, *arguments)

            self._executables[key] = call
        return self._executables[key]

    def _weights_of(self, kind: str, band: int) -> integer.Weights:
        key = kind, band
        if key not in self._weights:
            if kind == "trunk":
                weights = integer.trunk_weights_of(self._config, self._integers, self._convolution)
            else:
                weights = integer.band_weights_of(self._config, self._integers, self._convolution, band, kind)
            self._weights[key] = jax.device_put(weights)
        return self._weights[key]
