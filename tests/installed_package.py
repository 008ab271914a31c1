"""What `make wheel-test` runs in a virtual environment that holds the wheel and what it asks for, and nothing else.

Encodes and decodes with the model inside the package, through the command and in Python; checks that optional parts
say what to install, and prints how long imports take and how much disk the environment fills.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

BIN = Path(sys.executable).parent
PICTURE = (np.indices((48, 64)).sum(0)[..., None] * np.array([2, 1, 1]) + np.array([0, 60, 90])).astype(np.uint8)


def uqdm(*arguments: str, code: int = 0) -> str:
    """Runs the installed command; gives what it printed."""
    done = subprocess.run([BIN / "uqdm", *arguments], capture_output=True, text=True)
    if done.returncode != code:
        raise AssertionError(f"uqdm {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def seconds(*command: str | Path) -> float:
    """Least wall time of three runs."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Checks and prints."""
    import channel_sim
    import uqdm as package

    for module in (channel_sim, package):
        assert Path(module.__file__ or "").is_relative_to(sys.prefix), f"{module.__file__} is not the installed one"
    for absent in ("matplotlib", "pytest", "grain"):
        assert not list(Path(sys.prefix).glob(f"lib/python*/site-packages/{absent}")), f"{absent} came along"
    with tempfile.TemporaryDirectory() as folder:
        picture, stream, back = (str(Path(folder) / name) for name in ("in.png", "a.uqdm", "out.png"))
        Image.fromarray(PICTURE).save(picture)
        uqdm("encode", picture, stream, "--lossless", "--verify")
        uqdm("decode", stream, back)
        assert np.array_equal(np.asarray(Image.open(back)), PICTURE)
        assert "uqdm[plot]" in uqdm("plot", picture, "-o", str(Path(folder) / "curve.png"), code=2)
        assert package.encode(PICTURE, lossless=True) == Path(stream).read_bytes()
        info = seconds(BIN / "uqdm", "info", stream)
    print(uqdm("doctor"), end="")
    imports = {
        name: seconds(sys.executable, "-c", f"import {name}") for name in ("uqdm", "uqdm.codec.api", "channel_sim")
    }
    size = sum(file.stat().st_size for file in Path(sys.prefix).rglob("*") if file.is_file() and not file.is_symlink())
    print(", ".join(f"import {name} {value:.2f} s" for name, value in imports.items()), end="")
    print(f", uqdm info {info:.2f} s; the environment has {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
