"""What side information of models that are prompted costs: captions, edge maps, and indices of a codebook.

    python benchmarks/side_information.py SHARED [--captions FILE] [--autoencoder taef2.npz]

Captions are the lines of a file (by default those beside this programme, which were written for the 24 photographs).
Edge maps are Canny's of the photographs. No codebook of PerCo is here: indices are those of a codebook that k-means
finds for latents of an autoencoder, so bits tell what the counts of uqdm.prompted.codes gain where neighbours are as
alike as in such latents, not what they gain on PerCo's codes.
"""

import argparse
import io
import zlib
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.cluster.vq import kmeans2

from channel_sim.entropy import Writer
from uqdm.drawn.passes import PASSES
from uqdm.prompted.canny import canny, reduced
from uqdm.prompted.caption import as_line, write_caption
from uqdm.prompted.codes import Codebook, CodeCounts, write_pass
from uqdm.prompted.edges import pyramid, write_map
from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["captions", "edge_maps", "indices"]

_TEMPLATE = ((0, -1), (0, -2), (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2), (-2, -1), (-2, 0), (-2, 1))


def captions(lines: list[str]) -> str:
    """Mean bytes per caption."""
    corpus = (resources.files("uqdm.prompted") / "caption_corpus.txt").read_bytes()
    sizes = []
    for line in lines:
        text, writer = line.encode(), Writer()
        write_caption(writer, line)
        primed = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, corpus)
        packed = primed.compress(text) + primed.flush()
        sizes.append((len(text), len(zlib.compress(text, 9)), len(packed), len(writer.getvalue())))
    text, deflated, packed, ours = np.mean(sizes, 0)
    rows = ["| captions | text | zlib | deflate that knows the corpus | counts |", "|---|---|---|---|---|"]
    return "\n".join([*rows, f"| {len(lines)} | {text:.1f} | {deflated:.1f} | {packed:.1f} | {ours:.1f} |"])


def template_bytes(edges: np.ndarray) -> float:
    """Ideal bytes of a map under counts in contexts of ten pixels, as JBIG2 has them, each from (1/2, 1/2)."""
    height, width = edges.shape
    padded, context = np.pad(edges.astype(np.int64), ((2, 0), (2, 2))), np.zeros(edges.shape, np.int64)
    for bit, (down, right) in enumerate(_TEMPLATE):
        context |= padded[2 + down : 2 + down + height, 2 + right : 2 + right + width] << bit
    order = context.reshape(-1).argsort(kind="stable")
    contexts, symbols = context.reshape(-1)[order], edges.reshape(-1)[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(contexts, prepend=-1))
    first = np.repeat(starts, np.diff(starts, append=len(contexts)))
    before, seen = np.cumsum(symbols) - symbols, np.arange(len(symbols)) - first
    ones = before - before[first]
    p = np.where(symbols, ones + 0.5, seen - ones + 0.5) / (seen + 1)
    return float(-np.log2(p).sum() / 8)


def _file_bytes(edges: np.ndarray, file_format: str, **options: object) -> int:
    file = io.BytesIO()
    picture = Image.fromarray(edges)
    (picture.convert("RGB") if file_format == "WEBP" else picture).save(file, file_format, **options)
    return file.tell()


def edge_maps(pictures: list[np.ndarray], scale: int) -> str:
    """A row of mean bytes per map."""
    rows = []
    for picture in pictures:
        edges = canny(reduced(picture, scale))
        flat, levels, coarse = Writer(), Writer(), None
        write_map(flat, edges)
        ends = []
        for level in pyramid(edges):
            write_map(levels, level, coarse)
            coarse = level
            ends.append(len(levels.getvalue()))
        files = [
            _file_bytes(edges, "PNG", optimize=True),
            _file_bytes(edges, "WEBP", lossless=True, quality=100, method=6),
            _file_bytes(edges, "TIFF", compression="group4"),
        ]
        bpp = 8 * ends[-1] / picture[..., 0].size
        rows.append([100 * edges.mean(), *files, template_bytes(edges), len(flat.getvalue()), *ends, bpp])
    share, *sizes, bpp = np.mean(rows, 0)
    return f"| {scale} | {share:.1f} | " + " | ".join(f"{size:.0f}" for size in sizes) + f" | {bpp:.4f} |"


def indices(train: list[np.ndarray], latents: list[np.ndarray], pool: int, codes: int) -> str:
    """A row of bits per place, for a grid of latents that are pooled; the codebook is made for others."""

    def vectors(latent: np.ndarray) -> np.ndarray:
        height, width, channels = latent.shape  # multiples of four, of pictures that `_middle` gives
        return latent.reshape(height // pool, pool, width // pool, pool, channels).mean((1, 3))

    given = np.concatenate([vectors(latent).reshape(-1, latent.shape[2]) for latent in train])
    mean = given.mean(0)

    def unit(x: np.ndarray) -> np.ndarray:
        return (x - mean) / np.linalg.norm(x - mean, axis=-1, keepdims=True)

    some = np.random.default_rng(0).permutation(unit(given))[:20_000]
    centres, _ = kmeans2(some, codes, iter=12, minit="points", rng=np.random.default_rng(1))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    codebook = Codebook(codes=centres.astype(np.float32), cosine=True)
    places = entropies = ours = 0.0
    for latent in latents:
        found = codebook.nearest(unit(vectors(latent)))
        writer, known, counts = Writer(), np.zeros_like(found), CodeCounts(codebook)
        for index in range(PASSES):
            write_pass(writer, index, found, known, counts)
        shares = np.unique(found, return_counts=True)[1] / found.size
        places, ours = places + found.size, ours + 8 * len(writer.getvalue())
        entropies -= found.size * float((shares * np.log2(shares)).sum())
    return f"| 1/{8 * pool} | {codes} | {np.log2(codes):.2f} | {entropies / places:.2f} | {ours / places:.2f} |"


def _middle(path: Path, side: int = 512) -> np.ndarray:
    picture = np.asarray(Image.open(path).convert("RGB"))
    height, width = (min(length, side) // 32 * 32 for length in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--captions", type=Path, default=Path(__file__).parent / "captions_photos_val.txt")
    parser.add_argument("--autoencoder", type=Path)
    parser.add_argument("--count", type=int, default=24, help="of the photographs, evenly")
    options = parser.parse_args()
    lines = [as_line(line) for line in options.captions.read_text().splitlines()]
    print(captions([line for line in lines if line]), flush=True)
    files = sorted((options.shared / "data" / "photos_val").glob("*.png"))
    files = files[:: -(-len(files) // options.count)]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    names = "PNG | WebP | TIFF, Group 4 | template of ten | one map | first of three | two | three | bpp"
    print(f"\n| scale | set, % | {names} |\n|{'---|' * 11}")
    for scale in (2, 4, 1):
        print(edge_maps(pictures, scale), flush=True)
    if options.autoencoder is None:
        return
    autoencoder = Autoencoder.from_bytes(options.autoencoder.read_bytes())
    train = sorted((options.shared / "data" / "photos_train").glob("*.webp"))[::6]
    known, own = ([np.asarray(autoencoder.encode(_middle(path))) for path in paths] for paths in (train, files))
    print("\n| grid | codes | uniform law | entropy of each picture's own | counts |\n|---|---|---|---|---|")
    for pool, codes in ((1, 256), (2, 256), (2, 1024)):
        print(indices(known, own, pool, codes), flush=True)


if __name__ == "__main__":
    _main()
