"""Means over pictures, Bjontegaard differences, and the tables of an evaluation.

Means are taken at equal settings: of a codec with a quality over files of that quality, of ours over streams cut at the
end of the same step, as is usual; only settings that all pictures have make a curve. Cuts at equal rates are averaged
too, but make a curve only where no steps were measured: at equal rates the bits cannot go to the pictures that need
them, and the two kinds of mean must not be mixed in one curve.

Bjontegaard's rate difference (uqdm.metrics) is given twice: between the curves of means, and as the mean of those of
single pictures, which no picture of many bits dominates.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uqdm.evaluation.patches import SET_METRICS, distances_of_sets
from uqdm.evaluation.points import OURS, Point, columns, fields
from uqdm.evaluation.records import Measurement, Plan, Records, whole
from uqdm.metrics import bd_rate_percent

__all__ = ["Curve", "Mean", "Means", "curves", "write_tables"]

Curve = list[tuple[float, float]]
"""Points (bits per pixel, metric) by rising rate."""


class Mean(NamedTuple):
    """A setting's mean over pictures."""

    codec: str
    setting: str
    pictures: int
    """That have this setting."""
    file_bytes: float
    bpp: float
    quality: dict[str, float]
    spread: dict[str, float] = {}
    """Of draws, between seeds."""
    sets: dict[str, float] = {}
    """Distances of sets of patches (uqdm.evaluation.patches)."""


class Means:
    """Running means, in the order in which codecs and settings first came."""

    def __init__(self):
        self._sums: dict[tuple[str, str], tuple[int, np.ndarray, tuple[str, ...]]] = {}

    def add(self, points: Iterable[Point]) -> None:
        """Takes the points of one picture."""
        for point in points:
            numbers = point.file_bytes, point.bpp, *point.quality.values(), *point.spread.values()
            values = np.array(numbers, np.float64)
            count, sums, metrics = self._sums.get(point[:2], (0, np.zeros(len(values)), tuple(point.quality)))
            self._sums[point[:2]] = count + 1, sums + values, metrics

    def rows(self) -> list[Mean]:
        """All of them."""
        rows = []
        for (codec, setting), (count, sums, metrics) in self._sums.items():
            file_bytes, bpp, *numbers = (sums / count).tolist()
            quality, spread = (dict(zip(metrics, part, strict=False)) for part in (numbers, numbers[len(metrics) :]))
            rows.append(Mean(codec, setting, count, file_bytes, bpp, quality, spread))
        return rows


def _by_codec(points: Iterable[Point | Mean], metric: str) -> dict[str, Curve]:
    """Curves through points of which every setting counts."""
    kept: dict[str, list[Point | Mean]] = {}
    for point in points:
        if np.isfinite(point.quality[metric]):
            kept.setdefault(point.codec, []).append(point)
    found = {}
    for codec, own in kept.items():
        steps = [point for point in own if point.setting.startswith("step ")]
        found[codec] = sorted((point.bpp, point.quality[metric]) for point in steps or own)
    return found


def curves(rows: Iterable[tuple[str, Point]], metric: str = "psnr_db") -> dict[str, Curve]:
    """The curve of every codec, mean over pictures (module docstring).

    Args:
      rows: (picture, point) pairs.
      metric: which of the metrics that the points have.
    """
    by_picture: dict[str, list[Point]] = {}
    for picture, point in rows:
        by_picture.setdefault(picture, []).append(point)
    means = Means()
    for points in by_picture.values():
        means.add(points)
    return _by_codec((mean for mean in means.rows() if mean.pictures == len(by_picture)), metric)


def _bd_rates(found: dict[str, Curve]) -> dict[str, float]:
    """Our BD-rate against every other codec that shares a range of the metric with us."""
    rates = {}
    for codec, anchor in found.items():
        if not codec.startswith(OURS) and OURS in found:
            try:
                rates[codec] = bd_rate_percent(found[OURS], anchor)
            except ValueError:
                continue
    return rates


def write_tables(folder: Path, plan: Plan, pictures: Sequence[tuple[str, str]], left_out: Sequence[str] = ()) -> dict:
    """Writes the tables of pictures that the records of a folder have.

    pictures.csv (a row per picture and point), pictures.jsonl (a line per picture), means.csv (with the spread of draws
    and the distances of sets of patches, where the plan has them), times.csv, and
    summary.json: plan, means, BD-rates, times, and what was left out.

    Args:
      folder: where the records are, and the tables go.
      plan: what was measured.
      pictures: name and key (uqdm.evaluation.records) of each, in the order of the tables.
      left_out: lines about pictures that could not be taken.

    Returns:
      The contents of summary.json.
    """
    records, means = Records(folder), Means()
    times: list[Measurement] = []
    single: dict[str, dict[str, list[float]]] = {metric: {} for metric in plan.metrics}
    with whole(folder / "pictures.csv") as table, whole(folder / "pictures.jsonl") as lines:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(columns(plan.metrics))
        for name, key in pictures:
            measurement = records[key]._replace(picture=name)
            means.add(measurement.points)
            for metric in plan.metrics:
                for codec, rate in _bd_rates(_by_codec(measurement.points, metric)).items():
                    single[metric].setdefault(codec, []).append(rate)
            writer.writerows(fields(measurement.picture, point, plan.metrics) for point in measurement.points)
            lines.write(json.dumps(_described(measurement), allow_nan=False) + "\n")
            times.append(measurement._replace(points=()))
    rows = means.rows()
    if plan.patch_side:
        sets = distances_of_sets(folder, [key for _, key in pictures])
        rows = [row._replace(sets=sets[row[:2]]._asdict() if row[:2] in sets else {}) for row in rows]
    spreads = [f"{name}_spread" for name in plan.metrics] if plan.seeds > 1 else []
    of_sets = SET_METRICS if plan.patch_side else {}
    with whole(folder / "means.csv") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(
            ["codec", "setting", "pictures", "file_bytes", "bpp", *plan.metrics, *spreads, *of_sets.values()]
        )
        for row in rows:
            quality = [f"{row.quality[name]:.4f}" for name in plan.metrics]
            spread = [f"{row.spread[name]:.4f}" if row.spread else "" for name in plan.metrics] if spreads else []
            distances = [f"{row.sets[name]:.6g}" if row.sets else "" for name in of_sets]
            writer.writerow([*row[:3], f"{row.file_bytes:.1f}", f"{row.bpp:.6f}", *quality, *spread, *distances])
    with whole(folder / "times.csv") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["picture", "height", "width", "encode_s", "decode_s", "compiled", "load_s"])
        for row in times:
            encode_s, decode_s, compiled, load_s = row.times
            writer.writerow([*row[1:4], f"{encode_s:.4f}", f"{decode_s:.4f}", int(compiled), f"{load_s:.4f}"])
    complete = [row for row in rows if row.pictures == len(pictures)]
    summary = {
        "plan": asdict(plan),
        "pictures": len(pictures),
        "left_out": list(left_out),
        "means": [
            row._asdict() | {name: _finite(getattr(row, name)) for name in ("quality", "spread", "sets")}
            for row in rows
        ],
        "bd_rate_percent": {
            metric: _difference(_by_codec(complete, metric), single[metric]) for metric in plan.metrics
        },
        "times": _mean_times(times),
    }
    with whole(folder / "summary.json") as file:
        file.write(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def _finite(quality: Mapping[str, float | int]) -> dict[str, float | int | None]:
    """JSON has no infinity."""
    return {name: value if np.isfinite(value) else None for name, value in quality.items()}


def _described(measurement: Measurement) -> dict:
    """A picture's line in pictures.jsonl."""
    points = [
        point._asdict() | {"quality": _finite(point.quality), "spread": _finite(point.spread)}
        for point in measurement.points
    ]
    for point in points:
        if not point["spread"]:
            del point["spread"]
    return {name: getattr(measurement, name) for name in ("picture", "height", "width")} | {"points": points}


def _difference(of_means: dict[str, Curve], single: dict[str, list[float]]) -> dict[str, dict[str, float | int | None]]:
    """Both kinds of BD-rate, by codec."""
    rates = _bd_rates(of_means)
    return {
        codec: {
            "of_means": rates.get(codec),
            "mean_over_pictures": float(np.mean(single[codec])) if codec in single else None,
            "pictures": len(single.get(codec, ())),
        }
        for codec in {**of_means, **single}
        if not codec.startswith(OURS)
    }


def _mean_times(rows: Sequence[Measurement]) -> dict[str, float | None]:
    """Mean seconds per picture, without and with what a process does once.

    With loading: of a process's first picture, loading of the model and compilation included. (It is encoded first, and
    what both directions need is compiled then.)
    """
    times = [row.times for row in rows]
    warm, first = [time for time in times if not time.compiled], [time for time in times if time.load_s]

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "encode_s": mean([time.encode_s for time in warm]),
        "decode_s": mean([time.decode_s for time in warm]),
        "load_s": mean([time.load_s for time in first]),
        "encode_with_loading_s": mean([time.load_s + time.encode_s for time in first]),
        "decode_with_loading_s": mean([time.load_s + time.decode_s for time in first]),
    }
