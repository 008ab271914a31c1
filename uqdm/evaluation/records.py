"""What has been measured already: records that survive a kill and add up over processes.

A folder of an evaluation has

    plan.json              what is measured, so that nothing else is added to it
    records-I-of-N.jsonl    one line per picture that process I of N measured, appended when it is done

Records belong to contents, by a hash of the pixels: a folder may get more pictures, lose some, or have them renamed or
replaced between runs, and results stay with the pictures that they were measured on.

A line that a kill cut off is dropped when its process starts again; any other line that cannot be read is named in an
error. Where two records have the same picture (a run was given again with another N, or a picture is there twice), the
first counts; all but its times are equal anyway.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from uqdm.evaluation.points import Point
from uqdm.files import unfinished

__all__ = ["RecordFile", "Records", "Measurement", "Plan", "Times", "key_of", "prepare", "whole"]

_PLAN, _IDS = "plan.json", ("metric_weights", "shown_by")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured of every picture.

    Attributes:
      data: name of the set.
      model: id of the model, in hexadecimal digits.
      codecs: keys of `uqdm.evaluation.BASELINES`.
      metrics: keys of `uqdm.evaluation.METRICS`.
      rates_bpp: where to cut streams.
      steps: whether to cut streams at the end of every step.
      equal_rates: whether other codecs are measured at `rates_bpp` too, instead of at settings of their own
        (uqdm.evaluation.equal_rates).
      reconstructions: names of ways to show streams that were cut at equal rates.
      seeds: how many draws are made where a way draws.
      patch_side: of the patches whose sets are compared (uqdm.evaluation.patches), in pixels; 0 for none.
      patch_weights: id of the network that sees them.
      metric_weights: ids of the networks of metrics.
      shown_by: id of all that shapes what is shown of streams, beside the model's own (uqdm.evaluation.run.shown_by).
    """

    data: str
    model: str
    codecs: tuple[str, ...]
    metrics: tuple[str, ...]
    rates_bpp: tuple[float, ...]
    steps: bool
    equal_rates: bool = False
    reconstructions: tuple[str, ...] = ("denoise",)
    seeds: int = 1
    patch_side: int = 0
    patch_weights: str = ""
    metric_weights: str = ""
    shown_by: str = ""


class Times(NamedTuple):
    """Seconds that our own codec took for a whole stream."""

    encode_s: float
    decode_s: float
    compiled: bool
    """Whether they contain compilation: it was the first picture of its size in its process."""
    load_s: float
    """What the process had spent on loading the model, told with its first picture; else 0."""


class Measurement(NamedTuple):
    """All points of one picture."""

    key: str
    """Of the picture's contents (`key_of`)."""
    picture: str
    """Its name when it was measured."""
    height: int
    width: int
    times: Times
    points: tuple[Point, ...]
    left_out: str = ""
    """Why there are none; empty where there are."""


def key_of(picture: np.ndarray) -> str:
    """128 bits of the SHA-256 of a picture's size and pixels, in hexadecimal digits; uint8 (H, W, 3)."""
    digest = hashlib.sha256(f"{picture.shape[0]} {picture.shape[1]} ".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()[:32]


@contextmanager
def whole(path: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is complete, or not at all."""
    options: dict[str, Any] = {"dir": path.parent, "prefix": ".", "delete": False, "newline": ""}
    with tempfile.NamedTemporaryFile("w", **options) as file, unfinished(file.name):
        yield file
        file.flush()
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)


def prepare(folder: Path, plan: Plan) -> None:
    """Makes the folder of an evaluation, or makes sure that it is one of the same plan.

    Raises:
      ValueError: the folder is that of something else, or its plan is damaged.
    """
    if (folder / _PLAN).exists():
        wanted = json.loads(json.dumps(asdict(plan)))
        try:
            plans = json.loads((folder / _PLAN).read_bytes())
            since = json.loads(json.dumps({f.name: f.default for f in fields(Plan) if f.default is not MISSING}))
            found = {name: plans.get(name, since[name]) if name in since else plans[name] for name in wanted}
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{folder / _PLAN} is damaged: choose another folder, or restore it") from None
        unknown = {name for name in _IDS if name not in plans}  # of an evaluation that was begun before there were ids
        if different := [name for name in wanted if found[name] != wanted[name] and name not in unknown]:
            first = different[0]
            raise ValueError(
                f"{folder} holds an evaluation with another {first} ({found[first]!r}, not {wanted[first]!r}): "
                "choose another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be about to begin the same evaluation: its plan is hidden until it is whole.
    others = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if (folder / _PLAN).exists():
        prepare(folder, plan)
        return
    if others:
        raise ValueError(f"{folder} is not empty and holds no evaluation: choose another folder")
    with whole(folder / _PLAN) as file:
        file.write(json.dumps(asdict(plan), indent=1) + "\n")


class RecordFile:
    """One process's record file, to append to."""

    def __init__(self, folder: Path, shard: tuple[int, int]):
        self._path = folder / f"records-{shard[0]}-of-{shard[1]}.jsonl"
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, measurement: Measurement) -> None:
        """Adds a picture; it is on the disk when this returns."""
        with self._path.open("a") as file:
            file.write(json.dumps(measurement) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Records:
    """The records of all processes as they are now: measured pictures by the key of their contents.

    Raises:
      ValueError: a line is damaged; the message says which and what to do.
    """

    def __init__(self, folder: Path):
        self._places: dict[str, tuple[Path, int]] = {}
        for path in sorted(folder.glob("records-*-of-*.jsonl")):
            start = 0
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.endswith(b"\n"):
                        try:
                            key = _read(line).key
                        except (KeyError, TypeError, ValueError):
                            raise ValueError(
                                f"line {number} of {path} is damaged: delete it, and its picture is measured again"
                            ) from None
                        self._places.setdefault(key, (path, start))
                    start += len(line)

    def keys(self) -> set[str]:
        """Of the pictures that are measured."""
        return set(self._places)

    def __getitem__(self, key: str) -> Measurement:
        path, start = self._places[key]
        with path.open("rb") as file:
            file.seek(start)
            return _read(file.readline())


def _read(line: bytes) -> Measurement:
    """A line; what is no record raises one of several errors."""
    key, picture, height, width, times, points, *left_out = json.loads(line)
    if not isinstance(key, str):
        raise TypeError(f"a key of contents was expected, got {key!r}")
    return Measurement(key, picture, height, width, Times(*times), tuple(Point(*point) for point in points), *left_out)
