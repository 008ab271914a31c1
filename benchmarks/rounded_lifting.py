"""What lossless coding would cost if coefficients were integers: lifting steps that round, in the place of a residual.

    python benchmarks/rounded_lifting.py PICTURES [--count 32] [--side 64]

Centres of the pictures are sent by all steps of the model `photo`, with the coefficients of a reversible transform: t
= B + floor((R - B) / 2 + 1/2), then G under t and R - B, then the 9/7 lifting steps of uqdm.transforms.wavelet, each
rounded. These coefficients are n K, n an integer and K the spacing of a band and colour. What is left after all steps
is n, under the reference that the coefficient had, among the n K in its cell. Prints mean ideal bits per pixel: of
all steps, of what is left, and of both; the residual that is shipped beside it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from uqdm.codec import container
from uqdm.codec.api import encode_with_costs
from uqdm.codec.loop import Sender
from uqdm.library import load_model
from uqdm.nested.model import NestedModel
from uqdm.nested.process import TICKS
from uqdm.nested.source import Wavelet
from uqdm.training.dataset import load_pictures
from uqdm.transforms import wavelet

MOST = 64
"""Integers in a cell."""


def rounded(x: np.ndarray) -> np.ndarray:
    """To whole numbers."""
    return np.floor(x + 0.5)


def split(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """uqdm.transforms.wavelet's analysis step, rounded and without gains."""
    low, detail = (x[(*(slice(None),) * axis, slice(i, None, 2))] for i in range(2))
    for first, second in (wavelet._LIFTING[:2], wavelet._LIFTING[2:]):
        detail = detail + rounded(first * (low + wavelet._next(low, axis)))
        low = low + rounded(second * (detail + wavelet._previous(detail, axis)))
    return low, detail


def integers(picture: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """n and K of all coefficients, each (h, w, C)."""
    red, green, blue = np.moveaxis(wavelet.pad_to_blocks(picture, block).astype(np.float64), -1, 0)
    t = blue + rounded((red - blue) / 2)
    luma = t - rounded((t - green) / 3) - 128
    low, spacing = np.stack([luma, red - blue, t - green], -1)[None], np.array([3, 1 / 2, 2 / 3]) ** 0.5
    details, spacings, gains = [], [], wavelet._gains(block)
    for octave in range(block.bit_length() - 1):
        low_rows, detail_rows = split(low, 1)
        low, along_columns = split(low_rows, 2)
        details.append(np.stack([*split(detail_rows, 2)], axis=-2))
        details[-1] = np.insert(details[-1], 1, along_columns, axis=-2)
        scales = np.array([1, 1, wavelet._LOW_GAIN**-2])[:, None] * gains[-1 - octave]
        spacings.append(spacing * scales)
        spacing = spacing * wavelet._LOW_GAIN**2
    bands, steps = [low, *reversed(details)], [spacing * gains[0], *reversed(spacings)]
    every = [np.broadcast_to(step, band.shape) for band, step in zip(bands, steps, strict=True)]
    return wavelet.pack(bands, block)[0], wavelet.pack(every, block)[0]


@dataclass(frozen=True)
class Rounded(Wavelet):
    """The source of the reversible transform."""

    def ticks(self, picture: np.ndarray) -> np.ndarray:
        n, spacing = integers(picture, self.block)
        return np.rint(n * spacing * (TICKS / self.finest_width)).astype(np.int32)


def mass(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Of the standard logistic density."""
    right = low > 0
    low, high = np.where(right, -high, low), np.where(right, -low, high)
    return np.maximum(1 / (1 + np.exp(-np.clip(high, -500, 500))) - 1 / (1 + np.exp(-np.clip(low, -500, 500))), 1e-30)


def bits_of(model: NestedModel, picture: np.ndarray) -> tuple[float, float]:
    """Ideal bits per pixel of all steps, and of the integers in their last cells."""
    height, width = picture.shape[:2]
    sender = Sender(picture, model, container.Header(model.id[:4], width, height, 0, model.steps, 0))
    while not sender.ended:
        model.expect([sender.state], sender.step)
        sender.send()
    state, tick = sender.state, model.schedule.finest_width / TICKS
    n, spacing = (part.reshape(-1) for part in integers(picture, model.block))
    spacing, cell = spacing / tick, state.widths(model.steps)
    scale, location = 2.0 ** (state._scale_class / 8), state._location + state.shift
    low, high = state.bounds(model.steps)

    def probability(n: np.ndarray) -> np.ndarray:
        ends = ((n + side) * spacing - location for side in (-0.5, 0.5))
        return mass(*(end / scale for end in ends))

    total, first = np.zeros(len(n)), np.ceil(low / spacing)
    assert (cell < MOST * spacing).all()
    for more in range(MOST):
        total += np.where((first + more) * spacing < high, probability(first + more), 0)
    left = np.log2(np.maximum(total, probability(n)) / probability(n)).sum()
    return sender.ideal_bits / height / width, left / height / width


def row(name: str, bits: Sequence[Sequence[float]]) -> None:
    """Of the table."""
    steps, left = np.mean(bits, 0)
    print(f"| {name} | {steps:.3f} | {left:.3f} | {steps + left:.3f} |")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    model = load_model("photo")
    assert isinstance(model, NestedModel)
    lifted = replace(model)
    lifted.__dict__["source"] = Rounded(model.block, model.schedule.finest_width)
    shipped, found = [], []
    for picture in tqdm(load_pictures(options.pictures, count=options.count)):
        top, left = (max(0, (side - options.side) // 2) for side in picture.shape[:2])
        centre = np.ascontiguousarray(picture[top : top + options.side, left : left + options.side])
        costs = encode_with_costs(centre, lossless=True, model=model)[1]
        before, everything = (costs[end].ideal_bits / centre[..., 0].size for end in (-5, -1))
        shipped.append((before, everything - before))
        found.append(bits_of(lifted, centre))
    print("| bits per pixel | steps | what is left | both |\n|---|---|---|---|")
    row("residual, as shipped", shipped)
    row("integers in their cells", found)


if __name__ == "__main__":
    main()
