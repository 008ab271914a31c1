"""The network of `uqdm.postfilter.network` in integers: equal to the last bit wherever it is evaluated.

A cell is a square of `cell_side` x `cell_side` pixels. A resolution holds s x s positions of a cell as s rows of s k
numbers (uqdm.exact.grids); beyond the picture every layer sees zeros.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int8, Int16

from uqdm.exact.convolution import CONVOLUTIONS, Convolution
from uqdm.exact.fixed_point import ACTIVATION_LIMIT
from uqdm.exact.grids import Capacity, Cells, Sweep
from uqdm.postfilter.config import FilterConfig, Unit
from uqdm.postfilter.integers import CORRECTION_LIMIT, STREAM_LIMIT

__all__ = ["cell_side", "correction", "reach_pixels", "weights_of"]

_COARSEST_SIDE = 2
"""Positions of the coarsest resolution along a side of a cell."""


def cell_side(config: FilterConfig) -> int:
    """Of a cell, in pixels."""
    return _COARSEST_SIDE * config.stride


def _side(config: FilterConfig, level: int) -> int:
    """Positions along a side of a cell."""
    return _COARSEST_SIDE << (config.levels - 1 - level)


def _radii(config: FilterConfig) -> list[int]:
    """How far the 3 x 3 convolutions look, in pixels, in the order of evaluation."""
    levels = [0, *(unit.level for unit in config.units for _ in range(2)), 0]
    return [2 << level for level in levels]


def reach_pixels(config: FilterConfig) -> int:
    """Pixels around one that its correction depends on, at most."""
    return sum(_radii(config))


def _way(convolution: str) -> Convolution:
    """A way to sum products; more than two positions at a time cost more products with zeros than they save."""
    way = CONVOLUTIONS[convolution]
    return way._replace(group=min(way.group, 2))


Weights = dict[str, dict[str, Any]]
"""Arrays that programmes take, in dictionaries."""


def weights_of(config: FilterConfig, arrays: Mapping[str, np.ndarray], convolution: str) -> Weights:
    """What `correction` takes: kernels as matrices, and tables of all steps."""
    way, kernels, tables = _way(convolution), {}, {}
    level_of = {"entry": 0, "head": 0}
    for unit in config.units:
        level_of |= {f"{unit.name}_{part}": unit.level for part in ("first", "second")}
    for name in {name.rpartition("/")[0] for name in arrays}:
        # A table has a row per step, or one for all steps.
        rows = [
            np.broadcast_to(arrays[f"{name}/{part}"].astype(np.int32), (config.steps + 1, _outputs(arrays, name)))
            for part in ("multiplier", "offset", "shift")
        ]
        tables[name] = np.stack(rows, axis=1)
        if (kernel := arrays.get(f"{name}/kernel")) is not None:
            matrix = way.matrix(kernel, _side(config, level_of[name])) if name in level_of else kernel[0, 0]
            kernels[name] = matrix.astype(way.dtype)
    return {"kernels": kernels, "tables": tables}


def _outputs(arrays: Mapping[str, np.ndarray], name: str) -> int:
    return arrays[f"{name}/shift"].shape[-1]


def correction(
    config: FilterConfig,
    capacity: Capacity,
    convolution: str,
    weights: Weights,
    step: Int[Array, ""],
    shown: Int8[Array, "places s sk"],
    cells: Cells,
) -> tuple[Int16[Array, "places s sk"]]:
    """Corrections of pixel values, Q8.

    Args:
      config: shape of the network.
      capacity: what `shown` and `cells` are laid out for (uqdm.exact.grids).
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`.
      weights: of `weights_of`.
      step: how many steps are behind us.
      shown: pixel values less 128, the 12 of 2 x 2 pixels being one position.
      cells: where there are any.
    """
    way, sweep = _way(convolution), Sweep(capacity, cells)
    kernels, tables = weights["kernels"], {name: table[step] for name, table in weights["tables"].items()}
    left = reach_pixels(config)

    def reach(level: int | None = None) -> int:
        """Cells that the rest depends on, after one more 3 x 3 convolution of a resolution if one is named."""
        nonlocal left
        left -= 0 if level is None else 2 << level
        return -(-left // cell_side(config))

    def rescaled(name: str, x: Array) -> Array:
        """Rows of positions, each number by the table of its channel."""
        multiplier, offset, shift = (row[None, None, None] for row in tables[name])
        positions = x.reshape(*x.shape[:2], -1, shift.shape[-1])
        return ((positions * multiplier + offset) >> shift).reshape(x.shape)

    def activated(name: str, x: Array) -> Array:
        return way.kept(jnp.clip(rescaled(name, x), 0, ACTIVATION_LIMIT).astype(jnp.uint8))

    def convolved(name: str, x: Array, start: Array) -> Array:
        return rescaled(name, way.tiles([sweep.tile(x, start, 1)], kernels[name]))

    def pointwise(name: str, x: Array) -> Array:
        """Of (cells, s, s k) with k channels at a position: (cells, s, s d)."""
        kernel = kernels[name]
        sums = way.product(x.reshape(-1, kernel.shape[0]), kernel)
        return rescaled(name, sums.reshape(*x.shape[:2], -1))

    def limited(stream: Array) -> Array:
        return jnp.clip(stream, -STREAM_LIMIT, STREAM_LIMIT).astype(jnp.int16)

    def block(unit: Unit, stream: Array) -> Array:
        first, second = f"{unit.name}_first", f"{unit.name}_second"

        def enter(start: Array) -> tuple[Array]:
            return (activated(f"{first}/activation", sweep.at(stream, start).astype(jnp.int32)),)

        (taken,) = sweep.fill(enter, reach())

        def inside(start: Array) -> tuple[Array]:
            return (way.kept(jnp.clip(convolved(first, taken, start), 0, ACTIVATION_LIMIT).astype(jnp.uint8)),)

        (between,) = sweep.fill(inside, reach(unit.level))

        def leave(start: Array) -> tuple[Array]:
            return (limited(sweep.at(stream, start).astype(jnp.int32) + convolved(second, between, start)),)

        (stream,) = sweep.fill(leave, reach(unit.level))
        return stream

    def down(level: int, stream: Array) -> Array:
        name, side = f"down_{level}", _side(config, level)

        def work(start: Array) -> tuple[Array]:
            taken = activated(f"{name}/activation", sweep.at(stream, start).astype(jnp.int32))
            squares = taken.reshape(-1, side, 2, side, 2, config.widths[level - 1]).transpose(0, 1, 3, 2, 4, 5)
            return (limited(pointwise(name, squares.reshape(taken.shape[0], side, -1))),)

        return sweep.fill(work, reach())[0]

    def up(level: int, stream: Array, skip: Array) -> Array:
        name, side = f"up_{level}", _side(config, level + 1)

        def work(start: Array) -> tuple[Array]:
            finer = pointwise(name, activated(f"{name}/activation", sweep.at(stream, start).astype(jnp.int32)))
            squares = finer.reshape(-1, side, side, 2, 2, config.widths[level]).transpose(0, 1, 3, 2, 4, 5)
            own = sweep.at(skip, start).astype(jnp.int32)
            return (limited(own + squares.reshape(own.shape)),)

        return sweep.fill(work, reach())[0]

    (stream,) = sweep.fill(lambda start: (limited(convolved("entry", shown, start)),), reach(0))
    skips = []
    for level in range(config.levels):
        stream = down(level, stream) if level else stream
        for unit in config.units_in(level):
            stream = block(unit, stream)
        skips.append(stream)
    for level in reversed(range(config.levels)):
        stream = up(level, stream, skips[level]) if level < config.levels - 1 else stream
        for unit in config.units_out(level):
            stream = block(unit, stream)

    def enter_head(start: Array) -> tuple[Array]:
        return (activated("head/activation", sweep.at(stream, start).astype(jnp.int32)),)

    (taken,) = sweep.fill(enter_head, reach())

    def work(start: Array) -> tuple[Array]:
        sums = convolved("head", taken, start)
        return (jnp.clip(sums, -CORRECTION_LIMIT, CORRECTION_LIMIT).astype(jnp.int16),)

    (result,) = sweep.fill(work, reach(0))
    return (result,)
