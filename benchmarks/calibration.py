"""How well the references of a nested model are calibrated: bits of their logistic tables, and of counted ones.

    python benchmarks/calibration.py SHARED [--model photo] [--fit 100] [--count 24] [--side 384]

Probabilities of splits are read from tables by the location and scale of a reference (channel_sim.split_tables). What
is split how is counted in every row of these tables: first in pictures to train on, which gives the best tables that
these references could have, of whatever shape; then in photographs to validate on, of whose bits the share is told that
such tables save. It is what shape parameters or mixtures can bring which know no more than location and scale do. Rows
of few counts stay near the logistic ones, as if these had been counted --prior times.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from channel_sim.entropy import Writer
from uqdm.nested.model import NestedModel
from uqdm.training.dataset import load_pictures

KINDS = ("first", "zero", "outer", "half")
SYMBOLS = 3


class Counter(Writer):
    """Counts symbols by the rows of tables, for a step at a time."""

    def __init__(self, model: NestedModel):
        super().__init__()
        self._kinds = {id(getattr(model.tables, kind)): number for number, kind in enumerate(KINDS)}
        rows = len(model.tables.zero.frequencies)
        self.counts = np.zeros((len(model.schedule.phases), len(KINDS), rows, SYMBOLS), np.int64)
        self.level = 0

    def encode(self, table, rows, symbols):
        counts = self.counts[self.level, self._kinds[id(table)]]
        counts += np.bincount(rows * SYMBOLS + symbols, minlength=counts.size).reshape(counts.shape)


def centre(picture: np.ndarray, side: int) -> np.ndarray:
    """A square from the middle."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def counted(model: NestedModel, pictures: list[np.ndarray]) -> np.ndarray:
    """How often which symbol was sent: (levels, kinds of split, rows, symbols)."""
    counter = Counter(model)
    for seed, picture in enumerate(tqdm(pictures)):
        height, width = picture.shape[:2]
        state = model.new_state(height, width, seed, picture)
        for number, step in enumerate(model.schedule.steps):
            counter.level = step.level
            model.expect([state], number)
            state.send(counter, number)
    return counter.counts


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", default="photo")
    parser.add_argument("--fit", type=int, default=100, help="of pictures that tables are counted of")
    parser.add_argument("--count", type=int, default=24, help="of photographs")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--prior", type=float, default=30.0)
    options = parser.parse_args()
    model = uqdm.load_model(options.model)
    assert isinstance(model, NestedModel), f"{options.model} is not of the nested process"
    training, validation = (load_pictures(options.shared / "data" / name) for name in ("photos_train", "photos_val"))
    own, others = (
        counted(model, [centre(picture, options.side) for picture in pictures])
        for pictures in (training[:: max(1, len(training) // options.fit)][: options.fit], validation[: options.count])
    )
    logistic = np.ones(own.shape[1:])
    for number, kind in enumerate(KINDS):
        frequencies = getattr(model.tables, kind).frequencies
        logistic[number, :, : frequencies.shape[1]] = frequencies / frequencies.sum(1, keepdims=True)

    def bits(counts: np.ndarray, tables: np.ndarray) -> float:
        return float(-(counts * np.log2(tables)).sum())

    def fitted(counts: np.ndarray) -> np.ndarray:
        return (counts + options.prior * logistic) / (counts.sum(-1, keepdims=True) + options.prior)

    total, tables = bits(others.sum(0), logistic), fitted(own.sum(0))
    print(f"one set of tables: {100 * (bits(others.sum(0), tables) / total - 1):+.2f} % of all bits")
    print("| level | share of bits | one set of tables | tables of the level |\n|---|---|---|---|")
    for level in reversed(range(len(own))):
        own_bits = bits(others[level], logistic)
        changes = (100 * (bits(others[level], each) / own_bits - 1) for each in (tables, fitted(own[level])))
        print(f"| {level} | {100 * own_bits / total:.1f} % | " + " | ".join(f"{one:+.2f} %" for one in changes) + " |")


if __name__ == "__main__":
    main()
