"""A model of the nested process: schedule and weights in one file, and the functions that codecs call.

The file (uqdm.archive) has

    config         JSON: format, name, block, finest_width, phases, threshold, network
    prior_std      float32 (C,)
    table/...      uint16: the split tables (channel_sim.split_tables)
    level/...      int64: the integers of every level (uqdm.nested.process)
    slope/...      uint8, not in all files: by what steps are ordered (uqdm.nested.slopes)
    integer/..., scale/..., weight/...
                   the network (uqdm.nested.stored_network)
    opening/...    the network of the opening likewise, if there is one (uqdm.nested.schedule); config then has
                   opening = {levels, network}
    preview/trust  float32 (steps + 1,), not in all files: weights of fresh estimates (uqdm.nested.preview_weights)
    preview/postfilter/...   not in all files: the filter of previews (uqdm.postfilter.postfilter)

and of latents (uqdm.nested.source), whose config has process = "nested latents", factor, autoencoder (its identity),

    latent/matrix, latent/mean      float32 (C, C), (C,): A and m
    autoencoder/...                 the autoencoder (uqdm.transforms.autoencoder); without it, it is a *coder*

and the model id is the identity of them all but the last. What a stream means is decided by config, prior_std, table/,
level/, slope/, integer/ and opening/integer/ alone; the rest shapes previews.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int8, Int16, Int32, UInt8

from channel_sim.split_tables import SplitTables
from uqdm import archive
from uqdm.exact.fixed_point import Parameters
from uqdm.exact.parts import concurrently
from uqdm.exact.programs import Program, prepare
from uqdm.nested import network_config as networks
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.preview import mean_estimate, shown_state
from uqdm.nested.process import TICKS, LevelTables
from uqdm.nested.schedule import Schedule, block_classes
from uqdm.nested.slopes import Slopes
from uqdm.nested.source import Coordinates, Latent, Source, Wavelet
from uqdm.nested.state import NestedCode, NestedState
from uqdm.nested.stored_network import StoredNetwork, packed
from uqdm.postfilter.postfilter import Postfilter
from uqdm.transforms.autoencoder import Autoencoder
from uqdm.transforms.integer_wavelet import exact_of, ticks_of

__all__ = ["OPENING", "NestedModel", "format_of"]

_FORMAT, _FORMAT_OF_OPENINGS, _FORMAT_OF_SLOPES = 2, 3, 4
OPENING, _SLOPE = "opening/", "slope/"
_POSTFILTER = "preview/postfilter/"
_PIECE = 2**18
"""Coefficients that are worked on at a time."""


def format_of(config: Mapping[str, Any], arrays: Iterable[str]) -> int:
    """The least format of model files that has what there is, by its configuration and the names of its arrays."""
    if any(name.startswith(_SLOPE) for name in arrays):
        return _FORMAT_OF_SLOPES
    return _FORMAT_OF_OPENINGS if "opening" in config else _FORMAT


@dataclass(frozen=True, kw_only=True, eq=False)
class NestedModel(archive.Contents):
    """Everything that sender and receiver must share: the contents of a model file.

    Attributes:
      arrays: the contents, by name (module docstring).
      convolution: how the integer network convolves (uqdm.exact.convolution.CONVOLUTIONS); all exact ways give the
        same. By default the fastest one that is proven exact here.
    """

    convolution: str | None = None

    @classmethod
    def from_training(
        cls, *, schedule: Schedule, network: NetworkConfig, parameters: Parameters, name: str = "unnamed"
    ) -> "NestedModel":
        """Rounds trained parameters to what a file can hold, and computes the integers.

        Raises:
          ValueError: sums of the integer network could leave the range in which they are exact.
        """
        slopes = {_SLOPE + name: table for name, table in Slopes.logistic().to_arrays().items()}
        config = {
            "format": format_of({}, slopes),
            "name": name,
            "block": schedule.block,
            "finest_width": schedule.finest_width,
            "phases": [list(pair) for pair in schedule.phases],
            "threshold": schedule.threshold,
            "network": networks.to_config(network),
        }
        arrays = {
            "config": archive.pack_config(config),
            "prior_std": np.asarray(schedule.prior_std, np.float32),
            **slopes,
        }
        arrays |= {f"table/{name}": table for name, table in SplitTables.logistic().to_arrays().items()}
        arrays |= {f"level/{name}": table for name, table in LevelTables.of_schedule(schedule).to_arrays().items()}
        arrays |= packed(network, parameters)
        return cls(arrays=arrays)

    def with_network(self, network: NetworkConfig, parameters: Parameters, name: str) -> "NestedModel":
        """The same schedule and opening, with another (last) network; what shapes previews is left out.

        Raises:
          ValueError: the network does not fit, or it is not exact.
        """
        config = {**self.config, "name": name, "network": networks.to_config(network)}
        left_out = ("integer/", "scale/", "weight/", "preview/")
        own = {key: array for key, array in self.arrays.items() if not key.startswith(left_out)}
        return self.from_arrays({**own, **packed(network, parameters), "config": archive.pack_config(config)})

    @cached_property
    def schedule(self) -> Schedule:
        """What is sent when."""
        given = {name: self.config[name] for name in ("block", "finest_width", "phases", "threshold")}
        given |= {"prior_std": self.arrays["prior_std"].tolist(), "colours": self.network.colours}
        given |= {"opening": self._opening["levels"] if self._opening else 0}
        return archive.record(Schedule, given)

    @cached_property
    def source(self) -> Source:
        """Which numbers a picture is sent as.

        Raises:
          ValueError: it is the latent of an autoencoder that the file has not.
        """
        width = self.schedule.finest_width
        if self.family == "nested":
            return Wavelet(self.schedule.block, width)
        if not archive.under("autoencoder/", self.arrays):
            raise ValueError(f"{self.name} lacks the autoencoder of its latents: uqdm import-autoencoder joins them")
        return Latent(Autoencoder.within(self.arrays).latents, self._coordinates, width)

    @property
    def _coordinates(self) -> Coordinates:
        return Coordinates(self.arrays["latent/matrix"], self.arrays["latent/mean"])

    @cached_property
    def network(self) -> NetworkConfig:
        """Shape of the network."""
        return networks.from_config(self.config["network"])

    @property
    def _opening(self) -> dict[str, Any] | None:
        """Levels and shape of the network of the opening, if there is one."""
        return self.config.get("opening")

    @cached_property
    def networks(self) -> tuple[StoredNetwork, ...]:
        """Of all sections of the schedule, in their order."""
        stored = [(self.network, self.arrays)]
        if self._opening:
            opening = networks.from_config(self._opening["network"])
            stored.insert(0, (opening, archive.under(OPENING, self.arrays)))
        return tuple(
            StoredNetwork(section=section, config=config, arrays=arrays, convolution=self.convolution)
            for section, (config, arrays) in zip(self.schedule.sections, stored, strict=True)
        )

    def network_of(self, step: int) -> StoredNetwork:
        """The network that knows of the state after so many steps."""
        return next((one for one in self.networks if step < one.section.range.stop), self.networks[-1])

    @cached_property
    def levels(self) -> LevelTables:
        """The integers of every level."""
        return LevelTables(**archive.under("level/", self.arrays))

    @cached_property
    def tables(self) -> SplitTables:
        """Integer probabilities of the reference distributions."""
        return SplitTables.from_arrays(**archive.under("table/", self.arrays))

    @cached_property
    def slopes(self) -> Slopes | None:
        """By what splitting steps are ordered, if by anything.

        Raises:
          ValueError: a table is missing or has another shape.
        """
        tables = archive.under(_SLOPE, self.arrays)
        if tables and tables.keys() != {"zero", "first"}:
            raise ValueError(f"the model must have slope/zero and slope/first, got {', '.join(tables)}")
        return Slopes(**tables) if tables else None

    def with_slopes(self, slopes: Slopes | None) -> "NestedModel":
        """The same model, which sends steps in another order: its streams are others, and so is its id."""
        own = {name: array for name, array in self.arrays.items() if not name.startswith(_SLOPE)}
        own |= {_SLOPE + name: table for name, table in (slopes.to_arrays() if slopes else {}).items()}
        config = archive.pack_config({**self.config, "format": format_of(self.config, own)})
        return replace(self.from_arrays({**own, "config": config}), convolution=self.convolution)

    @property
    def parameters(self) -> Parameters:
        """Weights of the (last) network, kernels on their 8-bit grid."""
        return self.networks[-1].parameters

    @property
    def integers(self) -> dict[str, np.ndarray]:
        """The (last) network in integers."""
        return self.networks[-1].integers

    @property
    def preview_weights(self) -> Float[np.ndarray, " t"]:
        """c_0, ..., c_T of uqdm.nested.preview_weights, Eq. 1: (steps + 1,) in [0, 1]; 1 where there are none."""
        return self.arrays.get("preview/trust", np.ones(self.steps + 1, np.float32))

    def with_preview_weights(self, weights: Float[np.ndarray, " t"]) -> "NestedModel":
        """The same model, which shows streams differently.

        Raises:
          ValueError: weights is not (steps + 1,) numbers in [0, 1].
        """
        changed = self.from_arrays({**self.arrays, "preview/trust": np.asarray(weights, np.float32)})
        return replace(changed, convolution=self.convolution)

    @cached_property
    def postfilter(self) -> Postfilter | None:
        """What filters previews, if there is something that does.

        Raises:
          ValueError: what the file has is no filter for this model.
        """
        postfilter = Postfilter.from_arrays(archive.under(_POSTFILTER, self.arrays), self.steps, self.convolution)
        if postfilter and (self.family != "nested" or self.schedule.block % postfilter.cell_side):
            raise ValueError(f"the filter is for pictures in blocks of {postfilter.cell_side} pixels, or parts of such")
        return postfilter

    def with_postfilter(self, postfilter: Postfilter | None) -> "NestedModel":
        """The same model, which shows streams differently.

        Raises:
          ValueError: the filter is for another kind of model.
        """
        own = {name: array for name, array in self.arrays.items() if not name.startswith(_POSTFILTER)}
        filters = {_POSTFILTER + name: array for name, array in (postfilter.arrays if postfilter else {}).items()}
        return replace(self.from_arrays({**own, **filters}), convolution=self.convolution)

    @property
    def block(self) -> int:
        """Side of the blocks in pixels."""
        return self.source.block_pixels

    @property
    def steps(self) -> int:
        return len(self.schedule.steps)

    @property
    def times(self) -> tuple[float, ...]:
        """t before the first step and after each (uqdm.nested.schedule)."""
        return self.schedule.times

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "NestedModel":
        """Takes the contents of a file.

        Raises:
          ValueError: the format is unknown, the integer network or the filter is not exact, parts do not fit each
            other, or weights of previews are none.
        """
        model = cls(arrays=arrays)
        if (known := model.config.get("format")) != (wanted := format_of(model.config, arrays)):
            raise ValueError(f"model format {known} is unknown here (this program reads {wanted})")
        for network in model.networks:
            network.check()
        if (
            model.preview_weights.shape != (model.steps + 1,)
            or not ((model.preview_weights >= 0) & (model.preview_weights <= 1)).all()
        ):
            raise ValueError(f"preview/trust must be {model.steps + 1} numbers in [0, 1]")
        if model.family != "nested":
            matrix, mean = model._coordinates
            channels = model.network.channels
            if matrix.shape != (channels, channels) or mean.shape != (channels,):
                raise ValueError(f"latent/matrix and latent/mean are not of {channels} channels")
            if not np.isfinite(matrix).all() or not np.isfinite(mean).all() or np.linalg.cond(matrix) > 1e6:
                raise ValueError("latent/matrix has no inverse that could be computed with")
            if archive.under("autoencoder/", arrays):
                _ = model.source  # checked where it is read
        model._check_parts()
        return model

    def _check_parts(self) -> None:
        """Levels, tables, and what previews need."""
        wanted = len(self.schedule.phases) + 1, self.schedule.channels
        for name, table in self.levels.to_arrays().items():
            if table.dtype != np.int64 or table.shape != wanted or np.abs(table.astype(float)).max() >= 2**53:
                raise ValueError(f"level/{name} must be integers {wanted}")
        if not all(np.isfinite(array).all() for array in self.arrays.values() if array.dtype.kind == "f"):
            raise ValueError("not all numbers of the model are finite")
        _ = self.tables, self.slopes, self.postfilter  # checked where they are read

    @classmethod
    def from_bytes(cls, data: bytes) -> "NestedModel":
        """Reads the file.

        Raises:
          ValueError: it is no model file, or as `from_arrays`.
        """
        return cls.from_arrays(archive.from_bytes(data))

    @property
    def family(self) -> str:
        """That of pictures, or of latents."""
        return self.config.get("process", "nested")

    @cached_property
    def code(self) -> NestedCode:
        """What decides what symbols mean."""
        return NestedCode(self.schedule, self.levels, self.tables, self.source, self.slopes)

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> NestedState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        self.prepare(height, width, shown=picture is None, compiled=False)
        return NestedState(self.code, height, width, seed, picture)

    def prepare(self, height: int, width: int, *, shown: bool, compiled: bool) -> None:
        """Begins to make ready what pictures of a size take, in the background (uqdm.contract.PreparedModel)."""
        grid = self.source.grid(height, width)
        coded = [program for network in self.networks for program in network.evaluation.programs_of(*grid)]
        filtered = self.postfilter.programs_of(height, width) if self.postfilter and shown else []
        # The filter is asked for last, but takes longest to compile.
        prepare([*filtered, *coded] if compiled else [*coded, *filtered], compiled=compiled)

    def programs(self) -> list[Program]:
        """What is compiled for pictures of all sizes; a programme that is ready is never compiled again."""
        own = [program for network in self.networks for program in network.evaluation.programs()]
        return [*own, *(self.postfilter.programs() if self.postfilter else ())]

    def expect(self, states: Sequence[NestedState], step: int) -> None:
        """Tells states of pictures of one size their references, asking the network about all at once.

        A halving step needs none: it is coded under the references that its coefficients had in their step.
        """
        if self.schedule.steps[step].halving:
            return
        units = np.stack([state.units.reshape(state.grid.shape) for state in states])
        a, b, first = self.reference(units, step)
        for state, own_a, own_b in zip(states, a, b, strict=True):
            state.take_references(step, own_a, own_b, first)

    def picture(self, state: NestedState, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised and filtered: uint8 (H, W, 3)."""
        height, width = state.size
        shown, shown_step = shown_state(state, step)
        if state.filtered and self.postfilter and self.postfilter.filters(shown_step):
            estimate = self._filtered(self.postfilter, shown, shown_step).copy()
            state.move_into_cells(estimate, step)
        else:
            estimate = mean_estimate(self, state, step)
        return self.pixels(estimate)[:height, :width]

    def _filtered(self, postfilter: Postfilter, state: NestedState, step: int) -> np.ndarray:
        """What the filter makes of what is known of a state, not yet moved into the cells, in ticks."""
        if not state.partly_known and state.estimates.filtered is not None:
            return state.estimates.filtered
        block, finest_width = self.schedule.block, self.schedule.finest_width
        exact = exact_of(2 * mean_estimate(self, state, step), block, finest_width)
        filtered = ticks_of(postfilter(exact, step), block, finest_width)
        if not state.partly_known:  # what is remembered is of complete steps: it may be shown again (held steps)
            state.estimates.filtered = filtered
        return filtered

    def reference(
        self, units: Int8[np.ndarray, "n h w C"], step: int
    ) -> tuple[Int16[np.ndarray, "n h w c"], Int16[np.ndarray, "n h w c"], int]:
        """The network's outputs a and b before a step (uqdm.nested.process), for pictures of one size.

        Returns:
          a and b for the channels of the bands that take part, and the first of these channels.
        """
        return self.network_of(step).references(units, step)

    def log_scales(self, state: NestedState, step: int) -> Float32[np.ndarray, "h w C"]:
        """What the network says of the uncertainty of all coefficients of a state, whether the step sends them or not.

        Natural logarithms of the scales of references (uqdm.nested.process, Eq. 5), in pixel values.
        """
        units = state.units.reshape(state.grid.shape)
        _, known, _ = self.network_of(step).references(units[None], step, every_band=True)
        b = np.zeros((1, *units.shape), np.int16)
        b[..., : known.shape[-1]] = known
        table, tick = self.levels.log2_scale, self.schedule.finest_width / TICKS
        level = np.minimum(state.levels(step).reshape(units.shape), len(table) - 1)
        log2_ticks = (b[0] + table[level, np.arange(units.shape[-1])]).astype(np.float32) / 64
        return (np.log(2) * log2_ticks + np.log(tick)).astype(np.float32)

    def estimate(
        self,
        units: Int8[np.ndarray, "h w C"],
        midpoint: Int[np.ndarray, "h w C"],
        shift: Int[np.ndarray, "h w C"],
        step: int,
    ) -> Int32[np.ndarray, "h w C"]:
        """Denoised coefficients of a state in ticks, clipped to their cells (uqdm.nested.process, Eq. 6).

        Args:
          units: the network's input.
          midpoint: twice the midpoint of every cell in ticks, relative to the shift; 0 where nothing was sent.
          shift: o in ticks.
          step: how many steps are behind us.
        """
        d, classes = self.network_of(step).estimates(units[None], step)[0], block_classes(*units.shape[:2])
        levels = self.schedule.levels.zero[step], self.schedule.levels.other[step]
        estimate, rows = np.empty(units.shape, np.int32), max(1, _PIECE // units[0].size)

        def fill(start: int) -> None:
            part = slice(start, start + rows)
            estimate[part] = self.levels.estimate(levels, classes[part], midpoint[part], shift[part], d[part])

        concurrently(fill, range(0, len(units), rows))  # a few rows at a time, so that memory stays bounded
        return estimate

    def pixels(self, coefficients: Int32[np.ndarray, "h w C"]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of coefficients in ticks, still extended to whole blocks."""
        return self.source.pixels(coefficients)
