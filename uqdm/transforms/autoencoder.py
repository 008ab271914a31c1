"""A small convolutional autoencoder of pictures, as its weights were published: the family of TAESD (Bohan 2023).

Pictures have values in [0, 1], latents 1/8 of their sides. With conv(a, b) a 3 x 3 convolution, B = three of them with
ReLU between, plus the input, and ReLU after the sum, and `up` repeating every element twice in both directions,

    encoder  conv(3, 64) B | conv(64, 64) of stride 2, B B B | the same | conv of stride 2, M M M conv(64, C)      (1)
    decoder  3 tanh(z / 3), conv(C, 64) ReLU M M M | up conv B B B | up conv B B B | up conv B conv(64, 3)         (2)

where C is the number of channels. In the older nets M is B; in those of large latents (taef2: C = 32) M is B of

    x + P2 ReLU(GroupNorm_4(P1 x)),                                                         (3)

P1 and P2 matrices, from 64 to 256 channels and back. All else is local: GroupNorm, whose means and variances go over
the whole picture, is met at the coarsest resolution only. So large pictures are evaluated exactly, but for rounding, as
if at once: what is finer in strips that overlap by all that a result depends on, the rest whole. Memory is then about
1 GB for 12 megapixels.

The file (uqdm.archive) has

    config                                    JSON: process "autoencoder", format, name
    autoencoder/encoder/INDEX/...             float16: `kernel` (3, 3, in, out) and `bias`; B has `conv_0`, `conv_1`
    autoencoder/decoder/INDEX/...             and `conv_2` of these; M also `into`, `scale`, `offset` and `back`

INDEX numbers the parts of Eq. 1 and 2 as published checkpoints do. Evaluation is in float32: latents differ in their
last bits between machines, and what is decoded may differ by one in a pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from uqdm import archive
from uqdm.exact.programs import run
from uqdm.transforms.latents import Latents
from uqdm.transforms.wavelet import pad_to_blocks

__all__ = ["FACTOR", "Autoencoder", "decode_values", "encode_values"]

FACTOR = 8
"""Pixels per element of a latent along a side."""
_FORMAT = 1
_WIDTH, _GROUPS, _EPSILON = 64, 4, 1e-5
_STRIDED, _BEFORE_UP = ("2", "6", "10"), ("7", "12", "17")
"""Layers that have no bias."""
_POOL = {"into": 2, "scale": 1, "offset": 1, "back": 2}
"""Arrays of Eq. 3, and their numbers of axes."""
_STRIP_PIXELS = 2**20
"""Of pictures that are evaluated whole, and of strips, about."""
_ENCODER_HALO, _DECODER_HALO = 10, 10
"""Elements of the latent's grid that what is finer than it depends on: 69 pixels, and 8 elements."""

Parameters = Mapping[str, Any]


def _conv(weights: Parameters, x: Array, stride: int = 1) -> Array:
    kernel, sides = weights["kernel"], ((1, 1), (1, 1))
    y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + weights["bias"][None, None, None] if "bias" in weights else y


def _pooled(weights: Parameters, x: Array) -> Array:
    """Eq. 3."""
    h = x @ weights["into"]
    groups = h.reshape(*h.shape[:3], _GROUPS, -1)
    mean = groups.mean((1, 2, 4), keepdims=True)
    variance = jnp.square(groups - mean).mean((1, 2, 4), keepdims=True)
    normal = ((groups - mean) * jax.lax.rsqrt(variance + _EPSILON)).reshape(h.shape)
    h = normal * weights["scale"][None, None, None] + weights["offset"][None, None, None]
    return x + jax.nn.relu(h) @ weights["back"]


def _block(weights: Parameters, x: Array) -> Array:
    x = _pooled(weights, x) if "into" in weights else x
    h = jax.nn.relu(_conv(weights["conv_0"], x))
    h = jax.nn.relu(_conv(weights["conv_1"], h))
    return jax.nn.relu(_conv(weights["conv_2"], h) + x)


def _blocks(weights: Parameters, x: Array, *indices: int) -> Array:
    for index in indices:
        x = _block(weights[str(index)], x)
    return x


def _check_shapes(side: Parameters, without: Sequence[str]) -> None:
    """What an evaluation of shapes lets pass: biases that would be broadcast, and parts of Eq. 3 that are left out."""
    for index, part in side.items():
        for layer in [part] if "kernel" in part else [part[f"conv_{i}"] for i in range(3)]:
            if index not in without and layer["bias"].shape != layer["kernel"].shape[3:]:
                raise ValueError(f"the bias of {index} has the shape {layer['bias'].shape}")
        if pool := set(part) & set(_POOL):
            shapes = {name: part[name].ndim for name in pool}
            if shapes != _POOL:
                raise ValueError(f"{index} must have {', '.join(_POOL)}: matrices, and scale and offset for channels")


def _up(x: Array) -> Array:
    return x.repeat(2, 1).repeat(2, 2)


def _encode_fine(weights: Parameters, x: Array) -> Array:
    """Eq. 1 up to the last convolution of stride 2."""
    x = _blocks(weights, _conv(weights["0"], x), 1)
    x = _blocks(weights, _conv(weights["2"], x, 2), 3, 4, 5)
    x = _blocks(weights, _conv(weights["6"], x, 2), 7, 8, 9)
    return _conv(weights["10"], x, 2)


def _encode_coarse(weights: Parameters, x: Array) -> Array:
    """The rest of Eq. 1."""
    return _conv(weights["14"], _blocks(weights, x, 11, 12, 13))


def _decode_coarse(weights: Parameters, z: Array) -> Array:
    """Eq. 2 before it becomes finer."""
    return _blocks(weights, jax.nn.relu(_conv(weights["1"], 3 * jnp.tanh(z / 3))), 3, 4, 5)


def _decode_fine(weights: Parameters, x: Array) -> Array:
    """The rest of Eq. 2."""
    x = _blocks(weights, _conv(weights["7"], _up(x)), 8, 9, 10)
    x = _blocks(weights, _conv(weights["12"], _up(x)), 13, 14, 15)
    return _conv(weights["19"], _blocks(weights, _conv(weights["17"], _up(x)), 18))


def encode_values(encoder: Parameters, values: Float[Array, "n H W 3"]) -> Float[Array, "n H/8 W/8 c"]:
    """Latents of pictures, Eq. 1, for trainings: everything at once.

    Args:
      encoder: parameters (`Autoencoder.encoder`).
      values: in [0, 1]; sides are multiples of 8.
    """
    return _encode_coarse(encoder, _encode_fine(encoder, values))


def decode_values(decoder: Parameters, latents: Float[Array, "n h w c"]) -> Float[Array, "n 8*h 8*w 3"]:
    """Pictures of latents, Eq. 2, for trainings: everything at once, not clipped to [0, 1].

    Args:
      decoder: parameters (`Autoencoder.decoder`).
      latents: of one size.
    """
    return _decode_fine(decoder, _decode_coarse(decoder, latents))


def _encoded_strip(weights: Parameters, picture: Array) -> tuple[Array]:
    return (_encode_fine(weights, picture.astype(jnp.float32) / 255),)


def _encoded(weights: Parameters, x: Array) -> tuple[Array]:
    return (_encode_coarse(weights, x),)


def _decoded(weights: Parameters, z: Array) -> tuple[Array]:
    return (_decode_coarse(weights, z),)


def _decoded_strip(weights: Parameters, x: Array) -> tuple[Array]:
    values = _decode_fine(weights, x)
    return (jnp.clip(jnp.round(values * 255), 0, 255).astype(jnp.uint8),)


def _in_strips(
    evaluate: Callable[[np.ndarray], np.ndarray], x: np.ndarray, rows: int, halo: int, into: int, out: int
) -> np.ndarray:
    """Evaluates something local on strips of a picture, of one height that a programme is compiled for.

    Args:
      evaluate: of (h into, W, ...), gives (h out, W', ...).
      x: (h into, W, ...).
      rows: of a strip, halos included; more than two halos.
      halo: rows that a row of the result depends on.
      into: rows of x to a row.
      out: rows of the result to a row.
    """
    height, done, parts = x.shape[0] // into, 0, []
    rows = min(rows, height)
    while done < height:
        start = max(0, min(done - halo, height - rows))
        stop = height if start + rows >= height else start + rows - halo
        strip = evaluate(np.ascontiguousarray(x[start * into : (start + rows) * into]))
        parts.append(strip[(done - start) * out : (stop - start) * out])
        done = stop
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rows(columns: int, halo: int, pixels: int) -> int:
    """Of a strip of a latent so many elements wide."""
    return max(3 * halo, pixels // (FACTOR * FACTOR * columns))


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoencoder(archive.Contents):
    """Contents of a file.

    Attributes:
      strip_pixels: of pictures that are evaluated whole; larger ones in strips of about so many.
    """

    strip_pixels: int = _STRIP_PIXELS

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Autoencoder":
        """Takes the contents of a file.

        Raises:
          ValueError: it is no autoencoder of a known format, or as `within`.
        """
        config = archive.config_of(arrays)
        kind, known = (config.get(name) for name in ("process", "format"))
        if (kind, known) != ("autoencoder", _FORMAT):
            raise ValueError(f"a {kind or 'model'} of format {known} is no autoencoder of format {_FORMAT}")
        return cls.within(arrays)

    @classmethod
    def within(cls, arrays: Mapping[str, np.ndarray]) -> "Autoencoder":
        """Takes the autoencoder that a model's file holds.

        Raises:
          ValueError: parts of it are missing, do not fit each other, or are not finite.
        """
        autoencoder, picture = cls(arrays=arrays), jax.ShapeDtypeStruct((1, 2 * FACTOR, 2 * FACTOR, 3), np.float32)
        try:
            latent = jax.eval_shape(encode_values, autoencoder.encoder, picture)
            shown = jax.eval_shape(decode_values, autoencoder.decoder, latent)
            for side, strided in ((autoencoder.encoder, _STRIDED), (autoencoder.decoder, _BEFORE_UP)):
                _check_shapes(side, strided)
        except KeyError as error:
            raise ValueError(f"not a file of an autoencoder: it has no part {error}") from None
        except (TypeError, ValueError) as error:
            what = str(error).partition("\n")[0]
            raise ValueError(f"not a file of an autoencoder, or its parts do not fit: {what}") from None
        if shown.shape != picture.shape or latent.shape != (1, 2, 2, autoencoder.channels):
            raise ValueError(f"not a file of an autoencoder: it makes {latent.shape} and {shown.shape} of a picture")
        if not all(np.isfinite(array).all() for array in autoencoder.own_arrays.values()):
            raise ValueError("not a file of an autoencoder: its weights are not all finite")
        return autoencoder

    @classmethod
    def from_bytes(cls, data: bytes) -> "Autoencoder":
        """Reads the file.

        Raises:
          ValueError: it is no such file, or as `from_arrays`.
        """
        return cls.from_arrays(archive.from_bytes(data))

    @classmethod
    def from_parameters(cls, encoder: Mapping, decoder: Mapping, *, name: str = "") -> "Autoencoder":
        """Rounds parameters, by their names with slashes, to what a file holds."""
        arrays = {"config": archive.pack_config({"process": "autoencoder", "format": _FORMAT, "name": name})}
        for side, leaves in (("encoder", encoder), ("decoder", decoder)):
            arrays |= {f"autoencoder/{side}/{leaf}": np.asarray(array, np.float16) for leaf, array in leaves.items()}
        return cls.from_arrays(arrays)

    def _parameters(self, side: str) -> dict[str, Any]:
        leaves = archive.under(f"autoencoder/{side}/", self.arrays)
        return archive.nested({name: leaf.astype(np.float32) for name, leaf in leaves.items()})

    @cached_property
    def encoder(self) -> dict[str, Any]:
        """Parameters of Eq. 1, float32."""
        return self._parameters("encoder")

    @cached_property
    def decoder(self) -> dict[str, Any]:
        """Parameters of Eq. 2, float32."""
        return self._parameters("decoder")

    @property
    def channels(self) -> int:
        """Of latents."""
        return self.encoder["14"]["kernel"].shape[3]

    @property
    def factor(self) -> int:
        """Pixels per element of a latent along a side."""
        return FACTOR

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Of the latent of a picture."""
        return -(-height // FACTOR), -(-width // FACTOR), self.channels

    @property
    def own_arrays(self) -> dict[str, np.ndarray]:
        """What a model's file takes over."""
        return {name: array for name, array in self.arrays.items() if name.startswith("autoencoder/")}

    @property
    def identity(self) -> str:
        """SHA-256 of what it computes, in hexadecimal digits, whatever it is called."""
        return archive.digest(self.own_arrays).hex()

    @property
    def latents(self) -> Latents:
        """As a source of pictures of any size."""

        def decode(latent: np.ndarray) -> np.ndarray:
            return self.decode(latent, latent.shape[0] * FACTOR, latent.shape[1] * FACTOR)

        return Latents(encode=self.encode, decode=decode, channels=self.channels, factor=FACTOR)

    def encode(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "h w c"]:
        """The latent of a picture, whose sides are first extended to multiples of 8 by repeating what is last."""
        padded = pad_to_blocks(picture, FACTOR)

        def evaluate(strip: np.ndarray) -> np.ndarray:
            return np.asarray(run(_encoded_strip, (), self.encoder, strip[None])[0])[0]

        rows = _rows(padded.shape[1] // FACTOR, _ENCODER_HALO, self.strip_pixels)
        fine = _in_strips(evaluate, padded, rows, _ENCODER_HALO, FACTOR, 1)
        return np.array(run(_encoded, (), self.encoder, fine[None])[0])[0]

    def decode(self, latent: Float[np.ndarray, "h w c"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of a latent, cut to a size.

        Raises:
          ValueError: the latent is not one of a picture of this size.
        """
        if latent.shape != (expected := self.shape(height, width)):
            raise ValueError(f"a picture of {height} x {width} pixels has a latent {expected}, got {latent.shape}")
        coarse = np.asarray(run(_decoded, (), self.decoder, np.asarray(latent, np.float32)[None])[0])[0]

        def evaluate(strip: np.ndarray) -> np.ndarray:
            return np.asarray(run(_decoded_strip, (), self.decoder, strip[None])[0])[0]

        rows = _rows(latent.shape[1], _DECODER_HALO, self.strip_pixels)
        return np.array(_in_strips(evaluate, coarse, rows, _DECODER_HALO, 1, FACTOR)[:height, :width])
