"""Realism of a set of pictures: how far the patches of all reconstructions are from the patches of all originals.

A single picture says little about a distribution, its patches more. Every picture is cut into a grid of squares; of
squares x of originals and y of reconstructions, over all pictures of a setting,

    KID   squared kernel distance of features f(x) and f(y)        of different patches; may be negative (uqdm.metrics)
    FID   squared Frechet distance of features                     smaller than it would be of other patches
    SWD   sliced Wasserstein distance of 7 x 7 pixels of pyramids  likewise

lower is better for all. Patches of one picture are alike, so n patches tell less than n independent ones would. The
originals are those of the same pictures: what a codec keeps of a patch brings FID and SWD down whether or not it looks
like a patch of pictures, the more the more faithful it is; KID compares no patch with its own original. Compare values
of equal sets and sides only. Features are those of MobileNetV2, not of Inception-v3. Of draws with several seeds every
seed makes a set, and the distances are averaged.

What is needed of a picture is kept as `patches/KEY.npz` in the folder of an evaluation, by the key of its contents: for
every setting and seed features, float32 (n, 1280), and for the sliced distance some points of every level, float16.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uqdm.evaluation.equal_rates import Shown
from uqdm.metrics import fid, kid, mobilenet_features
from uqdm.metrics.sliced_distance import clouds_of, sliced_wasserstein_of_clouds

__all__ = ["SET_METRICS", "SetDistances", "distances_of_sets", "id_of_weights", "keep_patches", "patches_of"]

_POINTS_PER_PATCH, _DIRECTIONS = 16, 256


class SetDistances(NamedTuple):
    """Of the patches of one codec at one setting, over all pictures that have it; lower is better."""

    patches: int
    kid: float
    fid: float
    sliced_wasserstein: float


SET_METRICS = {"patches": "patches", "kid": "kid_patches", "fid": "fid_patches", "sliced_wasserstein": "swd_patches"}
"""Columns of tables by fields of SetDistances."""


def patches_of(picture: np.ndarray, side: int) -> np.ndarray:
    """The squares of a grid in the middle of a picture, as many as fit; uint8 (n, side, side, 3), row by row.

    Args:
      picture: uint8 (H, W, 3).
      side: of a patch, in pixels.

    Raises:
      ValueError: the picture is smaller than a patch.
    """
    rows, columns = (length // side for length in picture.shape[:2])
    if not rows * columns:
        size = f"{picture.shape[1]} x {picture.shape[0]}"
        raise ValueError(f"a picture of {size} pixels has no patch of {side} x {side}: choose a smaller side")
    top, left = (picture.shape[0] - rows * side) // 2, (picture.shape[1] - columns * side) // 2
    middle = picture[top : top + rows * side, left : left + columns * side]
    return middle.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)


def id_of_weights(path: str | Path) -> str:
    """Eight hexadecimal digits of the SHA-256 of a file, for plans.

    Raises:
      OSError: it cannot be read.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]


def keep_patches(
    folder: Path, key: str, picture: np.ndarray, shown: Sequence[Shown], side: int, weights: str | Path
) -> None:
    """Writes what is needed of a picture.

    Args:
      folder: of the evaluation.
      key: of the picture's contents (uqdm.evaluation.records).
      picture: the original, uint8 (H, W, 3).
      shown: what it became.
      side: of a patch, in pixels.
      weights: path of those of MobileNetV2.

    Raises:
      ValueError: the picture is smaller than a patch, or these are no weights.
    """
    arrays: dict[str, np.ndarray] = {}
    sets = [("original", "", 0, picture)]
    sets += [(one.codec, one.setting, seed, own) for one in shown for seed, own in enumerate(one.pictures)]
    features = mobilenet_features(np.concatenate([patches_of(own, side) for *_, own in sets]), weights)
    for number, (own, of_set) in enumerate(zip(np.split(features, len(sets)), sets, strict=True)):
        rng = np.random.default_rng([min(number, 1), int(key[:8], 16)])  # reconstructions: all at the same places
        arrays[f"features {number}"] = own
        for level, cloud in enumerate(clouds_of(patches_of(of_set[3], side), _POINTS_PER_PATCH, rng)):
            arrays[f"level {level} of {number}"] = cloud.astype(np.float16)
    arrays["sets"] = np.array(json.dumps([of_set[:3] for of_set in sets]))
    path = folder / "patches" / f"{key}.npz"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    partial.replace(path)


def distances_of_sets(folder: Path, keys: Iterable[str]) -> dict[tuple[str, str], SetDistances]:
    """Distances between the patches of pictures and those of their originals, by codec and setting.

    Raises:
      ValueError: a file of `keep_patches` is missing.
    """
    paths = {key: folder / "patches" / f"{key}.npz" for key in dict.fromkeys(keys)}
    if missing := [path for path in paths.values() if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing: delete the picture's line in the records, and it is measured again")
    places: dict[tuple[str, str, int], list[tuple[Path, int]]] = {}
    for path in paths.values():
        with np.load(path, allow_pickle=False) as archive:
            for number, (codec, setting, seed) in enumerate(json.loads(str(archive["sets"]))):
                if number:
                    places.setdefault((codec, setting, seed), []).append((path, number))
    found: dict[tuple[str, str], list[SetDistances]] = {}
    for (codec, setting, _), own in places.items():
        features, clouds = _gathered(own)
        originals, clouds_of_originals = _gathered([(path, 0) for path, _ in own])
        if len(features) > 1:
            sliced = sliced_wasserstein_of_clouds(clouds_of_originals, clouds, _DIRECTIONS, np.random.default_rng(0))
            distances = kid(originals, features, paired=True), fid(originals, features), float(np.mean(sliced))
            found.setdefault((codec, setting), []).append(SetDistances(len(features), *distances))
    return {name: SetDistances(own[0].patches, *np.mean(own, 0)[1:].tolist()) for name, own in found.items()}


def _gathered(places: Sequence[tuple[Path, int]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Features, and points at every level, of the same set in all pictures."""
    features, clouds = [], []
    for path, number in places:
        with np.load(path, allow_pickle=False) as archive:
            features.append(archive[f"features {number}"])
            levels = sum(name.endswith(f" of {number}") for name in archive.files)
            clouds.append([archive[f"level {level} of {number}"].astype(np.float32) for level in range(levels)])
    return np.concatenate(features), [np.concatenate(parts) for parts in zip(*clouds, strict=True)]
