"""Times encoding and decoding after loading and compilation, beside the sum of the network evaluations.

    python benchmarks/speed.py [--repeat 5]

Prints one line per picture size: medians in milliseconds, and the ratio of the whole to its network evaluations. The
receiver asks the network once more than the encoder, for the estimate that becomes the picture.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import uqdm
from uqdm.library import default_model
from uqdm.nested.model import NestedModel
from uqdm.pictures import read_picture

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"


class Times(NamedTuple):
    """Medians in milliseconds."""

    encode: float
    decode: float
    network: float
    """All evaluations of the network that encoding asks for, alone."""
    estimate: float
    """The one that a receiver asks for on top, for its picture."""

    @property
    def encode_ratio(self) -> float:
        """Encoding over its network evaluations."""
        return self.encode / self.network

    @property
    def decode_ratio(self) -> float:
        """Decoding over its network evaluations."""
        return self.decode / (self.network + self.estimate)


def milliseconds(job: Callable[[], object], repeat: int) -> float:
    """Median wall time of a job after one run to compile it."""
    job()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        job()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def measure(picture: np.ndarray, model: NestedModel, repeat: int) -> Times:
    """Times of one picture, uint8 (H, W, 3)."""
    data = uqdm.encode(picture, model=model)
    state = model.new_state(*picture.shape[:2], seed=0)
    units, midpoint, shift = (x.reshape(state.grid.shape) for x in (state.units, state.midpoint, state.shift))
    asking = [step for step, about in enumerate(model.schedule.steps) if not about.halving]

    def network() -> None:
        for step in asking:
            model.reference(units[None], step)

    return Times(
        encode=milliseconds(lambda: uqdm.encode(picture, model=model), repeat),
        decode=milliseconds(lambda: uqdm.decode(data, model=model), repeat),
        network=milliseconds(network, repeat),
        estimate=milliseconds(lambda: model.estimate(units, midpoint, shift, model.steps), repeat),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    photograph = read_picture(PHOTOGRAPH.read_bytes())
    print(
        f"{'pixels':>9} {'encode ms':>10} {'decode ms':>10} {'network ms':>11} {'estimate ms':>12}"
        f" {'enc / net':>10} {'dec / net':>10}"
    )
    for height, width in ((64, 64), (256, 384), (512, 768)):
        model = default_model(height, width)
        assert isinstance(model, NestedModel), "the models of the package are nested ones"
        times = measure(np.ascontiguousarray(photograph[:height, :width]), model, repeat)
        row = f"{times.encode:10.1f} {times.decode:10.1f} {times.network:11.1f} {times.estimate:12.1f}"
        print(f"{f'{width}x{height}':>9} {row} {times.encode_ratio:10.2f} {times.decode_ratio:10.2f}  {model.name}")


if __name__ == "__main__":
    main()
