"""What folders of models that are prompted have in common: settings, noise, and who captions pictures.

    uqdm_settings.json   numbers and words that say how pictures are drawn; each has a default
    captioner/           an image captioning model of transformers (BLIP, BLIP-2), if the folder is to caption pictures
    clip/                a CLIP model of transformers, if candidates are to be compared by it

None of the three is needed to know what a stream says, so the last two do not enter the id of a model.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from channel_sim.randomness import SharedRandomness
from uqdm.prompted.perco import Captioner

__all__ = [
    "CAPTIONER",
    "CLIP",
    "SENDERS_OWN",
    "SETTINGS_FILE",
    "caption_by",
    "clip_distance",
    "settings_of",
    "shared_noise",
]

SETTINGS_FILE, CAPTIONER, CLIP = "uqdm_settings.json", "captioner", "clip"
SENDERS_OWN = (SETTINGS_FILE, CAPTIONER, CLIP)
"""What the id of a folder leaves out."""
_MOST_WORDS = 32
"""Tokens of a caption, as Careil et al. (2024) have them."""


def settings_of(folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What `uqdm_settings.json` says, and defaults of what it does not.

    Raises:
      ValueError: it says something else, or nothing of the kind.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return dict(defaults)
    try:
        given = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    allowed = f"allowed are {', '.join(defaults)}"
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no object: {allowed}")
    for name in set(given) - set(defaults):
        raise ValueError(f"{path} holds {name!r}, which is unknown: {allowed}")
    for name, value in given.items():
        kind = type(defaults[name])
        wanted = "a text" if kind is str else "a positive number"
        right = isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)
        if not right or (kind is not str and not value > 0):
            raise ValueError(f"{path}: {name} must be {wanted}, got {value!r}")
    return {**defaults, **given}


def shared_noise(seed: int, stream: int, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """White Gaussian noise, float32: the quantiles of uniform common randomness (channel_sim.randomness)."""
    uniform = SharedRandomness(seed, stream).uniform(int(np.prod(shape))) + 0.5
    return ndtri(uniform).astype(np.float32).reshape(shape)


def caption_by(folder: Path, device: str) -> Captioner | None:
    """The captioning model in a folder, or None.

    Raises:
      ImportError: PyTorch or transformers are not installed.
      ValueError: it cannot be read.
    """
    if not (folder / CAPTIONER).is_dir():
        return None
    transformers, torch = _transformers()
    path = str(folder / CAPTIONER)
    try:
        name = json.loads((folder / CAPTIONER / "config.json").read_text())["architectures"][0]
        model: Any = getattr(transformers, name).from_pretrained(path, local_files_only=True)
        processor: Any = transformers.AutoProcessor.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"cannot read the captioning model in {path}: {error}") from error
    model = model.to(device).eval()

    def caption(picture: np.ndarray) -> str:
        given = processor(images=picture, return_tensors="pt").to(device)
        with torch.inference_mode():
            words = model.generate(**given, max_new_tokens=_MOST_WORDS, do_sample=False)
        return processor.batch_decode(words, skip_special_tokens=True)[0]

    return caption


def clip_distance(folder: Path, device: str) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """1 less the cosine between two pictures' features by the CLIP model in a folder, or None.

    Raises:
      ImportError: PyTorch or transformers are not installed.
      ValueError: it cannot be read.
    """
    if not (folder / CLIP).is_dir():
        return None
    transformers, torch = _transformers()
    path = str(folder / CLIP)
    try:
        model: Any = transformers.CLIPVisionModelWithProjection.from_pretrained(path, local_files_only=True)
        processor: Any = transformers.CLIPImageProcessor.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot read the CLIP model in {path}: {error}") from error
    model = model.to(device).eval()

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        given = processor(images=[x, y], return_tensors="pt").to(device)
        with torch.inference_mode():
            features = model(**given).image_embeds.cpu().numpy().astype(np.float64)
        a, b = features / np.linalg.norm(features, axis=1, keepdims=True)
        return float(1 - a @ b)

    return distance


def _transformers() -> tuple[Any, Any]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        what = f"captioning and CLIP models need PyTorch and transformers ({error}): pip install 'uqdm[diffusers]'"
        raise ImportError(what) from error
    return transformers, torch
