"""Pictures that the tests make themselves."""

import numpy as np


def make_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Something like a photograph: smooth shades, an edge, and texture in one corner."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    shade = 90 + 80 * np.sin(3 * x + rng.random()) * np.cos(4 * y + rng.random())
    edge = 60.0 * (x + 0.6 * y > 0.5 + 0.2 * rng.random())
    texture = rng.normal(0, 18, (height, width)) * (x > 0.6) * (y > 0.3)
    colours = np.stack([shade + edge, shade * 0.8 + 0.7 * edge + 20, 140 - 0.5 * shade + edge], axis=-1)
    return np.clip(colours + texture[..., None], 0, 255).astype(np.uint8)
