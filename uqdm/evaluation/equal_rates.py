"""What is shown at equal rates: one stream cut at every rate and reconstructed in several ways, and other codecs.

Draws differ from seed to seed. A point of draws is the mean of each measure over the seeds, with the standard deviation
of one draw beside it. Another codec's file is the finest that takes no more bytes than the rate allows for the picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from uqdm.codec.api import container, receiver_of, show
from uqdm.contract import Model, Reconstruction
from uqdm.evaluation.baselines import BASELINES, baseline_within
from uqdm.evaluation.points import OURS, Point, point_of
from uqdm.evaluation.records import Plan
from uqdm.reconstruction.by_name import named

__all__ = ["Shown", "point_of_shown", "shown_at_rates", "ways_of"]


class Shown(NamedTuple):
    """A picture as one codec shows it in one way at one rate."""

    codec: str
    """Ours with the name of the reconstruction, if it is not the default."""
    setting: str
    """Such as "0.2 bpp"."""
    file_bytes: int
    pictures: tuple[np.ndarray, ...]
    """uint8 (H, W, 3), one per seed."""


def ways_of(name: str, seeds: int) -> list[Reconstruction]:
    """The reconstruction of a name: with seeds 0, 1, ... where it draws, else once."""
    way = named(name)
    if "seed" not in {field.name for field in fields(way)}:  # pyright: ignore[reportArgumentType]
        return [way]
    return [replace(way, seed=seed) for seed in range(seeds)]  # pyright: ignore[reportArgumentType, reportCallIssue]


def shown_at_rates(picture: np.ndarray, data: bytes, model: Model, plan: Plan) -> Iterator[Shown]:
    """Everything that a plan asks for, uint8 (H, W, 3) given; data is the whole stream of the picture."""
    _, header_bytes = container.unpack(data)
    for rate in plan.rates_bpp:
        size, setting = int(rate * picture.shape[0] * picture.shape[1] / 8), f"{rate:g} bpp"
        if size >= header_bytes:
            receiver = receiver_of(data[:size], model=model)
            while receiver.receive():
                pass
            for name in plan.reconstructions:
                shown = tuple(show(receiver, way) for way in ways_of(name, plan.seeds))
                codec = OURS if name == "denoise" else f"{OURS} {name}"
                yield Shown(codec, setting, min(size, len(data)), shown)
        for codec in plan.codecs:
            if found := baseline_within(codec, picture, size):
                yield Shown(BASELINES[codec].name, setting, found[0], (found[1],))


def point_of_shown(picture: np.ndarray, shown: Shown, metrics: Sequence[str]) -> Point:
    """Mean and spread over seeds."""
    codec, setting, size, pictures = shown
    points = [point_of(codec, setting, size, picture, one, metrics) for one in pictures]
    values = {name: [point.quality[name] for point in points] for name in metrics}
    spread = {name: float(np.std(own, ddof=1)) for name, own in values.items()} if len(points) > 1 else {}
    return points[0]._replace(quality={name: float(np.mean(own)) for name, own in values.items()}, spread=spread)
