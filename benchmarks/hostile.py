"""Mutated streams, pictures and model files: does anything but the documented exceptions come out, how long, how large?

    python benchmarks/hostile.py streams|families|pictures|models [--minutes 15] [--out benchmarks/results]
    python benchmarks/hostile.py streams --only 4711

Case number i of a kind is made by a generator of random numbers that is seeded with both: the run goes on where the
file of results (hostile_KIND.json) ends, and `--only` repeats one case with its traceback. A case is a sound input of
64 x 64 pixels that was changed in one to four places: bits, bytes and runs of them, pieces that are left out, doubled
or moved, and cuts. Streams are those of the model `small`; families are streams of 24 x 24 pixels of small untrained
models of all families (tests/model_cases.py), of which every tenth is also shown in the other ways that the family has.
Of half of the model files, of the same families, the arrays are changed, and the file is made anew, since its check
sums find all else; what is loaded must also encode and decode a picture.

What is expected is a result or the documented exception: StreamError, PictureError, and ValueError for models. A case
of more than two seconds of processor time is slow. Of streams that now claim another size, whose decoding would be
sound work, only the header is read.
"""

import argparse
import functools
import importlib
import io
import json
import os
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import uqdm
from uqdm import archive
from uqdm.contract import Model
from uqdm.library import model_from_bytes, reconstructions_of
from uqdm.pictures import open_picture

RESULTS, TESTS = Path(__file__).parent / "results", Path(__file__).parents[1] / "tests"
SIDE, SMALL_SIDE, SLOW_S, KEPT_FAILURES, SAVE_EVERY = 64, 24, 2.0, 20, 100


class Kind(NamedTuple):
    """What is mutated.

    Attributes:
      inputs: sound ones.
      mutate: an input, and what is random, to the case.
      take: reads a case, and says in a word what became of it; raises what the reader raises.
      expected: the documented exception.
    """

    inputs: Sequence[bytes]
    mutate: Callable[[bytes, np.random.Generator], bytes]
    take: Callable[[bytes], str]
    expected: type[Exception]


def subject(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """A picture with edges, gradients and noise, uint8 (side, side, 3)."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y), x * y], -1) * 90 + 128
    waves[side // 4 : side // 2, side // 3 :] += 60
    return np.clip(waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes; a third of them at the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        reach = min(len(changed), 64) if rng.random() < 1 / 3 else len(changed)
        if reach == 0:
            break
        place = int(rng.integers(reach))
        length = int(min(2 ** rng.integers(0, 8), len(changed) - place))
        match rng.integers(7):
            case 0:
                changed[place] ^= 1 << rng.integers(8)
            case 1:
                changed[place] = int(rng.choice([0, 1, 127, 128, 254, 255]))
            case 2:
                changed[place : place + length] = rng.bytes(length)
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5:
                piece = changed[place : place + length]
                del changed[place : place + length]
                target = int(rng.integers(len(changed) + 1))
                changed[target:target] = piece
            case 6:
                del changed[place:]
    return bytes(changed)


def mutated_model(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes changed, or the arrays: their values, shapes and types, which of them there are, the configuration."""
    if rng.random() < 0.5:
        return mutated(data, rng)
    arrays = archive.from_bytes(data)
    for _ in range(rng.integers(1, 4)):
        name = "config" if "config" in arrays and rng.random() < 1 / 3 else str(rng.choice(list(arrays)))
        array = arrays[name]
        match rng.integers(6):
            case 0:
                arrays[name] = np.frombuffer(mutated(array.tobytes(), rng), np.uint8)
            case 1 if array.size:
                flat = array.ravel().copy()
                flat.view(np.uint8)[rng.integers(flat.nbytes)] = rng.integers(256)
                arrays[name] = flat.reshape(array.shape)
            case 2:
                arrays[name] = array.ravel()[: int(rng.integers(array.size + 1))]
            case 3:
                types = [np.float64, np.float16, np.int8, np.uint64, np.bool_, np.complex64]
                arrays[name] = array.astype(types[rng.integers(len(types))])
            case 4 if len(arrays) > 1:
                del arrays[name]
            case 5 if array.dtype.kind == "f":
                arrays[name] = np.full_like(array, rng.choice([np.nan, np.inf, 0.0, 1e30, -1e30]))
    return archive.to_bytes(arrays)


def saved(kind: str, mode: str = "RGB", **options) -> bytes:
    """A picture file."""
    buffer = io.BytesIO()
    Image.fromarray(subject()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def picture_files() -> list[bytes]:
    """Sound files of all formats that Pillow writes without further programmes, with metadata where they have any."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    more = [Image.fromarray(subject(seed)) for seed in (1, 2)]
    plain = [saved(kind) for kind in ("BMP", "DIB", "IM", "PCX", "PPM", "SGI", "TGA", "TIFF", "ICO", "QOI")]
    return [
        *plain,
        saved("PNG", exif=exif, dpi=(300, 300)),
        saved("PNG", "P"),
        saved("PNG", "LA"),
        saved("PNG", save_all=True, append_images=more),
        saved("JPEG", exif=exif, comment="words"),
        saved("JPEG", "CMYK"),
        saved("JPEG", progressive=True, quality=98),
        saved("GIF", save_all=True, append_images=more),
        saved("WEBP", lossless=True, exif=exif),
        saved("WEBP", save_all=True, append_images=more),
        saved("TIFF", compression="tiff_lzw", save_all=True, append_images=more),
        saved("TIFF", "CMYK", compression="tiff_adobe_deflate"),
        saved("JPEG2000"),
        saved("AVIF", exif=exif),
    ]


def model_files() -> list[bytes]:
    """Small untrained models of all families that have files."""
    sys.path.append(str(TESTS))
    cases, autoencoders = importlib.import_module("model_cases"), importlib.import_module("random_autoencoder")
    models = [cases.tiny_model(), cases.latent_nested_model(), autoencoders.random_latent_file(1 / 64)]
    models += [cases.unet_model(), cases.unet_model("gaussian")]
    models += [cases.transform_model(), cases.transform_model(universal=True, diffusion=True)]
    return [model.to_bytes() for model in models]


@functools.cache
def families() -> tuple[Model, ...]:
    """Models of these files, and the one without parameters."""
    return (*map(model_from_bytes, model_files()), uqdm.load_model("drawn"))


def take_stream(data: bytes) -> str:
    """Decodes it, unless it is larger."""
    facts = uqdm.info(data)
    if max(facts["width"], facts["height"]) > SIDE or facts["width"] * facts["height"] < SIDE * SIDE:
        return "another size"
    picture = uqdm.decode(data)
    assert picture.shape == (facts["height"], facts["width"], 3)
    return "decoded"


def take_family(data: bytes) -> str:
    """Decodes it by the model whose id it begins with, unless it is larger."""
    facts = uqdm.info(data)
    if max(facts["width"], facts["height"]) > SMALL_SIDE:
        return "another size"
    named = [model for model in families() if model.id.hex().startswith(facts["model_id"])]
    picture = uqdm.decode(data, model=named[0] if named else None)
    assert picture.shape == (facts["height"], facts["width"], 3)
    if named and sum(data) % 10 == 0:
        for way in reconstructions_of(named[0])[1:]:
            uqdm.decode(data, model=named[0], reconstruction=way)
    return "decoded"


def take_picture(data: bytes) -> str:
    """Opens it."""
    picture = open_picture(data, background="white").pixels
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    return "opened" if picture.size <= 3 * SIDE * SIDE else "opened, another size"


def take_model(data: bytes) -> str:
    """Loads it, and sends a picture with it."""
    model = model_from_bytes(data)
    picture = subject(side=SMALL_SIDE)
    assert uqdm.decode(uqdm.encode(picture, model=model), model=model).shape == picture.shape
    return "loaded"


def kind_of(name: str) -> Kind:
    """What there is to mutate."""
    if name == "pictures":
        return Kind(picture_files(), mutated, take_picture, uqdm.PictureError)
    if name == "models":
        return Kind(model_files(), mutated_model, take_model, ValueError)
    if name == "families":
        small = [subject(seed, SMALL_SIDE) for seed in range(2)]
        streams = [uqdm.encode(picture, model=model) for model in families() for picture in small]
        return Kind([*streams, *(data[: len(data) // 3] for data in streams)], mutated, take_family, uqdm.StreamError)
    whole = uqdm.encode(subject())
    streams = [whole, whole[: len(whole) // 3], uqdm.encode(subject(1), bpp=0.5), uqdm.encode(subject(2), seed=2**31)]
    return Kind(streams, mutated, take_stream, uqdm.StreamError)


def case_of(kind: Kind, name: str, number: int) -> bytes:
    """A case; the same for the same number."""
    rng = np.random.default_rng([*name.encode(), number])
    return kind.mutate(kind.inputs[int(rng.integers(len(kind.inputs)))], rng)


def run(name: str, minutes: float, out: Path) -> dict:
    """Goes on with a kind for so many minutes of processor time, and writes what was found."""
    path = out / f"hostile_{name}.json"
    found = {"cases": 0, "minutes": 0.0, "outcomes": {}, "failures": [], "slow": [], "slowest_s": 0.0, "peak_mb": 0}
    if path.exists():
        found = json.loads(path.read_text())
    kind, outcomes = kind_of(name), Counter(found["outcomes"])
    for data in kind.inputs:
        kind.take(data)  # sound, and compiled from now on
    before, began, unsaved = found["minutes"], time.process_time(), 0
    while (spent := (time.process_time() - began) / 60) < minutes:
        number = found["cases"]
        data = case_of(kind, name, number)
        start = time.process_time()
        try:
            outcome = kind.take(data)
        except kind.expected as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = f"FAILURE {type(error).__name__}"
            found["failures"] = [*found["failures"], [number, repr(error)[:200]]][:KEPT_FAILURES]
        seconds = time.process_time() - start
        outcomes[outcome] += 1
        found["cases"] += 1
        found["slowest_s"] = max(found["slowest_s"], round(seconds, 3))
        if seconds > SLOW_S:
            found["slow"] = [*found["slow"], [number, outcome, round(seconds, 1)]][:KEPT_FAILURES]
        unsaved = (unsaved + 1) % SAVE_EVERY
        if not unsaved:
            save(path, found, outcomes, before + spent)
    save(path, found, outcomes, before + spent)
    return found


def save(path: Path, found: dict, outcomes: Counter, minutes: float) -> None:
    """Replaces the file of results."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found |= {"outcomes": dict(sorted(outcomes.items())), "minutes": round(minutes, 2)}
    found["peak_mb"] = max(found["peak_mb"], peak)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(unfinished, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("streams", "families", "pictures", "models"))
    parser.add_argument("--minutes", type=float, default=15.0, help="of processor time (15)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one case, with its traceback")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if options.only is not None:
        kind = kind_of(options.kind)
        print(kind.take(case_of(kind, options.kind, options.only)))
        return
    found = run(options.kind, options.minutes, options.out)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["failures"] or found["slow"]))


if __name__ == "__main__":
    main()
