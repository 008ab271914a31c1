"""The network of `uqdm.nested.network` in integers: equal to the last bit wherever it is evaluated.

Everything between the bytes of a stream and what they mean is integer arithmetic. Convolutions run as ordinary
float32 convolutions on integers, which are exact (uqdm.exact.convolution) and as fast as any other. Everything else is
int32. Which integers, and in which units: uqdm.nested.network_integers.

There are two programmes, `trunk` and `outputs`. An estimate is a location under other weights, so both outputs of a
reference and the estimate of a band come from one programme that is compiled and loaded once.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int8, Int16, UInt8

from uqdm.exact.convolution import CONVOLUTIONS
from uqdm.exact.fixed_point import ACTIVATION_LIMIT
from uqdm.exact.grids import Capacity, Cells, Sweep
from uqdm.nested.block_context import (
    local_tiles,
    magnitude_terms,
    rows_of_sums,
    rows_of_values,
    sums_of_children,
    value_terms,
)
from uqdm.nested.network_config import MAGNITUDE_LIMIT, TRUNK_MAGNITUDE_LIMIT, VALUE_LIMIT, NetworkConfig
from uqdm.nested.network_integers import (
    ESTIMATE_LIMIT,
    LEAST,
    LOCATION_LIMIT,
    LOG2_SCALE_LIMIT,
    LOG_BITS,
    STREAM_LIMIT,
    SUM_BITS,
    IntegerArrays,
)

__all__ = ["band_weights_of", "outputs", "trunk", "trunk_weights_of"]


def log2_of_sum(total: Array) -> Array:
    """Q10 logarithm of Q16 sums."""
    raised = jnp.clip(total, 0, 2**24 - 1 - LEAST) + LEAST
    bits = jax.lax.bitcast_convert_type(raised.astype(jnp.float32), jnp.int32)
    return (bits >> (23 - LOG_BITS)) - ((127 + SUM_BITS) << LOG_BITS)


def _tables(config: NetworkConfig, arrays: IntegerArrays, name: str) -> np.ndarray:
    """A layer's M, s and B of Eq. 1 of uqdm.exact.fixed_point for all steps: int32 (steps + 1, 3 or more, c)."""
    parts = []
    for part in ("multiplier", "shift", "offset"):
        table = arrays[f"{name}/{part}"].astype(np.int32)
        # A table has a row per step, one for all steps, or rows of classes of blocks in every step.
        table = table.reshape(-1, 1, table.shape[-1]) if table.ndim < 3 else table
        parts.append(np.broadcast_to(table, (config.steps + 1, *table.shape[1:])))
    return np.concatenate(parts, axis=1)


Weights = dict[str, Any]
"""Arrays that programmes take, in dictionaries."""


def trunk_weights_of(config: NetworkConfig, arrays: IntegerArrays, convolution: str) -> Weights:
    """What `trunk` takes: kernels as matrices, and tables of all steps."""
    inside = [f"{layer}_{i}" for i in range(config.blocks) for layer in ("first", "second")]
    activations = [f"activation_{i}" for i in range(config.blocks)]
    dtype = CONVOLUTIONS[convolution].dtype

    def matrix(name: str) -> np.ndarray:
        kernel = arrays[f"{name}/kernel"]
        return kernel.reshape(-1, kernel.shape[-1]).astype(dtype)

    return {
        "kernels": {name: matrix(name) for name in ("entry", *inside)},
        "tables": {name: _tables(config, arrays, name) for name in ("entry", *inside, *activations, "hidden")},
    }


def band_weights_of(config: NetworkConfig, arrays: IntegerArrays, convolution: str, band: int, kind: str) -> Weights:
    """What `outputs` takes for "references" or "estimates" (the kind) of a band: kernels, and tables of all steps."""
    first, last = config.channel_range(range(band, band + 1))
    kinds = config.kind_range(band)
    side, dtype = _side(band), CONVOLUTIONS[convolution].dtype
    context = {name: arrays[f"context/{name}"][..., kinds].astype(np.int32) for name in ("weights", "values")}
    rows = {name: np.tile(arrays[f"context/{name}"][..., kinds].astype(np.int32), side) for name in ("bias", "gain")}
    if kind == "references":
        head, limit, by_sign = "reference_head", LOCATION_LIMIT, {"sign": "sign", "zero_cell": "zero_cell"}
        parts = {"location": slice(first, last), "scale": slice(config.channels + first, config.channels + last)}
    else:
        head, limit, by_sign = (
            "estimate_head",
            ESTIMATE_LIMIT,
            {"sign": "estimate_sign", "logarithm": "estimate_logarithm"},
        )
        parts = dict.fromkeys(("location", "scale"), slice(first, last))  # nobody asks for the latter
    none = np.zeros((config.steps + 1, rows["gain"].shape[-1]), np.int32)
    rows |= dict.fromkeys(("sign", "zero_cell", "logarithm"), none)
    rows |= {name: np.tile(arrays[array][..., kinds].astype(np.int32), side) for name, array in by_sign.items()}
    kernel, tables = arrays[f"{head}/kernel"][0, 0], _tables(config, arrays, head)
    weights: Weights = {
        "heads": {name: kernel[:, channels].astype(dtype) for name, channels in parts.items()},
        "head_tables": {name: tables[..., channels] for name, channels in parts.items()},
        "sums": rows_of_sums(context["weights"], side),
        "values": rows_of_values(context["values"], side),
        "rows": rows,
        "limit": np.asarray(limit, np.int32),
    }
    if band + 1 < config.bands:
        weights["children"] = sums_of_children(side, kinds.stop - kinds.start).astype(dtype)
    if band in config.local_bands:
        weights["local"] = _local_weights_of(config, arrays, convolution, band - config.local_bands.start, side)
    return weights


def _local_weights_of(config: NetworkConfig, arrays: IntegerArrays, convolution: str, index: int, side: int) -> Weights:
    """Kernels and tables of a local network; tables are those of whole rows of positions."""
    way, kernels, tables = CONVOLUTIONS[convolution], {}, {}
    for name in ("first", "second", "head"):
        layer = f"local_{name}_{index}"
        kernel = arrays[f"{layer}/kernel"]
        if name == "head":
            matrix = kernel[0, 0]
        else:
            features = np.split(kernel, range(9, kernel.shape[2], 9), axis=2) if name == "first" else [kernel]
            matrix = np.concatenate([way.matrix(part, side) for part in features])
        kernels[name] = matrix.astype(way.dtype)
        tables[name] = np.tile(_tables(config, arrays, layer), side)
    return {"kernels": kernels, "tables": tables}


def _side(band: int) -> int:
    """Positions of a band along a side of a block."""
    return 1 << max(band - 1, 0)


def _rescaled(table: Array, x: Array, offset: Array | None = None) -> Array:
    """Eq. 1 of uqdm.exact.fixed_point with the rows M, s and B of a table."""
    multiplier, shift, stored = (row.reshape((1,) * (x.ndim - 1) + row.shape) for row in table[:3])
    return (x * multiplier + (stored if offset is None else offset)) >> shift


def _activation(table: Array, x: Array) -> Array:
    return jnp.clip(_rescaled(table, x), 0, ACTIVATION_LIMIT).astype(jnp.uint8)


def trunk(
    config: NetworkConfig,
    capacity: Capacity,
    convolution: str,
    weights: Weights,
    step: Int[Array, ""],
    units: Int8[Array, "places C"],
    cells: Cells,
) -> tuple[UInt8[Array, "places width"]]:
    """The last activation of the residual blocks before a step.

    Args:
      config: shape of the network.
      capacity: what `units` and `cells` are laid out for (uqdm.exact.grids).
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`.
      weights: of `trunk_weights_of`.
      step: how many steps are behind us.
      units: input, blocks being cells.
      cells: their classes are those of uqdm.nested.schedule.
    """
    way, sweep = CONVOLUTIONS[convolution], Sweep(capacity, cells)
    kernels, tables = weights["kernels"], {name: table[step] for name, table in weights["tables"].items()}

    def after(stream: Array, block: int) -> tuple[Array, ...]:
        """The stream, and what of it the next block takes."""
        stream = jnp.clip(stream, -STREAM_LIMIT, STREAM_LIMIT)
        if block == config.blocks:
            return (_activation(tables["hidden"], stream),)
        taken = _activation(tables[f"activation_{block}"], stream)
        return stream.astype(jnp.int16), way.kept(taken)

    def entry(start):
        own = sweep.at(units, start)
        features = jnp.concatenate([own, jnp.minimum(jnp.abs(own), TRUNK_MAGNITUDE_LIMIT)], -1)
        offset = tables["entry"][2:][jnp.maximum(sweep.classes(start), 0)]
        return after(_rescaled(tables["entry"], way.product(features, kernels["entry"]), offset), 0)

    filled = sweep.fill(entry, 2 * config.blocks)
    for i in range(config.blocks):
        (stream, taken), reach = filled, 2 * (config.blocks - i) - 1

        def first(start, i=i, taken=taken):
            sums = way.product(_flat(sweep.window(taken, start)), kernels[f"first_{i}"])
            return (way.kept(_activation(tables[f"first_{i}"], sums)),)

        (between,) = sweep.fill(first, reach)

        def second(start, i=i, stream=stream, between=between):
            sums = way.product(_flat(sweep.window(between, start)), kernels[f"second_{i}"])
            return after(sweep.at(stream, start).astype(jnp.int32) + _rescaled(tables[f"second_{i}"], sums), i + 1)

        filled = sweep.fill(second, reach - 1)
    (hidden,) = filled
    return (hidden,)


def _flat(x: Array) -> Array:
    """All axes but the first as one."""
    return x.reshape(x.shape[0], -1)


def _units_of(config: NetworkConfig, units: Array, band: int) -> Array:
    """What blocks hold of a band, int8 (places, s, s k)."""
    first, last = config.channel_range(range(band, band + 1))
    return units[:, first:last].reshape(len(units), _side(band), -1)


def _magnitudes(x: Array) -> Array:
    return jnp.minimum(jnp.abs(x), MAGNITUDE_LIMIT)


def _values(x: Array) -> Array:
    return jnp.clip(x, -VALUE_LIMIT, VALUE_LIMIT)


def _total(terms: Sequence[Array | None], weights: Array) -> Array:
    """Sum of arrays (chunk, s, s k), each times its row of weights (terms, s k), int32."""
    products = [
        term.astype(jnp.int32) * row[None, None] for term, row in zip(terms, weights, strict=True) if term is not None
    ]
    return functools.reduce(operator.add, products)


class _Said(NamedTuple):
    """What the neighbourhood says of the blocks of a chunk in a band, each int32 (chunk, s, s k)."""

    location: Array
    """Weighted values, Q16."""
    logarithm: Array
    """Of S_1, Q10."""
    scale: Array
    """What the logarithms of both sums say, Q6."""
    local: tuple[Array, ...] | None = None
    """What the local network says about location and scale, Q6, where there is one."""


def _neighbourhood(
    config: NetworkConfig, band: int, convolution: str, weights: Weights, step: Array, units: Array, sweep: Sweep
) -> Callable[[Array], _Said]:
    """A function of chunks."""
    own, parent = _units_of(config, units, band), _units_of(config, units, band - 1) if band else None
    children = _units_of(config, units, band + 1) if band + 1 < config.bands else None
    local: Callable[[Array], tuple[Array, ...] | None] = lambda _: None  # noqa: E731
    if parent is not None and band in config.local_bands:
        local = _local(convolution, weights["local"], step, own, parent, children, sweep)
    inside = jnp.broadcast_to(sweep.known[:, None, None], own.shape).astype(jnp.int8)
    k, way = own.shape[2] // own.shape[1], CONVOLUTIONS[convolution]

    def tile(x: Array, start: Array, margin: int) -> Array:
        return sweep.tile(x, start, margin).astype(jnp.int16)

    def below(children: Array, start: Array) -> Array:
        pairs = _magnitudes(sweep.at(children, start)).reshape(-1, weights["children"].shape[0])
        return way.product(pairs, weights["children"]).reshape(-1, *own.shape[1:])

    def said(start: Array) -> _Said:
        mine = tile(own, start, 2)
        theirs = None if parent is None else _magnitudes(tile(parent, start, 1))
        finer = None if children is None else below(children, start)
        f = magnitude_terms(_magnitudes(mine), theirs, finer, tile(inside, start, 1), k)
        v = value_terms(_values(mine)[:, 1:-1, k:-k], k)
        location, scale, logarithms = _total(v, weights["values"][step]), jnp.zeros((), jnp.int32), []
        for i in range(2):
            bias, gain = (weights["rows"][name][step, i][None, None] for name in ("bias", "gain"))
            logarithms.append(log2_of_sum(_total(f, weights["sums"][step, i]) + bias))
            scale = scale + gain * logarithms[i]
        return _Said(location, logarithms[0], (scale + (1 << 13)) >> 14, local(start))

    return said


def _local(
    convolution: str, weights: Weights, step: Array, own: Array, parent: Array, children: Array | None, sweep: Sweep
) -> Callable[[Array], tuple[Array, ...]]:
    """The local network of a band: a function of chunks that gives location and log2-scale, Q6, (chunk, s, s k)."""
    way, side = CONVOLUTIONS[convolution], own.shape[1]
    k, kernels, tables = own.shape[2] // side, weights["kernels"], weights["tables"]

    def first(start: Array) -> tuple[Array]:
        values, theirs = _values(sweep.tile(own, start, 1)), _magnitudes(sweep.tile(parent, start, 1))
        finer = None if children is None else _magnitudes(sweep.tile(children, start, 2))
        sums = way.tiles(local_tiles(values, theirs, finer, k), kernels["first"])
        return (_activation(tables["first"][step], sums),)

    (between,) = sweep.fill(first, 1)

    def said(start: Array) -> tuple[Array, ...]:
        sums = way.tiles([sweep.tile(between, start, 1)], kernels["second"])
        last = _activation(tables["second"][step], sums)
        sums = way.product(last.reshape(-1, last.shape[2] // side), kernels["head"]).reshape(*last.shape[:2], -1)
        outputs = _rescaled(tables["head"][step], sums).reshape(*last.shape[:2], side, 2, k)
        return tuple(outputs[:, :, :, i].reshape(last.shape[0], side, side * k) for i in range(2))

    return said


def outputs(
    config: NetworkConfig,
    band: int,
    capacity: Capacity,
    convolution: str,
    weights: Weights,
    step: Int[Array, ""],
    units: Int8[Array, "places C"],
    hidden: UInt8[Array, "places width"],
    cells: Cells,
) -> tuple[Int16[Array, "places c"], Int16[Array, "places c"]]:
    """Location and log2-scale before a step, or the estimate after it, for the c channels of a band.

    Args:
      config: shape of the network.
      band: its index.
      capacity: as for `trunk`.
      convolution: as for `trunk`.
      weights: of `band_weights_of`.
      step: how many steps are behind us.
      units: input.
      hidden: what `trunk` gives for it.
      cells: as for `trunk`.

    Returns:
      a and b; or d, the third output (uqdm.nested.process, Eq. 6), and what has no meaning.
    """
    way, sweep = CONVOLUTIONS[convolution], Sweep(capacity, cells)
    said = _neighbourhood(config, band, convolution, weights, step, units, sweep)
    own, limit = _units_of(config, units, band), weights["limit"]
    by_sign, by_logarithm, zero_cell = (
        weights["rows"][name][step][None, None] for name in ("sign", "logarithm", "zero_cell")
    )

    def head(name: str, start: Array) -> Array:
        sums = way.product(sweep.at(hidden, start), weights["heads"][name])
        return _rescaled(weights["head_tables"][name][step], sums).reshape(-1, *own.shape[1:])

    def work(start):
        given, mine = said(start), sweep.at(own, start).astype(jnp.int32)
        location = ((given.location + (1 << 9)) >> 10) + head("location", start)
        location = location + jnp.sign(mine) * (by_sign + ((given.logarithm * by_logarithm + (1 << 15)) >> 16))
        log2_scale = given.scale + head("scale", start) + jnp.where(mine == 0, zero_cell, 0)
        if given.local is not None:
            location, log2_scale = location + given.local[0], log2_scale + given.local[1]
        return (
            jnp.clip(location, -limit, limit).astype(jnp.int16),
            jnp.clip(log2_scale, -LOG2_SCALE_LIMIT, LOG2_SCALE_LIMIT).astype(jnp.int16),
        )

    first, second = sweep.fill(work)
    return _flat(first), _flat(second)
