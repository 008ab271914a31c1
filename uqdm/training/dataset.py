"""Large sets of pictures with random access, for training: which pictures a step sees is a function of its number.

    tfds:NAME[:SPLIT]   a data set of tensorflow-datasets, prepared in a format with random access
                        (for ImageNet 64 x 64: tfds:imagenet_resized/64x64)
    a folder            of picture files, or of the official ImageNet 64 x 64 archives (train_data_batch_*.npz)
    .npz, .npy          uint8 arrays (N, H, W, 3), or the official archives' (N, 3 H W), channel by channel

An official archive is unpacked once into a `.npy` beside it or, where that is not writable, read into memory; arrays in
`.npy` files stay on disk and are mapped. No TensorFlow is involved at run time.
"""

import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from uqdm.training.data import SUFFIXES, read_file

__all__ = ["Batches", "Source", "open_source"]


@runtime_checkable
class Source(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3)."""
        ...

    def name(self, index: int) -> str:
        """What to call a picture in tables."""
        ...


class _Arrays:
    """Pictures in arrays (N, H, W, 3) or (N, 3 H W)."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self._arrays, self._ends = arrays, np.cumsum([len(array) for array in arrays])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> np.ndarray:
        place = int(np.searchsorted(self._ends, index, side="right"))
        array = self._arrays[place]
        picture = np.asarray(array[index - (self._ends[place] - len(array))])
        if picture.ndim == 1:
            side = round((len(picture) / 3) ** 0.5)
            picture = picture.reshape(3, side, side).transpose(1, 2, 0)
        return picture

    def name(self, index: int) -> str:
        return f"{index:06d}"


class _Files:
    """Picture files, read when they are needed."""

    def __init__(self, files: Sequence[Path], folder: Path):
        self._files, self._folder = files, folder

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_file(self._files[index])

    def name(self, index: int) -> str:
        return self._files[index].relative_to(self._folder).as_posix()


class _Features:
    """A data set of tensorflow-datasets."""

    def __init__(self, name: str, split: str):
        import tensorflow_datasets as tfds

        self._source: Any = tfds.data_source(name, split=split)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self._source[index]["image"])

    def name(self, index: int) -> str:
        return f"{index:06d}"


def _unpacked(path: Path) -> np.ndarray:
    """The pictures of an archive, mapped from a file where that is possible."""
    target = path.with_suffix(".npy")
    if path.suffix == ".npz" and not target.exists():
        with np.load(path) as archive:
            for name in archive.files:
                array = archive[name]
                if array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 4 and array.shape[-1] == 3)):
                    break
            else:
                raise ValueError(f"no uint8 array of pictures in {path}: expected (N, H, W, 3) or (N, 3 H W)")
        if not os.access(path.parent, os.W_OK) or array.nbytes < 2**28:
            return array
        temporary = target.with_suffix(".partial.npy")
        np.save(temporary, array)
        temporary.rename(target)
    return np.load(target if target.exists() else path, mmap_mode="r")


def open_source(name: str) -> Source:
    """Opens a source (module docstring).

    Raises:
      ValueError: nothing there holds pictures.
    """
    if name.startswith("tfds:"):
        _, data_set, *split = name.split(":")
        return _Features(data_set, split[0] if split else "train")
    path = Path(name)
    if path.is_dir():
        unpacked = (array for array in sorted(path.glob("*.npy")) if not array.with_suffix(".npz").exists())
        archives = [*sorted(path.glob("*.npz")), *unpacked]
        if archives:
            return _Arrays([_unpacked(archive) for archive in archives])
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if files:
            return _Files(files, path)
        raise ValueError(f"no pictures in {path}: expected archives (.npz, .npy) or picture files")
    if path.suffix in (".npz", ".npy"):
        try:
            return _Arrays([_unpacked(path)])
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no archive of pictures: {error}") from None
    if not path.is_file():
        raise ValueError(f"no pictures in {path}: there is no such file or folder")
    return _Files([path], path.parent)


class Batches:
    """Square pieces of pictures, batch by batch: a pure function of (sources, settings, seed, step).

    Every epoch has its own order. A picture larger than `side` gives a random crop, one that is smaller is refused;
    every other piece is mirrored.

    Args:
      source: pictures.
      side: of the pieces in pixels.
      batch: pieces of a whole step, over all processes.
      seed: of order, crops and mirroring.
      part: number of this process and how many there are; each gets a contiguous part of the batch.
      threads: that read and cut.
    """

    def __init__(
        self, source: Source, *, side: int, batch: int, seed: int, part: tuple[int, int] = (0, 1), threads: int = 8
    ):
        import grain

        index, count = part
        if batch % count:
            raise ValueError(f"a batch of {batch} cannot be shared evenly by {count} processes")
        self._side, self._batch = side, batch
        self._own = range(index * batch // count, (index + 1) * batch // count)
        pieces = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
        self._pieces = pieces.random_map(self._cut)
        self._workers = ThreadPoolExecutor(threads)
        self._coming: dict[int, list] = {}

    def _cut(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = self._side
        if min(picture.shape[:2]) < side:
            raise ValueError(f"a picture of {picture.shape[1]} x {picture.shape[0]} is smaller than {side} pixels")
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        piece = picture[top : top + side, left : left + side]
        return piece[:, ::-1] if rng.random() < 0.5 else piece

    def _ask(self, step: int) -> list:
        first = step * self._batch
        return [self._workers.submit(self._pieces.__getitem__, first + i) for i in self._own]

    def __call__(self, step: int) -> np.ndarray:
        """This process's part of a step's batch, uint8 (n, side, side, 3); the next two are prepared meanwhile."""
        for ahead in range(step, step + 3):
            if ahead not in self._coming:
                self._coming[ahead] = self._ask(ahead)
        return np.stack([piece.result() for piece in self._coming.pop(step)])

    def close(self) -> None:
        """Stops the threads."""
        self._workers.shutdown(cancel_futures=True)
