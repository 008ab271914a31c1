"""The integers of the network of the nested process: computed from trained parameters, stored, and proven exact.

Fixed point. x = q / 2^f is written Qf; multiplications by real numbers are those of uqdm.exact.fixed_point, Eq. 1.

    input       units of 1/16 standard deviation, |u| <= 127                                  int8
    stream      Q8, clipped to +-(2^15 - 1)
    activation  0 ... 255, units of ceiling / 255
    outputs     location a and log2-scale b of uqdm.nested.process, Q6, |a| <= 2^10, |b| <= 7 2^6     int16
                estimate d, Q6, |d| <= 2^11                                                       int16

The context's two sums S (uqdm.nested.network, Eq. 1) are Q16, limited to 0 ... 2^24 - 1; their logarithm is Q10, read
off the exponent and the first 10 bits of the mantissa of S as a float32, which is exact.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int8

from uqdm.exact.convolution import SUM_LIMIT
from uqdm.exact.fixed_point import ACTIVATION_LIMIT, Parameters, kernel_scales, kernel_steps, rescaling
from uqdm.nested.context import SUMS
from uqdm.nested.network_config import (
    INPUT_LIMIT,
    INPUT_UNITS,
    LEAST_SUM,
    MAGNITUDE_LIMIT,
    VALUE_LIMIT,
    NetworkConfig,
)

__all__ = ["IntegerArrays", "check", "estimate_integers", "from_parameters", "rows_of_integers"]

OUTPUT_BITS = 6
"""Fractional bits of outputs."""
LOCATION_LIMIT = 16 << OUTPUT_BITS
LOG2_SCALE_LIMIT = 7 << OUTPUT_BITS
ESTIMATE_LIMIT = 32 << OUTPUT_BITS

STREAM_BITS = 8
STREAM_LIMIT = 2**15 - 1
SUM_BITS, LOG_BITS, GAIN_BITS, VALUE_BITS, SIGN_BITS = 16, 10, 10, 12, 12
LEAST = round(LEAST_SUM * 2**SUM_BITS)

IntegerArrays = Mapping[str, np.ndarray]


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
    put("entry", rescaling(step / INPUT_UNITS * 2**STREAM_BITS, largest, p["entry_bias"] * 2**STREAM_BITS))
    for i in range(config.blocks):
        before, inside = ceiling[2 * i], ceiling[2 * i + 1]
        gain = p["gains"][i] / before * (ACTIVATION_LIMIT / 2**STREAM_BITS)
        put(f"activation_{i}", rescaling(gain, STREAM_LIMIT))
        step, largest = kernel(f"first_{i}", p[f"first_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"first_{i}", rescaling(step * before / inside, largest, p["biases"][i] / inside * ACTIVATION_LIMIT))
        step, largest = kernel(f"second_{i}", p[f"second_{i}"]["kernel"], ACTIVATION_LIMIT)
        put(f"second_{i}", rescaling(step * inside / ACTIVATION_LIMIT * 2**STREAM_BITS, largest))
    put("hidden", rescaling(np.full(config.width, ACTIVATION_LIMIT / 2**STREAM_BITS / ceiling[-1]), STREAM_LIMIT))

    step, largest = kernel("reference_head", p["reference_head"]["kernel"], ACTIVATION_LIMIT)
    unit = 2**OUTPUT_BITS
    gain, bias = (p[f"reference_{name}"][..., kind].reshape(-1, 2 * config.channels) for name in ("gain", "bias"))
    put("reference_head", rescaling(step * gain * (ceiling[-1] / ACTIVATION_LIMIT * unit), largest, bias * unit))

    for i, local in enumerate(p.get("local_ceilings", ())):
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

    weights = p["context_weights"] * np.asarray(SUMS)[:, None] / INPUT_UNITS
    arrays["context/weights"] = _fixed(weights, SUM_BITS)
    arrays["context/bias"] = _fixed(p["context_bias"], SUM_BITS, 2**24)
    arrays["context/gain"] = _fixed(p["context_gain"], GAIN_BITS)
    arrays["context/values"] = _fixed(p["context_values"] * 0.5, VALUE_BITS)
    arrays["sign"] = _fixed(p["sign_weights"][:, 0], OUTPUT_BITS)
    arrays["zero_cell"] = _fixed(p["zero_cell_bias"], OUTPUT_BITS)
    check(config, arrays)
    return arrays


def estimate_integers(
    config: NetworkConfig, steps: Int8[np.ndarray, "1 1 width C"], scale: np.ndarray, parameters: Parameters
) -> dict[str, np.ndarray]:
    """Integers of the third output, which no symbol depends on.

    Computed in double precision by operations that IEEE 754 rounds correctly, so that they are the same everywhere.

    Args:
      config: shape of the network.
      steps: the kernel of the estimate's head in steps.
      scale: size of a step, float32, C numbers.
      parameters: tables of the network, float32.

    Returns:
      Arrays beside those of `from_parameters`.

    Raises:
      ValueError: sums could leave the range in which they are exact.
    """
    p = {name: np.asarray(parameters[f"estimate_{name}"], np.float64)[:, config.kind] for name in ("gain", "bias")}
    largest = np.abs(steps.astype(np.int64)).sum((0, 1, 2)) * ACTIVATION_LIMIT
    if largest.max() >= SUM_LIMIT:
        raise ValueError("the integer network is not exact: sums of estimate_head may reach 2^24")
    unit, sign = 2**OUTPUT_BITS, np.asarray(parameters["sign_weights"], np.float64)
    ceiling = np.asarray(parameters["ceilings"], np.float64)[-1]
    real = np.asarray(scale, np.float64).reshape(-1) * p["gain"] * (ceiling / ACTIVATION_LIMIT * unit)
    head = rescaling(real, largest, p["bias"] * unit)
    return {
        "estimate_head/kernel": steps,
        **{f"estimate_head/{name}": table for name, table in head.items()},
        "estimate_sign": _fixed(sign[:, 1], OUTPUT_BITS),
        "estimate_logarithm": _fixed(0.1 * sign[:, 2], SIGN_BITS),
    }


def _fixed(values: np.ndarray, bits: int, limit: int = 2**15 - 1) -> np.ndarray:
    return np.clip(np.rint(values * 2.0**bits), -limit, limit).astype(np.int16 if limit < 2**15 else np.int32)


_TERM_LIMITS = MAGNITUDE_LIMIT * np.array([1, 2, 2, 4, 16, 1, 9, 2, 2, 4])
"""Largest terms of `sums_of_magnitudes`."""
_VALUE_LIMITS = VALUE_LIMIT * np.array([2, 2, 2])


def _shapes(config: NetworkConfig) -> dict[str, list[tuple[int, ...]]]:
    """Of all arrays, by their names; where there are several, each may be."""
    rows, width, channels, kinds = config.steps + 1, config.width, config.channels, config.kinds
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def layer(name: str, kernel: list[tuple[int, ...]], scale: tuple[int, ...], offset: tuple[int, ...]) -> None:
        shapes.update({f"{name}/kernel": kernel, f"{name}/offset": [offset]})
        shapes.update({f"{name}/{part}": [scale] for part in ("multiplier", "shift")})

    layer("entry", [(1, 1, 2 * channels, width)], (width,), (rows, config.classes, width))
    for i in range(config.blocks):
        layer(f"activation_{i}", [], (rows, width), (rows, width))
        layer(f"first_{i}", [(3, 3, width, width)], (width,), (rows, width))
        layer(f"second_{i}", [(3, 3, width, width)], (width,), (width,))
    layer("hidden", [], (width,), (width,))
    layer("reference_head", [(1, 1, width, 2 * channels)], (rows, 2 * channels), (rows, 2 * channels))
    local = config.local_width
    for i in range(len(config.local_bands)):
        layer(f"local_first_{i}", [(3, 3, taken, local) for taken in (27, 36)], (local,), (rows, local))
        layer(f"local_second_{i}", [(3, 3, local, local)], (local,), (rows, local))
        layer(f"local_head_{i}", [(1, 1, local, 18)], (rows, 18), (rows, 18))
    shapes |= {f"context/{name}": [(rows, 2, kinds)] for name in ("bias", "gain")}
    shapes |= {"context/values": [(rows, len(_VALUE_LIMITS), kinds)]}
    shapes |= {"context/weights": [(rows, 2, len(_TERM_LIMITS), kinds)]}
    return shapes | {name: [(rows, kinds)] for name in ("sign", "zero_cell")}


def rows_of_integers(config: NetworkConfig, arrays: IntegerArrays, rows: Int[np.ndarray, " t"]) -> IntegerArrays:
    """The integers of some steps of a network of this shape."""
    longer = _shapes(replace(config, steps=config.steps + 1))

    def taken(name: str, array: np.ndarray) -> np.ndarray:
        changed = [a != b for a, b in zip(_shapes(config)[name][0], longer[name][0], strict=True)]
        return array.take(rows, changed.index(True)) if any(changed) else array

    return {name: taken(name, array) for name, array in arrays.items()}


def check(config: NetworkConfig, arrays: IntegerArrays) -> None:
    """Proves that no sum or product of `evaluate` can leave its range.

    Raises:
      ValueError: one can, or an array is missing or has the wrong type or shape.
    """
    shapes = _shapes(config)

    def demand(holds, what: str) -> None:
        if not np.all(holds):
            raise ValueError(f"the integer network is not exact: {what}")

    def array(name: str, dtype) -> np.ndarray:
        if name not in arrays or arrays[name].dtype != dtype:
            raise ValueError(f"the integer network lacks {name!r} of type {np.dtype(dtype)}")
        if (found := arrays[name].shape) not in (wanted := shapes[name]):
            raise ValueError(f"the integer network has {name!r} of shape {found}, and must have {wanted[0]}")
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
        product(f"activation_{i}", STREAM_LIMIT)
        convolution(f"first_{i}", ACTIVATION_LIMIT)
        convolution(f"second_{i}", ACTIVATION_LIMIT)
        # The stream's clip comes after the sum.
        reach = np.abs(arrays[f"second_{i}/kernel"].astype(np.int64)).sum((0, 1, 2)) * ACTIVATION_LIMIT
        reach = reach * np.abs(array(f"second_{i}/multiplier", np.int32)) >> array(f"second_{i}/shift", np.int8)
        demand(reach < 2**30, f"the stream may overflow in block {i}")
    product("hidden", STREAM_LIMIT)
    convolution("reference_head", ACTIVATION_LIMIT)
    for i in range(len(config.local_bands)):
        convolution(f"local_first_{i}", VALUE_LIMIT)
        convolution(f"local_second_{i}", ACTIVATION_LIMIT)
        convolution(f"local_head_{i}", ACTIVATION_LIMIT)
    weights, bias = array("context/weights", np.int16), array("context/bias", np.int32)
    demand(np.tensordot(np.abs(weights), _TERM_LIMITS, (2, 0)) + np.abs(bias) < 2**30, "sums of the context")
    gain = array("context/gain", np.int16)
    demand(np.abs(gain).sum(1) * (24 << LOG_BITS) < 2**30, "gains of the context")
    demand(np.tensordot(np.abs(array("context/values", np.int16)), _VALUE_LIMITS, (1, 0)) < 2**30, "values")
    for name in ("sign", "zero_cell"):
        array(name, np.int16)
