"""Decodes every prefix of a stream, byte by byte, and looks for a preview that got worse.

    python benchmarks/prefixes.py [--size 64x64] [--stride 1]
    python benchmarks/prefixes.py --views val64.npz [--model small]
    python benchmarks/prefixes.py --drawn [--model photo]

Prints how many prefixes were decoded, the largest fall in PSNR from one byte to the next, and the first and last PSNR.
With --views, of the first 128 pictures of a file: how many lose more than 0.1 dB when the last byte of some step
arrives, and mean PSNR after steps, with the weights of uqdm.nested.preview_weights and without. With --drawn, of
pictures that are no photographs: how much the end of a later step is worse than that of an earlier one, with held steps
(uqdm.contract.HoldingState) and without.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawn import made
from tqdm import tqdm

import uqdm
from channel_sim.entropy import Writer
from uqdm.codec import container
from uqdm.codec.api import receiver_of
from uqdm.metrics import psnr_db
from uqdm.nested.model import NestedModel
from uqdm.nested.preview import earlier_estimate
from uqdm.pictures import read_picture
from uqdm.training.dataset import load_pictures

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"


def at_ends_of_steps(model: NestedModel, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """PSNR just before and after the last byte of every step, each (pictures, steps)."""
    before, after = [], []
    for seed, picture in enumerate(tqdm(pictures)):
        height, width = picture.shape[:2]
        state = model.new_state(height, width, seed, picture)
        for step in range(model.steps):
            model.expect([state], step)
            state.send(Writer(), step)
            known = model.pixels(earlier_estimate(model, state, step + 1))[:height, :width]
            before.append(psnr_db(picture, known))
            after.append(psnr_db(picture, model.picture(state, step + 1)))
    return np.reshape(before, (-1, model.steps)), np.reshape(after, (-1, model.steps))


def compare(name: str, pictures: Sequence[np.ndarray]) -> None:
    """Prints what the weights of a model change."""
    model = uqdm.load_model(name)
    assert isinstance(model, NestedModel)
    found = {}
    for what, trust in (("with weights", model.preview_weights), ("without", np.ones_like(model.preview_weights))):
        before, after = at_ends_of_steps(model.with_preview_weights(trust), pictures)
        worse = (before - after > 0.1).any(1).sum()
        print(f"{name}, {what}: {worse} of {len(pictures)} lose more than 0.1 dB, at most {(before - after).max():.2f}")
        found[what] = after.mean(0)
    gain = found["with weights"] - found["without"]
    print(f"mean PSNR after a step: weights change it by {gain.min():+.3f} to {gain.max():+.3f} dB")


def compare_drawn(name: str) -> None:
    """Prints what holding changes, in dB, and what it costs in bytes."""
    model = uqdm.load_model(name)
    for what, picture in made(128).items():
        data = uqdm.encode(picture, model=model)
        header, start = container.unpack(data)
        plain = container.pack(header._replace(chunks=(), written_bytes=None)) + data[start:]
        falls = []
        for stream in (plain, data):
            psnr = [min(99.0, psnr_db(picture, shown.picture)) for shown in uqdm.previews(stream, model=model)]
            falls.append((np.maximum.accumulate(psnr) - psnr).max())
        print(f"{what}: largest fall {falls[0]:.2f} dB, held {falls[1]:.2f} dB for {len(data) - len(plain)} bytes")


def main() -> None:
    """Decodes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x64", help="width x height of the piece of the photograph")
    parser.add_argument("--stride", type=int, default=1, help="bytes between prefixes")
    parser.add_argument("--views", type=Path, help="compare previews of these pictures at the ends of steps")
    parser.add_argument("--drawn", action="store_true", help="compare previews of pictures that are no photographs")
    parser.add_argument("--model", default="small", help="which model to compare with (small)")
    options = parser.parse_args()
    if options.views:
        compare(options.model, load_pictures(options.views, count=128))
        return
    if options.drawn:
        compare_drawn(options.model)
        return
    width, height = (int(side) for side in options.size.split("x"))
    picture = np.ascontiguousarray(read_picture(PHOTOGRAPH.read_bytes())[100 : 100 + height, 200 : 200 + width])
    data = uqdm.encode(picture)
    start, whole = uqdm.info(data)["header_bytes"], uqdm.decode(data)
    receiver, quality = receiver_of(data[:start]), []
    for size in tqdm([*range(start, len(data), options.stride), len(data)]):
        receiver.feed(data[receiver.file_bytes : size])
        while receiver.receive():
            pass
        quality.append(psnr_db(picture, receiver.picture()))
    assert quality[-1] == psnr_db(picture, whole)
    falls = -np.diff(quality)
    print(f"{options.size}: {len(quality)} prefixes of {len(data)} bytes, stride {options.stride}: ", end="")
    print(f"largest fall {falls.max():.3f} dB at byte {start + options.stride * (int(falls.argmax()) + 1)}, ", end="")
    print(f"{quality[0]:.2f} dB to {quality[-1]:.2f} dB, {int((falls > 0.1).sum())} falls above 0.1 dB")


if __name__ == "__main__":
    main()
