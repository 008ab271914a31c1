"""Codecs on the latent of a pretrained autoencoder, beside codecs of pixels: bytes, distortion and realism.

    python benchmarks/latent_codecs.py SHARED ROWS.csv --autoencoder taef2.npz --models MODEL.npz ... [--count 6]
    python benchmarks/latent_codecs.py SHARED ROWS.csv --autoencoder taef2.npz --sheet sheet.jpg ...

Pictures are Kodak 23 and the next of SHARED/data/photos_val, their middles of --side pixels. All bytes are those of
files, headers included, and what is measured was decoded from them. Lines of ROWS.csv are one codec, setting and way to
show on one picture; a run that is given again measures what is missing, so that another model is another row of the
table: give its file to --models. Models of the family "latent" have one rate each; all others are cut at --bpp, as are
the model `photo`, AVIF (4:4:4) and JPEG, at the best quality that takes no more bytes. Seconds are those of showing one
picture. Printed are means over pictures.
"""

import argparse
import csv
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of, show
from uqdm.contract import Model
from uqdm.evaluation.points import LPIPS_WEIGHTS, METRICS
from uqdm.latent.counted import decode_counted, encode_counted
from uqdm.latent.palette import decode_palette, encode_palette
from uqdm.library import reconstructions_of
from uqdm.transforms.autoencoder import Autoencoder

MEASURES = ("psnr_db", "lpips_squeezenet", "wasserstein_distortion_sigma_4")
FIELDS = ("picture", "codec", "setting", "way", "bytes", "bpp", *MEASURES, "seconds")
COLOURS, WIDTHS = (2, 4, 16), (3.0, 2.0, 1.5)
FLOWS = {f"flow, {n}": uqdm.LatentFlow(remaining_steps=n) for n in (1, 4)}

Shown = tuple[str, str, int, Callable[[], np.ndarray]]
"""Setting, way, bytes, and what shows the picture."""


def limited(picture: np.ndarray, kind: str, most: int) -> Shown | None:
    """A file of Pillow at the best quality that takes at most so many bytes."""
    low, high, best = 0, 101, None
    while high - low > 1:
        quality, file = (low + high) // 2, io.BytesIO()
        subsampling: Any = 0 if kind == "JPEG" else "4:4:4"
        Image.fromarray(picture).save(file, kind, quality=quality, subsampling=subsampling)
        if len(file.getvalue()) <= most:
            low, best = quality, file
        else:
            high = quality
    if best is None:
        return None
    return "", "decoded", len(best.getvalue()), lambda: np.asarray(Image.open(best).convert("RGB"))


def streams(picture: np.ndarray, model: Model, rates: list[float]) -> Iterator[Shown]:
    """What a model shows of one picture: of whole streams in the family "latent", at rates in others."""
    latent = model.family == "latent"
    for bpp in [None] if latent else rates:
        data = uqdm.encode(picture, model=model, bpp=bpp)
        receiver = receiver_of(data, model=model)
        while receiver.receive():
            pass
        receiver.picture()
        ways = {"plain": "denoise", **FLOWS} if latent else {way: way for way in reconstructions_of(model)}
        for name, way in ways.items():
            if name not in ("sample", "refine"):
                yield "" if bpp is None else f"{bpp:g} bpp", name, len(data), lambda r=receiver, way=way: show(r, way)


def indexed(picture: np.ndarray, autoencoder: Autoencoder) -> Iterator[Shown]:
    """Buehlmann's codec."""
    for colours in COLOURS:
        data = encode_palette(picture, autoencoder, colours)
        yield f"{colours} colours", "plain", len(data), lambda data=data: decode_palette(data, autoencoder)


def counted(picture: np.ndarray, autoencoder: Autoencoder) -> Iterator[Shown]:
    """The same latents under counts."""
    for width in WIDTHS:
        data = encode_counted(picture, autoencoder, width)
        yield f"width {width:g}", "plain", len(data), lambda data=data: decode_counted(data, autoencoder)


def alone(picture: np.ndarray, autoencoder: Autoencoder) -> Iterator[Shown]:
    """What the autoencoder loses by itself."""
    latent = autoencoder.encode(picture)
    yield "latent not coded", "plain", 0, lambda: autoencoder.decode(latent, *picture.shape[:2])


def by_pillow(picture: np.ndarray, kind: str, rates: list[float]) -> Iterator[Shown]:
    """AVIF or JPEG."""
    for bpp in rates:
        file = limited(picture, kind, int(bpp * picture.shape[0] * picture.shape[1] / 8))
        if file:
            yield f"{bpp:g} bpp", *file[1:]


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """A square from the middle."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def chosen(shared: Path, count: int, side: int) -> dict[str, np.ndarray]:
    """Kodak 23 first."""
    paths = sorted((shared / "data" / "photos_val").glob("*.png"), key=lambda path: ("23" not in path.stem, path.name))
    return {path.stem: middle(np.asarray(Image.open(path).convert("RGB")), side) for path in paths[:count]}


def table(rows: list[dict[str, str]]) -> str:
    """Means over pictures, for those that all pictures have."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["codec"], row["setting"], row["way"]), []).append(row)
    most = max(len(group) for group in groups.values())
    lines = ["| codec | setting | shown | bpp | PSNR, dB | LPIPS | Wasserstein | seconds |", "|" + "---|" * 8]
    for key, group in groups.items():
        mean = {name: float(np.mean([float(row[name]) for row in group])) for name in FIELDS[5:]}
        values = f"{mean['bpp']:.3f} | {mean['psnr_db']:.2f} | {mean['lpips_squeezenet']:.4f}"
        values += f" | {mean['wasserstein_distortion_sigma_4']:.1f} | {mean['seconds']:.2f}"
        lines.append(f"| {' | '.join(key)} | {values} |" + ("" if len(group) == most else f" ({len(group)} pictures)"))
    return "\n".join(lines)


def main() -> None:
    """Measures what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.35])
    parser.add_argument("--codecs", nargs="+", help="only these, by their names in the table")
    parser.add_argument("--count", type=int, default=6, help="of pictures")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--sheet", type=Path, help="also write what the first pictures look like, a row for each")
    options = parser.parse_args()
    os.environ.setdefault(LPIPS_WEIGHTS, str(options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"))
    autoencoder = Autoencoder.from_bytes(options.autoencoder.read_bytes())
    models = {path.stem: uqdm.load_model(path) for path in options.models}
    codecs: dict[str, Callable[[np.ndarray], Iterator[Shown]]] = {
        "autoencoder alone": lambda x: alone(x, autoencoder),
        "indexed latents": lambda x: indexed(x, autoencoder),
        "counted latents": lambda x: counted(x, autoencoder),
        **{name: lambda x, model=model: streams(x, model, options.bpp) for name, model in models.items()},
        "photo": lambda x: streams(x, uqdm.load_model("photo"), options.bpp),
        "AVIF": lambda x: by_pillow(x, "AVIF", options.bpp),
        "JPEG": lambda x: by_pillow(x, "JPEG", options.bpp),
    }
    if options.codecs:
        codecs = {name: codecs[name] for name in options.codecs}
    pictures = chosen(options.shared, options.count, options.side)
    rows = list(csv.DictReader(options.rows.open())) if options.rows.exists() else []
    done = {(row["picture"], row["codec"]) for row in rows}
    if options.sheet:
        write_sheet(options.sheet, list(pictures.values())[:4], codecs)
        return
    with options.rows.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for name, picture in tqdm(pictures.items()):
            for codec, coded in codecs.items():
                if (name, codec) in done:
                    continue
                found = []
                for setting, way, size, shown in coded(picture):
                    began = time.perf_counter()
                    decoded = shown()
                    seconds = time.perf_counter() - began
                    bpp = 8 * size / (picture.shape[0] * picture.shape[1])
                    values = [METRICS[measure].measure(picture, decoded) for measure in MEASURES]
                    line = (
                        name,
                        codec,
                        setting,
                        way,
                        size,
                        f"{bpp:.5f}",
                        *(f"{v:.5f}" for v in values),
                        f"{seconds:.3f}",
                    )
                    found.append(dict(zip(FIELDS, map(str, line), strict=True)))
                writer.writerows(found)
                file.flush()
                rows += found
    print(table([row for row in rows if row["picture"] in pictures]))


def write_sheet(path: Path, pictures: list[np.ndarray], codecs: dict[str, Callable]) -> None:
    """Middles of pictures, from left to right: the original, then every codec's last setting in all its ways."""
    lines = []
    for picture in tqdm(pictures):
        tiles = [picture]
        for codec, coded in codecs.items():
            if codec in ("indexed latents", "counted latents", "JPEG"):
                continue
            every = list(coded(picture))
            last = every[len(every) // 2 :] if codec == "photo" else every
            tiles += [shown() for setting, _, _, shown in last if setting == last[-1][0]]
        lines.append(np.concatenate([middle(tile, 192) for tile in tiles], 1))
    Image.fromarray(np.concatenate(lines)).save(path, quality=88)


if __name__ == "__main__":
    main()
