"""The network of the filter: a correction of every pixel from what a prefix shows around it.

A U-Net on pictures folded to half their side (space to depth): residual blocks of two 3 x 3 convolutions at falling
resolutions, with sums from the way in to the way back. The step of the prefix is discrete, so whatever depends on it is
a table: a bias at the input, a gain and a bias in every block, and the size of corrections.

It is made to be evaluated in integers (uqdm.postfilter.integer_network), as the network of the nested process is: no
normalisation, clipped ReLU with a learned ceiling as the non-linearity, whole pixel values as input. With `quantized`,
kernels have 255 values per output channel and activations 256, as they have there; gradients pass straight through.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from uqdm.exact.fixed_point import ACTIVATION_LIMIT, Parameters, straight_through
from uqdm.postfilter.config import CEILING, GREY, PIXEL_UNIT, FilterConfig, Unit
from uqdm.training.once import once
from uqdm.transforms.folding import fold, unfold

__all__ = ["apply", "init"]


class _Network(nn.Module):
    config: FilterConfig
    quantized: bool = True

    def _conv(self, name: str, features: int, size: int, start: Any = None):
        init = start or nn.initializers.he_normal()
        return nn.Conv(features, (size, size), padding="SAME", use_bias=False, kernel_init=init, name=name)

    def _table(self, name: str, start: Any, *shape: int) -> Array:
        return self.param(name, start, (self.config.steps + 1, *shape), jnp.float32)

    def _activate(self, name: str, x: Array) -> Array:
        ceiling = self.param(f"{name}_ceiling", nn.initializers.constant(CEILING), (), jnp.float32)
        share = jnp.clip(x / ceiling, 0.0, 1.0)
        if self.quantized:
            share = straight_through(share, jnp.round(share * ACTIVATION_LIMIT) / ACTIVATION_LIMIT)
        return share * ceiling

    def _block(self, unit: Unit, x: Array, step: Array) -> Array:
        width, name = x.shape[-1], unit.name
        gain = self._table(f"{name}_gain", nn.initializers.ones, width)[step][:, None, None]
        bias = self._table(f"{name}_bias", nn.initializers.zeros, width)[step][:, None, None]
        branch = self._conv(f"{name}_first", width, 3)(self._activate(f"{name}_first", x * gain)) + bias
        small = nn.initializers.variance_scaling(0.02, "fan_in", "normal")
        return x + self._conv(f"{name}_second", width, 3, small)(self._activate(f"{name}_second", branch))

    @nn.compact
    def __call__(self, shown: Array, step: Array) -> Array:
        config = self.config
        whole = straight_through(shown, jnp.round(shown))
        x = self._conv("entry", config.widths[0], 3)(fold((whole - GREY) / PIXEL_UNIT, 2))
        x = x + self._table("entry_bias", nn.initializers.zeros, config.widths[0])[step][:, None, None]
        skips = []
        for level, width in enumerate(config.widths):
            if level:
                x = self._conv(f"down_{level}", width, 1)(fold(self._activate(f"down_{level}", x), 2))
            for unit in config.units_in(level):
                x = self._block(unit, x, step)
            skips.append(x)
        for level in reversed(range(config.levels)):
            if level < config.levels - 1:
                finer = self._conv(f"up_{level}", 4 * config.widths[level], 1)(self._activate(f"up_{level}", x))
                x = skips[level] + unfold(finer, 2)
            for unit in config.units_out(level):
                x = self._block(unit, x, step)
        size = self._table("head_gain", nn.initializers.ones)[step][:, None, None, None]
        return size * unfold(self._conv("head", 12, 3, nn.initializers.zeros)(self._activate("head", x)), 2)


def init(config: FilterConfig, errors: Float[np.ndarray, " t"], key: PRNGKeyArray) -> Parameters:
    """Fresh parameters, which correct nothing.

    Args:
      config: the shape of the network.
      errors: root mean squares of the errors of previews after every step, in pixel values: sizes of corrections.
      key: of the first kernels.
    """
    side = config.stride

    def fresh(key: PRNGKeyArray) -> Parameters:
        return dict(_Network(config).init(key, jnp.zeros((1, side, side, 3)), jnp.zeros((1,), jnp.int32))["params"])

    return {**once(fresh, key), "head_gain": jnp.asarray(errors, jnp.float32)}


def apply(
    config: FilterConfig,
    parameters: Parameters,
    shown: Float[Array, "n h w 3"],
    step: Int[Array, " n"],
    *,
    quantized: bool,
) -> Float[Array, "n h w 3"]:
    """Corrections of pixel values, differentiably.

    Args:
      config: the shape of the network.
      parameters: as given by `init` and trained; if `quantized`, rounded by `uqdm.exact.fixed_point.round_kernels`.
      shown: what the prefix shows, within 0 ... 255; sides are multiples of `config.stride`.
      step: complete steps of the prefix.
      quantized: whether activations are rounded as in integer evaluation.
    """
    correction: Any = _Network(config, quantized).apply({"params": parameters}, shown, step)
    return correction
