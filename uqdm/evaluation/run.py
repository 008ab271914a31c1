"""Measures the pictures of a set that no record file has yet."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from uqdm.codec.api import decode, encode_with_costs
from uqdm.codec.container import check_size
from uqdm.contract import Model
from uqdm.evaluation.baselines import baseline_points
from uqdm.evaluation.points import Point, cut_points
from uqdm.evaluation.records import Measurement, Plan, RecordFile, Records, Times, prepare
from uqdm.training.dataset import Source

__all__ = ["picture_at", "run"]


def run(
    source: Source,
    plan: Plan,
    model: Model,
    folder: Path,
    *,
    count: int,
    shard: tuple[int, int] = (0, 1),
    load_s: float = 0.0,
    on_picture: Callable[[], object] = lambda: None,
) -> None:
    """Measures this process's share of the pictures 0, ..., count - 1 and keeps the results in a folder.

    Args:
      source: pictures.
      plan: what to measure; the folder must be new, empty, or hold an evaluation of the same plan.
      model: whose id is the plan's.
      folder: see uqdm.evaluation.records.
      count: of pictures in all.
      shard: number of this process, and how many there are.
      load_s: seconds that loading the model took, to be told with the times.
      on_picture: called after every picture of this process that is done, those found in records included.

    Raises:
      ValueError: the folder holds something else, or a picture cannot be read.
      OSError: the folder cannot be written.
    """
    prepare(folder, plan)
    record_file, done, sizes = RecordFile(folder, shard), Records(folder), set()
    for number in range(shard[0], count, shard[1]):
        if number not in done:
            picture = picture_at(source, number)
            points, times = _measure(picture, plan, model)
            times = times._replace(compiled=picture.shape not in sizes, load_s=0.0 if sizes else load_s)
            sizes.add(picture.shape)
            height, width = picture.shape[:2]
            record_file.append(Measurement(number, source.name(number), height, width, times, tuple(points)))
        on_picture()


def picture_at(source: Source, number: int) -> np.ndarray:
    """A picture that streams can hold, uint8 (H, W, 3).

    Raises:
      ValueError: it is no such picture, or cannot be read.
    """
    try:
        picture = source[number]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{picture.dtype} of shape {picture.shape}, not uint8 (H, W, 3)")
        check_size(picture.shape[1], picture.shape[0])
    except (OSError, ValueError) as error:
        raise ValueError(f"picture {source.name(number)} cannot be taken: {error}") from None
    return picture


def _measure(picture: np.ndarray, plan: Plan, model: Model) -> tuple[list[Point], Times]:
    """All points of a picture, ours first."""
    began = time.perf_counter()
    data, costs = encode_with_costs(picture, model=model)
    encoded = time.perf_counter()
    decode(data, model=model)
    decoded = time.perf_counter()
    points = cut_points(picture, data, costs, model, metrics=plan.metrics, rates_bpp=plan.rates_bpp, steps=plan.steps)
    for codec in plan.codecs:
        points += baseline_points(codec, picture, plan.metrics)
    return points, Times(encoded - began, decoded - encoded, False, 0.0)
