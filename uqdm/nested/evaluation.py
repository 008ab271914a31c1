"""Asking the network of the nested process: pictures of any size, by a few programmes that are compiled once.

One programme per capacity (uqdm.exact.grids) evaluates the trunk, and one per capacity and band the outputs
(uqdm.nested.integer_network). References, estimates and all steps share them: weights and tables of all steps are
arguments, and the step is a number. Pictures are cut and put together here.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int8, Int16

from uqdm.exact.convolution import proven_convolution
from uqdm.exact.grids import CAPACITIES, FARTHEST, Capacity, Cells, laid_out, pieces, taken_back
from uqdm.exact.parts import Placed, concurrently, joined, placed
from uqdm.exact.programs import Program, ready
from uqdm.nested import integer_network as integer
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.network_integers import IntegerArrays
from uqdm.nested.schedule import block_classes

__all__ = ["Evaluation"]

_SIZES = 4
_PLACED_LOCK = threading.Lock()
"""Of grids, that are remembered."""


class _Trunk(NamedTuple):
    """What was asked last, and what the trunk gave."""

    units: np.ndarray
    step: int
    hidden: list[list[jax.Array | None]]
    """Of every piece and part."""


class Evaluation:
    """A network, ready to be asked."""

    def __init__(self, config: NetworkConfig, integers: IntegerArrays, convolution: str | None = None):
        """Nothing is computed yet.

        Args:
          config: shape of the network.
          integers: the network in integers, estimates included (uqdm.nested.network_integers).
          convolution: as for `uqdm.nested.model.NestedModel`.
        """
        self._config, self._integers, self._given_convolution = config, integers, convolution
        self._placed: dict[tuple[int, ...], list[Placed]] = {}
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

    def programs_of(self, height: int, width: int) -> list[Program]:
        """The programmes that a picture's grid takes."""
        capacities = {piece.capacity for piece in pieces(1, height, width, self._halo)}
        return [self.program(*name, capacity) for name in self._names for capacity in capacities]

    def programs(self) -> list[Program]:
        """All programmes, for pictures of all sizes."""
        return [self.program(*name, capacity) for capacity in CAPACITIES for name in self._names]

    @property
    def _names(self) -> list[tuple[str, int]]:
        """Of all programmes, a kind and a band that they are for: the trunk, and outputs."""
        return [("trunk", 0), *(("references", band) for band in range(self._config.bands))]

    def program(self, kind: str, band: int, capacity: Capacity) -> Program:
        """The programme of the trunk, or of references or estimates of a band, which share one."""
        config, places = self._config, capacity.places
        step = jax.ShapeDtypeStruct((), np.int32)
        units = jax.ShapeDtypeStruct((places, config.channels), np.int8)
        hidden = jax.ShapeDtypeStruct((places, config.width), np.uint8)
        part, around = (jax.ShapeDtypeStruct((count,), np.int32) for count in (2, FARTHEST + 1))
        cells = Cells(jax.ShapeDtypeStruct((places,), np.int8), step, step, part, around)
        weights = self._weights_of(kind, band)
        if kind == "trunk":
            return Program(integer.trunk, (config, capacity, self._convolution), (weights, step, units, cells))
        statics = config, band, capacity, self._convolution
        return Program(integer.outputs, statics, (weights, step, units, hidden, cells))

    @cached_property
    def _convolution(self) -> str:
        return self._given_convolution or proven_convolution()

    @property
    def _halo(self) -> int:
        """Blocks around one that its outputs depend on."""
        return 2 * self._config.blocks + 2

    def _outputs(self, kind: str, count: int, units: np.ndarray, step: int, bands: range) -> tuple[np.ndarray, ...]:
        first, last = self._config.channel_range(bands)
        whole = tuple(np.empty((*units.shape[:3], last - first), np.int16) for _ in range(count))
        all_placed = self._placed_of(*units.shape[:3])
        for own, hidden in zip(all_placed, self._hidden(units, step, all_placed), strict=True):
            piece = own.piece
            laid = jax.device_put(laid_out(units[piece.grids, piece.rows, piece.columns], piece.capacity))
            given = self._of_parts(kind, bands, own, step, laid, hidden)
            for band, results in zip(bands, given, strict=True):
                start, stop = self._config.channel_range(range(band, band + 1))
                for array, result in zip(whole, results, strict=False):  # of estimates the first alone has a meaning
                    back = taken_back(result, piece.capacity, *own.shape)
                    array[piece.target][..., start - first : stop - first] = back[
                        :, piece.inner_rows, piece.inner_columns
                    ]
        return whole

    def _of_parts(
        self, kind: str, bands: range, own: Placed, step: int, laid: jax.Array, hidden: list[jax.Array | None]
    ) -> list[list[np.ndarray]]:
        """What the programmes of some bands give for a piece; fills in what the trunk gives where that is missing."""
        number, capacity = self._steps[step], own.capacity
        self._load([("trunk", 0), *((kind, band) for band in bands)], capacity)

        def ask(part: int) -> list[list[np.ndarray]]:
            cells, features = own.parts[part], hidden[part]
            if features is None:
                (features,) = self._call("trunk", 0, capacity)(number, laid, cells)
                hidden[part] = features
            given = [self._call(kind, band, capacity)(number, laid, features, cells) for band in bands]
            return [[np.asarray(result) for result in results] for results in given]

        given = concurrently(ask, range(len(own.parts)))
        return [
            [joined([part[band][output] for part in given], own.places) for output in range(len(given[0][band]))]
            for band in range(len(bands))
        ]

    def _load(self, names: Sequence[tuple[str, int]], capacity: Capacity) -> None:
        """Makes programmes ready, several at a time where some are not."""
        missing = [(kind, band) for kind, band in names if self._key(kind, band, capacity) not in self._executables]
        if len(missing) > 1:
            concurrently(lambda name: self._call(name[0], name[1], capacity), missing)

    def _hidden(self, units: np.ndarray, step: int, all_placed: list[Placed]) -> list[list[jax.Array | None]]:
        """What the trunk gives, remembered: estimates after a step and references of the next ask for the same."""
        last = self._trunk
        if last is None or last.step != step or not np.array_equal(last.units, units):
            self._trunk = last = _Trunk(units.copy(), step, [[None] * len(own.parts) for own in all_placed])
        return last.hidden

    @cached_property
    def _steps(self) -> list[jax.Array]:
        return [jax.device_put(np.asarray(step, np.int32)) for step in range(self._config.steps + 1)]

    def _placed_of(self, grids: int, height: int, width: int) -> list[Placed]:
        key = grids, height, width
        found = self._placed.get(key)
        if found is None:
            found = placed(grids, block_classes(height, width, self._config.classes), self._halo)
            with _PLACED_LOCK:  # threads share models
                while len(self._placed) >= _SIZES:
                    self._placed.pop(next(iter(self._placed)))
                self._placed[key] = found
        return found

    def _call(self, kind: str, band: int, capacity: Capacity) -> Callable[..., tuple]:
        """A programme with its weights."""
        key = self._key(kind, band, capacity)
        if key not in self._executables:
            executable, weights = ready(self.program(kind, band, capacity)), self._weights_of(kind, band)

            def call(*arguments: Any) -> tuple:
                return executable(weights, *arguments)

            self._executables[key] = call
        return self._executables[key]

    @staticmethod
    def _key(kind: str, band: int, capacity: Capacity) -> tuple:
        return kind, band, capacity, bool(jax.config.jax_disable_jit)

    def _weights_of(self, kind: str, band: int) -> integer.Weights:
        key = kind, band
        if key not in self._weights:
            if kind == "trunk":
                weights = integer.trunk_weights_of(self._config, self._integers, self._convolution)
            else:
                weights = integer.band_weights_of(self._config, self._integers, self._convolution, band, kind)
            self._weights[key] = jax.device_put(weights)
        return self._weights[key]
