"""Transform codecs and conditional diffusion decoders beside the nested codec, JPEG and AVIF: real files.

    python benchmarks/transform_coding.py SHARED MODEL.npz... [--views 32] [--photographs 8] [--evaluations 1 4]

Of views of 64 x 64 pixels (SHARED/data/val64.npz) and of the centres, 256 x 256, of photographs
(SHARED/data/photos_val), means over pictures: bits per pixel of whole files, PSNR, and LPIPS-SqueezeNet. Every model
has a row for its whole stream, for prefixes that hold a quarter and a half of its latents, and, where it has a
diffusion decoder, for what that draws of the whole stream. The nested codec (`small` for views, `photo` for
photographs) is cut to the bytes of the whole stream picture by picture, as are JPEG and AVIF, at their best qualities
that take no more bytes; where there is none, the picture does not count for the means of that row, and the row says how
many do. JPEG's tables, some 600 bytes, count.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of, show
from uqdm.metrics import lpips, psnr_db
from uqdm.training.dataset import load_pictures
from uqdm.transform_coding.config import groups_of
from uqdm.transform_coding.model import TransformModel

OTHERS = {
    "JPEG": ("JPEG", {"subsampling": 0, "optimize": True}),
    "AVIF": ("AVIF", {"subsampling": "4:4:4", "speed": 4}),
}


def other(kind: str, picture: np.ndarray, most: int) -> tuple[int, np.ndarray] | None:
    """A file of another codec at the best quality that takes at most so many bytes, and its picture."""
    name, options = OTHERS[kind]
    low, high, best = 0, 101, None
    while high - low > 1:
        quality, file = (low + high) // 2, io.BytesIO()
        Image.fromarray(picture).save(file, name, quality=quality, **options)
        size = len(file.getvalue())
        if size <= most:
            low, best = quality, (size, np.asarray(Image.open(file).convert("RGB")))
        else:
            high = quality
    return best


def steps_holding(model: TransformModel, share: float) -> int:
    """The first step after which so much of the latents is known."""
    wanted = share * model.network.latents
    return 1 + next(i for i, group in enumerate(groups_of(model.network.latents), start=1) if group.stop >= wanted)


def measure(picture: np.ndarray, model: TransformModel, nested: str, evaluations: list[int], weights: Path) -> dict:
    """Rows of one picture: bits per pixel, PSNR and LPIPS by name."""
    data = uqdm.encode(picture, model=model)
    rows: dict[str, tuple[float, float, float]] = {}

    def add(name: str, size: int, shown: np.ndarray) -> None:
        rate = 8 * size / (picture.shape[0] * picture.shape[1])
        rows[name] = rate, psnr_db(picture, shown), lpips(picture, shown, weights)

    previews = list(uqdm.previews(data, model=model))
    for label, share in (("a quarter of the latents", 0.25), ("half of the latents", 0.5), ("all latents", 1.0)):
        preview = previews[steps_holding(model, share)]
        add(label, preview.file_bytes, preview.picture)
    if model.network.denoiser is not None:
        receiver = receiver_of(data, model=model)
        while receiver.receive():
            pass
        for gamma in (0.0, 0.8):
            for count in evaluations:
                way = uqdm.Diffuse(evaluations=count, start_noise=gamma)
                add(f"drawn, {count} evaluations, gamma {gamma:g}", len(data), show(receiver, way))
    ours = uqdm.encode(picture, file_bytes=len(data), model=nested)
    add(f"nested, {nested}", len(ours), uqdm.decode(ours))
    for kind in OTHERS:
        found = other(kind, picture, len(data))
        if found is not None:
            add(kind, *found)
    return rows


def main() -> None:
    """Measures and prints a Markdown table per model and set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--views", type=int, default=32)
    parser.add_argument("--photographs", type=int, default=8)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    weights = options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"
    data = options.shared / "data"
    sets = {
        f"{options.views} views of 64 x 64 pixels": ("small", load_pictures(data / "val64.npz", count=options.views)),
        f"centres (256 x 256) of {options.photographs} photographs": (
            "photo",
            [centre(picture) for picture in load_pictures(data / "photos_val", count=options.photographs)],
        ),
    }
    for name in options.models:
        model = uqdm.load_model(name)
        if not isinstance(model, TransformModel):
            raise SystemExit(f"{name} is no model of transform coding, but of the family {model.family}")
        for title, (nested, pictures) in sets.items():
            found: dict[str, list[tuple[float, float, float]]] = {}
            for picture in tqdm(pictures, title):
                for row, values in measure(picture, model, nested, options.evaluations, weights).items():
                    found.setdefault(row, []).append(values)
            print(f"\n{model.name}, {title}\n\n| | bpp | PSNR in dB | LPIPS | pictures |\n|---|---|---|---|---|")
            for row, values in found.items():
                rate, psnr, distance = np.mean(values, 0)
                print(f"| {row} | {rate:.3f} | {psnr:.2f} | {distance:.4f} | {len(values)} |", flush=True)


def centre(picture: np.ndarray, side: int = 256) -> np.ndarray:
    """A square from the middle."""
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


if __name__ == "__main__":
    main()
