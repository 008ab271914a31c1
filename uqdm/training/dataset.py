"""Pictures to train on and to measure with: one way to open them, each to be had by its number.

    a folder            of picture files (searched recursively, in the order of their names; hidden ones do not count),
                        or else of archives
    a picture file
    .npz, .npy          an archive: uint8 arrays (N, H, W, 3), or (N, 3 H W), channel by channel, as in the official
                        ImageNet 64 x 64 archives (train_data_batch_*.npz); of an npz the first array of such a form
    tfds:NAME[:SPLIT]   a data set of tensorflow-datasets, prepared in a format with random access
                        (for ImageNet 64 x 64: tfds:imagenet_resized/64x64)
    an array            uint8 (N, H, W, 3)

Files are read by the rules of uqdm.pictures. A large npz is unpacked once into a `.npy` beside it or, where that is not
writable, read into memory; arrays in `.npy` files stay on disk and are mapped. No TensorFlow is involved at run time.
"""

import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from uqdm.errors import PictureError
from uqdm.files import unfinished
from uqdm.pictures import Picture, open_picture, read_picture

__all__ = ["SUFFIXES", "PictureSet", "load_pictures", "open_source"]

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".qoi"),
}
"""Endings of the files in a folder that are taken for pictures, in small letters."""

_ARCHIVES = {".npz", ".npy"}
_UNPACKED = ".npz.npy"
"""What a large npz is unpacked into, beside it."""
_UNPACKED_FROM_BYTES = 2**28


@runtime_checkable
class PictureSet(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3), for those who are not told anything: a file of several frames is refused.

        Raises:
          PictureError: this one cannot be taken; the message names it.
        """
        ...

    def picture(self, index: int) -> Picture:
        """The same with what was noticed, and of several frames the first.

        Raises:
          PictureError: as above.
        """
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
            side = math.isqrt(len(picture) // 3)
            picture = picture.reshape(3, side, side).transpose(1, 2, 0)
        return picture

    def picture(self, index: int) -> Picture:
        return Picture(pixels=self[index])

    def name(self, index: int) -> str:
        return f"{index:06d}"


class _Files:
    """Picture files, read when they are needed."""

    def __init__(self, files: Sequence[Path], folder: Path, background: str | None):
        self._files, self._folder, self._background = files, folder, background

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(index, read_picture)

    def picture(self, index: int) -> Picture:
        return self._read(index, open_picture)

    def _read(self, index: int, read: Callable) -> Any:
        file = self._files[index]
        try:
            return read(file.read_bytes(), background=self._background)
        except PictureError as error:
            raise PictureError(f"{file}: {error}") from None
        except OSError as error:
            raise PictureError(f"cannot read {file}: {error.strerror}") from None

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
        picture = np.asarray(self._source[index]["image"])
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
            raise PictureError(f"picture {index}: {picture.dtype} of shape {picture.shape}, not uint8 (H, W, 3)")
        return picture if picture.shape[2] == 3 else picture.repeat(3, 2)

    def picture(self, index: int) -> Picture:
        return Picture(pixels=self[index])

    def name(self, index: int) -> str:
        return f"{index:06d}"


def open_source(source: "str | Path | np.ndarray | PictureSet", *, background: str | None = None) -> PictureSet:
    """Opens a source (module docstring).

    Args:
      source: what to open; what is open already is returned.
      background: a colour that transparent picture files are laid on; without it they are refused when they are read.

    Raises:
      PictureError: nothing there holds pictures.
      ImportError: it is a data set of tensorflow-datasets, which is not installed.
    """
    if isinstance(source, np.ndarray):
        return _Arrays(_fitting([source], "the array"))
    if not isinstance(source, str | Path):
        return source
    if isinstance(source, str) and source.startswith("tfds:"):
        _, name, *split = source.split(":")
        return _Features(name, split[0] if split else "train")
    path = Path(source)
    if path.is_dir():
        if files := sorted(file for file in path.rglob("*") if _is_picture(file, path)):
            return _Files(files, path, background)
        if archives := sorted(file for file in path.iterdir() if _is_archive(file)):
            return _Arrays([_mapped(archive) for archive in archives])
        raise PictureError(f"no pictures in {path}: expected picture files or archives (.npz, .npy)")
    if not path.is_file():
        raise PictureError(f"no pictures in {path}: there is no such file or folder")
    if path.suffix.lower() in _ARCHIVES:
        return _Arrays([_mapped(path)])
    return _Files([path], path.parent, background)


def load_pictures(*sources: str | Path | np.ndarray | PictureSet, count: int | None = None) -> list[np.ndarray]:
    """Reads the pictures of all sources, or the first of each, into memory; uint8 (H, W, 3) each.

    Raises:
      PictureError: a source holds no pictures, or one of them cannot be taken.
    """
    opened = [open_source(source) for source in sources]
    return [source[index] for source in opened for index in range(len(source))[:count]]


def _is_picture(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()


def _is_archive(file: Path) -> bool:
    """Whether a file is an archive, and not what an npz was unpacked into."""
    if file.name.startswith(".") or file.suffix.lower() not in _ARCHIVES:
        return False
    return not file.name.endswith(_UNPACKED)


def _fitting(arrays: Iterable[np.ndarray], where: str) -> list[np.ndarray]:
    """The first array that holds pictures, alone in a list."""
    for array in arrays:
        if array.dtype == np.uint8 and array.size:
            flat = array.ndim == 2 and array.shape[1] == 3 * math.isqrt(array.shape[1] // 3) ** 2
            if flat or (array.ndim == 4 and array.shape[-1] == 3):
                return [array]
    raise PictureError(f"no uint8 array of pictures in {where}: expected (N, H, W, 3) or (N, 3 H W)")


def _mapped(path: Path) -> np.ndarray:
    """The pictures of an archive, mapped from a file where that is possible."""
    unpacked = path if path.suffix.lower() == ".npy" else path.with_suffix(_UNPACKED)
    try:
        if path == unpacked or (unpacked.exists() and unpacked.stat().st_mtime >= path.stat().st_mtime):
            return _fitting([np.load(unpacked, mmap_mode="r")], str(unpacked))[0]
        with np.load(path) as archive:
            (array,) = _fitting((archive[name] for name in archive.files), str(path))
    except PictureError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise PictureError(f"{path} is no archive of pictures: {error}") from None
    if array.nbytes < _UNPACKED_FROM_BYTES or not os.access(path.parent, os.W_OK):
        return array
    try:
        options: dict[str, Any] = {"dir": path.parent, "prefix": ".", "suffix": ".npy", "delete": False}
        with tempfile.NamedTemporaryFile(**options) as file, unfinished(file.name):
            np.save(file, array)
            file.flush()
            shutil.copymode(path, file.name)
            os.replace(file.name, unpacked)
        return np.load(unpacked, mmap_mode="r")
    except OSError:  # no room for it
        return array
