"""Measures the pictures of a set that no record file has yet."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uqdm import archive
from uqdm.codec.api import StepCost, decode, encode_with_costs
from uqdm.codec.container import check_size
from uqdm.conditional.model import flow_of
from uqdm.contract import Model
from uqdm.errors import PictureError, StreamError
from uqdm.evaluation.baselines import baseline_points
from uqdm.evaluation.equal_rates import Shown, point_of_shown, shown_at_rates
from uqdm.evaluation.patches import keep_patches
from uqdm.evaluation.points import Point, cut_points
from uqdm.evaluation.records import Measurement, Plan, RecordFile, Records, Times, key_of, prepare
from uqdm.pictures import Picture
from uqdm.training.dataset import PictureSet

__all__ = ["Member", "member_at", "members_of", "picture_at", "run", "shown_by"]


PointsOf = Callable[[np.ndarray, Sequence[str]], list[Point]]
"""Of a picture, with the metrics that are named."""


class Member(NamedTuple):
    """A picture of a set, as it is now."""

    name: str
    key: str = ""
    """Of its contents (uqdm.evaluation.records)."""
    left_out: str = ""
    """Why it cannot be measured, with its name; empty for the others."""


def run(
    source: PictureSet,
    plan: Plan,
    model: Model,
    folder: Path,
    *,
    count: int,
    shard: tuple[int, int] = (0, 1),
    load_s: float = 0.0,
    others: Mapping[str, PointsOf] | None = None,
    patch_weights: str | Path = "",
    on_picture: Callable[[], object] = lambda: None,
    on_note: Callable[[str], object] = lambda line: None,
) -> dict[int, Member]:
    """Measures this process's share of the pictures 0, ..., count - 1 and keeps the results in a folder.

    Results belong to contents: a picture that another name, another folder or another process had is not measured
    again, and one whose file changed is.

    Args:
      source: pictures; those that cannot be taken, or measured in the ways of the plan, are left out.
      plan: what to measure; the folder must be new, empty, or hold an evaluation of the same plan.
      model: whose id is the plan's.
      folder: see uqdm.evaluation.records.
      count: of pictures in all.
      shard: number of this process, and how many there are.
      patch_weights: path of the network that sees patches, if the plan has any.
      load_s: seconds that loading the model took, to be told with the times.
      others: what measures codecs of the plan that are not in BASELINES, by their names.
      on_picture: called after every picture of this process that is done, those found in records included.
      on_note: called with lines for people: what was noticed about pictures, and which ones are left out.

    Returns:
      The pictures of this process by their number.

    Raises:
      ValueError: the folder holds something else, or a damaged record.
      OSError: the folder cannot be written.
    """
    prepare(folder, plan)
    record_file, done, sizes, members = RecordFile(folder, shard), Records(folder).keys(), set(), {}
    for number in range(shard[0], count, shard[1]):
        member, picture = member_at(source, number)
        members[number] = member
        if picture is None:
            on_note(f"left out: {member.left_out}")
        elif member.key not in done:
            for note in picture.notes:
                on_note(f"{member.name}: {note}")
            pixels = picture.pixels
            try:
                if plan.equal_rates:
                    shown, times = _show(pixels, plan, model)
                    points = [point_of_shown(pixels, one, plan.metrics) for one in shown]
                    if plan.patch_side:
                        keep_patches(folder, member.key, pixels, shown, plan.patch_side, patch_weights)
                else:
                    points, times = _measure(pixels, plan, model, others or {})
            except ValueError as error:  # such as of a metric that needs a larger picture
                points, times, why = [], Times(0.0, 0.0, False, 0.0), str(error)
                on_note(f"left out: {member.name}: {why}")
            else:
                why = ""
            times = times._replace(compiled=pixels.shape not in sizes, load_s=0.0 if sizes else load_s)
            sizes.add(pixels.shape)
            height, width = pixels.shape[:2]
            record_file.append(Measurement(member.key, member.name, height, width, times, tuple(points), why))
            done.add(member.key)
        on_picture()
    return members


def shown_by(model: Model, reconstructions: Iterable[str]) -> str:
    """16 hexadecimal digits that tell apart what shows streams in other ways, though their ids be equal.

    Args:
      model: its file's arrays, previews included; of what has no file, its numbers and words.
      reconstructions: by which names streams are shown.
    """
    total, arrays = hashlib.sha256(), getattr(model, "arrays", None)
    if arrays is not None:
        total.update(archive.digest(arrays, previews=True))
    elif is_dataclass(model):
        given = {field.name: getattr(model, field.name) for field in fields(model)}
        total.update(repr({name: one for name, one in given.items() if isinstance(one, int | float | str)}).encode())
    if {"refine", "restore"} & set(reconstructions) and (flow := flow_of(model)):
        total.update(flow.id)
    return total.hexdigest()[:16]


def picture_at(source: PictureSet, number: int) -> Picture:
    """A picture that streams can hold.

    Raises:
      PictureError: it is no such picture, or cannot be read; the message names it.
    """
    try:
        picture = source.picture(number)
        check_size(picture.pixels.shape[1], picture.pixels.shape[0])
    except StreamError as error:
        raise PictureError(f"{source.name(number)}: {error}") from None
    return picture


def members_of(source: PictureSet, count: int, known: Mapping[int, Member]) -> Iterator[Member]:
    """The pictures 0, ..., count - 1 as they are now; those that are not known are read one by one."""
    for number in range(count):
        yield known.get(number) or member_at(source, number)[0]


def member_at(source: PictureSet, number: int) -> tuple[Member, Picture | None]:
    """What there is at a place now, and its picture unless it cannot be taken."""
    name = source.name(number)
    try:
        picture = picture_at(source, number)
    except PictureError as error:
        return Member(name, left_out=str(error)), None
    return Member(name, key_of(picture.pixels)), picture


def _coded(picture: np.ndarray, model: Model) -> tuple[bytes, list[StepCost], Times]:
    """The whole stream of a picture, and how long it took both ways."""
    began = time.perf_counter()
    data, costs = encode_with_costs(picture, model=model)
    encoded = time.perf_counter()
    decode(data, model=model)
    return data, costs, Times(encoded - began, time.perf_counter() - encoded, False, 0.0)


def _show(picture: np.ndarray, plan: Plan, model: Model) -> tuple[list[Shown], Times]:
    """All that is shown of a picture at equal rates."""
    data, _, times = _coded(picture, model)
    return [*shown_at_rates(picture, data, model, plan)], times


def _measure(
    picture: np.ndarray, plan: Plan, model: Model, others: Mapping[str, PointsOf]
) -> tuple[list[Point], Times]:
    """All points of a picture, ours first."""
    data, costs, times = _coded(picture, model)
    points = cut_points(picture, data, costs, model, metrics=plan.metrics, rates_bpp=plan.rates_bpp, steps=plan.steps)
    for codec in plan.codecs:
        measure = others.get(codec)
        points += measure(picture, plan.metrics) if measure else baseline_points(codec, picture, plan.metrics)
    return points, times
