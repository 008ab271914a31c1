"""Checkpoints of tiny autoencoders (TAESD and its kin), read without PyTorch: uqdm.transforms.autoencoder has the nets.

An encoder and a decoder are two state dictionaries whose keys begin with indices of a sequence; the numbers of channels
and the kind of the middle blocks are told by the shapes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uqdm.pretrained.checkpoint import read_checkpoint
from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["read_tiny_autoencoder"]

_CONV = {"weight": "kernel", "bias": "bias"}
_PARTS = {
    "conv.0": "conv_0",
    "conv.2": "conv_1",
    "conv.4": "conv_2",
}
_POOL = {"pool.0.weight": "into", "pool.1.weight": "scale", "pool.1.bias": "offset", "pool.3.weight": "back"}


def _conv_shapes(index: int, into: int, out: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{index}.weight": (out, into, 3, 3)} | ({f"{index}.bias": (out,)} if bias else {})


def _block_shapes(index: int, pooled: bool = False) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for part in _PARTS:
        shapes |= {f"{index}.{part}.weight": (64, 64, 3, 3), f"{index}.{part}.bias": (64,)}
    if pooled:
        shapes |= {f"{index}.pool.0.weight": (256, 64, 1, 1), f"{index}.pool.3.weight": (64, 256, 1, 1)}
        shapes |= {f"{index}.pool.1.weight": (256,), f"{index}.pool.1.bias": (256,)}
    return shapes


def _encoder_shapes(channels: int, pooled: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of uqdm.transforms.autoencoder, Eq. 1, as PyTorch has them."""
    shapes = _conv_shapes(0, 3, 64) | _conv_shapes(14, 64, channels)
    for index in (2, 6, 10):
        shapes |= _conv_shapes(index, 64, 64, bias=False)
    for index in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        shapes |= _block_shapes(index, pooled and index > 10)
    return shapes


def _decoder_shapes(channels: int, pooled: bool) -> dict[str, tuple[int, ...]]:
    """Of Eq. 2."""
    shapes = _conv_shapes(1, channels, 64) | _conv_shapes(19, 64, 3)
    for index in (7, 12, 17):
        shapes |= _conv_shapes(index, 64, 64, bias=False)
    for index in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        shapes |= _block_shapes(index, pooled and index < 6)
    return shapes


def _leaf(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Our name and layout of a tensor."""
    index, _, rest = name.partition(".")
    if rest in _POOL:
        return f"{index}/{_POOL[rest]}", array[:, :, 0, 0].T if array.ndim == 4 else array
    part, _, leaf = rest.rpartition(".")
    place = f"{index}/{_PARTS[part]}" if part else index
    return f"{place}/{_CONV[leaf]}", array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _read(path: str | Path) -> dict[str, np.ndarray]:
    contents = read_checkpoint(path)
    if not isinstance(contents, Mapping) or not all(isinstance(array, np.ndarray) for array in contents.values()):
        raise ValueError(f"{path} is no state dictionary of an autoencoder: it holds more than named tensors")
    return dict(contents)


def read_tiny_autoencoder(encoder: str | Path, decoder: str | Path, *, name: str = "") -> Autoencoder:
    """An encoder and a decoder as PyTorch saved them.

    Args:
      encoder: the state dictionary of the encoder.
      decoder: that of the decoder.
      name: of the autoencoder, for people.

    Raises:
      ValueError: a file is no checkpoint, or not one of these nets, or they have different numbers of channels.
    """
    found: list[tuple[int, dict[str, np.ndarray]]] = []
    for path, shapes_of, key, axis in (
        (encoder, _encoder_shapes, "14.weight", 0),
        (decoder, _decoder_shapes, "1.weight", 1),
    ):
        weights = _read(path)
        if key not in weights or weights[key].ndim != 4:
            raise ValueError(f"{path} is no tiny autoencoder: it has no convolution {key.removesuffix('.weight')}")
        channels, pooled = weights[key].shape[axis], any(".pool." in name for name in weights)
        expected = shapes_of(channels, pooled)
        shapes = {name: array.shape for name, array in weights.items()}
        if shapes != expected:
            wrong = min(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
            raise ValueError(
                f"{path} is no tiny autoencoder that is known here: {wrong} is {shapes.get(wrong, 'missing')}, "
                f"expected {expected.get(wrong, 'nothing')}"
            )
        found.append((channels, dict(_leaf(name, array) for name, array in weights.items())))
    (channels, encoding), (others, decoding) = found
    if channels != others:
        raise ValueError(f"{encoder} has latents of {channels} channels, {decoder} of {others}: give a pair")
    return Autoencoder.from_parameters(encoding, decoding, name=name)
