"""A small network that takes noise from latents.

Let x be a latent whose elements have the variance d^2, and y = x + s n, with noise n of unit variance: that of dithered
quantization, or the error of rounding, and the network is told which. A U-Net of two resolutions, residual blocks of
two 3 x 3 convolutions, gives f in

    E[x | y] = (d^2 y + s d sqrt(d^2 + s^2) f(y / sqrt(d^2 + s^2), s)) / (d^2 + s^2):               (1)

what would be right if all were Gaussian and independent, and a correction of the order of what that misses (Karras et
al. 2022, "Elucidating the design space of diffusion-based generative models", Section 5). Norms are over the channels
of one position and there is no attention, so that a piece of a large latent is treated as a small one.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from uqdm import archive
from uqdm.training.once import once
from uqdm.transforms.folding import fold, unfold

__all__ = ["LatentNetworkConfig", "apply", "from_config", "init", "shapes", "to_config"]

_FREQUENCIES = 6
_MOST_BLOCKS = 32


@dataclass(frozen=True, kw_only=True)
class LatentNetworkConfig:
    """Shape of the network.

    Attributes:
      channels: of latents.
      widths: channels of the network at the resolution of the latent, and at half of it.
      blocks: residual blocks of each resolution, on the way in and on the way out.
      condition: channels that noise levels are embedded in.
      std: d of Eq. 1.
    """

    channels: int
    widths: tuple[int, int] = (64, 128)
    blocks: tuple[int, int] = (2, 2)
    condition: int = 64
    std: float = 1.0

    def __post_init__(self):
        if not self.std > 0 or not all(0 <= count <= _MOST_BLOCKS for count in self.blocks):
            raise ValueError(f"std must be positive, and there are at most {_MOST_BLOCKS} blocks, got {self}")


def to_config(config: LatentNetworkConfig) -> dict:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict) -> LatentNetworkConfig:
    """Mirror image of `to_config`.

    Raises:
      ValueError: these are no such numbers.
    """
    return archive.record(LatentNetworkConfig, values)


class _Network(nn.Module):
    config: LatentNetworkConfig

    def _conv(self, name: str, features: int, size: int, init=None):
        start = init or nn.initializers.lecun_normal()
        return nn.Conv(features, (size, size), padding="SAME", kernel_init=start, name=name)

    def _block(self, name: str, x: Array, condition: Array) -> Array:
        channels = x.shape[-1]
        changes = nn.Dense(2 * channels, kernel_init=nn.initializers.zeros, name=f"{name}_condition")(condition)
        scale, shift = jnp.split(changes[:, None, None], 2, axis=-1)
        h = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-4)
        h = self._conv(f"{name}_first", channels, 3)(h * (1 + scale) + shift)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "normal")
        return x + self._conv(f"{name}_second", channels, 3, small)(nn.silu(h))

    @nn.compact
    def __call__(self, y: Array, s: Array, rounded: Array):
        config, level = self.config, jnp.log2(s)
        angles = level[:, None] * (np.pi / 16 * 2.0 ** np.arange(_FREQUENCIES, dtype=np.float32))[None]
        told = jnp.concatenate([jnp.sin(angles), jnp.cos(angles), rounded.astype(jnp.float32)[:, None]], -1)
        condition = nn.silu(nn.Dense(config.condition, name="condition_first")(told))
        condition = nn.silu(nn.Dense(config.condition, name="condition_second")(condition))

        s, d = s[:, None, None, None], config.std
        total = d * d + jnp.square(s)
        h = self._conv("entry", config.widths[0], 3)(y * jax.lax.rsqrt(total))
        for i in range(config.blocks[0]):
            h = self._block(f"in_{i}", h, condition)
        skip = h
        h = self._conv("fold", config.widths[1], 1)(fold(h, 2))
        for i in range(2 * config.blocks[1]):
            h = self._block(f"middle_{i}", h, condition)
        h = unfold(self._conv("unfold", 4 * config.widths[0], 1)(h), 2) + skip
        for i in range(config.blocks[0]):
            h = self._block(f"out_{i}", h, condition)
        f = self._conv("head", config.channels, 3, nn.initializers.zeros)(nn.silu(h))
        return (d * d * y + s * d * jnp.sqrt(total) * f) / total


def init(config: LatentNetworkConfig, key: PRNGKeyArray) -> dict:
    """Fresh parameters, nested dictionary of float32 arrays; f is 0."""

    def fresh(key: PRNGKeyArray) -> dict:
        return dict(
            _Network(config).init(key, jnp.zeros((1, 4, 4, config.channels)), jnp.ones((1,)), jnp.zeros((1,)))["params"]
        )

    return once(fresh, key)


@lru_cache(maxsize=8)
def shapes(config: LatentNetworkConfig) -> dict:
    """What `init` gives, by shapes alone."""
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def apply(
    config: LatentNetworkConfig,
    parameters: dict,
    y: Float[Array, "n h w c"],
    s: Float[Array, " n"],
    rounded: Bool[Array, " n"],
) -> Float[Array, "n h w c"]:
    """Eq. 1: estimates of latents.

    Args:
      config: the shape of the network.
      parameters: as given by `init` and trained.
      y: noisy latents of even height and width.
      s: the standard deviation of the noise of each.
      rounded: whether that is the error of rounding, or independent of x.
    """
    estimate: Any = _Network(config).apply({"params": parameters}, y, s, rounded)
    return estimate
