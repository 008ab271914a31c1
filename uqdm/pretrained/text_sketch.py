"""Text+Sketch on a ControlNet pipeline of diffusers (uqdm.prompted.text_sketch has the codec).

The folder is a `StableDiffusionControlNetPipeline` as `save_pretrained` writes it, its ControlNet one for edges
(Canny, HED, scribbles): white lines on black. `uqdm_settings.json` may say

    candidates       that are drawn and compared (4)
    evaluations      of the network for each (25)
    guidance         of classifier-free guidance (9)
    beside           words after every caption ("high quality")
    against          the negative prompt

which are those of the published programme where it has them. All of these, the weights and the scheduler decide which
candidate a number means, so all are in the id. Candidates start from noise of the shared seed, each from its own.
They are compared by CLIP where the folder has it, else by the Wasserstein distortion (uqdm.metrics). Safety checkers
are not run.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uqdm.metrics import wasserstein_distortion
from uqdm.pretrained.diffusers import identity_of, pipeline_index, read_folder
from uqdm.pretrained.prompting import SENDERS_OWN, caption_by, clip_distance, settings_of, shared_noise
from uqdm.prompted.canny import canny
from uqdm.prompted.perco import Captioner
from uqdm.prompted.text_sketch import TextSketchModel
from uqdm.transforms.pixels import multiple_of

__all__ = ["load_text_sketch"]

_DEFAULTS = {
    "candidates": 4,
    "evaluations": 25,
    "guidance": 9.0,
    "beside": "high quality",
    "against": "disfigured, deformed, low quality, lowres, b&w, blurry, bad art",
}


def load_text_sketch(
    folder: str | Path,
    *,
    caption: str | Captioner | None = None,
    edges: np.ndarray | Callable[[np.ndarray], np.ndarray] = canny,
    scale: int = 4,
    device: str = "cpu",
) -> TextSketchModel:
    """Reads a folder.

    Args:
      folder: of a pipeline, on this machine.
      caption: what the sender says of pictures, or who says it; by default the captioning model of the folder, or
        nothing.
      edges: the sender's sketch, bool (H, W), or who finds it in a picture that was reduced by the scale.
      scale: pixels along a side of a pixel of the sketch.
      device: of PyTorch.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder has no such pipeline, or a number is out of range.
    """
    folder = Path(folder)
    index = pipeline_index(folder)
    if "controlnet" not in index:
        raise ValueError(f"{folder} is no ControlNet pipeline: its model_index.json names no controlnet")
    settings = settings_of(folder, _DEFAULTS)
    torch, pipeline = read_folder(folder, device)
    pipeline.safety_checker = None
    pipeline.set_progress_bar_config(disable=True)
    draw = _drawing(torch, pipeline, settings, device)
    said = json.dumps(settings, sort_keys=True).encode()
    return TextSketchModel(
        draw=draw,
        candidates=settings["candidates"],
        id=hashlib.sha256(b"Text+Sketch 1" + identity_of(folder, SENDERS_OWN) + said).digest(),
        distance=clip_distance(folder, device) or _texture_distance,
        name=f"{folder.name}: best of {settings['candidates']}, {settings['evaluations']} evaluations",
        caption=caption if caption is not None else caption_by(folder, device) or "",
        edges=edges,
        scale=scale,
    )


def _texture_distance(x: np.ndarray, y: np.ndarray) -> float:
    return wasserstein_distortion(x, y, sigma=4.0)


def _drawing(torch, pipeline: Any, settings: dict[str, Any], device: str) -> Callable[..., np.ndarray]:
    """How candidates are drawn (uqdm.prompted.text_sketch.TextSketchModel.draw)."""
    factor = pipeline.vae_scale_factor
    sides = factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    channels = pipeline.unet.config.in_channels

    def draw(sketch: np.ndarray, caption: str, seed: int, number: int) -> np.ndarray:
        height, width = sketch.shape
        rows, columns = multiple_of(sides, height), multiple_of(sides, width)
        lines = np.zeros((rows, columns, 3), np.uint8)
        lines[:height, :width] = 255 * sketch[..., None]
        noise = shared_noise(seed, number, (1, channels, rows // factor, columns // factor))
        drawn = pipeline(
            prompt=", ".join(filter(None, (caption, settings["beside"]))),
            image=Image.fromarray(lines),
            height=rows,
            width=columns,
            num_inference_steps=settings["evaluations"],
            guidance_scale=float(settings["guidance"]),
            negative_prompt=settings["against"],
            latents=torch.from_numpy(noise).to(device),
            generator=torch.Generator("cpu").manual_seed((number << 32) + seed),
            output_type="np",
        ).images[0]
        return np.clip(np.rint(drawn * 255), 0, 255).astype(np.uint8)[:height, :width]

    return draw
