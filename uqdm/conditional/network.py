"""The network of the conditional flow: a picture in pixels from a noisy one, and from what a prefix shows.

A U-Net on pictures folded to half their side (space to depth): residual blocks of two 3 x 3 convolutions at three
resolutions, with skips from the way in to the way out. It has no attention, and its norms are over the channels of one
position, so that it treats a piece of a large picture as it treats a small picture. The step of the prefix, and both
times (uqdm.conditional.flow, Eq. 4), scale and shift the channels of every block.

With y the preview, c the root mean square of its error after the step, a table, p and q what a point has of both ends
(uqdm.conditional.paths), and a = sqrt(p^2 + q^2),

    E[x_1 | x_t, y] = y + (p / a^2) (x_t - y) + (q / a) c f((x_t - y) / (a c), y / 64, t, s, step):         (1)

what would be right if both ends of the way were Gaussian around y, and a correction of the order of what that misses
(as in Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", Section 5).
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm import archive
from uqdm.conditional.paths import PATHS
from uqdm.training.once import once
from uqdm.transforms.folding import fold, unfold

__all__ = ["ConditionalConfig", "Condition", "apply", "from_config", "init", "to_config"]

_PIXEL_UNIT = 64.0
_FREQUENCIES = 8
_MOST_LEVELS, _MOST_BLOCKS = 8, 32


@dataclass(frozen=True, kw_only=True)
class ConditionalConfig:
    """Shape of the network.

    Attributes:
      steps: of the schedule of the process that made the prefixes.
      widths: channels at a half, a quarter, ... of the side.
      blocks_in: residual blocks of each resolution on the way in; there is a middle one more at the coarsest.
      blocks_out: on the way out.
      condition: channels that steps and times are embedded in.
      bfloat16: whether to compute in bfloat16 (parameters stay float32).
      path: what a point has of noise and picture: a name in uqdm.conditional.paths.
    """

    steps: int
    widths: tuple[int, ...] = (48, 96, 128)
    blocks_in: tuple[int, ...] = (1, 1, 2)
    blocks_out: tuple[int, ...] = (2, 2, 2)
    condition: int = 96
    bfloat16: bool = False
    path: str = "flow"

    def __post_init__(self):
        if self.path not in PATHS:
            raise ValueError(f"path must be one of {', '.join(PATHS)}, got {self.path!r}")
        if not len(self.widths) == len(self.blocks_in) == len(self.blocks_out):
            raise ValueError("widths, blocks_in and blocks_out must have one entry for every resolution")
        if not 1 <= len(self.widths) <= _MOST_LEVELS or max(self.blocks_in + self.blocks_out) > _MOST_BLOCKS:
            raise ValueError(f"there are 1 to {_MOST_LEVELS} resolutions of at most {_MOST_BLOCKS} blocks, got {self}")

    @property
    def stride(self) -> int:
        """Sides of pictures must be multiples of this."""
        return 2 ** len(self.widths)


def to_config(config: ConditionalConfig) -> dict:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict) -> ConditionalConfig:
    """Mirror image of `to_config`.

    Raises:
      ValueError: these are no such numbers.
    """
    return archive.record(ConditionalConfig, values)


class Condition(NamedTuple):
    """What the network is told of every picture, arrays (n,) of numpy or JAX."""

    step: Any
    t: Any
    s: Any
    error: Any
    """c."""


def _waves(t: Array) -> Array:
    angles = t[:, None] * (np.pi / 4 * 2.0 ** np.arange(_FREQUENCIES, dtype=np.float32))[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class _Network(nn.Module):
    config: ConditionalConfig

    def _conv(self, name: str, features: int, size: int, init=None):
        dtype = jnp.bfloat16 if self.config.bfloat16 else jnp.float32
        start = init or nn.initializers.lecun_normal()
        return nn.Conv(features, (size, size), padding="SAME", kernel_init=start, dtype=dtype, name=name)

    def _block(self, name: str, x: Array, condition: Array) -> Array:
        channels = x.shape[-1]
        changes = nn.Dense(2 * channels, kernel_init=nn.initializers.zeros, name=f"{name}_condition")(condition)
        scale, shift = jnp.split(changes.astype(x.dtype)[:, None, None], 2, axis=-1)
        power = jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True)
        h = x * jax.lax.rsqrt(power + 1e-4).astype(x.dtype)
        h = self._conv(f"{name}_first", channels, 3)(h * (1 + scale) + shift)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "normal")
        return x + self._conv(f"{name}_second", channels, 3, small)(nn.silu(h))

    @nn.compact
    def __call__(self, x: Array, y: Array, given: Condition):
        config = self.config
        steps = self.param("steps", nn.initializers.normal(0.3), (config.steps + 1, config.condition), jnp.float32)
        told = jnp.concatenate([_waves(given.t), _waves(given.s - given.t), steps[given.step]], -1)
        condition = nn.silu(nn.Dense(config.condition, name="condition_first")(told))
        condition = nn.silu(nn.Dense(config.condition, name="condition_second")(condition))

        error = given.error[:, None, None, None]
        p, q = PATHS[config.path](given.t[:, None, None, None])
        a = jnp.sqrt(jnp.square(p) + jnp.square(q))
        h = fold(jnp.concatenate([(x - y) / (a * error), (y - 127.5) / _PIXEL_UNIT], -1), 2)
        h = self._conv("entry", config.widths[0], 3)(h)
        skips = []
        for level, width in enumerate(config.widths):
            if level:
                h = self._conv(f"fold_{level}", width, 1)(fold(h, 2))
            for i in range(config.blocks_in[level]):
                h = self._block(f"in_{level}_{i}", h, condition)
            skips.append(h)
        for level in reversed(range(len(config.widths))):
            if level < len(config.widths) - 1:
                h = unfold(self._conv(f"unfold_{level}", 4 * config.widths[level], 1)(h), 2) + skips[level]
            for i in range(config.blocks_out[level]):
                h = self._block(f"out_{level}_{i}", h, condition)
        h = self._conv("head", 12, 3, nn.initializers.zeros)(nn.silu(h)).astype(jnp.float32)
        return y + p / jnp.square(a) * (x - y) + q / a * error * unfold(h, 2)


def init(config: ConditionalConfig, key: PRNGKeyArray) -> dict:
    """Fresh parameters, nested dictionary of float32 arrays; they predict y."""
    side = 2 * config.stride

    def fresh(key: PRNGKeyArray) -> dict:
        zeros, pictures = jnp.zeros((1,)), jnp.zeros((1, side, side, 3))
        given = Condition(jnp.zeros((1,), jnp.int32), zeros, zeros, zeros + 1)
        return dict(_Network(config).init(key, pictures, pictures, given)["params"])

    return once(fresh, key)


def apply(
    config: ConditionalConfig,
    parameters: dict,
    x: Float[Array, "n h w 3"],
    y: Float[Array, "n h w 3"],
    given: Condition,
) -> Float[Array, "n h w 3"]:
    """Eq. 1: predictions of pictures.

    Args:
      config: the shape of the network.
      parameters: as given by `init` and trained.
      x: x_t, in pixel values (0 to 255); sides are multiples of `config.stride`.
      y: what the prefix shows.
      given: step, times and scale.
    """
    predicted: Any = _Network(config).apply({"params": parameters}, x, y, given)
    return predicted
