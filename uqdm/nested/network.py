"""The network of the nested process: what the neighbourhood says about every coefficient.

One cell of the grid is one block of the picture. Three paths meet in the outputs.

*The trunk* looks at the picture as a whole. A 1 x 1 convolution takes the states of a block (two numbers per
coefficient) to `width` channels, residual blocks of two 3 x 3 convolutions look around, and 1 x 1 heads give three
numbers per coefficient: a location, a log-scale and a denoised estimate. The step index is discrete, so whatever
depends on time is a table: a bias per step and class of block at the input, a shift and a scale per step inside, a
bias and a gain per step at the heads.

*The context* looks at single coefficients, as wavelet coders do: sums of magnitudes f_k around a coefficient
(uqdm.nested.context) are weighted twice, and the logarithms of both sums move the log-scale,

    S_i = w_i0 + sum_k w_ik f_k,      log-scale += g_1 L(S_1) + g_2 L(S_2),      i = 1, 2,                 (1)

while the values around it, and its own sign, move the location. L is the logarithm to the base 2 of
max(S, 0) + 1/20, made of straight lines between powers of two. Coefficients of one *kind* (band and colour) share
these weights.

*The local networks* look at the two finest octaves at their own resolution: two 3 x 3 convolutions over what surrounds
a coefficient, its parents and children, with a bias per step, and a head for location and log-scale with a gain per
step.

The network is made to be evaluated in integers (uqdm.nested.integer_network): no normalisation layer, no softmax, no
attention, clipped ReLU with a learned ceiling as the non-linearity, inputs in sixteenths. With `quantized`, kernels
have 255 values per output channel and activations 256, as they have there; rounding lets gradients pass straight
through.

Only this file and uqdm.diffusion.network import flax; outside of them parameters are nested dictionaries of arrays. The
modules stay behind pure functions, so that changing the framework would touch nothing else.
"""

import functools
import operator
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from uqdm.exact.fixed_point import ACTIVATION_LIMIT, Parameters, straight_through
from uqdm.nested.context import (
    SUMS,
    VALUES,
    bands_of,
    local_features,
    pack_bands,
    signed_neighbours,
    sums_of_magnitudes,
)
from uqdm.nested.network_config import (
    INPUT_UNITS,
    LEAST_SUM,
    MAGNITUDE_LIMIT,
    TRUNK_MAGNITUDE_LIMIT,
    VALUE_LIMIT,
    NetworkConfig,
)
from uqdm.nested.schedule import BLOCK_CLASSES
from uqdm.training.once import once

__all__ = ["NetworkConfig", "Outputs", "Inputs", "apply", "init"]


class Inputs(NamedTuple):
    """What is known before a step."""

    units: Float[Array, "n h w C"]
    """The input of every coefficient, whole numbers: 0 where nothing was sent, and in zero cells."""
    classes: Int[Array, "h w"]
    """Class of every block (uqdm.nested.schedule.block_classes)."""
    step: Int[Array, " n"]
    """How many steps of the schedule are behind us, per picture."""


class Outputs(NamedTuple):
    """What the network says about every coefficient, in units that `uqdm.nested.process` defines."""

    location: Float[Array, "n h w C"]
    log2_scale: Float[Array, "n h w C"]
    estimate: Float[Array, "n h w C"]


def _log2_by_lines(x: Array) -> Array:
    """e + f for x = 2^e (1 + f), 0 <= f < 1."""
    exponent = jnp.floor(jnp.log2(jax.lax.stop_gradient(x)))
    return exponent + x * jnp.exp2(-exponent) - 1


def _band_weights(table: Array, band: int, kinds: slice) -> Array:
    """The weights (..., orientations, 3) of one band, which has some of the kinds, in a table (..., kinds)."""
    if band == 0:
        return table[..., None, kinds]
    return table[..., kinds].reshape(*table.shape[:-1], 3, 3)


def _weighted_sum(terms: tuple[Array, ...], weights: Array) -> Array:
    """Sum of pictures (n, H, W, o, 3), each times a weight; weights are (n, terms, o, 3)."""
    products = (weights[:, k, None, None] * term for k, term in enumerate(terms))
    return functools.reduce(operator.add, products)


class _Network(nn.Module):
    config: NetworkConfig
    quantized: bool = True

    def setup(self):
        config = self.config
        rows, width, channels, kinds = config.steps + 1, config.width, config.channels, config.kinds
        zeros, ones, he = nn.initializers.zeros, nn.initializers.ones, nn.initializers.he_normal()
        small = nn.initializers.variance_scaling(0.02, "fan_in", "normal")

        def conv(features, size, kernel_init):
            return nn.Conv(features, (size, size), padding="SAME", use_bias=False, kernel_init=kernel_init)

        def table(name, init, *shape):
            return self.param(name, init, (rows, *shape), jnp.float32)

        self.entry = conv(width, 1, he)
        self.entry_bias = table("entry_bias", zeros, config.classes, width)
        self.first = [conv(width, 3, he) for _ in range(config.blocks)]
        self.second = [conv(width, 3, small) for _ in range(config.blocks)]
        self.gains = self.param("gains", ones, (config.blocks, rows, width), jnp.float32)
        self.biases = self.param("biases", zeros, (config.blocks, rows, width), jnp.float32)
        # One ceiling per activation: two in every residual block and one before the heads; two in each local network.
        ceilings, octaves = nn.initializers.constant(6.0), len(config.local_bands)
        self.ceilings = self.param("ceilings", ceilings, (2 * config.blocks + 1,), jnp.float32)
        if octaves:  # a latent has none
            self.local_ceilings = self.param("local_ceilings", ceilings, (octaves, 2), jnp.float32)
            self.local_biases = self.param("local_biases", zeros, (octaves, 2, rows, config.local_width), jnp.float32)
            self.local_gains = self.param("local_gains", ones, (octaves, rows, 2 * 9), jnp.float32)
        self.local_first = [conv(config.local_width, 3, he) for _ in range(octaves)]
        self.local_second = [conv(config.local_width, 3, he) for _ in range(octaves)]
        self.local_head = [conv(2 * 9, 1, small) for _ in range(octaves)]
        self.reference_head = conv(2 * channels, 1, small)
        self.reference_gain = table("reference_gain", ones, 2, kinds)
        self.reference_bias = table("reference_bias", zeros, 2, kinds)
        self.zero_cell_bias = table("zero_cell_bias", zeros, kinds)
        self.estimate_head = conv(channels, 1, small)
        self.estimate_gain = table("estimate_gain", ones, kinds)
        self.estimate_bias = table("estimate_bias", zeros, kinds)
        # Of the sign, alone (location, estimate) and times L(S_1) (estimate).
        self.sign_weights = table("sign_weights", nn.initializers.constant(-0.2), 3, kinds)
        local, beyond = ((np.arange(len(SUMS)) < 5) == first for first in (True, False))
        weights = np.stack([0.15 * np.where(part, 1.0, 0.2) for part in (local, beyond)])[None, :, :, None]
        self.context_weights = table(
            "context_weights",
            lambda _, shape, dtype: jnp.broadcast_to(weights, shape).astype(dtype),
            2,
            len(SUMS),
            kinds,
        )
        self.context_bias = table("context_bias", nn.initializers.constant(0.15), 2, kinds)
        self.context_gain = table("context_gain", nn.initializers.constant(0.15), 2, kinds)
        self.context_values = table("context_values", zeros, VALUES, kinds)

    def _activate(self, x, ceiling):
        share = jnp.clip(x / ceiling, 0.0, 1.0)
        if self.quantized:
            share = straight_through(share, jnp.round(share * ACTIVATION_LIMIT) / ACTIVATION_LIMIT)
        return share * ceiling

    def _trunk(self, state: Inputs):
        """(n, h, w, width)."""
        step, classes = state.step[:, None, None], state.classes[None] // (BLOCK_CLASSES // self.config.classes)
        features = [state.units, jnp.minimum(jnp.abs(state.units), TRUNK_MAGNITUDE_LIMIT)]
        x = self.entry(jnp.concatenate(features, axis=-1) / INPUT_UNITS) + self.entry_bias[step, classes]
        for i in range(self.config.blocks):
            branch = self._activate(x * self.gains[i][step], self.ceilings[2 * i])
            branch = self.first[i](branch) + self.biases[i][step]
            x = x + self.second[i](self._activate(branch, self.ceilings[2 * i + 1]))
        return self._activate(x, self.ceilings[-1])

    def _context(self, state: Inputs):
        """What the context and the local networks add to the log-scale and to the location, and L(S_1)."""
        bands = bands_of(state.units, self.config.block)
        every, step = range(self.config.bands), state.step
        magnitudes = [jnp.minimum(jnp.abs(b), MAGNITUDE_LIMIT) / INPUT_UNITS for b in bands]
        clipped = [jnp.clip(b, -VALUE_LIMIT, VALUE_LIMIT) / INPUT_UNITS for b in bands]
        sums, values = sums_of_magnitudes(magnitudes, every), signed_neighbours(clipped, every)
        weights, bias = self.context_weights * np.array(SUMS, np.float32)[None, None, :, None], self.context_bias
        scales, locations, logarithms = [], [], []
        for band, (f, v) in enumerate(zip(sums, values, strict=True)):
            own = partial(_band_weights, band=band, kinds=self.config.kind_range(band))
            total = [_weighted_sum(f, own(weights[step, i])) + own(bias[step, i])[:, None, None] for i in range(2)]
            logs = [_log2_by_lines(jnp.maximum(s, 0.0) + LEAST_SUM) for s in total]
            gains = [own(self.context_gain[step, i])[:, None, None] for i in range(2)]
            scales.append(gains[0] * logs[0] + gains[1] * logs[1])
            locations.append(_weighted_sum(v, own(0.5 * self.context_values[step])))
            if band in self.config.local_bands:
                children = magnitudes[band + 1] if band + 1 < self.config.bands else None
                features = local_features(clipped[band], magnitudes[band], magnitudes[band - 1], children)
                location, scale = self._local(features, band, step)
                locations[-1], scales[-1] = locations[-1] + location, scales[-1] + scale
            logarithms.append(logs[0])
        return tuple(pack_bands(part, every) for part in (scales, locations, logarithms))

    def _local(self, features, band: int, step):
        """Location and log-scale (n, H, W, 3, 3) from the local network of a band."""
        i = band - self.config.local_bands.start
        x = self.local_first[i](features) + self.local_biases[i, 0][step][:, None, None]
        x = (
            self.local_second[i](self._activate(x, self.local_ceilings[i, 0]))
            + self.local_biases[i, 1][step][:, None, None]
        )
        x = self.local_head[i](self._activate(x, self.local_ceilings[i, 1])) * self.local_gains[i][step][:, None, None]
        return (part.reshape(*part.shape[:3], 3, 3) for part in jnp.split(x, 2, axis=-1))

    def __call__(self, state: Inputs):
        hidden, (scale, values, logarithm) = self._trunk(state), self._context(state)
        step, kind, sign = state.step[:, None, None], self.config.kind, jnp.sign(state.units)

        def table(values):
            return values[step][..., kind]

        location, log2_scale = jnp.split(self.reference_head(hidden), 2, axis=-1)
        location = location * table(self.reference_gain[:, 0]) + table(self.reference_bias[:, 0]) + values
        location = location + sign * table(self.sign_weights[:, 0])
        log2_scale = log2_scale * table(self.reference_gain[:, 1]) + table(self.reference_bias[:, 1]) + scale
        log2_scale = log2_scale + jnp.where(sign == 0, table(self.zero_cell_bias), 0.0)
        estimate = self.estimate_head(hidden) * table(self.estimate_gain) + table(self.estimate_bias) + values
        by_sign = table(self.sign_weights[:, 1]) + logarithm * 0.1 * table(self.sign_weights[:, 2])
        return Outputs(jnp.clip(location, -16.0, 16.0), jnp.clip(log2_scale, -7.0, 7.0), estimate + sign * by_sign)


def init(config: NetworkConfig, key: PRNGKeyArray) -> Parameters:
    """Fresh parameters; the references start near the prior."""
    shape = (1, 2, 2, config.channels)
    state = Inputs(jnp.zeros(shape), jnp.zeros((2, 2), jnp.int32), jnp.zeros((1,), jnp.int32))
    return once(lambda key: dict(_Network(config).init(key, state)["params"]), key)


def apply(config: NetworkConfig, parameters: Parameters, state: Inputs, *, quantized: bool) -> Outputs:
    """All outputs, differentiably.

    Args:
      config: the shape of the network.
      parameters: as given by `init` and trained; if `quantized`, rounded by `uqdm.exact.fixed_point.round_kernels`.
      state: what is known.
      quantized: whether activations are rounded as in integer evaluation.
    """
    outputs: Any = _Network(config, quantized).apply({"params": parameters}, state)
    return outputs
