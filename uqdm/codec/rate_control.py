"""Where a stream ends: at a number of bytes, a rate in bits per pixel, or a PSNR in dB.

Every prefix of a stream is one, so a target is met by cutting. What lies behind the cut is not encoded in the first
place: the sender stops after the step that reaches the target (`Target.enough`), names the steps that it sent in the
header, and the last step is cut. Its payload is a prefix of the payload of all steps.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from uqdm.codec import container
from uqdm.codec.loop import Receiver, Sender, expect_together
from uqdm.contract import HoldingState, Model
from uqdm.metrics.psnr import psnr_db as measured_psnr_db

__all__ = ["OutOfReachError", "Target", "pictures_at", "unfiltered"]

_UNSETTLED_BYTES = 8
"""Of the payload written so far, the last that may still change."""


_FILTER_DB = 3.0
"""More than the filter of a model gains: what is further from a target without it is not worth filtering."""


def unfiltered(model: Model, state: Any, step: int) -> np.ndarray:
    """What a model shows of a state where it filters nothing: sooner, and mostly not so near to the picture."""
    if not isinstance(state, HoldingState):
        return model.picture(state, step)
    may, state.filtered = state.filtered, False
    try:
        return model.picture(state, step)
    finally:
        state.filtered = may


class OutOfReachError(ValueError):
    """No prefix of a stream has the PSNR."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of three ways to say where a stream ends.

    Attributes:
      bpp: at most so many bits per pixel of the whole file.
      file_bytes: at most so many bytes.
      psnr_db: as few bytes as reach this PSNR.
    """

    bpp: float | None = None
    file_bytes: int | None = None
    psnr_db: float | None = None

    def __post_init__(self):
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"give one of bpp, file_bytes and psnr_db, got {', '.join(given) or 'none'}")
        ((name, value),) = given.items()
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be a positive number, got {value}")

    def most_bytes(self, height: int, width: int) -> int | None:
        """Of the file, for a picture of so many rows and columns; None for a PSNR."""
        return int(min(self.bpp * height * width / 8, 2.0**62)) if self.bpp is not None else self.file_bytes

    def enough(self, picture: np.ndarray, model: Model) -> Callable[[Sender], bool]:
        """Whether a sender of a picture has reached the target with the step that it sent last."""
        most = self.most_bytes(*picture.shape[:2])
        if most is not None:
            return lambda sender: 4 * sender.writer.position[0] >= most + _UNSETTLED_BYTES
        assert self.psnr_db is not None
        least = self.psnr_db

        def reached(sender: Sender) -> bool:
            state, step = sender.state, sender.step
            return (
                measured_psnr_db(picture, unfiltered(model, state, step)) >= least - _FILTER_DB
                and measured_psnr_db(picture, model.picture(state, step)) >= least
            )

        return reached

    def cut(self, data: bytes, picture: np.ndarray, model: Model) -> bytes:
        """The shortest or longest prefix that the target asks for, of the stream that ended with it.

        Raises:
          ValueError: the bytes do not hold the header, or the PSNR is out of reach.
        """
        most = self.most_bytes(*picture.shape[:2])
        if most is not None:
            return container.as_written(container.cut(data, most))
        assert self.psnr_db is not None
        return container.as_written(_cut_to_psnr(data, picture, model, self.psnr_db))


def _cut_to_psnr(data: bytes, picture: np.ndarray, model: Model, least_db: float) -> bytes:
    """By regula falsi inside the last step (its Illinois form); what is known before it is decoded once."""

    def psnr_of(receiver: Receiver) -> float:
        return measured_psnr_db(picture, receiver.picture())

    receiver = Receiver(data, model)
    while receiver.step < receiver.header.steps - 1:
        receiver.receive()
    expect_together([receiver])
    before, low = receiver.branch(), receiver.needed_bytes
    missing, over = least_db - psnr_of(before), 0.0
    while receiver.receive():
        pass
    if (reached := psnr_of(receiver)) < least_db:
        raise OutOfReachError(
            f"{least_db} dB is out of reach: the whole stream gives {reached:.2f} dB, and a lossless one any"
        )
    high, over = receiver.needed_bytes, reached - least_db
    while high - low > 1:
        share = missing / (missing + over) if missing > 0 else 0.5
        middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        trial = before.branch(middle)
        trial.receive()
        more = psnr_of(trial) - least_db
        # An end that stays where it is counts half from then on.
        if more >= 0:
            high, over, missing = middle, more, missing / 2
        else:
            low, missing, over = middle, -more, over / 2
    return data[:high]


def pictures_at(data: bytes, sizes: Iterable[int], model: Model) -> Iterator[np.ndarray]:
    """What a decoder shows of the prefixes of rising sizes, all in one pass; uint8 (H, W, 3) each.

    Args:
      data: the stream.
      sizes: bytes of the prefixes; the first holds the header.
      model: what it was made with.
    """
    receiver, received = None, 0
    for size in sizes:
        if receiver is None:
            receiver = Receiver(data[:size], model)
        else:
            receiver.feed(data[received:size])
        received = size
        while receiver.receive():
            pass
        yield receiver.picture()
