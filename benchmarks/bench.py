"""Speed, overhead, memory and scaling with the size of the picture, written as one Markdown page.

    python benchmarks/bench.py [--sizes 64x64 384x256 ...] [--repeat 5] [--out benchmarks/results/bench.md]

Every size is measured in a process of its own, whose peak memory is reported; larger pictures are the photograph beside
its mirror images. The overhead is what the real file has above the model's ideal code length: header, check values, the
coder's rounding. Pillow's codecs are timed on the same picture at a setting in the middle of their range. The figures
of the published UQDM programme are cited, not measured here.

Times are worth nothing on a busy machine: the load before the start is in the head of the page.
"""

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from speed import PHOTOGRAPH, measure, milliseconds

import uqdm
from uqdm.codec.api import encode_with_costs
from uqdm.evaluation import BASELINES
from uqdm.library import SHIPPED, default_model
from uqdm.nested.model import NestedModel
from uqdm.pictures import read_picture

RESULT = Path(__file__).parent / "results" / "bench.md"
LOSSLESS = {"PNG": {"format": "PNG"}, "WebP, lossless": {"format": "WEBP", "lossless": True}}
PAGE = """# Speed, overhead, memory

`make bench`, on {machine}.

Medians of {repeat} runs after compilation, whole streams of the models {model}, as size demands. *Net*: the time over
that of the network's evaluations alone. *First*: loading, compiling, encoding and decoding the first picture of a
size. *Over*: bytes of the file above the model's ideal code length. *MiB*: peak memory of the process.

| pixels | encode ms | decode ms | encode us/px | decode us/px | encode/net | decode/net | first s | size | over | MiB |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

Pillow's codecs on the picture of {middle} pixels, with our times over theirs:

| codec (setting) | encode ms | decode ms | uqdm encode / theirs | uqdm decode / theirs | bytes |
|---|---|---|---|---|---|
{baselines}

The published UQDM programme (mandt-lab/uqdm, UQDM-tiny, 64 x 64 pixels, one thread of a lightly loaded AMD EPYC) was
measured to take 8 to 12 s to encode and 6 to 9 s to decode; the four evaluations of its network take 0.5 s of that.
"""


def photograph_of(width: int, height: int) -> np.ndarray:
    """The photograph, cut or continued by its mirror images, uint8 (height, width, 3)."""
    picture = read_picture(PHOTOGRAPH.read_bytes())
    rows, columns = (max(0, wanted - have) for wanted, have in zip((height, width), picture.shape, strict=False))
    picture = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(picture[:height, :width])


def figures_of(width: int, height: int, repeat: int) -> dict[str, float]:
    """All figures of one size; the peak memory is that of this process."""
    picture, began = photograph_of(width, height), time.perf_counter()
    model = default_model(height, width)
    assert isinstance(model, NestedModel), "the models of the package are nested ones"
    data, costs = encode_with_costs(picture, model=model)
    uqdm.decode(data, model=model)
    first = time.perf_counter() - began
    times = measure(picture, model, repeat)
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return {
        **times._asdict(),
        "encode_ratio": times.encode_ratio,
        "decode_ratio": times.decode_ratio,
        "first_seconds": first,
        "file_bytes": len(data),
        "ideal_bytes": costs[-1].ideal_bits / 8,
        "peak_mib": kibibytes / 1024,
    }


def in_own_process(size: str, repeat: int) -> dict[str, float]:
    """`figures_of` a size in a fresh process."""
    command = [sys.executable, __file__, "--one", size, "--repeat", str(repeat)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def row_of(size: str, figures: dict[str, float]) -> str:
    """A line of the first table."""
    width, height = sides(size)
    pixels, extra = width * height, figures["file_bytes"] - figures["ideal_bytes"]
    cells = [
        f"{width} x {height}",
        f"{figures['encode']:.0f}",
        f"{figures['decode']:.0f}",
        f"{1000 * figures['encode'] / pixels:.2f}",
        f"{1000 * figures['decode'] / pixels:.2f}",
        f"{figures['encode_ratio']:.2f}",
        f"{figures['decode_ratio']:.2f}",
        f"{figures['first_seconds']:.1f}",
        f"{figures['file_bytes']:.0f}",
        f"{extra:.0f} ({100 * extra / figures['ideal_bytes']:.2f} %)",
        f"{figures['peak_mib']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def rival_rows(size: str, ours: dict[str, float], repeat: int) -> list[str]:
    """Lines of the second table: times of Pillow's codecs, and ours over theirs."""
    picture = Image.fromarray(photograph_of(*sides(size)))
    chosen = {}
    for baseline in BASELINES.values():
        setting = baseline.settings[len(baseline.settings) // 2]
        chosen[f"{baseline.name} ({setting})"] = {"format": baseline.kind} | baseline.options(setting)
    lines = []
    for name, options in (chosen | LOSSLESS).items():
        buffer = io.BytesIO()
        try:
            picture.save(buffer, **options)
        except (KeyError, OSError):  # this Pillow lacks the codec
            continue
        data = buffer.getvalue()
        encode = milliseconds(lambda options=options: picture.save(io.BytesIO(), **options), repeat)
        decode = milliseconds(lambda data=data: Image.open(io.BytesIO(data)).load(), repeat)
        ratios = f"{ours['encode'] / encode:.0f} | {ours['decode'] / decode:.0f}"
        lines.append(f"| {name} | {encode:.1f} | {decode:.1f} | {ratios} | {len(data)} |")
    return lines


def machine() -> str:
    """The machine and what runs on it, in one line."""
    names = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = {line.split(":")[1].strip() for line in names.splitlines() if line.startswith("model name")}
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpy", "pillow"))
    processor = ", ".join(sorted(models)) or platform.processor() or platform.machine()
    system = f"{platform.system()}, Python {platform.python_version()}, {versions}"
    return f"{os.cpu_count()} cores ({processor}), {system}; load {os.getloadavg()[0]:.1f} before the start"


def sides(size: str) -> tuple[int, int]:
    """Width and height of "768x512"."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x64", "384x256", "768x512", "1536x1024"], metavar="WxH")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(figures_of(*sides(options.one), options.repeat)))
        return
    head = machine()
    if os.getloadavg()[0] > 0.25 * (os.cpu_count() or 1):
        print(f"this machine is busy: {head}", file=sys.stderr)
    figures = {}
    for size in options.sizes:
        print(f"measuring {size}", file=sys.stderr)
        figures[size] = in_own_process(size, options.repeat)
    middle = options.sizes[len(options.sizes) // 2]
    page = PAGE.format(
        machine=head,
        repeat=options.repeat,
        model=", ".join(f"{name} {uqdm.load_model(name).id[:4].hex()}" for name in SHIPPED),
        rows="\n".join(row_of(size, figures[size]) for size in options.sizes),
        middle=middle.replace("x", " x "),
        baselines="\n".join(rival_rows(middle, figures[middle], options.repeat)),
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
