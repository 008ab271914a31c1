"""Which file becomes which, and one batch of them.

Pictures of one size are coded together, since the network is asked about all of them at once: a batch has files of one
size, and as many as have `BATCH_PIXELS` pixels together.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from uqdm.codec import container
from uqdm.codec.api import check_against, decode_batch, encode_batch
from uqdm.errors import FormatError
from uqdm.files import write_whole
from uqdm.pictures import open_picture, picture_file
from uqdm.pictures.headers import orientation

__all__ = ["Decoding", "Encoding", "File", "Outcome", "batches_of", "files_below"]

BATCH_PIXELS = 2**19
"""Of a batch, about."""
_OF_ONE_FILE = (ValueError, MemoryError, RuntimeError)
"""What a file may be to blame for: of the last kind are JAX's errors, such as that a device has no more memory."""


class File(NamedTuple):
    """One file to be made of another."""

    source: str
    target: str


class Outcome(NamedTuple):
    """What became of a file."""

    source: str
    source_bytes: int
    target_bytes: int
    error: str | None = None
    """One line, or None where the target is there."""
    notes: tuple[str, ...] = ()
    """What was chosen, changed or left out when it was read, a line each."""


def files_below(folder: Path, out: Path, suffixes: Iterable[str], suffix: str) -> list[File]:
    """All files of some kinds below a folder, in the order of their names, and what they become below another.

    The target has the same place and name, with another suffix; where two would have the same, they keep their suffixes
    and get one more.

    Args:
      folder: searched recursively; hidden files, and those below `out` where it lies in the folder, do not count.
      out: where results go.
      suffixes: of the files that are taken, in small letters.
      suffix: of the targets.
    """
    kinds, found, own = set(suffixes), [], out.resolve()
    inner = folder.resolve() in own.parents
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        beyond = not (inner and own in path.resolve().parents)
        if path.suffix.lower() in kinds and path.is_file() and not hidden and beyond:
            found.append(inside)
    targets = [path.with_suffix(suffix) for path in found]
    while shared := {target for target, count in Counter(targets).items() if count > 1}:
        longer = [path.with_name(path.name + suffix) for path in found]
        targets = [long if own in shared else own for own, long in zip(targets, longer, strict=True)]
    return [File(str(folder / path), str(out / target)) for path, target in zip(found, targets, strict=True)]


def batches_of(files: Sequence[File], size_of: Callable[[str], tuple[int, int] | None]) -> list[list[File]]:
    """Files of equal sizes together, small ones many at a time; those of unknown size alone.

    Args:
      files: all of them.
      size_of: height and width of a file's picture, or None where it cannot be told.
    """
    batches: list[list[File]] = []
    open_batches: dict[tuple[int, int], list[File]] = {}
    for file in files:
        size = size_of(file.source)
        if size is None:
            batches.append([file])
            continue
        batch = open_batches.get(size)
        if batch is None:
            batch = open_batches[size] = []
            batches.append(batch)
        batch.append(file)
        if len(batch) * size[0] * size[1] >= BATCH_PIXELS:
            del open_batches[size]
    return batches


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Pictures to streams; plain values, so that it goes to other processes. Arguments as of `uqdm.encode`."""

    tau: float | None = None
    bpp: float | None = None
    file_bytes: int | None = None
    psnr_db: float | None = None
    rdoq: bool = False
    lossless: bool = False
    model: str | None = None
    seed: int = 0
    background: str | None = None
    frame: int | None = None
    drawn: bool = True
    """Whether the drawn process may be taken where no model is given."""
    verify: bool = False
    """Whether every stream is decoded before it is written."""
    force: bool = False

    def size_of(self, path: str) -> tuple[int, int] | None:
        """Height and width of a picture file, from its header."""
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                if self.frame is not None and getattr(image, "n_frames", 1) >= self.frame:
                    image.seek(self.frame - 1)
                (width, height), exif = image.size, image.info.get("exif")
                turned = isinstance(exif, bytes) and orientation(exif) >= 5
                return (width, height) if turned else (height, width)
        except Exception:  # of a broken file, whatever Pillow raises: reading it will say what is wrong
            return None

    def __call__(self, files: Sequence[File]) -> list[Outcome]:
        """Does a batch."""
        names = ("tau", "bpp", "file_bytes", "psnr_db", "rdoq", "lossless", "model", "seed")
        given, drawn = {name: getattr(self, name) for name in names}, self.drawn and self.model is None

        def streams_of(pictures: Sequence[np.ndarray]) -> list[bytes]:
            streams = encode_batch(pictures, drawn=drawn, **given)
            if self.verify:
                for picture, data in zip(pictures, streams, strict=True):
                    check_against(data, None if self.rdoq else picture, model=self.model)
            return streams

        return _do(files, self._read, streams_of, self.force)

    def _read(self, path: str) -> tuple[np.ndarray, int, tuple[str, ...]]:
        data = Path(path).read_bytes()
        picture = open_picture(data, background=self.background, frame=self.frame)
        return picture.pixels, len(data), (*picture.notes, *(f"not kept: {what}" for what in picture.dropped))


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Streams to pictures; plain values, so that it goes to other processes.

    Attributes:
      suffix: of the picture files, such as ".png".
      file_bytes: of every stream, only the first so many bytes are used.
      model: name or path of the model; by default the one that a stream names.
      force: whether files are overwritten.
    """

    suffix: str = ".png"
    file_bytes: int | None = None
    model: str | None = None
    force: bool = False

    def size_of(self, path: str) -> tuple[int, int] | None:
        """Height and width of a stream's picture, from its header."""
        try:
            with open(path, "rb") as file:
                header, _ = container.unpack(file.read(container.MAX_HEADER_BYTES))
        except (OSError, ValueError):
            return None
        return header.height, header.width

    def __call__(self, files: Sequence[File]) -> list[Outcome]:
        """Does a batch."""

        def pictures_of(streams: Sequence[bytes]) -> list[bytes]:
            pictures = zip(decode_batch(streams, model=self.model), streams, strict=True)
            return [picture_file(picture, self.suffix, _metadata_of(data)).data for picture, data in pictures]

        return _do(files, self._read, pictures_of, self.force)

    def _read(self, path: str) -> tuple[bytes, int, tuple[str, ...]]:
        data = Path(path).read_bytes()
        return data if self.file_bytes is None else container.cut(data, self.file_bytes), len(data), ()


def _metadata_of(data: bytes) -> dict:
    """What a stream has kept; nothing where that is damaged, which `uqdm verify` says."""
    try:
        return container.metadata(data)
    except FormatError:
        return {}


def _do(files: Sequence[File], read: Callable, make: Callable, force: bool) -> list[Outcome]:
    """Reads all files of a batch, makes their targets together, and writes them; what fails fails alone."""
    outcomes, taken, inputs = [], [], []
    for file in files:
        try:
            value, size, notes = read(file.source)
        except (OSError, *_OF_ONE_FILE) as error:
            outcomes.append(Outcome(file.source, 0, 0, _line(error)))
        else:
            taken.append((file, size, notes))
            inputs.append(value)
    try:
        made = make(inputs) if inputs else []
    except _OF_ONE_FILE:
        made = [_alone(make, value) for value in inputs]
    for (file, size, notes), result in zip(taken, made, strict=True):
        if isinstance(result, Exception):
            outcomes.append(Outcome(file.source, size, 0, _line(result)))
            continue
        try:
            os.makedirs(os.path.dirname(file.target) or ".", exist_ok=True)
            write_whole(Path(file.target), result, force=force)
        except OSError as error:
            outcomes.append(Outcome(file.source, size, 0, f"cannot write {file.target}: {_line(error)}"))
        else:
            outcomes.append(Outcome(file.source, size, len(result), notes=notes))
    return outcomes


def _alone(make: Callable, value) -> bytes | Exception:
    try:
        return make([value])[0]
    except _OF_ONE_FILE as error:
        return error


def _line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory for a picture of this size"
    words = error.strerror if isinstance(error, OSError) else None
    return (words or str(error) or type(error).__name__).splitlines()[0]
