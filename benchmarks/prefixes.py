"""Decodes every prefix of a stream, byte by byte, and looks for a preview that got worse.

    python benchmarks/prefixes.py [--size 64x64] [--stride 1]

Prints how many prefixes were decoded, the largest fall in PSNR from one byte to the next, and the first and last PSNR.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import uqdm
from uqdm.codec import Decoder
from uqdm.images import read_picture
from uqdm.metrics import psnr_db

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"


def main() -> None:
    """Decodes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x64", help="width x height of the piece of the photograph")
    parser.add_argument("--stride", type=int, default=1, help="bytes between prefixes")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    picture = np.ascontiguousarray(read_picture(PHOTOGRAPH.read_bytes())[100 : 100 + height, 200 : 200 + width])
    data = uqdm.encode(picture)
    start, whole = uqdm.info(data)["header_bytes"], uqdm.decode(data)
    decoder, quality = Decoder(data[:start]), []
    for size in tqdm([*range(start, len(data), options.stride), len(data)]):
        decoder.feed(data[decoder.file_bytes : size])
        while decoder.advance():
            pass
        quality.append(psnr_db(picture, decoder.picture()))
    assert quality[-1] == psnr_db(picture, whole)
    falls = -np.diff(quality)
    print(f"{options.size}: {len(quality)} prefixes of {len(data)} bytes, stride {options.stride}: ", end="")
    print(f"largest fall {falls.max():.3f} dB at byte {start + options.stride * (int(falls.argmax()) + 1)}, ", end="")
    print(f"{quality[0]:.2f} dB to {quality[-1]:.2f} dB, {int((falls > 0.1).sum())} falls above 0.1 dB")


if __name__ == "__main__":
    main()
