"""How long a user waits for whole commands, and how much memory they take, beside other codecs in the same run.

    python benchmarks/startup.py times   [--large] [--repeat 3]
    python benchmarks/startup.py memory  [--megapixels 1 3 12 48]
    python benchmarks/startup.py folders VIEWS.npz PHOTOGRAPHS [--ray]

*times*: wall time of `uqdm encode` and `uqdm decode`, from the call to the end of the process, with an empty cache of
programmes (cold) and with a filled one (warm: the median), and of processes that do the same with Pillow's codecs at
the quality that makes files of about the same size. *memory*: the largest resident set of a command, and its time, at
--bpp 0.5 and for everything. *folders*: pictures per second over folders of pictures of one size and of several, with
one process, with one per core, and with Ray.

Tables go to standard output. Pictures are made of the photograph of the demonstration: cut, or mirrored side by side.
"""

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, features

from uqdm.pictures import read_picture
from uqdm.training.dataset import load_pictures

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"
UQDM = (sys.executable, "-m", "uqdm")
SAVE = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2], **eval(sys.argv[3]))"
SIDES = {1: (1152, 896), 3: (2048, 1536), 12: (4000, 3000), 48: (8000, 6000)}
"""Width and height by megapixels."""


class Used(NamedTuple):
    """What a process took."""

    seconds: float
    mebibytes: float
    """Its largest resident set."""


def run(arguments: Sequence[str | Path], **environment: str) -> Used:
    """Runs a process to its end.

    Raises:
      RuntimeError: it failed.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        streams = [(os.POSIX_SPAWN_DUP2, errors.fileno(), 1), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        child = os.posix_spawn(
            arguments[0], [str(part) for part in arguments], os.environ | environment, file_actions=streams
        )
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(map(str, arguments))} failed: {errors.read().decode()[-500:]}")
    return Used(seconds, usage.ru_maxrss / 1024)


def picture_of(width: int, height: int) -> np.ndarray:
    """A part of the photograph, or as many mirror images of it as it takes."""
    picture = read_picture(PHOTOGRAPH.read_bytes())
    rows, columns = -(-height // picture.shape[0]), -(-width // picture.shape[1])
    pair = np.concatenate([picture, picture[:, ::-1]], 1)
    tile = np.concatenate([pair, pair[::-1]], 0)
    tiled = np.tile(tile, (-(-rows // 2), -(-columns // 2), 1))
    return tiled[:height, :width]


def row(*cells: object) -> None:
    """A line of a table."""
    print(
        "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(*cells: str) -> None:
    """The first two lines."""
    row(*cells)
    print("|---" * len(cells) + "|")


def rivals() -> dict[str, tuple[str, Callable[[int], dict]]]:
    """Suffix and options of Pillow's codecs, by name."""
    found: dict[str, tuple[str, Callable[[int], dict]]] = {
        "JPEG": (".jpg", lambda q: {"quality": q, "subsampling": 0}),
        "WebP": (".webp", lambda q: {"quality": q, "method": 4}),
    }
    if features.check("avif"):
        found["AVIF 4:4:4"] = (".avif", lambda q: {"quality": q, "subsampling": "4:4:4"})
    if ".jxl" in Image.registered_extensions():
        found["JPEG XL"] = (".jxl", lambda q: {"quality": q})
    return found


def quality_for(picture: np.ndarray, suffix: str, options: Callable[[int], dict], size: int) -> int:
    """The quality of the largest file that is not above a size."""
    low, high = 1, 100
    while low < high:
        middle, file = (low + high + 1) // 2, io.BytesIO()
        Image.fromarray(picture).save(file, Image.registered_extensions()[suffix], **options(middle))
        low, high = (middle, high) if file.tell() <= size else (low, middle - 1)
    return low


def times(folder: Path, *, large: bool, repeat: int) -> None:
    """Whole commands, cold and warm."""
    head("picture", "codec", "bytes", "encode cold", "encode warm", "decode cold", "decode warm")
    cases = [(64, 64, ("--bpp", "2")), (768, 512, ("--bpp", "0.5")), (768, 512, ("--tau", "0"))]
    for width, height, limit in cases + [(4000, 3000, ("--bpp", "0.5"))] * large:
        original, stream, back = folder / "picture.png", folder / "picture.uqdm", folder / "back.png"
        picture = picture_of(width, height)
        Image.fromarray(picture).save(original)
        encode = (*UQDM, "encode", original, stream, "--force", *limit)
        decode = (*UQDM, "decode", stream, back, "--force")
        spent = []
        for command in (encode, decode):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            every = [run(command, UQDM_CACHE=str(folder / "cache")).seconds for _ in range(1 + repeat)]
            spent += [every[0], statistics.median(every[1:])]
        name, size = f"{width} x {height}, {' '.join(limit)}", stream.stat().st_size
        row(name, "**uqdm**", size, *spent)
        for codec, (suffix, options) in rivals().items():
            chosen = options(quality_for(picture, suffix, options, size))
            file = folder / f"picture{suffix}"
            commands = [(sys.executable, "-c", SAVE, original, file, repr(chosen))]
            commands.append((sys.executable, "-c", SAVE, file, back, repr({"compress_level": 1})))
            spent = [statistics.median(run(command).seconds for _ in range(repeat)) for command in commands]
            row(name, codec, file.stat().st_size, "", spent[0], "", spent[1])


def memory(folder: Path, megapixels: Sequence[int]) -> None:
    """Largest resident sets, programmes being compiled already."""
    head("picture", "", "encode, s", "MiB", "decode, s", "MiB")
    run((*UQDM, "warm-up"), UQDM_CACHE=str(folder / "cache"))
    for number in megapixels:
        width, height = SIDES[number]
        Image.fromarray(picture_of(width, height)).save(folder / "picture.png", compress_level=1)
        for limit in (("--bpp", "0.5"), ("--tau", "0")):
            encode = (*UQDM, "encode", folder / "picture.png", folder / "picture.uqdm", "--force", *limit)
            decode = (*UQDM, "decode", folder / "picture.uqdm", folder / "back.png", "--force")
            used = [run(command, UQDM_CACHE=str(folder / "cache")) for command in (encode, decode)]
            row(f"{width} x {height}", " ".join(limit), *(f"{part:.0f}" for both in used for part in both))


def folders(folder: Path, views: Path, photographs: Path, *, ray: bool) -> None:
    """Pictures per second."""
    head("pictures", "processes", "encode, pictures/s", "decode, pictures/s")
    ways = {"1": ("--jobs", "1"), str(os.cpu_count()): ("--jobs", str(os.cpu_count()))} | (
        {"Ray": ("--ray",)} if ray else {}
    )
    run((*UQDM, "warm-up"), UQDM_CACHE=str(folder / "cache"))
    for source in (views, photographs):
        originals = folder / "originals"
        shutil.rmtree(originals, ignore_errors=True)
        originals.mkdir()
        pictures = load_pictures(source)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(originals / f"{number:04d}.png", compress_level=1)
        for name, way in ways.items():
            for made in ("streams", "back"):
                shutil.rmtree(folder / made, ignore_errors=True)
            commands = [(*UQDM, "encode", originals, folder / "streams", *way)]
            commands.append((*UQDM, "decode", folder / "streams", folder / "back", *way))
            rates = [len(pictures) / run(command, UQDM_CACHE=str(folder / "cache")).seconds for command in commands]
            row(f"{len(pictures)} of {source.stem}", name, *rates)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("times")
    one.add_argument("--large", action="store_true", help="4000 x 3000 pixels as well")
    one.add_argument("--repeat", type=int, default=3)
    two = what.add_parser("memory")
    two.add_argument("--megapixels", type=int, nargs="+", choices=SIDES, default=list(SIDES))
    three = what.add_parser("folders")
    three.add_argument("views", type=Path)
    three.add_argument("photographs", type=Path)
    three.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "times":
            times(folder, large=options.large, repeat=options.repeat)
        elif options.what == "memory":
            memory(folder, options.megapixels)
        else:
            folders(folder, options.views, options.photographs, ray=options.ray)


if __name__ == "__main__":
    main()
