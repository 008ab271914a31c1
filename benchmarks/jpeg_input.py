"""What it would take to send a JPEG file losslessly: its coefficients under adaptive counts, beside what there is.

    pip install .[eval]
    python benchmarks/jpeg_input.py PHOTOGRAPHS [--pictures 4] [--side 256] [--qualities 75 90]

Middles of photographs are saved as JPEG (4:4:4, optimized Huffman tables) and decoded. Prints bits per pixel of

    JPEG             the file
    JPEG XL, JPEG    what the plug-in makes of the file, bytes from which the very file comes back
    counts           ideal bits of the file's coefficients under counts that are learned on the way (below)
    JPEG XL, pixels  the decoded pixels, lossless, effort 9
    uqdm, pixels     likewise, by this package: what a JPEG picture costs exactly today

Counts. A quantized coefficient of position k in its block, of the luminance or of chroma, is a magnitude, at most 15
(larger ones pay two bits more per octave), and a sign of one bit, but that of the lowest frequency is its difference
from the block to the left. A magnitude has the context (kind, r, a, b): r is row and column of k added, at most 9, a
that of the sum of |.| at k in the blocks to the left and above, b that of the sum at the two positions before k in the
zigzag, each 0, 1, 2, 3-4, or more. Adaptive coding of a context with counts n_s of K symbols costs, in whatever order
they come, if every symbol begins with a count of 1 / K,

    log2 of  Gamma(n + 1) Gamma(1 / K)^K / prod Gamma(n_s + 1 / K).                                       (1)
"""

import argparse
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from scipy.fft import dctn
from scipy.special import gammaln
from tqdm import tqdm

import uqdm
from uqdm.evaluation.baselines import available
from uqdm.training.dataset import load_pictures

SYMBOLS = 16
ZIGZAG = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))


def coefficients(jpeg: bytes) -> np.ndarray:
    """Quantized coefficients of a 4:4:4 file in the order of the zigzag, int64 (rows, columns, 3, 64)."""
    image = Image.open(io.BytesIO(jpeg))
    assert isinstance(image, JpegImageFile)
    image.draft("YCbCr", image.size)
    tables = [image.quantization[i] for i in (0, 1, 1)]
    planes = np.asarray(image, np.float64) - 128
    blocks = planes.reshape(planes.shape[0] // 8, 8, -1, 8, 3).transpose(0, 2, 4, 1, 3)
    spectrum = np.asarray(dctn(blocks, axes=(-2, -1), norm="ortho"))
    ordered = np.stack([spectrum[..., row, column] for row, column in ZIGZAG], -1)
    steps = np.array([[table[i] for i in range(64)] for table in tables]).reshape(3, 8, 8)
    return np.rint(ordered / np.stack([steps[:, row, column] for row, column in ZIGZAG], -1)).astype(np.int64)


def counted_bits(quantized: np.ndarray) -> float:
    """Eq. 1 and what is beside it."""
    values = quantized.copy()
    values[:, 1:, :, 0] -= quantized[:, :-1, :, 0]
    size = np.abs(values)
    around = np.pad(size, ((1, 0), (1, 0), (0, 0), (0, 0)))
    a = around[1:, :-1] + around[:-1, 1:]
    before = np.pad(size, ((0, 0), (0, 0), (0, 0), (2, 0)))
    b = before[..., :-2] + before[..., 1:-1]
    groups = np.array([1, 2, 3, 5])
    kind = np.minimum(np.arange(3), 1)[:, None]
    diagonal = np.minimum([row + column for row, column in ZIGZAG], 9)
    context = ((kind * 10 + diagonal) * 5 + np.searchsorted(groups, a, "right")) * 5
    context = (context + np.searchsorted(groups, b, "right")).ravel()
    symbols = np.minimum(size, SYMBOLS - 1).ravel()
    counts = np.zeros((2 * 10 * 25, SYMBOLS))
    np.add.at(counts, (context, symbols), 1)
    nats = gammaln(counts.sum(1) + 1) - (gammaln(counts + 1 / SYMBOLS) - gammaln(1 / SYMBOLS)).sum(1)
    large = size[size >= SYMBOLS - 1] - (SYMBOLS - 2)
    return float(nats.sum() / np.log(2) + (size > 0).sum() + (2 * np.floor(np.log2(large)) + 1).sum())


def measure(picture: np.ndarray, quality: int) -> list[float]:
    """Bits per pixel, in the order of the module docstring."""
    transcoded, pixels = io.BytesIO(), io.BytesIO()
    with TemporaryDirectory() as folder:  # the plug-in takes a file by its name
        path = Path(folder) / "picture.jpg"
        Image.fromarray(picture).save(path, quality=quality, subsampling="4:4:4", optimize=True)
        jpeg = path.read_bytes()
        with Image.open(path) as image:
            image.save(transcoded, "JXL", lossless_jpeg=True, effort=9)
    shown = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    Image.fromarray(shown).save(pixels, "JXL", lossless=True, effort=9)
    ours = 8 * len(uqdm.encode(shown, lossless=True))
    bits = 8 * len(jpeg), 8 * len(transcoded.getvalue()), counted_bits(coefficients(jpeg)), 8 * pixels.tell(), ours
    return [size / picture[..., 0].size for size in bits]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--side", type=int, default=256, help="a multiple of 8")
    parser.add_argument("--qualities", type=int, nargs="+", default=[75, 90])
    options = parser.parse_args()
    if not available("jxl"):
        parser.error("JPEG XL is missing: pip install pillow-jxl-plugin")
    side = options.side
    middles = []
    for picture in load_pictures(options.photographs, count=options.pictures):
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        middles.append(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    print("| quality | JPEG | JPEG XL, JPEG | counts | JPEG XL, pixels | uqdm, pixels |\n|---|---|---|---|---|---|")
    for quality in options.qualities:
        figures = [measure(picture, quality) for picture in tqdm(middles, f"quality {quality}", leave=False)]
        print(f"| {quality} | " + " | ".join(f"{x:.2f}" for x in np.mean(figures, 0)) + " |", flush=True)


if __name__ == "__main__":
    main()
