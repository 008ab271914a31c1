"""The hyper-synthesis in integers: what decides what the bytes of latents mean, the same on every machine.

Fixed point; multiplications by real numbers are those of uqdm.exact.fixed_point, Eq. 1.

    input       z^, |z| <= 31                                                                      int8
    activation  0 ... 255, units of ceiling / 255                                                  uint8
    outputs     mu in ticks, 1/256 of a width, |mu| <= 2^16                                        int32
                log2 of s in ticks, Q6, 4 to 12                                                    int32

The outputs of the two last layers, `head` (of activations) and `direct` (of z), are added and then limited. Tables of
hyper-latents are frequencies of the values -31 ... 31 out of 2^16, a row per channel.
"""

import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int8, UInt8, UInt16
from scipy.special import expit, softmax

from channel_sim.entropy import PRECISION, ProbabilityTable, quantize_probabilities
from uqdm.exact.convolution import CONVOLUTIONS, SUM_LIMIT
from uqdm.exact.fixed_point import ACTIVATION_LIMIT, kernel_scales, kernel_steps, rescaling
from uqdm.transform_coding.config import PHASES, TransformConfig
from uqdm.transform_coding.layers import Parameters
from uqdm.transform_coding.network import HYPER_LIMIT, HYPER_UNIT, LOG2_SCALE_LIMIT

__all__ = ["TICKS", "check", "expected", "from_parameters", "hyper_table", "prior_frequencies", "rows_of"]

TICKS = 256
"""Of a width."""
SCALE_UNITS = 64
"""Of an octave."""
LOCATION_LIMIT = 2**16
LAYERS = ("first", "second")
_PARTS = {"kernel": np.int8, "multiplier": np.int32, "offset": np.int32, "shift": np.int8}
_TABLE_BITS = 16
_ORIGIN = np.log2(TICKS)
LOG2_SCALE_LIMITS = tuple(round((_ORIGIN + sign * LOG2_SCALE_LIMIT) * SCALE_UNITS) for sign in (-1, 1))


def from_parameters(config: TransformConfig, parameters: Parameters) -> dict[str, np.ndarray]:
    """Integers of trained parameters (of the hyper-synthesis), computed in double precision.

    Raises:
      ValueError: a sum or product could leave the range in which it is exact.
    """
    arrays: dict[str, np.ndarray] = {}

    def layer(name: str, largest_input: int, gain: np.ndarray | float, bias: np.ndarray) -> None:
        kernel = np.asarray(parameters[name]["kernel"], np.float32)
        scale, steps = np.asarray(kernel_scales(jnp.asarray(kernel)), np.float64).reshape(-1), kernel_steps(kernel)
        largest = np.abs(steps.astype(np.int64)).sum((0, 1, 2)) * largest_input
        arrays[f"{name}/kernel"] = steps
        arrays.update({f"{name}/{part}": table for part, table in rescaling(scale * gain, largest, bias).items()})

    def bias_of(name: str) -> np.ndarray:
        return np.asarray(parameters[name]["bias"], np.float64)

    spread = np.asarray(config.spread, np.float64) + 0.3
    units = np.tile(np.concatenate([spread * TICKS, np.full(config.latents, float(SCALE_UNITS))]), PHASES)
    origin = np.tile(np.repeat([0.0, _ORIGIN], config.latents), PHASES)
    largest_input, before = HYPER_LIMIT, 1 / HYPER_UNIT
    for name in LAYERS:
        ceiling = max(float(parameters[name]["ceiling"]), 0.1)
        unit = ACTIVATION_LIMIT / ceiling
        layer(name, largest_input, before * unit, bias_of(name) * unit)
        largest_input, before = ACTIVATION_LIMIT, ceiling / ACTIVATION_LIMIT
    layer("head", largest_input, before * units, bias_of("head") * units)
    layer("direct", HYPER_LIMIT, units / HYPER_UNIT, (bias_of("direct") + origin) * units)
    check(config, arrays)
    return arrays


def check(config: TransformConfig, arrays: Mapping[str, np.ndarray]) -> None:
    """Proves that no sum or product of `expected` can leave its range.

    Raises:
      ValueError: one can, or an array is missing or has the wrong type or shape.
    """
    outputs = PHASES * 2 * config.latents
    shapes = {
        "first": (3, 3, config.hyper_latents, config.hyper_width),
        "second": (3, 3, config.hyper_width, config.hyper_width),
        "head": (1, 1, config.hyper_width, outputs),
        "direct": (1, 1, config.hyper_latents, outputs),
    }
    reach = 0
    for name, shape in shapes.items():
        for part, dtype in _PARTS.items():
            array, wanted = arrays.get(f"{name}/{part}"), shape if part == "kernel" else shape[-1:]
            if array is None or array.dtype != dtype or array.shape != wanted:
                raise ValueError(f"the hyper-synthesis lacks {name}/{part}, {np.dtype(dtype)} of shape {wanted}")
        kernel, multiplier, offset, shift = (arrays[f"{name}/{part}"].astype(np.int64) for part in _PARTS)
        largest_input = ACTIVATION_LIMIT if name in ("second", "head") else HYPER_LIMIT
        largest = np.abs(kernel).sum((0, 1, 2)) * largest_input
        product = np.abs(multiplier) * largest + np.abs(offset)
        if (largest >= SUM_LIMIT).any() or (product >= 2**31).any():
            raise ValueError(f"the hyper-synthesis is not exact: sums or products of {name} may overflow")
        if (shift < 4).any() or (shift > 30).any():
            raise ValueError(f"the hyper-synthesis is not exact: shifts of {name}")
        if name in ("head", "direct"):
            reach = reach + (product >> shift) + 1
    if (np.asarray(reach) >= 2**31).any():
        raise ValueError("the hyper-synthesis is not exact: the sum of head and direct may overflow")


def rows_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """What `expected` needs: kernels int8, the rest int32, on the default device."""
    return {
        name: jnp.asarray(array, jnp.int8 if name.endswith("/kernel") else jnp.int32) for name, array in arrays.items()
    }


def expected(
    convolution: str,
    rows: Mapping[str, Array],
    z: Int8[Array | np.ndarray, "h w Z"],
    inside: Bool[Array | np.ndarray, "h w"],
) -> tuple[Array, Array]:
    """h_s of a tile in integers, as a programme (uqdm.exact.programs).

    Args:
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`.
      rows: of `rows_of`.
      z: hyper-latents, 0 outside of the picture.
      inside: where the picture is.

    Returns:
      mu and log2 s (module docstring), int32 (h, w, 4, M).
    """
    given = jnp.asarray(z, jnp.int8)[None]

    def layer(name: str, x: Int8[Array, "n h w c"] | UInt8[Array, "n h w c"]) -> Array:
        sums = CONVOLUTIONS[convolution].same(x, rows[f"{name}/kernel"])
        multiplier, offset, shift = (
            rows[f"{name}/{part}"][None, None, None] for part in ("multiplier", "offset", "shift")
        )
        return (sums * multiplier + offset) >> shift

    hidden, mask = given, jnp.asarray(inside)[None, :, :, None]
    for name in LAYERS:
        hidden = jnp.where(mask, jnp.clip(layer(name, hidden), 0, ACTIVATION_LIMIT), 0).astype(jnp.uint8)
    outputs = (layer("head", hidden) + layer("direct", given))[0]
    height, width, count = outputs.shape
    outputs = outputs.reshape(height, width, PHASES, 2, count // (2 * PHASES))
    location = jnp.clip(outputs[:, :, :, 0], -LOCATION_LIMIT, LOCATION_LIMIT)
    return location, jnp.clip(outputs[:, :, :, 1], *LOG2_SCALE_LIMITS)


def prior_frequencies(prior: Parameters) -> UInt16[np.ndarray, "Z values"]:
    """Tables of hyper-latents from the trained mixtures; what lies beyond the last values is added to them."""
    mean, scale, logit = (np.asarray(prior[name], np.float64) for name in ("mean", "log_scale", "logit"))
    scale, weight = np.exp(np.clip(scale, -3.0, 4.0)), softmax(logit, axis=-1)
    ends = np.arange(-HYPER_LIMIT, HYPER_LIMIT) + 0.5
    below = (expit((ends[None, :, None] - mean[:, None]) / scale[:, None]) * weight[:, None]).sum(-1)
    below = np.pad(below, ((0, 0), (1, 1)), constant_values=(0.0, 1.0))
    return quantize_probabilities(np.maximum(np.diff(below, axis=1), 0.0), _TABLE_BITS).astype(np.uint16)


@functools.lru_cache(maxsize=4)
def _table(data: bytes, channels: int) -> ProbabilityTable:
    frequencies = np.frombuffer(data, np.uint16).reshape(channels, -1)
    return ProbabilityTable(frequencies.astype(np.int64) << (PRECISION - _TABLE_BITS))


def hyper_table(frequencies: UInt16[np.ndarray, "Z values"]) -> ProbabilityTable:
    """The table of stored frequencies.

    Raises:
      ValueError: they are none: a row does not sum to 2^16, or a value has no frequency.
    """
    if frequencies.dtype != np.uint16 or frequencies.ndim != 2 or frequencies.shape[1] != 2 * HYPER_LIMIT + 1:
        raise ValueError(f"tables of hyper-latents must be uint16 (channels, {2 * HYPER_LIMIT + 1})")
    return _table(frequencies.tobytes(), len(frequencies))
