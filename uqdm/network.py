"""The network of the nested process: what the neighbourhood says about every coefficient.

One cell of the grid is one block of the picture. Two paths meet in the outputs.

*The trunk* looks at the picture as a whole. A 1 x 1 convolution takes the states of a block (two numbers per
coefficient) to `width` channels, residual blocks of two 3 x 3 convolutions look around, and 1 x 1 heads give three
numbers per coefficient: a location, a log-scale and a denoised estimate. The step index is discrete, so whatever
depends on time is a table: a bias per step and class of block at the input, a shift and a scale per step inside, a
bias and a gain per step at the heads.

*The context* looks at single coefficients, as wavelet coders do: magnitudes of the coefficient itself, of those around
it in its band (near and far), of its parent and around it, of the other orientations, of the other colours, and of its
children, weighted per step and channel,

    S = w_0 + sum_k w_k f_k,      log-scale += g log2(max(S, 0) + 1/20),                      (1)

and the values above and below, left and right, and in the other colours, which move the location and the estimate.

It is built to be evaluated in 8-bit integers: no normalisation layer, no softmax, no attention, clipped ReLU with
a learned ceiling as the non-linearity, a logarithm of small range that a table can hold, and kernels that
`round_kernels` puts on a grid of 255 values per output channel during training already, so that the kernels in a
model file are exactly the ones that were trained.

This is the only file that imports flax; outside of it parameters are nested dictionaries of arrays. Its Linen modules
stay behind pure functions, so that changing the framework would touch nothing else.
"""

import functools
import operator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from uqdm.transform import pack, unpack

__all__ = [
    "NetworkConfig",
    "Outputs",
    "Parameters",
    "State",
    "apply",
    "estimate",
    "from_config",
    "init",
    "kernel_scales",
    "reference",
    "round_kernels",
    "to_config",
]

Parameters = dict
"""Nested dictionary of float32 arrays."""

_SUMS = 8
"""Sums of magnitudes in Eq. 1."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network.

    Attributes:
      block: side of a block; it has 3 block^2 coefficients (uqdm.transform).
      steps: number of steps of the schedule; tables hold one row more, for the state after the last.
      width: channels of the residual stream.
      blocks: number of residual blocks.
    """

    block: int
    steps: int
    width: int = 256
    blocks: int = 3

    @property
    def channels(self) -> int:
        return 3 * self.block**2


def to_config(config: NetworkConfig) -> dict:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict) -> NetworkConfig:
    """Mirror image of `to_config`."""
    return NetworkConfig(**values)


class State(NamedTuple):
    """What is known before a step."""

    normalized: Float[Array, "n h w C"]
    """The state of every coefficient divided by its standard deviation; 0 where nothing was sent."""
    zero_cell: Bool[Array, "n h w C"]
    """Whether it is known to lie in the zero cell of its level."""
    classes: Int[Array, "h w"]
    """Class of every block (uqdm.schedule)."""
    step: Int[Array, " n"]
    """How many steps of the schedule are behind us, per picture."""


class Outputs(NamedTuple):
    """What the network says about every coefficient, in units that `uqdm.process` defines."""

    location: Float[Array, "n h w C"]
    log2_scale: Float[Array, "n h w C"]
    estimate: Float[Array, "n h w C"]


def _spread(x: Array, axis: int) -> tuple[Array, Array]:
    """x shifted by one in both directions along an axis, with zeros coming in."""
    margins = [(0, 0)] * x.ndim
    margins[axis] = (1, 1)
    padded = jnp.pad(x, margins)
    length = x.shape[axis]
    return jax.lax.slice_in_dim(padded, 0, length, axis=axis), jax.lax.slice_in_dim(padded, 2, length + 2, axis=axis)


def _box(x: Array) -> Array:
    """Sum over the 3 x 3 positions around each."""
    for axis in (1, 2):
        before, after = _spread(x, axis)
        x = before + x + after
    return x


def _enlarge(x: Array) -> Array:
    """Every position becomes 2 x 2."""
    n, height, width, *rest = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, width, 2, *rest))
    return spread.reshape(n, 2 * height, 2 * width, *rest)


def _shrink(x: Array) -> Array:
    """Mean over 2 x 2 positions."""
    n, height, width, *rest = x.shape
    return jnp.mean(x.reshape(n, height // 2, 2, width // 2, 2, *rest), axis=(2, 4))


def _others(x: Array, axis: int) -> Array:
    """Sum over the other entries along an axis."""
    return jnp.sum(x, axis=axis, keepdims=True) - x


def _neighbourhood(block: int, normalized: Array) -> tuple[list[tuple[Array, ...]], list[tuple[Array, ...]]]:
    """f_1 to f_8 of Eq. 1, and the signed neighbours, for every band as pictures (n, H, W, orientations, 3)."""
    low, *details = unpack(normalized, block)
    bands = [low[..., None, :], *details]
    magnitudes = [jnp.minimum(jnp.abs(band), 4.0) for band in bands]
    nothing = [jnp.zeros_like(magnitudes[0])]
    one_orientation = [jnp.mean(magnitudes[1], axis=-2, keepdims=True)]
    parents = nothing + [jnp.broadcast_to(magnitudes[0], magnitudes[1].shape)] + magnitudes[1:-1]
    near_parents = [_box(parent) for parent in parents]
    children = one_orientation + [_shrink(m) for m in magnitudes[2:]] + [jnp.zeros_like(magnitudes[-1])]
    sums, values = [], []
    for index, (band, magnitude) in enumerate(zip(bands, magnitudes, strict=True)):
        grow = _enlarge if index >= 2 else lambda x: x
        near = _box(magnitude)
        sums.append(
            (
                magnitude,
                0.25 * (near - magnitude),
                0.04 * (_box(near) - near),
                grow(parents[index]),
                0.15 * grow(near_parents[index]),
                0.5 * _others(magnitude, -2),
                0.5 * _others(magnitude, -1),
                children[index],
            )
        )
        value = jnp.clip(band, -6.0, 6.0)
        above, below = _spread(value, 1)
        left, right = _spread(value, 2)
        values.append((0.5 * (above + below), 0.5 * (left + right), 0.5 * _others(value, -1)))
    return sums, values


def _weighted(block: int, terms: list[tuple[Array, ...]], weights: Array) -> Array:
    """Sum of terms, each times a weight per picture and channel.

    Args:
      block: side of the blocks.
      terms: for every band, pictures (n, H, W, orientations, 3).
      weights: (n, terms, C).

    Returns:
      (n, h, w, C).
    """
    n, start, bands = weights.shape[0], 0, []
    for pictures in terms:
        height, width, orientations = pictures[0].shape[1:4]
        side = 1 if orientations == 1 else max(1, height // terms[0][0].shape[1])
        stop = start + side * side * orientations * 3
        table = weights[..., start:stop].reshape(n, -1, 1, side, 1, side, orientations * 3)
        inside = (n, height // side, side, width // side, side, orientations * 3)
        products = (table[:, k] * picture.reshape(inside) for k, picture in enumerate(pictures))
        total = functools.reduce(operator.add, products)
        shape = (n, height, width, 3) if orientations == 1 else (n, height, width, orientations, 3)
        bands.append(total.reshape(shape))
        start = stop
    return pack(bands, block)


class _Network(nn.Module):
    config: NetworkConfig

    def setup(self):
        config = self.config
        rows, width, channels = config.steps + 1, config.width, config.channels
        zeros, ones, he = nn.initializers.zeros, nn.initializers.ones, nn.initializers.he_normal()
        small = nn.initializers.variance_scaling(0.02, "fan_in", "normal")

        def conv(features, size, kernel_init):
            return nn.Conv(features, (size, size), padding="SAME", use_bias=False, kernel_init=kernel_init)

        self.entry = conv(width, 1, he)
        self.entry_bias = self.param("entry_bias", zeros, (rows, 4, width), jnp.float32)
        self.first = [conv(width, 3, he) for _ in range(config.blocks)]
        self.second = [conv(width, 3, small) for _ in range(config.blocks)]
        self.gains = self.param("gains", ones, (config.blocks, rows, width), jnp.float32)
        self.biases = self.param("biases", zeros, (config.blocks, rows, width), jnp.float32)
        # One ceiling per activation: two in every residual block and one before the heads.
        self.ceilings = self.param("ceilings", nn.initializers.constant(8.0), (2 * config.blocks + 1,), jnp.float32)
        self.reference_head = conv(2 * channels, 1, small)
        self.reference_gain = self.param("reference_gain", ones, (rows, 2, channels), jnp.float32)
        self.reference_bias = self.param("reference_bias", zeros, (rows, 2, channels), jnp.float32)
        self.zero_cell_bias = self.param("zero_cell_bias", zeros, (rows, channels), jnp.float32)
        self.estimate_head = conv(channels, 1, small)
        self.estimate_gain = self.param("estimate_gain", ones, (rows, channels), jnp.float32)
        self.estimate_bias = self.param("estimate_bias", zeros, (rows, channels), jnp.float32)
        weight = nn.initializers.constant(0.15)
        self.context_weights = self.param("context_weights", weight, (rows, _SUMS, channels), jnp.float32)
        self.context_bias = self.param("context_bias", weight, (rows, channels), jnp.float32)
        self.context_gain = self.param("context_gain", zeros, (rows, channels), jnp.float32)
        self.context_values = self.param("context_values", zeros, (rows, 3, channels), jnp.float32)

    def _activate(self, x, index):
        return jnp.minimum(jnp.maximum(x, 0.0), self.ceilings[index])

    def trunk(self, state: State):
        """(n, h, w, width)."""
        normalized, step = state.normalized, state.step[:, None, None]
        features = [jnp.clip(normalized, -8.0, 8.0), jnp.minimum(jnp.abs(normalized), 3.0)]
        x = self.entry(jnp.concatenate(features, axis=-1)) + self.entry_bias[step, state.classes[None]]
        for i in range(self.config.blocks):
            branch = self._activate(x * self.gains[i][step], 2 * i)
            branch = self.first[i](branch) + self.biases[i][step]
            x = x + self.second[i](self._activate(branch, 2 * i + 1))
        return self._activate(x, 2 * self.config.blocks)

    def _reference(self, state: State, hidden: Array, sums, neighbours: Array):
        step = state.step[:, None, None]
        location, log2_scale = jnp.split(self.reference_head(hidden), 2, axis=-1)
        gain, bias = self.reference_gain[step], self.reference_bias[step]
        location = location * gain[..., 0, :] + bias[..., 0, :] + neighbours
        log2_scale = log2_scale * gain[..., 1, :] + bias[..., 1, :]
        total = _weighted(self.config.block, sums, self.context_weights[state.step]) + self.context_bias[step]
        log2_scale = log2_scale + self.context_gain[step] * jnp.log2(jnp.maximum(total, 0.0) + 0.05)
        return location, log2_scale + jnp.where(state.zero_cell, self.zero_cell_bias[step], 0.0)

    def _estimate(self, state: State, hidden: Array, neighbours: Array):
        step = state.step[:, None, None]
        return self.estimate_head(hidden) * self.estimate_gain[step] + self.estimate_bias[step] + neighbours

    def _neighbours(self, state: State):
        sums, values = _neighbourhood(self.config.block, state.normalized)
        return sums, _weighted(self.config.block, values, self.context_values[state.step])

    def reference(self, state: State):
        """Location and log-scale."""
        return self._reference(state, self.trunk(state), *self._neighbours(state))

    def estimate(self, state: State):
        """Denoised estimate."""
        return self._estimate(state, self.trunk(state), self._neighbours(state)[1])

    def __call__(self, state: State):
        hidden = self.trunk(state)
        sums, neighbours = self._neighbours(state)
        reference = self._reference(state, hidden, sums, neighbours)
        return Outputs(*reference, self._estimate(state, hidden, neighbours))


def init(config: NetworkConfig, key: PRNGKeyArray) -> Parameters:
    """Fresh parameters; the references start near the prior."""
    shape = (1, 2, 2, config.channels)
    state = State(jnp.zeros(shape), jnp.zeros(shape, bool), jnp.zeros((2, 2), jnp.int32), jnp.zeros((1,), jnp.int32))
    return dict(_Network(config).init(key, state)["params"])


def _call(config: NetworkConfig, parameters: Parameters, state: State, method=None) -> Any:
    return _Network(config).apply({"params": parameters}, state, method=method)


def apply(config: NetworkConfig, parameters: Parameters, state: State) -> Outputs:
    """Everything, for training.

    Args:
      config: the shape of the network.
      parameters: as given by `init`, trained, and rounded by `round_kernels` or read from a file.
      state: what is known.
    """
    return _call(config, parameters, state)


def reference(config: NetworkConfig, parameters: Parameters, state: State) -> tuple[Array, Array]:
    """Location and log2-scale only: what sender and receiver evaluate for every step."""
    return _call(config, parameters, state, _Network.reference)


def estimate(config: NetworkConfig, parameters: Parameters, state: State) -> Array:
    """The denoised estimate only: what a preview needs."""
    return _call(config, parameters, state, _Network.estimate)


def kernel_scales(kernel: Array) -> Array:
    """Grid of a kernel, one step size per output channel (1, 1, 1, out): 127 steps reach the largest weight.

    Steps have 12 significant bits, so that weights on the grid are exact and have the same grid again.
    """
    largest = jnp.max(jnp.abs(kernel), axis=tuple(range(kernel.ndim - 1)), keepdims=True)
    return jax.lax.reduce_precision(jnp.maximum(largest, 1e-12) / np.float32(127), exponent_bits=8, mantissa_bits=11)


def round_kernels(parameters: Parameters) -> Parameters:
    """Puts every convolution kernel on its 8-bit grid; gradients pass straight through."""

    def on_grid(path, leaf):
        if path[-1].key != "kernel":
            return leaf
        leaf = jnp.asarray(leaf)
        scale = kernel_scales(jax.lax.stop_gradient(leaf))
        return leaf + jax.lax.stop_gradient(jnp.round(leaf / scale) * scale - leaf)

    return jax.tree_util.tree_map_with_path(on_grid, parameters)
