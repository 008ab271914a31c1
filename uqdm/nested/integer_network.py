"""The network of `uqdm.nested.network` in integers: equal to the last bit wherever it is evaluated.

Everything between the bytes of a stream and what they mean is integer arithmetic. Convolutions run as ordinary
float32 convolutions on integers, which are exact (uqdm.exact.convolution) and as fast as any other. Everything else is
int32.

Fixed point. x = q / 2^f is written Qf; multiplications by real numbers are those of uqdm.exact.fixed_point, Eq. 1.

    input       units of 1/16 standard deviation, |u| <= 127                                  int8
    stream      Q8, clipped to +-(2^15 - 1)
    activation  0 ... 255, units of ceiling / 255
    outputs     location a and log2-scale b of uqdm.nested.process, Q6, |a| <= 2^10, |b| <= 7 2^6     int16

The context's two sums S (uqdm.nested.network, Eq. 1) are Q16, limited to 0 ... 2^24 - 1; their logarithm is Q10, read
off the exponent and the first 10 bits of the mantissa of S as a float32, which is exact.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from uqdm.exact.convolution import CONVOLUTIONS, SUM_LIMIT
from uqdm.exact.fixed_point import ACTIVATION_LIMIT, Parameters, kernel_scales, kernel_steps, rescaling
from uqdm.nested.context import (
    SUMS,
    bands_of,
    channel_range,
    local_features,
    pack_bands,
    signed_neighbours,
    sums_of_magnitudes,
)
from uqdm.nested.network import (
    INPUT_LIMIT,
    INPUT_UNITS,
    LEAST_SUM,
    MAGNITUDE_LIMIT,
    TRUNK_MAGNITUDE_LIMIT,
    VALUE_LIMIT,
    NetworkConfig,
    band_weights,
    weighted_sum,
)

__all__ = ["Bands", "check", "evaluate", "from_parameters", "kernels_of", "references", "rows_of_step"]

OUTPUT_BITS = 6
"""Fractional bits of outputs."""
LOCATION_LIMIT = 16 << OUTPUT_BITS
LOG2_SCALE_LIMIT = 7 << OUTPUT_BITS

_STREAM_BITS = 8
_STREAM_LIMIT = 2**15 - 1
_SUM_BITS, _LOG_BITS, _GAIN_BITS, _VALUE_BITS = 16, 10, 10, 12
_LEAST = round(LEAST_SUM * 2**_SUM_BITS)

IntegerArrays = Mapping[str, np.ndarray]
Bands = range
"""Indices of neighbouring bands, coarsest first."""


def from_parameters(config: NetworkConfig, parameters: Parameters) -> dict[str, np.ndarray]:
    """Integers of trained parameters, computed in double precision; what a model file stores.

    Args:
      config: shape of the network.
      parameters: trained with rounding (uqdm.nested.train).

    Returns:
      Flat dictionary of arrays; kernels are int8.

    Raises:
      ValueError: a sum or product could leave the range in which it is exact.
    """
    p = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.asarray(leaf, np.float32 if path[-1].key == "kernel" else np.float64), parameters
    )
    ceiling, kind = p["ceilings"], config.kind
    arrays: dict[str, np.ndarray] = {}

    def put(name, table):
        arrays.update({f"{name}/{part}": array for part, array in table.items()})

    def kernel(name, leaf, largest_input):
        """Stores a kernel; the step size and the largest sum per output channel."""
        step, steps = np.asarray(kernel_scales(jnp.asarray(leaf)), np.float64), kernel_steps(leaf)
        arrays[f"{name}/kernel"] = steps
        return step.reshape(-1), np.abs(steps.astype(np.int64)).sum((0, 1, 2)) * largest_input

    step, largest = kernel("entry", p["entry"]["kernel"], INPUT_LIMIT)
    put("entry", rescaling(step / INPUT_UNITS * 2**_STREAM_BITS, largest, p["entry_bias"] * 2**_STREAM_BITS))
    for i in range(config.blocks):
        before, inside = ceiling[2 * i], ceiling[2 * i + 1]
        gain = p["gains"][i] / before * (ACTIVATION_LIMIT / 2**_STREAM_BITS)
        put(f"activation_{i}", rescaling(gain, _STREAM_LIMIT))
        step, largest = kernel(f"first_{i}", p[f"first_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"first_{i}", rescaling(step * before / inside, largest, p["biases"][i] / inside * ACTIVATION_LIMIT))
        step, largest = kernel(f"second_{i}", p[f"second_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"second_{i}", rescaling(step * inside / ACTIVATION_LIMIT * 2**_STREAM_BITS, largest))
    put("hidden", rescaling(np.full(config.width, ACTIVATION_LIMIT / 2**_STREAM_BITS / ceiling[-1]), _STREAM_LIMIT))

    step, largest = kernel("reference_head", p["reference_head"]["kernel"], ACTIVATION_LIMIT)
    unit = 2**OUTPUT_BITS
    gain, bias = (p[f"reference_{name}"][..., kind].reshape(-1, 2 * config.channels) for name in ("gain", "bias"))
    put("reference_head", rescaling(step * gain * (ceiling[-1] / ACTIVATION_LIMIT * unit), largest, bias * unit))

    for i, local in enumerate(p["local_ceilings"]):
        step, largest = kernel(f"local_first_{i}", p[f"local_first_{i}"]["kernel"], VALUE_LIMIT)
        biases = p["local_biases"][i] * ACTIVATION_LIMIT
        put(
            f"local_first_{i}",
            rescaling(step / INPUT_UNITS * ACTIVATION_LIMIT / local[0], largest, biases[0] / local[0]),
        )
        step, largest = kernel(f"local_second_{i}", p[f"local_second_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"local_second_{i}", rescaling(step * local[0] / local[1], largest, biases[1] / local[1]))
        step, largest = kernel(f"local_head_{i}", p[f"local_head_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"local_head_{i}", rescaling(step * p["local_gains"][i] * (local[1] / ACTIVATION_LIMIT * unit), largest))

    def fixed(values, bits, limit=2**15 - 1):
        return np.clip(np.rint(values * 2.0**bits), -limit, limit).astype(np.int16 if limit < 2**15 else np.int32)

    weights = p["context_weights"] * np.asarray(SUMS)[:, None] / INPUT_UNITS
    arrays["context/weights"] = fixed(weights, _SUM_BITS)
    arrays["context/bias"] = fixed(p["context_bias"], _SUM_BITS, 2**24)
    arrays["context/gain"] = fixed(p["context_gain"], _GAIN_BITS)
    arrays["context/values"] = fixed(p["context_values"] * 0.5, _VALUE_BITS)
    arrays["sign"] = fixed(p["sign_weights"][:, 0], OUTPUT_BITS)
    arrays["zero_cell"] = fixed(p["zero_cell_bias"], OUTPUT_BITS)
    check(config, arrays)
    return arrays


_TERM_LIMITS = MAGNITUDE_LIMIT * np.array([1, 2, 2, 4, 16, 1, 9, 2, 2, 4])
"""Largest terms of `sums_of_magnitudes`."""
_VALUE_LIMITS = VALUE_LIMIT * np.array([2, 2, 2])


def check(config: NetworkConfig, arrays: IntegerArrays) -> None:
    """Proves that no sum or product of `evaluate` can leave its range.

    Raises:
      ValueError: one can, or an array is missing or has the wrong type.
    """

    def demand(holds, what: str) -> None:
        if not np.all(holds):
            raise ValueError(f"the integer network is not exact: {what}")

    def array(name: str, dtype) -> np.ndarray:
        if name not in arrays or arrays[name].dtype != dtype:
            raise ValueError(f"the integer network lacks {name!r} of type {np.dtype(dtype)}")
        return arrays[name].astype(np.int64)

    def product(name: str, largest) -> None:
        multiplier, offset = array(f"{name}/multiplier", np.int32), array(f"{name}/offset", np.int32)
        shift = array(f"{name}/shift", np.int8)
        demand((shift >= 4) & (shift <= 30), f"shifts of {name}")
        demand(np.abs(multiplier) * largest + np.abs(offset) < 2**31, f"products of {name} may overflow")

    def convolution(name: str, largest_input: int) -> None:
        largest = np.abs(array(f"{name}/kernel", np.int8)).sum((0, 1, 2)) * largest_input
        demand(largest < SUM_LIMIT, f"sums of {name} may reach 2^24")
        product(name, largest)

    convolution("entry", INPUT_LIMIT)
    for i in range(config.blocks):
        product(f"activation_{i}", _STREAM_LIMIT)
        convolution(f"first_{i}", ACTIVATION_LIMIT)
        convolution(f"second_{i}", ACTIVATION_LIMIT)
        # The stream's clip comes after the sum.
        reach = np.abs(arrays[f"second_{i}/kernel"].astype(np.int64)).sum((0, 1, 2)) * ACTIVATION_LIMIT
        reach = reach * np.abs(array(f"second_{i}/multiplier", np.int32)) >> array(f"second_{i}/shift", np.int8)
        demand(reach < 2**30, f"the stream may overflow in block {i}")
    product("hidden", _STREAM_LIMIT)
    convolution("reference_head", ACTIVATION_LIMIT)
    for i in range(len(config.local_bands)):
        convolution(f"local_first_{i}", VALUE_LIMIT)
        convolution(f"local_second_{i}", ACTIVATION_LIMIT)
        convolution(f"local_head_{i}", ACTIVATION_LIMIT)
    weights, bias = array("context/weights", np.int16), array("context/bias", np.int32)
    demand(np.tensordot(np.abs(weights), _TERM_LIMITS, (2, 0)) + np.abs(bias) < 2**30, "sums of the context")
    gain = array("context/gain", np.int16)
    demand(np.abs(gain).sum(1) * (24 << _LOG_BITS) < 2**30, "gains of the context")
    demand(np.tensordot(np.abs(array("context/values", np.int16)), _VALUE_LIMITS, (1, 0)) < 2**30, "values")
    for name in ("sign", "zero_cell"):
        array(name, np.int16)


def log2_of_sum(total: Array) -> Array:
    """Q10 logarithm of Q16 sums."""
    raised = jnp.clip(total, 0, 2**24 - 1 - _LEAST) + _LEAST
    bits = jax.lax.bitcast_convert_type(raised.astype(jnp.float32), jnp.int32)
    return (bits >> (23 - _LOG_BITS)) - ((127 + _SUM_BITS) << _LOG_BITS)


def _has_rows(name: str) -> bool:
    """Whether a table has one row per step."""
    layer, _, part = name.partition("/")
    if part in ("multiplier", "shift"):
        return layer.startswith(("activation", "reference_head", "local_head"))
    return part != "kernel" and not layer.startswith(("second", "hidden"))


def _of_bands(config: NetworkConfig, arrays: IntegerArrays, bands: Bands) -> dict[str, np.ndarray]:
    """The same with those outputs of the head that are about some bands: locations, then log2-scales."""
    first, last = channel_range(bands)
    outputs = np.r_[first:last, config.channels + first : config.channels + last]
    head = {name: array[..., outputs] for name, array in arrays.items() if name.startswith("reference_head/")}
    return dict(arrays) | head


def kernels_of(config: NetworkConfig, arrays: IntegerArrays, bands: Bands) -> dict[str, np.ndarray]:
    """All kernels for the outputs of some bands, float32."""
    chosen = _of_bands(config, arrays, bands)
    return {name: array.astype(np.float32) for name, array in chosen.items() if name.endswith("/kernel")}


def rows_of_step(config: NetworkConfig, arrays: IntegerArrays, bands: Bands, step: int) -> dict[str, np.ndarray]:
    """One step's rows of all tables for the outputs of some bands, int32."""
    chosen = _of_bands(config, arrays, bands)
    tables = {name: array for name, array in chosen.items() if not name.endswith("/kernel")}
    return {name: (array[step] if _has_rows(name) else array).astype(np.int32) for name, array in tables.items()}


def _table(rows: Mapping[str, Array], name: str, *part) -> Array:
    """A table with leading axes up to four."""
    values = rows[name][part]
    return values.reshape((1,) * (4 - values.ndim) + values.shape)


def _rescaled(
    rows: Mapping[str, Array], name: str, x: Array, part: tuple = (), offset_part: tuple | None = None
) -> Array:
    """Eq. 1."""
    offset = _table(rows, f"{name}/offset", *(part if offset_part is None else offset_part))
    return (x * _table(rows, f"{name}/multiplier", *part) + offset) >> _table(rows, f"{name}/shift", *part)


def _activation(*arguments) -> Array:
    return jnp.clip(_rescaled(*arguments), 0, ACTIVATION_LIMIT)


def _layer(rows: Mapping[str, Array], name: str, x: Array, convolution: str) -> Array:
    """Sums of products with a kernel."""
    return CONVOLUTIONS[convolution](x.astype(jnp.float32), rows[f"{name}/kernel"]).astype(jnp.int32)


def _context(config: NetworkConfig, rows: Mapping[str, Array], units: Array, chosen: Bands, convolution: str):
    """What contexts and local networks add to location and log-scale (Q6), blocks of the chosen bands."""
    bands = bands_of(units, config.block)
    magnitudes = [jnp.minimum(jnp.abs(band), MAGNITUDE_LIMIT) for band in bands]
    clipped = [jnp.clip(band, -VALUE_LIMIT, VALUE_LIMIT) for band in bands]
    sums, values = sums_of_magnitudes(magnitudes, chosen), signed_neighbours(clipped, chosen)
    table = {name: rows[f"context/{name}"] for name in ("weights", "bias", "gain", "values")}
    locations, scales = [], []
    for index, f, v in zip(chosen, sums, values, strict=True):
        scale = jnp.zeros_like(f[0])
        for i in range(2):
            bias, gain = (band_weights(table[name][i], index)[None, None, None] for name in ("bias", "gain"))
            total = weighted_sum(f, band_weights(table["weights"][i], index)[None]) + bias
            scale = scale + gain * log2_of_sum(total)
        scale = (scale + (1 << 13)) >> 14
        location = (weighted_sum(v, band_weights(table["values"], index)[None]) + (1 << 9)) >> 10
        if index in config.local_bands:
            i = index - config.local_bands.start
            x = local_features(clipped, magnitudes, index)
            for name in (f"local_first_{i}", f"local_second_{i}"):
                x = _activation(rows, name, _layer(rows, name, x, convolution))
            name = f"local_head_{i}"
            x = _rescaled(rows, name, _layer(rows, name, x, convolution))
            location = location + x[..., :9].reshape(location.shape)
            scale = scale + x[..., 9:].reshape(scale.shape)
        scales.append(scale)
        locations.append(location)
    return pack_bands(locations, chosen), pack_bands(scales, chosen)


@functools.partial(jax.jit, static_argnames=("config", "bands", "convolution"))
def evaluate(
    config: NetworkConfig,
    rows: Mapping[str, Array],
    units: Int[Array | np.ndarray, "n h w C"],
    classes: Int[Array | np.ndarray, "h w"],
    *,
    bands: Bands,
    convolution: str = "convolution",
) -> tuple[Int[Array, "n h w c"], Int[Array, "n h w c"]]:
    """Location and log2-scale before a step, for the c channels of neighbouring bands.

    Args:
      config: shape of the network.
      rows: kernels (`kernels_of`), and tables of the step (`rows_of_step`), of the same bands.
      units: input, int8.
      classes: of the blocks (uqdm.nested.schedule).
      bands: which bands are asked for.
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`.

    Returns:
      a and b, int16.
    """
    units = jnp.asarray(units, jnp.int32)
    features = jnp.concatenate([units, jnp.minimum(jnp.abs(units), TRUNK_MAGNITUDE_LIMIT)], -1)
    stream = _rescaled(rows, "entry", _layer(rows, "entry", features, convolution), (), (classes,))
    stream = jnp.clip(stream, -_STREAM_LIMIT, _STREAM_LIMIT)
    for i in range(config.blocks):
        branch = _activation(rows, f"activation_{i}", stream)
        branch = _activation(rows, f"first_{i}", _layer(rows, f"first_{i}", branch, convolution))
        branch = _rescaled(rows, f"second_{i}", _layer(rows, f"second_{i}", branch, convolution))
        stream = jnp.clip(stream + branch, -_STREAM_LIMIT, _STREAM_LIMIT)
    hidden = _activation(rows, "hidden", stream)

    first, last = channel_range(bands)
    own, kind = units[..., first:last], config.kind[first:last]
    location, log2_scale = _context(config, rows, units, bands, convolution)
    head = _rescaled(rows, "reference_head", _layer(rows, "reference_head", hidden, convolution))
    location, log2_scale = location + head[..., : last - first], log2_scale + head[..., last - first :]
    location = location + jnp.sign(own) * _table(rows, "sign", kind)
    log2_scale = log2_scale + jnp.where(own == 0, _table(rows, "zero_cell", kind), 0)
    return (
        jnp.clip(location, -LOCATION_LIMIT, LOCATION_LIMIT).astype(jnp.int16),
        jnp.clip(log2_scale, -LOG2_SCALE_LIMIT, LOG2_SCALE_LIMIT).astype(jnp.int16),
    )


def references(config: NetworkConfig, bands: Bands, convolution: str, rows, units, classes) -> tuple[Array, Array]:
    """`evaluate` as a programme (uqdm.exact.programs)."""
    return evaluate(config, rows, units, classes, bands=bands, convolution=convolution)
