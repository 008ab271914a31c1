"""The network of the lossless residual: what it is told of pixels, its floating-point twin, and the integers.

A picture is seen as a grid of *quads*, 2 x 2 pixels each. The pixel at (row, column) of its quad has the class of
uqdm.nested.schedule, Eq. 2, and pixels are sent class by class (uqdm.lossless.predicted), so that before class k those
of classes 0 to k - 1 are known everywhere: each of the four classes has a small network of its own. With P the
prediction of a pixel in 1/256 (uqdm.lossless.predicted) and x the pixel, the features of a quad are the integers

    r = lim(floor((256 x - P + 32) / 64), 127)   of the known pixels, 0 for the others: quarters of a pixel value,
    |r|,
    q = lim(floor((4 P - sum of P of the 4 neighbours) / 512), 127)     (outside, P is that of the nearest pixel),
    v = lim(floor((sum of P of the quad's 4 pixels) / 1024) - 128, 127)    for each colour,
    |u|, u the inputs (uqdm.nested.process, Eq. 3) of the finest octave's coefficients at this place and of their
    parents,  (1)

12 + 12 + 12 + 3 + 9 + 9 numbers, each of the first three kinds in the order class, colour, and those of coefficients in
the order orientation, colour (zeros for parents if there is one octave only). |u| is 0 in zero cells, so it tells of
which frequencies the error of P is made. The network is

    h_1 = act(K_1 * f + b_1),   h_2 = act(K_2 * h_1 + b_2),   h_3 = act(K_3 * h_2 + b_3),
    outputs = K_4 * h_3 + K_5 * f + b_5,          act(x) = min(max(x, 0), ceiling),                     (2)

all kernels 3 x 3 but K_4, which is 1 x 1; and its 9 outputs are, for the pixel of class k of every quad,

    m_c       how far colour c is expected above P                                       (3 colours)
    s_c       log2 of the scale of its logistic density                                  (3 colours)
    a_GR, a_GB, a_RB     how much of one colour's error another one has.                             (3)

A pixel's colours are sent in the order G, R, B. An error of colour c is what was sent less what was expected, e_c =
256 x - P - m_c - (what follows), and later colours expect, with T a table of the class,

    R:  m_R + a_GR e_G,               s_R + T_0[t(e_G, s_G)]
    B:  m_B + a_GB e_G + a_RB e_R,    s_B + T_1[t(e_G, s_G)] + T_2[t(e_R, s_R)],                       (4)
    t(e, s) = lim(floor(2 (log2(|e| + 1/32) - s)), 8).

The twin is trained as it will be evaluated: kernels and activations rounded (uqdm.exact.fixed_point), log2 made of
straight lines between powers of two. In integers (`from_parameters`, `evaluate`) m is in 1/256, s in 1/64 octave of
1/256, a in 1/256; everything between is as in uqdm.exact.fixed_point, Eq. 1.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int8, Int32, UInt8

from uqdm.exact.convolution import CONVOLUTIONS, SUM_LIMIT
from uqdm.exact.fixed_point import ACTIVATION_LIMIT, kernel_scales, kernel_steps, rescaling, round_kernels
from uqdm.training.once import once

__all__ = [
    "COLOUR_ORDER",
    "FEATURES",
    "HALO",
    "POSITIONS",
    "Outputs",
    "apply",
    "check",
    "class_index",
    "evaluate",
    "expected",
    "fixed_features",
    "from_parameters",
    "init",
    "residual_features",
    "to_quads",
]

POSITIONS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) of each class in its quad."""
COLOUR_ORDER = (1, 0, 2)
"""Colours of a pixel in the order of transmission."""
FEATURES = 57
HALO = 3
"""Quads around one that its outputs depend on."""
FEATURE_LIMIT = 127
FEATURE_SCALE = 16.0
"""The twin sees features divided by it."""
TICKS = 256
"""Of a pixel value."""
LAYERS = ("first", "second", "third")
OUTPUTS = 9
TABLE_LIMIT = 8
LOCATION_LIMIT = 2**14
LOG2_SCALE_LIMITS = 2 * 64, 14 * 64
SLOPE_LIMIT = 2**10

Parameters = dict[str, Any]


class Outputs(NamedTuple):
    """Eq. 3 for the pixel of one class of every quad, int32 (..., 3)."""

    location: Array
    """R, G, B, in 1/256."""
    log2_scale: Array
    """R, G, B, in 1/64 octave of 1/256."""
    slope: Array
    """GR, GB, RB, in 1/256."""


def to_quads(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) of even sides as quads (H / 2, W / 2, 12), in the order class, colour."""
    return np.concatenate([picture[row::2, column::2] for row, column in POSITIONS], axis=-1)


def fixed_features(prediction: np.ndarray, bands: list[np.ndarray]) -> Int8[np.ndarray, "h w 33"]:
    """What Eq. 1 says of a quad without its residuals.

    Args:
      prediction: P, int64 (H, W, 3) of even sides.
      bands: u of all bands as pictures (uqdm.transforms.wavelet.unpack), each (h, w, ...), finest last.
    """
    padded = np.pad(prediction, ((1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    quads = to_quads(prediction)
    level = (quads.reshape(*quads.shape[:2], 4, 3).sum(2) >> 10) - 128
    finest = np.abs(bands[-1].astype(np.int64)).reshape(*quads.shape[:2], 9)
    parents = np.zeros_like(finest)
    if len(bands) > 2:
        coarser = np.abs(bands[-2].astype(np.int64))
        parents = coarser.repeat(2, 0).repeat(2, 1).reshape(*quads.shape[:2], 9)
    features = np.concatenate([to_quads(4 * prediction - neighbours) >> 9, level, finest, parents], axis=-1)
    return np.clip(features, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.int8)


def residual_features(residual: np.ndarray) -> np.ndarray:
    """r of Eq. 1 from 256 x - P, int8 of any shape."""
    return np.clip((residual + 32) >> 6, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.int8)


def init(width: int, key: Array) -> list[Parameters]:
    """Random parameters of the four networks, `width` channels in each layer."""
    return once(functools.partial(_init, width), key)


def _init(width: int, key: Array) -> list[Parameters]:
    networks = []
    for class_key in jax.random.split(key, len(POSITIONS)):
        shapes = [
            (3, FEATURES, width),
            (3, width, width),
            (3, width, width),
            (1, width, OUTPUTS),
            (3, FEATURES, OUTPUTS),
        ]
        gains = (1.0, 1.0, 1.0, 0.1, 0.01)
        names = (*LAYERS, "head", "direct")
        network: Parameters = {
            name: {"kernel": gain * jax.random.normal(key, (side, side, *ends)) * np.sqrt(2 / (side * side * ends[0]))}
            for name, gain, (side, *ends), key in zip(names, gains, shapes, jax.random.split(class_key, 5), strict=True)
        }
        for name in LAYERS:
            network[name] |= {"bias": jnp.zeros(width), "ceiling": jnp.array(4.0)}
        network["direct"]["bias"] = jnp.array([0.0] * 3 + [0.5] * 3 + [0.0] * 3)
        network["table"] = jnp.zeros((3, 2 * TABLE_LIMIT + 1))
        networks.append(network)
    return networks


def _convolved(x: Array, kernel: Array) -> Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)


def apply(parameters: Parameters, features: Float[Array, "n h w 57"]) -> Float[Array, "n h w 9"]:
    """Eq. 2 in floating point, kernels and activations rounded."""
    parameters = round_kernels(parameters)
    features = hidden = features / FEATURE_SCALE
    for name in LAYERS:
        layer = parameters[name]
        ceiling = jnp.maximum(layer["ceiling"], 0.1)
        share = jnp.clip((_convolved(hidden, layer["kernel"]) + layer["bias"][None, None, None]) / ceiling, 0, 1)
        rounded = jnp.round(share * ACTIVATION_LIMIT) / ACTIVATION_LIMIT
        hidden = (share + jax.lax.stop_gradient(rounded - share)) * ceiling
    direct = parameters["direct"]
    outputs = _convolved(hidden, parameters["head"]["kernel"])
    return outputs + _convolved(features, direct["kernel"]) + direct["bias"][None, None, None]


_UNITS = np.array([TICKS] * 3 + [64] * 3 + [256] * 3, np.float64)
"""Of the integer outputs."""


def from_parameters(networks: list[Parameters]) -> dict[str, np.ndarray]:
    """Integers of trained parameters, computed in double precision; the first axis of every array is the class.

    Raises:
      ValueError: a sum or product could leave the range in which it is exact.
    """
    pieces: list[dict[str, np.ndarray]] = []
    for parameters in networks:
        arrays: dict[str, np.ndarray] = {}

        def layer(name, largest_input, gain, bias, parameters=parameters, arrays=arrays):
            kernel = np.asarray(parameters[name]["kernel"], np.float32)
            scale, steps = np.asarray(kernel_scales(jnp.asarray(kernel)), np.float64).reshape(-1), kernel_steps(kernel)
            largest = np.abs(steps.astype(np.int64)).sum((0, 1, 2)) * largest_input
            arrays[f"{name}/kernel"] = steps
            for part, array in rescaling(scale * gain, largest, bias).items():
                arrays[f"{name}/{part}"] = array

        largest_input, before = FEATURE_LIMIT, 1 / FEATURE_SCALE
        for name in LAYERS:
            ceiling = max(float(parameters[name]["ceiling"]), 0.1)
            unit = ACTIVATION_LIMIT / ceiling
            layer(name, largest_input, before * unit, np.asarray(parameters[name]["bias"], np.float64) * unit)
            largest_input, before = ACTIVATION_LIMIT, ceiling / ACTIVATION_LIMIT
        layer("head", largest_input, before * _UNITS, np.zeros(OUTPUTS))
        # Scales are counted from 1/256.
        origin = np.array([0.0] * 3 + [np.log2(TICKS)] * 3 + [0.0] * 3)
        layer(
            "direct",
            FEATURE_LIMIT,
            _UNITS / FEATURE_SCALE,
            (np.asarray(parameters["direct"]["bias"], np.float64) + origin) * _UNITS,
        )
        arrays["table"] = np.clip(np.rint(np.asarray(parameters["table"], np.float64) * 64), -512, 512).astype(np.int16)
        pieces.append(arrays)
    stacked = {name: np.stack([arrays[name] for arrays in pieces]) for name in pieces[0]}
    check(stacked)
    return stacked


def check(arrays: Mapping[str, np.ndarray]) -> None:
    """Proves that no sum or product of `evaluate` can leave its range.

    Raises:
      ValueError: one can, or an array is missing or has the wrong type.
    """
    largest_input = FEATURE_LIMIT
    for name in (*LAYERS, "head", "direct"):
        parts = {"kernel": np.int8, "multiplier": np.int32, "offset": np.int32, "shift": np.int8}
        for part, dtype in parts.items():
            if f"{name}/{part}" not in arrays or arrays[f"{name}/{part}"].dtype != dtype:
                raise ValueError(f"the residual lacks {name}/{part} of type {np.dtype(dtype)}")
        kernel, multiplier, offset, shift = (arrays[f"{name}/{part}"].astype(np.int64) for part in parts)
        largest = np.abs(kernel).sum((1, 2, 3)) * (FEATURE_LIMIT if name == "direct" else largest_input)
        if (largest >= SUM_LIMIT).any() or (np.abs(multiplier) * largest + np.abs(offset) >= 2**31).any():
            raise ValueError(f"the residual's network is not exact: sums or products of {name} may overflow")
        if (shift < 4).any() or (shift > 30).any():
            raise ValueError(f"the residual's network is not exact: shifts of {name}")
        largest_input = ACTIVATION_LIMIT
    if "table" not in arrays or arrays["table"].dtype != np.int16:
        raise ValueError("the residual lacks table of type int16")


def class_index(arrays: Mapping[str, np.ndarray], index: int) -> dict[str, Array]:
    """What `evaluate` needs for one class: kernels int8, the rest int32, on the default device."""
    own = {name: array[index] for name, array in arrays.items() if name != "table"}
    return {
        name: jnp.asarray(array, jnp.int8 if name.endswith("/kernel") else jnp.int32) for name, array in own.items()
    }


@functools.partial(jax.jit, static_argnames=("convolution",))
def evaluate(
    rows: Mapping[str, Array],
    features: Int8[Array | np.ndarray, "n h w 45"],
    inside: Bool[Array | np.ndarray, "h w"],
    *,
    convolution: str,
) -> Outputs:
    """Eq. 2 in integers.

    Args:
      rows: of one class (`class_index`).
      features: those of Eq. 1 in their order without |r|, which is made here; 0 outside of the picture.
      inside: where the picture is.
      convolution: a key of `uqdm.exact.convolution.CONVOLUTIONS`.
    """
    given = jnp.asarray(features, jnp.int8)
    everything = jnp.concatenate([given[..., :12], jnp.abs(given[..., :12]), given[..., 12:]], -1)

    def layer(name: str, x: Int8[Array, "n h w c"] | UInt8[Array, "n h w c"]) -> Int32[Array, "n h w d"]:
        sums = CONVOLUTIONS[convolution].same(x, rows[f"{name}/kernel"])
        multiplier, offset, shift = (
            rows[f"{name}/{part}"][None, None, None] for part in ("multiplier", "offset", "shift")
        )
        return (sums * multiplier + offset) >> shift

    hidden, mask = everything, jnp.asarray(inside)[None, :, :, None]
    for name in LAYERS:
        hidden = jnp.where(mask, jnp.clip(layer(name, hidden), 0, ACTIVATION_LIMIT), 0).astype(jnp.uint8)
    outputs = layer("head", hidden) + layer("direct", everything)
    return Outputs(
        jnp.clip(outputs[..., :3], -LOCATION_LIMIT, LOCATION_LIMIT),
        jnp.clip(outputs[..., 3:6], *LOG2_SCALE_LIMITS),
        jnp.clip(outputs[..., 6:], -SLOPE_LIMIT, SLOPE_LIMIT),
    )


def expected(convolution: str, rows, features, inside) -> tuple[Array, ...]:
    """`evaluate` of a tile as a programme (uqdm.exact.programs)."""
    return tuple(output[0] for output in evaluate(rows, features[None], inside, convolution=convolution))
