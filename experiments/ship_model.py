"""Makes a trained model one that comes with the package.

    python experiments/ship_model.py trained.npz (photo | small)

Writes `uqdm/weights/NAME.npz`, what `uqdm doctor` compares with (`NAME.json`), and, where the model is new, golden
streams under `tests/golden/`. Golden streams that are there already belong to models that were shipped before: they
must decode for ever, and are never overwritten.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from uqdm import doctor
from uqdm.codec.api import encode, receiver_of
from uqdm.library import SHIPPED
from uqdm.nested.model import NestedModel
from uqdm.pictures import read_picture, write_picture

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "experiments" / "pictures" / "kodim23.webp"


def golden_cases() -> dict[str, tuple[np.ndarray, int, float, int | None]]:
    """Picture, seed, tau and truncation of every golden stream."""
    photograph = read_picture(PHOTOGRAPH.read_bytes())
    crop = photograph[200:264, 120:184]
    rng = np.random.Generator(np.random.Philox(3))
    return {
        "1x1": (np.array([[[200, 30, 90]]], np.uint8), 0, 0.0, None),
        "7x5_noise": (rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), 5, 0.0, None),
        "64x64": (crop, 0, 0.0, None),
        "64x64_last_seed": (crop, 2**32 - 1, 0.25, None),
        "64x64_cut": (crop, 1, 0.0, 900),
        "120x72": (photograph[100:172, 300:420], 0, 0.3, None),
        "120x72_filtered": (photograph[100:172, 300:420], 5, 0.65, None),
        "33x200_filtered": (photograph[110:143, 200:400], 6, 0.8, None),
        "64x64_filtered_cut": (crop, 7, 0.0, 150),
        "120x72_cut": (photograph[100:172, 300:420], 77, 0.0, 2500),
        "33x200": (photograph[10:43, 0:200], 123456789, 0.5, None),
    }


def make_golden(model: NestedModel, folder: Path) -> None:
    """Writes streams, the pictures they decode to, and digests of their states."""
    folder.mkdir(parents=True)
    facts = {}
    for name, (picture, seed, tau, cut) in golden_cases().items():
        data = encode(picture, tau, model=model, seed=seed)[:cut]
        receiver = receiver_of(data, model=model)
        while receiver.receive():
            pass
        state = hashlib.sha256(receiver.state.midpoint.astype("<i4").tobytes()).hexdigest()
        facts[name] = {"steps": receiver.step, "state": state}
        (folder / f"{name}.uqdm").write_bytes(data)
        (folder / f"{name}.png").write_bytes(write_picture(receiver.picture(), ".png"))
    (folder / "states.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("name", choices=SHIPPED)
    options = parser.parse_args()
    model, name = NestedModel.from_bytes(options.model.read_bytes()), options.name
    folder = ROOT / "uqdm" / "weights"
    (folder / f"{name}.npz").write_bytes(model.to_bytes())
    stream = encode(read_picture(PHOTOGRAPH.read_bytes())[200:232, 120:152], 0.4, model=model)
    stored = {
        "model": model.id.hex(),
        "elementwise": doctor.elementwise(),
        "network": doctor.network(model),
        "stream": stream.hex(),
        "state": doctor.stream(model, stream),
    }
    (folder / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")
    golden = ROOT / "tests" / "golden" / model.id[:4].hex()
    if not golden.exists():
        make_golden(model, golden)
    print(f"{name}: model {model.id[:4].hex()}, {len(model.to_bytes()) / 2**20:.2f} MiB; golden streams in {golden}")


if __name__ == "__main__":
    main()
