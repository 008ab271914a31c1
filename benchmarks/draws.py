"""Draws by several flows and diffusions, in few and in more evaluations of their networks.

    python benchmarks/draws.py SHARED FILE.npz ... [--bpp 0.1 0.3] [--count 12] [--side 256] [--evaluations 1 2 4 8 16]

Every picture is the centre of a photograph (SHARED/data/photos_val), encoded with `photo` and cut at every rate; each
network (experiments/train_draws.py) makes of every prefix its mean, and a draw in each number of evaluations. Printed
are means over pictures of PSNR, LPIPS (SqueezeNet) and Wasserstein distortion (sigma 4), and seconds for one draw.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.codec.api import receiver_of, show
from uqdm.conditional.model import ConditionalModel
from uqdm.contract import Reconstruction
from uqdm.evaluation.points import LPIPS_WEIGHTS, METRICS
from uqdm.training.dataset import load_pictures

MEASURES = ("psnr_db", "lpips_squeezenet", "wasserstein_distortion_sigma_4")


def centre(picture: np.ndarray, side: int) -> np.ndarray:
    """A square from the middle."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def ways(flows: dict[str, ConditionalModel], evaluations: list[int]) -> Iterator[tuple[str, Reconstruction | str]]:
    """Name and way to show, for every row of the table."""
    yield "preview", "denoise"
    for name, flow in flows.items():
        yield f"{name} | mean", uqdm.Refine(flow=flow)
        for count in evaluations:
            yield f"{name} | {count}", uqdm.Restore(flow=flow, evaluations=count)
        if flow.network.path == "diffusion":
            for count in evaluations[1:]:
                yield f"{name}, churn 1 | {count}", uqdm.Restore(flow=flow, evaluations=count, churn=1.0)


def main() -> None:
    """Prints a table for every rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("flows", type=Path, nargs="+", help="files of train_draws.py")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--count", type=int, default=12, help="of photographs")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    options = parser.parse_args()
    os.environ.setdefault(LPIPS_WEIGHTS, str(options.shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"))
    pictures = [centre(x, options.side) for x in load_pictures(options.shared / "data" / "photos_val")]
    flows = {path.stem: ConditionalModel.from_bytes(path.read_bytes()) for path in options.flows}
    found: dict[tuple[float, str], list[list[float]]] = {}
    for picture in tqdm(pictures[: options.count]):
        for bpp in options.bpp:
            receiver = receiver_of(uqdm.encode(picture, bpp=bpp, model="photo"))
            while receiver.receive():
                pass
            for name, way in ways(flows, options.evaluations):
                began = time.perf_counter()
                shown = show(receiver, way)
                seconds = time.perf_counter() - began
                row = [METRICS[measure].measure(picture, shown) for measure in MEASURES]
                found.setdefault((bpp, name), []).append([*row, seconds])
    for bpp in options.bpp:
        print(f"\n| {bpp:g} bpp | evaluations | PSNR, dB | LPIPS | Wasserstein | seconds |\n|---|---|---|---|---|---|")
        for (rate, name), rows in found.items():
            if rate == bpp:
                psnr, lpips, distortion, seconds = np.mean(rows, 0)
                label = name if "|" in name else f"{name} |"
                print(f"| {label} | {psnr:.2f} | {lpips:.4f} | {distortion:.1f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
