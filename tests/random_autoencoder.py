"""Autoencoders of random weights: what uses one must be right whatever it says."""

import functools

import numpy as np

from uqdm.latent.autoencoder import Autoencoder

_BLOCKS = {"encoder": (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), "decoder": (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)}
_MIDDLE = {"encoder": (11, 12, 13), "decoder": (3, 4, 5)}
_STRIDED = {"encoder": (2, 6, 10), "decoder": (7, 12, 17)}


def random_parameters(side: str, channels: int, pooled: bool) -> dict[str, np.ndarray]:
    """Of one half of an autoencoder, by our names."""
    rng, leaves = np.random.default_rng(channels), {}

    def conv(name, into, out, bias=True, gain=1.0):
        leaves[f"{name}/kernel"] = rng.normal(0, gain * (9 * into) ** -0.5, (3, 3, into, out))
        if bias:
            leaves[f"{name}/bias"] = rng.normal(0, 0.05, out)

    for index in _BLOCKS[side]:
        for part in range(3):
            conv(f"{index}/conv_{part}", 64, 64, gain=0.7)
        if pooled and index in _MIDDLE[side]:
            leaves[f"{index}/into"] = rng.normal(0, 1 / 8, (64, 256))
            leaves[f"{index}/back"] = rng.normal(0, 1 / 32, (256, 64))
            leaves[f"{index}/scale"], leaves[f"{index}/offset"] = np.ones(256), rng.normal(0, 0.1, 256)
    for index in _STRIDED[side]:
        conv(str(index), 64, 64, bias=False)
    if side == "encoder":
        conv("0", 3, 64, gain=3.0), conv("14", 64, channels)
    else:
        conv("1", channels, 64), conv("19", 64, 3)
    return leaves


@functools.cache
def random_autoencoder(channels: int = 4, pooled: bool = True) -> Autoencoder:
    """Of random weights."""
    halves = (random_parameters(side, channels, pooled) for side in ("encoder", "decoder"))
    return Autoencoder.from_parameters(*halves, name="random")
