"""A model of transform coding: networks and tables in one file, and the functions that codecs call.

The file (uqdm.archive) has

    config        JSON: format, process, name, network (uqdm.transform_coding.config)
    integer/...   the hyper-synthesis in integers (uqdm.transform_coding.hyper_integers)
    table/...     uint16: the split tables (channel_sim.split_tables)
    prior         uint16 (Z, 63): tables of hyper-latents
    weight/...    float16: parameters of all networks (uqdm.transform_coding.network, .denoiser)

and what a stream means is decided by config, integer/, table/ and prior alone. Analysis and synthesis are in floating
point: a picture's stream may differ between machines by latents that are near the end of a cell, and what a stream
shows by the last bit of a pixel; what its bytes mean is the same everywhere.

A model without a diffusion decoder is of the family "transform coding", one that has one of "conditional diffusion".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from channel_sim.split_tables import SplitTables
from uqdm import archive
from uqdm.exact.convolution import proven_convolution
from uqdm.exact.programs import Program, run
from uqdm.exact.tiles import in_tiles
from uqdm.transform_coding import denoiser, network
from uqdm.transform_coding import hyper_integers as integers
from uqdm.transform_coding.config import BLOCK, PHASES, TransformConfig, from_config, groups_of, to_config
from uqdm.transform_coding.layers import Parameters
from uqdm.transform_coding.state import Source, TransformCode, TransformState
from uqdm.transforms.folding import fold, unfold

__all__ = ["TransformModel"]

_FORMAT = 1
_SIDES = (8, 16, 32, 64)
"""Of tiles, in places of the grid that is evaluated."""


def _analysed(config: TransformConfig, parameters: Parameters, pixels: Any, inside: Any) -> tuple[Any, Any]:
    """Latents and hyper-latents of a tile of places, folded to the grid of hyper-latents."""
    x = unfold(pixels[None], 2 * BLOCK)
    y = network.analysis(config, parameters, x, inside)
    return fold(y, 2)[0], network.hyper_analysis(config, parameters, y, inside)[0]


def _synthesised(config: TransformConfig, parameters: Parameters, y: Any, inside: Any) -> tuple[Any, Any]:
    """Pixels of a tile of blocks, folded, and the features of f_s."""
    features = network.trunk(config, parameters, y[None], inside)
    return fold(network.synthesis(config, parameters, y[None], inside), BLOCK)[0], features[0]


def _predicted(config: TransformConfig, parameters: Parameters, given: Any, t: Any, inside: Any) -> tuple[Any]:
    """r' of a tile of blocks, folded, from r_t, m and features side by side."""
    assert config.denoiser is not None
    pixels = 3 * BLOCK**2
    noisy, mean = (unfold(part, BLOCK) for part in (given[None, ..., :pixels], given[None, ..., pixels : 2 * pixels]))
    features = given[None, ..., 2 * pixels :]
    return (fold(denoiser.predict(config.denoiser, parameters, noisy, mean, features, t, inside), BLOCK)[0],)


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformModel(archive.Contents):
    """Contents of a file, and what is computed from them (uqdm.contract.Model).

    Attributes:
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`; None for the fastest that is exact here.
    """

    convolution: str | None = None

    @classmethod
    def from_training(cls, *, network: TransformConfig, parameters: Parameters, name: str) -> "TransformModel":
        """Rounds trained parameters to what a file holds.

        Raises:
          ValueError: the hyper-synthesis is not exact in integers.
        """
        process = "transform coding" if network.denoiser is None else "conditional diffusion"
        config = {"format": _FORMAT, "process": process, "name": name, "network": to_config(network)}
        arrays = {"config": archive.pack_config(config), "prior": integers.prior_frequencies(parameters["prior"])}
        found = integers.from_parameters(network, parameters["hyper_synthesis"])
        arrays |= {f"integer/{part}": array for part, array in found.items()}
        arrays |= {f"table/{part}": array for part, array in SplitTables.logistic().to_arrays().items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
            arrays["weight/" + "/".join(str(part.key) for part in path)] = np.asarray(leaf, np.float16)
        return cls.from_arrays(arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "TransformModel":
        """Takes the contents of a file.

        Raises:
          ValueError: the format is unknown, the hyper-synthesis is not exact, or weights do not fit the networks.
        """
        model = cls(arrays=arrays)
        if (known := model.config.get("format")) != _FORMAT:
            raise ValueError(f"model format {known} is unknown here (this program reads {_FORMAT})")
        integers.check(model.network, archive.under("integer/", arrays))
        if len(model.code.hyper_table.frequencies) != model.network.hyper_latents:
            raise ValueError(f"there must be tables of {model.network.hyper_latents} hyper-latents")
        _ = model.parameters  # checked where they are read
        return model

    @cached_property
    def network(self) -> TransformConfig:
        """Shapes of the networks."""
        return from_config(self.config["network"])

    @cached_property
    def parameters(self) -> Parameters:
        """Of all networks, float32."""
        basis = np.zeros((3 * BLOCK**2, self.network.latents), np.float32)

        def fresh(key: Any) -> Parameters:
            parameters = network.init(self.network, basis, key)
            if (config := self.network.denoiser) is not None:
                parameters["denoiser"] = denoiser.init(config, self.network.width, key)
            return parameters

        return archive.parameters(archive.under("weight/", self.arrays), jax.eval_shape(fresh, jax.random.key(0)))

    @property
    def family(self) -> str:
        """That of the process."""
        return "transform coding" if self.network.denoiser is None else "conditional diffusion"

    @property
    def steps(self) -> int:
        """One for hyper-latents, one for each group of latents."""
        return 1 + len(groups_of(self.network.latents))

    @cached_property
    def code(self) -> TransformCode:
        """What decides what symbols mean."""
        return TransformCode(
            groups=groups_of(self.network.latents),
            universal=self.network.universal,
            tables=SplitTables.from_arrays(**archive.under("table/", self.arrays)),
            hyper_table=integers.hyper_table(self.arrays["prior"]),
            analyse=self.analyse,
        )

    @cached_property
    def _rows(self) -> dict[str, Any]:
        return integers.rows_of(archive.under("integer/", self.arrays))

    @cached_property
    def _placed(self) -> dict[str, Parameters]:
        """Parameters on the default device: of the transforms, and of the denoiser."""
        parameters = dict(self.parameters)
        own = parameters.pop("denoiser", {})
        used = {name: parameters[name] for name in ("analysis", "synthesis", "transform", "inverse", "hyper_analysis")}
        return jax.device_put({"transforms": used, "denoiser": own})

    def programs(self) -> list[Program]:
        """What decides the meaning of streams, as it is compiled for pictures of all sizes."""
        shapes = [(side, side) for side in _SIDES]
        tiles = [(np.zeros((*shape, self.network.hyper_latents), np.int8), np.zeros(shape, bool)) for shape in shapes]
        convolution = self.convolution or proven_convolution()
        return [Program(integers.expected, (convolution,), (self._rows, *tile)) for tile in tiles]

    def analyse(self, picture: UInt8[np.ndarray, "H W 3"]) -> Source:
        """Latents and hyper-latents of a picture, rounded to ticks and to integers."""
        height, width = picture.shape[:2]
        stride = 2 * BLOCK
        padded = np.pad(picture, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
        rows, columns = padded.shape[0] // stride, padded.shape[1] // stride
        pixels = padded.reshape(rows, stride, columns, stride, 3).transpose(0, 2, 1, 3, 4)
        pixels = pixels.reshape(rows, columns, -1).astype(np.float32)

        def evaluate(tile: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, ...]:
            found = run(_analysed, (self.network,), self._placed["transforms"], tile, inside)
            return tuple(np.asarray(part) for part in found)

        y, z = in_tiles(evaluate, self.network.blocks + 1, pixels, _SIDES)
        limit = network.HYPER_LIMIT
        return Source(
            np.rint(y * np.float32(integers.TICKS)).astype(np.int32).reshape(rows * columns, PHASES, -1),
            np.clip(np.rint(z), -limit, limit).astype(np.int8).reshape(rows * columns, -1),
        )

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> TransformState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        return TransformState(self.code, height, width, seed, picture)

    def expect(self, states: Sequence[TransformState], step: int) -> None:
        """Tells states what to expect of latents, once their hyper-latents are known."""
        for state in states:
            if step and state.reference is None:
                location, log2_scale = self.reference(state.z.reshape(*state.grid, -1))
                mean = location.reshape(state.values.shape)
                state.take_reference(mean, ((log2_scale + 4) >> 3).reshape(state.values.shape))

    def reference(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hyper-synthesis of hyper-latents, int8 (h, w, Z), by exact arithmetic: mu and log2 s (h, w, 4, M)."""
        convolution = self.convolution or proven_convolution()

        def evaluate(tile: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, ...]:
            outputs = run(integers.expected, (convolution,), self._rows, tile, inside)
            return tuple(np.asarray(part) for part in outputs)

        location, log2_scale = in_tiles(evaluate, network.HYPER_HALO, z, _SIDES)
        return location, log2_scale

    def mean_pixels(self, state: TransformState, step: int) -> tuple[Float32[np.ndarray, "h w p"], np.ndarray]:
        """The mean decoder's picture after so many steps, folded to blocks of 192 numbers, and its features."""
        self.expect([state], step)
        values = state.shown.reshape(*state.grid, 2, 2, -1).transpose(0, 2, 1, 3, 4)
        values = values.reshape(2 * state.grid[0], 2 * state.grid[1], -1).astype(np.float32) / np.float32(
            integers.TICKS
        )

        def evaluate(tile: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, ...]:
            found = run(_synthesised, (self.network,), self._placed["transforms"], tile, inside)
            return tuple(np.asarray(part) for part in found)

        pixels, features = in_tiles(evaluate, 2 * self.network.blocks, values, _SIDES)
        return pixels, features

    def picture(self, state: TransformState, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, by the mean decoder: uint8 (H, W, 3)."""
        return self._pixels(self.mean_pixels(state, step)[0], state)

    def drawn(
        self, state: TransformState, step: int, *, evaluations: int, seed: int, start_noise: float
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The same by the diffusion decoder (uqdm.transform_coding.denoiser, Eq. 4).

        Args:
          state: what is known.
          step: complete steps.
          evaluations: of the network.
          seed: of the private randomness.
          start_noise: gamma.

        Raises:
          ValueError: the model has no diffusion decoder.
        """
        config = self.network.denoiser
        if config is None:
            raise ValueError(f"the model {self.name!r} has no diffusion decoder: train one with --recipe.diffusion")
        mean, features = self.mean_pixels(state, step)
        start = np.random.default_rng(seed).standard_normal(mean.shape, np.float32) * np.float32(start_noise)

        def predicted(noisy: Float[np.ndarray, "h w p"], t: float) -> np.ndarray:
            time = np.full(1, t, np.float32)

            def evaluate(tile: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray]:
                (found,) = run(_predicted, (self.network,), self._placed["denoiser"], tile, time, inside)
                return (np.asarray(found),)

            given = np.concatenate([noisy, mean, features], -1)
            return in_tiles(evaluate, config.halo, given, _SIDES)[0]

        r = denoiser.ddim(predicted, start, evaluations)
        return self._pixels(mean + np.float32(config.error) * r, state)

    @staticmethod
    def _pixels(blocks: np.ndarray, state: TransformState) -> np.ndarray:
        rows, columns = blocks.shape[:2]
        picture = blocks.reshape(rows, columns, BLOCK, BLOCK, 3).transpose(0, 2, 1, 3, 4)
        picture = picture.reshape(rows * BLOCK, columns * BLOCK, 3)[: state.size[0], : state.size[1]]
        return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
