"""Times encoding and decoding after loading and compilation, beside the sum of the network evaluations.

    python benchmarks/speed.py [--repeat 5]

Prints one line per picture size: medians in milliseconds, and the ratio of the whole to its network evaluations. The
decoder asks the network once more than the encoder, for the estimate that becomes the picture.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import uqdm
from uqdm.images import read_picture

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"


def milliseconds(job, repeat: int) -> float:
    """Median wall time of a job after one run to compile it."""
    job()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        job()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    photograph, model = read_picture(PHOTOGRAPH.read_bytes()), uqdm.load_model()
    print(
        f"{'pixels':>9} {'encode ms':>10} {'decode ms':>10} {'network ms':>11} {'estimate ms':>12}"
        f" {'enc / net':>10} {'dec / net':>10}"
    )
    for height, width in ((64, 64), (256, 384), (512, 768)):
        picture = np.ascontiguousarray(photograph[:height, :width])
        data = uqdm.encode(picture)
        state = model.begin(height, width, seed=0)
        units = state.units.reshape(1, *state.grid.shape)
        asking = [step for step, about in enumerate(model.schedule.steps) if not about.halving]

        def network(units=units, asking=asking):
            for step in asking:
                model.reference(units, step)

        encode = milliseconds(lambda picture=picture: uqdm.encode(picture), repeat)
        decode = milliseconds(lambda data=data: uqdm.decode(data), repeat)
        alone = milliseconds(network, repeat)
        estimate = milliseconds(lambda state=state: state.estimate(model.steps), repeat)
        size = f"{width}x{height}"
        times = f"{encode:10.1f} {decode:10.1f} {alone:11.1f} {estimate:12.1f}"
        print(f"{size:>9} {times} {encode / alone:10.2f} {decode / (alone + estimate):10.2f}")


if __name__ == "__main__":
    main()
