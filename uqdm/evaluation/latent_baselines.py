"""Baselines on the latent of an autoencoder that is given: indexed latents, and rounded latents under counts."""

from collections.abc import Callable, Sequence

import numpy as np

from uqdm.evaluation.points import Point, point_of
from uqdm.latent.counted import decode_counted, encode_counted
from uqdm.latent.palette import decode_palette, encode_palette
from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["COLOURS", "WIDTHS", "latent_baselines"]

COLOURS = (2, 4, 8, 16, 32, 64, 128, 256)
"""Of palettes."""
WIDTHS = (4.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.25)
"""Of rounding, in standard deviations of the latent."""


def latent_baselines(
    autoencoder: Autoencoder,
) -> dict[str, Callable[[np.ndarray, Sequence[str]], list[Point]]]:
    """Points of both baselines on a picture, by names that tell the autoencoder."""
    suffix = autoencoder.id[:4].hex()

    def palette(picture: np.ndarray, metrics: Sequence[str]) -> list[Point]:
        points = []
        for colours in COLOURS:
            data = encode_palette(picture, autoencoder, colours)
            decoded = decode_palette(data, autoencoder)
            points.append(point_of("indexed latents", f"{colours} colours", len(data), picture, decoded, metrics))
        return points

    def counted(picture: np.ndarray, metrics: Sequence[str]) -> list[Point]:
        points, std = [], float(autoencoder.encode(picture).std()) or 1.0
        for width in WIDTHS:
            data = encode_counted(picture, autoencoder, width * std)
            decoded = decode_counted(data, autoencoder)
            points.append(point_of("counted latents", f"width {width:g}", len(data), picture, decoded, metrics))
        return points

    return {f"palette-{suffix}": palette, f"counted-{suffix}": counted}
