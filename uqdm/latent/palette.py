"""Latents as indexed pictures: the codec of Buehlmann (2022, "Stable Diffusion based image compression").

The latent is rounded to 8 bits, its vectors to a palette of K of them with Floyd and Steinberg's dithering, and the
indices are deflated. He had four channels and K = 256. Latents of more channels are taken as pictures of four channels
each, one palette for each of them; K is what trades quality for bytes. A file is

    width, height, channels      16 bits each, most significant first
    K - 1                        8 bits
    m                            float16, the largest magnitude in the latent
    deflated: palettes           8 bits, (pictures, K, 4), then indices, 8 bits, (pictures, h, w)            (1)

where the 8-bit value v of an element z is round(127.5 + 127.5 z / m). A last picture of fewer channels is filled
up with zeros. Palettes are found by k-means: a median cut (the box with the largest variance is cut at the mean of its
widest channel), then Lloyd's iterations. The bits are those of the file; there is no ideal code length, since deflate
has no model that says one.
"""

import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["decode_palette", "dithered", "encode_palette", "palette_of"]

_HEADER = struct.Struct(">HHHBe")
_CHANNELS = 4
_LLOYD = 8
_LARGEST_BYTES = 2**31


def palette_of(vectors: Float[np.ndarray, "n 4"], count: int) -> Float[np.ndarray, "k 4"]:
    """Up to so many vectors that others are near to, by k-means."""
    boxes = [vectors]
    while len(boxes) < count:
        spread = [len(box) * box.var(0).max() for box in boxes]
        widest = int(np.argmax(spread))
        if not spread[widest] > 0:
            break
        box = boxes.pop(widest)
        channel = int(box.var(0).argmax())
        upper = box[:, channel] > box[:, channel].mean()
        boxes += [box[~upper], box[upper]]
    palette = np.stack([box.mean(0) for box in boxes])
    for _ in range(_LLOYD):
        nearest = _nearest(vectors, palette)
        sums = np.stack([np.bincount(nearest, vectors[:, i], len(palette)) for i in range(vectors.shape[1])], 1)
        counts = np.bincount(nearest, minlength=len(palette))
        palette = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], palette)
    return palette


def _nearest(vectors: np.ndarray, palette: np.ndarray) -> np.ndarray:
    return (np.square(palette).sum(1) - 2 * vectors @ palette.T).argmin(1)


def dithered(
    pictures: Float[np.ndarray, "p h w 4"], palettes: Float[np.ndarray, "p k 4"]
) -> UInt8[np.ndarray, "p h w"]:
    """Indices by Floyd and Steinberg: what an element misses goes to its right, and to those below it."""
    count, height, width, _ = pictures.shape
    wanted = np.zeros((count, height + 1, width + 2, 4))
    wanted[:, :height, 1:-1] = pictures
    indices, each = np.zeros((count, height, width), np.uint8), np.arange(count)
    for row in range(height):
        for column in range(width):
            value = wanted[:, row, column + 1]
            index = np.square(palettes - value[:, None]).sum(2).argmin(1)
            indices[:, row, column] = index
            missed = value - palettes[each, index]
            wanted[:, row, column + 2] += missed * (7 / 16)
            wanted[:, row + 1, column : column + 3] += missed[:, None] * np.array([[3 / 16], [5 / 16], [1 / 16]])
    return indices


def encode_palette(picture: UInt8[np.ndarray, "H W 3"], autoencoder: Autoencoder, colours: int = 256) -> bytes:
    """The file of a picture.

    Args:
      picture: of at most 65,535 pixels along a side.
      autoencoder: makes the latent.
      colours: K, 2 to 256.

    Raises:
      ValueError: `colours` or a side is out of range.
    """
    if not 2 <= colours <= 256:
        raise ValueError(f"a palette has 2 to 256 colours, got {colours}")
    if max(picture.shape) > 0xFFFF:
        raise ValueError(f"sides are at most 65535 pixels, got {picture.shape[1]} x {picture.shape[0]}")
    latent = autoencoder.encode(picture).astype(np.float64)
    largest = float(np.nextafter(np.float16(np.abs(latent).max()), np.float16(np.inf)))
    values = np.rint(127.5 + 127.5 * latent / largest)
    height, width, channels = latent.shape
    values = np.pad(values, ((0, 0), (0, 0), (0, -channels % _CHANNELS)))
    pictures = values.reshape(height, width, -1, _CHANNELS).transpose(2, 0, 1, 3)
    palettes = np.zeros((len(pictures), colours, _CHANNELS))
    for palette, values in zip(palettes, pictures, strict=True):
        found = np.rint(palette_of(values.reshape(-1, _CHANNELS), colours))
        palette[:] = found[np.minimum(np.arange(colours), len(found) - 1)]
    indices = dithered(pictures, palettes)
    header = _HEADER.pack(picture.shape[1], picture.shape[0], channels, colours - 1, largest)
    return header + zlib.compress(palettes.astype(np.uint8).tobytes() + indices.tobytes(), 9)


def decode_palette(data: bytes, autoencoder: Autoencoder) -> UInt8[np.ndarray, "H W 3"]:
    """Mirror image of `encode_palette`.

    Raises:
      ValueError: it is no such file, or one of another autoencoder.
    """
    try:
        columns, rows, channels, last, largest = _HEADER.unpack_from(data)
    except struct.error as error:
        raise ValueError(f"not a file of indexed latents ({error})") from None
    if channels != autoencoder.channels:
        raise ValueError(f"the file has latents of {channels} channels, this autoencoder {autoencoder.channels}")
    height, width, _ = autoencoder.shape(rows, columns)
    count = -(-channels // _CHANNELS)
    colours = last + 1
    size = count * (colours * _CHANNELS + height * width)
    if not columns or not rows or size > _LARGEST_BYTES:
        raise ValueError(f"not a file of indexed latents (of {columns} x {rows} pixels)")
    try:
        body = np.frombuffer(zlib.decompressobj().decompress(data[_HEADER.size :], size + 1), np.uint8)
    except zlib.error as error:
        raise ValueError(f"not a file of indexed latents ({error})") from None
    if len(body) != size:
        raise ValueError(f"not a file of indexed latents ({len(body)} bytes where others belong)")
    split = count * colours * _CHANNELS
    palettes = body[:split].reshape(count, colours, _CHANNELS)
    indices = np.minimum(body[split:].reshape(count, height, width), last)
    values = np.stack([palette[index] for palette, index in zip(palettes, indices, strict=True)], 2)
    values = values.reshape(height, width, -1)[..., :channels].astype(np.float32)
    return autoencoder.decode((values - np.float32(127.5)) * np.float32(largest / 127.5), rows, columns)
