"""Networks of the Gaussian and the uniform process: they predict the noise in z_t and the scale of the reference.

With one level it is the network of UQDM (Yang, Will and Mandt 2025), a variant of VDM's: Fourier features of z_t, an
embedding of gamma_t in sines, residual blocks at full resolution with skips from the way in to the way out, one
attention block in the middle, and two heads. Published checkpoints can be taken over (uqdm.pretrained.published_uqdm).
With more levels the picture is folded to half its side between levels (space to depth, a 1 x 1 convolution) and
unfolded on the way out: most of the work happens where there are few pixels, and attention is cheap.

    eps_hat = z_t + first head,        f = softplus(second head + log(e - 1))                                (1)

so that an untrained network, whose heads start at zero, says eps_hat = z_t and f = 1.
"""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from uqdm import archive
from uqdm.diffusion.process import Prediction
from uqdm.training.once import once
from uqdm.transforms.folding import fold, unfold

__all__ = ["UNetConfig", "apply", "count_parameters", "from_config", "init", "shapes", "to_config"]

_MOST_BLOCKS, _MOST_LEVELS = 32, 8
_QUERIES = 256
"""Queries of attention at a time on CPUs: the matrix of weights stays in the cache."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the network.

    Attributes:
      width: channels at full resolution.
      blocks: residual blocks of each level on the way in; one more on the way out.
      levels: resolutions, each half as fine as the one before.
      growth: channels of a level relative to the one before.
      norm_groups: groups of the group normalisation.
      heads: of the attention block in the middle; 0 leaves it out.
      attention_everywhere: whether every block is followed by attention.
      fourier: exponents n of the Fourier features sin and cos of 2 pi 2^n z.
      gamma_range: gammas that the time embedding maps to 0 and 1.
      learned_scale: whether there is a second head.
      bfloat16: whether to compute in bfloat16 (parameters stay float32).
    """

    width: int = 32
    blocks: int = 1
    levels: int = 1
    growth: float = 1.5
    norm_groups: int = 8
    heads: int = 1
    attention_everywhere: bool = False
    fourier: tuple[int, ...] = (5, 6)
    gamma_range: tuple[float, float] = (-12.3, 6.0)
    learned_scale: bool = True
    bfloat16: bool = False

    def __post_init__(self):
        if not (0 <= self.blocks <= _MOST_BLOCKS and 1 <= self.levels <= _MOST_LEVELS and self.norm_groups > 0):
            raise ValueError(
                f"a network has at most {_MOST_BLOCKS} blocks, 1 to {_MOST_LEVELS} levels and some norm_groups, got "
                f"{self.blocks}, {self.levels} and {self.norm_groups}"
            )
        for level in range(self.levels):
            if self.width_of(level) % self.norm_groups:
                width = self.width_of(level)
                raise ValueError(f"norm_groups {self.norm_groups} must divide the width {width} of level {level}")

    def width_of(self, level: int) -> int:
        """Channels of a level, a multiple of the number of groups."""
        width = self.width * self.growth**level
        return self.width if level == 0 else max(1, round(width / self.norm_groups)) * self.norm_groups

    @property
    def stride(self) -> int:
        """Sides of pictures must be multiples of this."""
        return 2 ** (self.levels - 1)


def to_config(config: UNetConfig) -> dict:
    """Plain numbers, for a file."""
    return asdict(config)


def from_config(values: dict) -> UNetConfig:
    """Mirror image of `to_config`.

    Raises:
      ValueError: these are no such numbers.
    """
    return archive.record(UNetConfig, values)


def _attention(query: Array, key: Array, value: Array) -> Array:
    """Softmax attention (n, T, heads, c): the fused kernel of the device; on CPUs, which have none, by parts."""
    return jax.lax.platform_dependent(query, key, value, cpu=_by_parts, default=jax.nn.dot_product_attention)


def _by_parts(query: Array, key: Array, value: Array) -> Array:
    n, count, heads, channels = query.shape
    query, key, value = (jnp.moveaxis(x, 2, 1).reshape(n * heads, count, channels) for x in (query, key, value))
    query = query * channels**-0.5
    size = math.gcd(count, _QUERIES)

    def one(part):
        index, start = part
        queries = jax.lax.dynamic_slice(query, (index, start, 0), (1, size, channels))[0]
        logits = queries @ key[index].T
        weights = jnp.exp(logits - logits.max(-1, keepdims=True))
        return (weights @ value[index]) / weights.sum(-1, keepdims=True)

    one = jax.checkpoint(one)  # gradients need the weights again, and they are larger than anything else
    starts = jnp.arange(0, count, size)
    index = jnp.repeat(jnp.arange(n * heads), len(starts))
    out = jax.lax.map(one, (index, jnp.tile(starts, n * heads)))
    return jnp.moveaxis(out.reshape(n, heads, count, channels), 1, 2)


def _time_embedding(t: Float[Array, " n"], channels: int) -> Array:
    frequencies = np.float32(10.0) ** -np.linspace(0, 4, channels // 2, dtype=np.float32)
    angles = 1000 * t[:, None] * frequencies[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _fourier(z: Array, exponents: tuple[int, ...]) -> Array:
    angles = jnp.concatenate([2 * np.float32(math.pi) * 2.0**n * z for n in exponents], axis=-1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class _Network(nn.Module):
    config: UNetConfig

    def _dtype(self):
        return jnp.bfloat16 if self.config.bfloat16 else jnp.float32

    def _conv(self, name: str, features: int, size: int, zero: bool = False):
        start = nn.initializers.zeros if zero else nn.initializers.lecun_normal()
        return nn.Conv(features, (size, size), padding="SAME", kernel_init=start, dtype=self._dtype(), name=name)

    def _norm(self, name: str, x: Array) -> Array:
        norm = nn.GroupNorm(self.config.norm_groups, epsilon=1e-5, use_fast_variance=False, name=name)
        return norm(x.astype(jnp.float32)).astype(x.dtype)

    def _residual(self, name: str, x: Array, condition: Array, features: int) -> Array:
        h = self._conv(f"{name}_first", features, 3)(nn.silu(self._norm(f"{name}_first_norm", x)))
        shift = nn.Dense(
            features,
            use_bias=False,
            kernel_init=nn.initializers.zeros,
            dtype=self._dtype(),
            name=f"{name}_condition",
        )(condition)
        h = nn.silu(self._norm(f"{name}_second_norm", h + shift[:, None, None]))
        h = self._conv(f"{name}_second", features, 3, zero=True)(h)
        return (x if x.shape[-1] == features else self._conv(f"{name}_skip", features, 1)(x)) + h

    def _attend(self, name: str, x: Array) -> Array:
        n, height, width, channels = x.shape
        mixed = self._conv(f"{name}_in", 3 * channels, 1)(self._norm(f"{name}_norm", x))
        shape = (n, height * width, self.config.heads, channels // self.config.heads)
        out = _attention(*(part.reshape(shape) for part in jnp.split(mixed, 3, axis=-1)))
        return x + self._conv(f"{name}_out", channels, 1, zero=True)(out.reshape(x.shape))

    def _block(self, name: str, x: Array, condition: Array, features: int) -> Array:
        x = self._residual(name, x, condition, features)
        return self._attend(f"{name}_attention", x) if self.config.attention_everywhere else x

    @nn.compact
    def __call__(self, z: Array, gamma: Array):
        config = self.config
        low, high = config.gamma_range
        condition = _time_embedding((gamma - low) / (high - low), config.width)
        for name in ("time_first", "time_second"):
            condition = nn.silu(nn.Dense(4 * config.width, name=name)(condition))
        condition = condition.astype(self._dtype())

        x = jnp.concatenate([z, _fourier(z, config.fourier)], axis=-1) if config.fourier else z
        x = self._conv("entry", config.width, 3)(x.astype(self._dtype()))
        skips = []
        for level in range(config.levels):
            features = config.width_of(level)
            if level:
                x = self._conv(f"fold_{level}", features, 1)(fold(x, 2))
            for i in range(config.blocks):
                skips.append(x)
                x = self._block(f"in_{level}_{i}", x, condition, features)
        skips.append(x)
        features = config.width_of(config.levels - 1)
        x = self._residual("middle_0", x, condition, features)
        if config.heads:
            x = self._attend("middle_attention", x)
        x = self._residual("middle_1", x, condition, features)
        for level in reversed(range(config.levels)):
            features = config.width_of(level)
            # The innermost level also takes back what the middle was given.
            for i in range(config.blocks + (level == config.levels - 1)):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(f"out_{level}_{i}", x, condition, features)
            if level:
                x = unfold(self._conv(f"unfold_{level}", 4 * config.width_of(level - 1), 1)(x), 2)
        x = nn.silu(self._norm("head_norm", x)).astype(jnp.float32)
        x = nn.Conv(3 * (1 + config.learned_scale), (3, 3), kernel_init=nn.initializers.zeros, name="head")(x)
        factor = jax.nn.softplus(x[..., 3:] + math.log(math.e - 1)) if config.learned_scale else jnp.ones_like(z)
        return Prediction(z + x[..., :3], factor)


def init(config: UNetConfig, key: PRNGKeyArray) -> dict:
    """Fresh parameters, nested dictionary of float32 arrays."""
    side = 2 * config.stride

    def fresh(key: PRNGKeyArray) -> dict:
        return dict(_Network(config).init(key, jnp.zeros((1, side, side, 3)), jnp.zeros((1,)))["params"])

    return once(fresh, key)


@lru_cache(maxsize=8)
def shapes(config: UNetConfig) -> dict:
    """What `init` gives, by shapes alone."""
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def apply(config: UNetConfig, parameters: dict, z: Float[Array, "n h w 3"], gamma: Float[Array, " n"]) -> Prediction:
    """The network's outputs for noisy pictures, each with its own gamma.

    Raises:
      ValueError: a side is no multiple of `config.stride`.
    """
    if any(side % config.stride for side in z.shape[1:3]):
        raise ValueError(f"sides must be multiples of {config.stride} for this network, got {z.shape[1:3]}")
    prediction: Prediction = _Network(config).apply({"params": parameters}, z, gamma)  # pyright: ignore
    return prediction


def count_parameters(parameters: dict) -> int:
    """Numbers in all arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))
