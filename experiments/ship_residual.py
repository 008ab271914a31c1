"""Makes a trained residual the one that comes with the package.

    python experiments/ship_residual.py residual.npz

Writes `uqdm/weights/residual.npz`, what `uqdm doctor` compares with (`residual.json`), and, where the residual or the
model is new, golden lossless streams under `tests/golden_lossless/`, which are never overwritten afterwards.
"""

import argparse
import json
from pathlib import Path

from ship_model import PHOTOGRAPH, ROOT, golden_cases

from uqdm import doctor
from uqdm.codec.api import encode
from uqdm.library import load_model
from uqdm.lossless.predicted import PredictedResidual, load_residual
from uqdm.nested.model import NestedModel
from uqdm.pictures import read_picture, write_picture

TAUS = {"64x64_last_seed": 0.0, "120x72": 0.6, "33x200": 1.0}
"""Cases with more or fewer steps before the residual than by default."""


def make_golden(folder: Path) -> None:
    """Writes streams, and the pictures that they decode to."""
    folder.mkdir(parents=True)
    for name, (picture, seed, _, _) in golden_cases().items():
        if name.endswith("_cut"):
            continue
        data = encode(picture, TAUS.get(name), lossless=True, seed=seed, drawn=False)
        (folder / f"{name}.uqdm").write_bytes(data)
        (folder / f"{name}.png").write_bytes(write_picture(picture, ".png"))


def main() -> None:
    """Ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("residual", type=Path)
    residual = PredictedResidual.from_bytes(parser.parse_args().residual.read_bytes())
    folder = ROOT / "uqdm" / "weights"
    (folder / "residual.npz").write_bytes(residual.to_bytes())
    load_residual.cache_clear()
    model = load_model()
    assert isinstance(model, NestedModel)
    stream = encode(read_picture(PHOTOGRAPH.read_bytes())[200:221, 120:147], lossless=True, model=model)
    stored = {
        "residual": residual.id.hex(),
        "network": doctor.residual_network(residual),
        "stream": stream.hex(),
        "pixels": doctor.pixels(stream),
    }
    (folder / "residual.json").write_text(json.dumps(stored, indent=1) + "\n")
    golden = ROOT / "tests" / "golden_lossless" / f"{model.id[:4].hex()}_{residual.id[:4].hex()}"
    if not golden.exists():
        make_golden(golden)
    print(f"residual {residual.id[:4].hex()}, {len(residual.to_bytes()) / 2**20:.2f} MiB; golden streams in {golden}")


if __name__ == "__main__":
    main()
