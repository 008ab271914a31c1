"""Pictures for training and evaluation: from folders, image files, npz files or arrays to uint8 RGB.

Random crops are a pure function of (pictures, settings, seed, step), so a training that was killed and resumed sees
exactly what an unbroken one sees.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["SUFFIXES", "load_pictures", "random_crops", "read_file"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif", ".jp2"}
_AREA_EXPONENT = 0.5


def load_pictures(source: str | Path | np.ndarray) -> list[np.ndarray]:
    """Reads pictures into memory.

    Args:
      source: a folder (searched recursively, in the order of names), one image file, an `.npz` or `.npy` file with a
        uint8 array of shape (N, H, W, 3) (of an npz, the first array that has that form), or such an array.

    Returns:
      uint8 arrays (H, W, 3).

    Raises:
      ValueError: no picture was found.
    """
    if isinstance(source, np.ndarray):
        arrays = [source]
    elif (path := Path(source)).suffix in (".npz", ".npy"):
        loaded = np.load(path, allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
    else:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"no pictures in {path}: expected files ending in {', '.join(sorted(SUFFIXES))}")
        return [read_file(file) for file in files]
    for array in arrays:
        if array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8:
            return list(array)
    raise ValueError(
        f"no uint8 array of shape (N, H, W, 3) in {source if not isinstance(source, np.ndarray) else 'array'}"
    )


def read_file(file: Path) -> np.ndarray:
    """A picture file as uint8 (H, W, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def random_crops(
    pictures: Sequence[np.ndarray], size: int, count: int, *, seed: int, step: int, rescaled: float = 0.4
) -> np.ndarray:
    """Square crops, mirrored, transposed and at random scales, as uint8 (count, size, size, 3).

    A picture is drawn with probability proportional to the square root of its area, among those large enough. A crop
    is, with probability `rescaled`, a larger window (up to 2.5 times) shrunk to `size`, half the time with a box and
    half the time with a Lanczos filter.

    Raises:
      ValueError: no picture has both sides at least `size`.
    """
    rng = np.random.default_rng([seed, step, size])
    eligible = [p for p in pictures if min(p.shape[:2]) >= size]
    if not eligible:
        raise ValueError(f"no picture is at least {size} pixels high and wide")
    weight = np.array([p.shape[0] * p.shape[1] for p in eligible], float) ** _AREA_EXPONENT
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop, chosen in zip(crops, rng.choice(len(eligible), count, p=weight / weight.sum()), strict=True):
        picture = eligible[chosen]
        window = size
        largest = min(2.5, min(picture.shape[:2]) / size)
        if rng.random() < rescaled and largest > 1:
            window = int(size * largest ** rng.random())
        top = rng.integers(picture.shape[0] - window + 1)
        left = rng.integers(picture.shape[1] - window + 1)
        piece = picture[top : top + window, left : left + window]
        if window > size:
            method = Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.LANCZOS
            piece = np.asarray(Image.fromarray(piece).resize((size, size), method))
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        if rng.random() < 0.25:
            piece = piece.transpose(1, 0, 2)
        crop[:] = piece
    return crops
