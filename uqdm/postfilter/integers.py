"""The integers of the filter: computed from trained parameters, stored, and proven exact.

x = q / 2^f is written Qf; multiplications by real numbers are those of uqdm.exact.fixed_point, Eq. 1.

    input       pixel values less 128                                    int8
    stream      Q8, clipped to +-(2^15 - 1), of every resolution
    activation  0 ... 255, units of ceiling / 255
    correction  Q8, in pixel values, clipped to +-(2^15 - 1)             int16
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from uqdm.exact.convolution import SUM_LIMIT
from uqdm.exact.fixed_point import ACTIVATION_LIMIT, KERNEL_LIMIT, Parameters, kernel_scales, kernel_steps, rescaling
from uqdm.postfilter.config import CEILING, GREY, PIXEL_UNIT, FilterConfig

__all__ = ["CORRECTION_LIMIT", "CORRECTION_UNITS", "STREAM_LIMIT", "check", "from_parameters", "to_parameters"]

LARGEST_OF_HEAD = 0.25
"""Weight of the head where parameters are made of integers: the rest of a correction is its gain."""
STREAM_UNITS = 2**8
STREAM_LIMIT = 2**15 - 1
CORRECTION_UNITS = 2**8
CORRECTION_LIMIT = 2**15 - 1


def from_parameters(config: FilterConfig, parameters: Parameters) -> dict[str, np.ndarray]:
    """Integers of trained parameters, computed in double precision; kernels are int8.

    Args:
      config: shape of the network.
      parameters: trained with rounding (uqdm.postfilter.train).

    Raises:
      ValueError: a sum or product could leave the range in which it is exact.
    """
    p = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.asarray(leaf, np.float32 if path[-1].key == "kernel" else np.float64), parameters
    )
    arrays: dict[str, np.ndarray] = {}

    def put(name, real, largest, bias=0.0):
        arrays.update({f"{name}/{part}": array for part, array in rescaling(real, largest, bias).items()})

    def kernel(name, largest_input):
        """Stores a kernel; the step size and the largest sum per output channel."""
        leaf = p[name]["kernel"]
        step, steps = np.asarray(kernel_scales(jnp.asarray(leaf)), np.float64), kernel_steps(leaf)
        arrays[f"{name}/kernel"] = steps
        return step.reshape(-1), np.abs(steps.astype(np.int64)).sum((0, 1, 2)) * largest_input

    def activation(name, gain):
        """Of a stream, from its units to those of the ceiling."""
        put(f"{name}/activation", gain / p[f"{name}_ceiling"] * (ACTIVATION_LIMIT / STREAM_UNITS), STREAM_LIMIT)

    def from_activation(name, unit, gain=1.0):
        """A convolution of an activation."""
        step, largest = kernel(name, ACTIVATION_LIMIT)
        put(name, step * gain * (p[f"{name}_ceiling"] / ACTIVATION_LIMIT * unit), largest)

    step, largest = kernel("entry", GREY)
    put("entry", step / PIXEL_UNIT * STREAM_UNITS, largest, p["entry_bias"] * STREAM_UNITS)
    for unit in config.units:
        first, second = f"{unit.name}_first", f"{unit.name}_second"
        before, inside = p[f"{first}_ceiling"], p[f"{second}_ceiling"]
        activation(first, p[f"{unit.name}_gain"])
        step, largest = kernel(first, ACTIVATION_LIMIT)
        put(first, step * before / inside, largest, p[f"{unit.name}_bias"] / inside * ACTIVATION_LIMIT)
        from_activation(second, STREAM_UNITS)
    for level in range(1, config.levels):
        for name, width in ((f"down_{level}", config.widths[level - 1]), (f"up_{level - 1}", config.widths[level])):
            activation(name, np.ones(width))
            from_activation(name, STREAM_UNITS)
    activation("head", np.ones(config.widths[0]))
    from_activation("head", CORRECTION_UNITS, p["head_gain"][:, None])
    check(config, arrays)
    return arrays


def to_parameters(config: FilterConfig, arrays: Mapping[str, np.ndarray]) -> Parameters:
    """Parameters whose integers these are, but for the rounding of multipliers, to train further.

    What a ceiling, a gain and a kernel share between them is free: ceilings inside of residual blocks are `CEILING`
    here, as those of fresh parameters.

    Args:
      config: shape of the network.
      arrays: as `from_parameters` makes them.
    """
    p: Parameters = {}

    def real(name: str, part: str = "multiplier") -> np.ndarray:
        multiplier, offset, shift = (arrays[f"{name}/{part}"] for part in ("multiplier", "offset", "shift"))
        table = multiplier if part == "multiplier" else offset - 2.0 ** (shift.astype(np.float64) - 1)
        return table / 2.0 ** shift.astype(np.float64)

    def kernel(name: str, step: np.ndarray) -> None:
        p[name] = {"kernel": arrays[f"{name}/kernel"] * step}

    of_stream = ACTIVATION_LIMIT / STREAM_UNITS

    def activated(name: str) -> None:
        """A kernel whose input has no gain."""
        p[f"{name}_ceiling"] = of_stream / real(f"{name}/activation").mean()
        kernel(name, real(name) * of_stream / p[f"{name}_ceiling"])

    kernel("entry", real("entry") * (PIXEL_UNIT / STREAM_UNITS))
    p["entry_bias"] = real("entry", "offset") / STREAM_UNITS
    for unit in config.units:
        first, second = f"{unit.name}_first", f"{unit.name}_second"
        p[f"{first}_ceiling"] = p[f"{second}_ceiling"] = np.asarray(CEILING)
        p[f"{unit.name}_gain"] = real(f"{first}/activation") * CEILING / of_stream
        p[f"{unit.name}_bias"] = real(first, "offset") * (CEILING / ACTIVATION_LIMIT)
        kernel(first, real(first))
        kernel(second, real(second) * of_stream / CEILING)
    for level in range(1, config.levels):
        activated(f"down_{level}")
        activated(f"up_{level - 1}")
    p["head_ceiling"] = of_stream / real("head/activation").mean()
    sizes = real("head") * (ACTIVATION_LIMIT / (CORRECTION_UNITS * p["head_ceiling"]))
    p["head_gain"] = sizes.mean(1) * (KERNEL_LIMIT / LARGEST_OF_HEAD)
    kernel("head", (sizes / p["head_gain"][:, None]).mean(0))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), p)


def check(config: FilterConfig, arrays: Mapping[str, np.ndarray]) -> None:
    """Proves that no sum or product of the evaluation can leave its range.

    Raises:
      ValueError: one can, or an array is missing or has the wrong type or shape.
    """

    def demand(holds, what: str) -> None:
        if not np.all(holds):
            raise ValueError(f"the filter is not exact: {what}")

    def array(name: str, dtype: type, *shape: int) -> np.ndarray:
        found = arrays.get(name)
        if found is None or found.dtype != dtype or (found.shape[-len(shape) :] != shape):
            raise ValueError(f"the filter lacks {name!r} of type {np.dtype(dtype)} and shape {shape}")
        return found.astype(np.int64)

    def product(name: str, width: int, largest) -> np.ndarray:
        """The largest result."""
        multiplier, offset, shift = (
            array(f"{name}/{part}", dtype, width)
            for part, dtype in (("multiplier", np.int32), ("offset", np.int32), ("shift", np.int8))
        )
        for table in (multiplier, offset, shift):
            demand(table.ndim == 1 or table.shape == (config.steps + 1, width), f"the table of {name}")
        demand((shift >= 4) & (shift <= 30), f"shifts of {name}")
        reach = np.abs(multiplier) * largest + np.abs(offset)
        demand(reach < 2**31, f"products of {name} may overflow")
        return reach >> shift

    def convolution(name: str, size: int, inputs: int, outputs: int, largest_input: int) -> np.ndarray:
        kernel = array(f"{name}/kernel", np.int8, size, size, inputs, outputs)
        largest = np.abs(kernel).sum((0, 1, 2)) * largest_input
        demand(largest < SUM_LIMIT, f"sums of {name} may reach 2^24")
        return product(name, outputs, largest)

    convolution("entry", 3, 12, config.widths[0], GREY)
    for unit in config.units:
        width, (first, second) = config.widths[unit.level], (f"{unit.name}_first", f"{unit.name}_second")
        product(f"{first}/activation", width, STREAM_LIMIT)
        convolution(first, 3, width, width, ACTIVATION_LIMIT)
        # The stream's clip comes after the sum.
        demand(
            convolution(second, 3, width, width, ACTIVATION_LIMIT) < 2**30, f"the stream may overflow in {unit.name}"
        )
    for level in range(1, config.levels):
        finer, coarser = config.widths[level - 1], config.widths[level]
        product(f"down_{level}/activation", finer, STREAM_LIMIT)
        convolution(f"down_{level}", 1, 4 * finer, coarser, ACTIVATION_LIMIT)
        product(f"up_{level - 1}/activation", coarser, STREAM_LIMIT)
        reach = convolution(f"up_{level - 1}", 1, coarser, 4 * finer, ACTIVATION_LIMIT)
        demand(reach < 2**30, f"the stream may overflow at level {level - 1}")
    product("head/activation", config.widths[0], STREAM_LIMIT)
    convolution("head", 3, config.widths[0], 12, ACTIVATION_LIMIT)
