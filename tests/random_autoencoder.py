"""Autoencoders of random weights: what uses one must be right whatever it says."""

import functools

import jax
import numpy as np

from uqdm.latent import network as networks
from uqdm.latent.file import LatentFile
from uqdm.latent.network import LatentNetworkConfig
from uqdm.latent.prediction import BINS, TICKS, Prediction
from uqdm.transforms.autoencoder import Autoencoder

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
        leaves["19/bias"] = leaves["19/bias"] + 0.5
    return leaves


@functools.cache
def random_autoencoder(channels: int = 4, pooled: bool = True) -> Autoencoder:
    """Of random weights."""
    halves = (random_parameters(side, channels, pooled) for side in ("encoder", "decoder"))
    return Autoencoder.from_parameters(*halves, name="random")


def random_prediction(width: float, channels: int = 16, group: int = 2) -> Prediction:
    """Integers that no fit has made: small kernels, wide densities."""
    rng, steps = np.random.default_rng(channels), 2 * channels // group
    kernel = rng.integers(-(2**9), 2**9, (steps, 9, channels, group))
    for step in range(steps):
        first = step // 2 * group
        kernel[step, :, first + group :] = 0
        kernel[step, slice(None) if step % 2 == 0 else slice(0, 9, 2), first : first + group] = 0
    scale = round(8 * np.log2(0.4 / width * TICKS))
    bounds = np.sort(rng.integers(0, int(20 / width * TICKS), (steps, BINS - 1)), axis=1)
    scales = scale + np.broadcast_to(np.arange(BINS) * 2 - BINS, (steps, group, BINS))
    return Prediction(rng.permutation(channels), np.zeros(channels, np.int64), kernel, bounds, scales)


def random_latent_file(
    width: float, dithered: bool = True, with_network: bool = True, linear: dict[str, np.ndarray] | None = None
) -> LatentFile:
    """A model of latents of the random autoencoder; a linear denoiser takes the place of the network."""
    config = LatentNetworkConfig(channels=16, widths=(8, 8), blocks=(1, 1), condition=8, std=0.5)
    parameters = networks.init(config, jax.random.key(0))
    parameters["head"]["kernel"] = 0.3 * np.random.default_rng(0).normal(size=parameters["head"]["kernel"].shape)
    return LatentFile.from_parts(
        autoencoder=random_autoencoder(16),
        width=width,
        dithered=dithered,
        prediction=random_prediction(width),
        network=(config, parameters) if with_network and linear is None else None,
        linear=linear,
        name="random latent",
    )
