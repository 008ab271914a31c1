"""Rounded latents under counts that both sides learn: what entropy coding does for latents, without any model of them.

An element z is rounded to k = round(z / width), clipped to +-`LARGEST`, and sent under adaptive counts
(uqdm.latent.counts), a row of a channel at a time, in a context of what is known around it: with u, v, w the elements
above it to the left, right above, and to the right, and p, q those at its place in the last two channels,

    a = 2 |v| + |u| + |w| + 2 |p| + |q|,        context = 3 floor(log2(1 + a)) + sign(v) + 1,           (1)

the logarithm at most `LEVELS` - 1. All channels share the counts, which begin with 2^-|k| for each symbol. A file is

    width, height, channels      16 bits each, most significant first
    the width of rounding        float16
    the code word                channel_sim.entropy
"""

import struct

import numpy as np
from jaxtyping import Int, UInt8

from channel_sim.entropy import Reader, Writer
from uqdm.latent.counts import Counts
from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["LARGEST", "LEVELS", "decode_counted", "encode_counted", "read_rounded", "write_rounded"]

LARGEST, LEVELS = 24, 6
_HEADER = struct.Struct(">HHHe")


def _fresh() -> Counts:
    shape = np.maximum(1, 2**12 >> np.minimum(12, np.abs(np.arange(-LARGEST, LARGEST + 1)) * 2))
    return Counts(np.tile(shape, (3 * LEVELS, 1)), step=2**8, limit=2**18)


def _contexts(known: np.ndarray, channel: int, row: int) -> np.ndarray:
    """Eq. 1 of a row, from what is known: int64 (c + 2, h + 1, w + 2), zeros around."""
    above = known[channel + 2, row]
    u, v, w = np.abs(above[:-2]), above[1:-1], np.abs(above[2:])
    q, p = np.abs(known[channel : channel + 2, row + 1, 1:-1])
    a = 2 * np.abs(v) + u + w + 2 * p + q
    level = np.minimum(np.frexp(1.0 + a)[1] - 1, LEVELS - 1)
    return 3 * level + np.sign(v) + 1


def write_rounded(writer: Writer, k: Int[np.ndarray, "h w c"]) -> None:
    """Sends integers of at most +-LARGEST."""
    height, width, channels = k.shape
    counts, known = _fresh(), np.zeros((channels + 2, height + 1, width + 2), np.int64)
    for channel in range(channels):
        for row in range(height):
            contexts, own = _contexts(known, channel, row), k[row, :, channel]
            writer.encode(*counts.table(contexts), own + LARGEST)
            counts.add(contexts, own + LARGEST)
            known[channel + 2, row + 1, 1:-1] = own


def read_rounded(reader: Reader, shape: tuple[int, int, int]) -> Int[np.ndarray, "h w c"]:
    """Mirror image of `write_rounded`.

    Raises:
      ValueError: the bytes do not determine all of them.
    """
    height, width, channels = shape
    counts, known = _fresh(), np.zeros((channels + 2, height + 1, width + 2), np.int64)
    for channel in range(channels):
        for row in range(height):
            contexts = _contexts(known, channel, row)
            symbols = reader.decode(*counts.table(contexts)).astype(np.int64)
            if len(symbols) < width:
                raise ValueError(f"the file ends in row {row} of channel {channel}")
            counts.add(contexts, symbols)
            known[channel + 2, row + 1, 1:-1] = symbols - LARGEST
    return known[2:, 1:, 1:-1].transpose(1, 2, 0)


def encode_counted(picture: UInt8[np.ndarray, "H W 3"], autoencoder: Autoencoder, width: float) -> bytes:
    """The file of a picture.

    Args:
      picture: of at most 65,535 pixels along a side.
      autoencoder: makes the latent.
      width: of rounding, in units of latents; kept as float16.

    Raises:
      ValueError: the width is not positive or too small, or a side is out of range.
    """
    if max(picture.shape) > 0xFFFF:
        raise ValueError(f"sides are at most 65535 pixels, got {picture.shape[1]} x {picture.shape[0]}")
    latent, unit = autoencoder.encode(picture), np.float32(np.float16(width))
    if not 0 < unit < np.inf:
        raise ValueError(f"the width must be a positive number that float16 holds, got {width}")
    k = np.clip(np.rint(latent / unit), -LARGEST, LARGEST).astype(np.int64)
    writer = Writer()
    write_rounded(writer, k)
    return _HEADER.pack(picture.shape[1], picture.shape[0], latent.shape[2], float(unit)) + writer.getvalue()


def decode_counted(data: bytes, autoencoder: Autoencoder) -> UInt8[np.ndarray, "H W 3"]:
    """Mirror image of `encode_counted`.

    Raises:
      ValueError: it is no such file, or one of another autoencoder.
    """
    try:
        columns, rows, channels, unit = _HEADER.unpack_from(data)
    except struct.error as error:
        raise ValueError(f"not a file of rounded latents ({error})") from None
    if channels != autoencoder.channels:
        raise ValueError(f"the file has latents of {channels} channels, this autoencoder {autoencoder.channels}")
    k = read_rounded(Reader(data[_HEADER.size :]), autoencoder.shape(rows, columns))
    return autoencoder.decode(k.astype(np.float32) * np.float32(unit), rows, columns)
