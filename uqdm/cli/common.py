"""What all commands share: errors for people, files that are written whole or not at all, progress bars, options."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from uqdm.codec import container

__all__ = [
    "STANDARD",
    "Commands",
    "UserError",
    "about",
    "bar_of",
    "may_write",
    "model_for",
    "model_of",
    "picture_of",
    "quiet_readers",
    "read",
    "say",
    "with_background",
    "with_force",
    "with_model",
    "with_picture",
    "write",
]

STANDARD = "-"


class PipelineFolder(str):
    """What --diffusers names, in the place of a model's name."""


class UserError(Exception):
    """One line for the user: what, why, what to do."""


def read(path: str) -> bytes:
    """The bytes of a file, or of standard input."""
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def may_write(path: str, force: bool) -> None:
    """Refuses a target early, before any work is done."""
    if path == STANDARD:
        return
    if Path(path).is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if Path(path).exists() and not force:
        raise UserError(f"{path} exists: choose another name or add --force")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {folder} is not writable")


def write(path: str, data: bytes) -> None:
    """Writes all or nothing: to a temporary file beside the target, then renamed."""
    if path == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=Path(path).absolute().parent, prefix=".uqdm-", delete=False) as file:
            temporary = file.name
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def about(path: str) -> Iterator[None]:
    """Turns what is wrong with a file into one line that names the file."""
    try:
        yield
    except ValueError as error:  # StreamError, PictureError, or a predictor that gives no numbers
        raise UserError(f"{'standard input' if path == STANDARD else path}: {error}") from None


def picture_of(path: str, options: argparse.Namespace, *, tell_dropped: bool = False):
    """A picture, uint8 (H, W, 3), of a size that streams can hold; what was noticed on reading is said.

    Args:
      path: its file.
      options: --background and --frame (`with_picture`).
      tell_dropped: whether to say what else the file holds.
    """
    from uqdm.pictures import open_picture

    data = read(path)
    with about(path), quiet_readers():
        picture = open_picture(data, background=options.background, frame=options.frame)
        container.check_size(picture.pixels.shape[1], picture.pixels.shape[0])
    name = "standard input" if path == STANDARD else path
    for note in picture.notes:
        say(f"{name}: {note}")
    if tell_dropped and picture.dropped:
        say(f"{name}: not kept: {', '.join(picture.dropped)}")
    return picture.pixels


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Keeps the warnings of Pillow and the libraries below it, which go to standard error, from the user."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def model_of(name: str):
    """A model by its name or path, or a pipeline of diffusers."""
    try:
        if isinstance(name, PipelineFolder):
            from uqdm.pretrained.diffusers import load_pipeline

            return load_pipeline(name)
        from uqdm.library import load_model

        return load_model(name)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(str(error)) from None


def model_for(name: str | None, picture, *, lossless: bool = False):
    """The model asked for, or the one for pictures of this size."""
    from uqdm.library import default_model

    return default_model(*picture.shape[:2], lossless=lossless) if name is None else model_of(name)


def bar_of(total: int, what: str, unit: str = "step"):
    """A progress bar on a terminal, for work that lasts over a second."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=unit, delay=1, leave=False, disable=None, file=sys.stderr)


def say(line: str) -> None:
    """A line for people, beside what goes to standard output."""
    print(line, file=sys.stderr)


class Commands:
    """The parser of `uqdm`, to which modules add their commands."""

    def __init__(self, parser: argparse.ArgumentParser):
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        """A parser for one command, which calls `run`."""
        sub = self._commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub


def with_model(sub: argparse.ArgumentParser) -> None:
    """Adds --model and --diffusers."""
    choice = sub.add_mutually_exclusive_group()
    text = "a model of the package or a file (small for at most 64 x 64 pixels, else photo; a stream names its own)"
    choice.add_argument("--model", metavar="M", help=text)
    choice.add_argument(
        "--diffusers",
        dest="model",
        type=PipelineFolder,
        default=argparse.SUPPRESS,
        metavar="FOLDER",
        help="a pipeline of Hugging Face diffusers; needs uqdm[diffusers]",
    )


def with_force(sub: argparse.ArgumentParser) -> None:
    """Adds --force."""
    sub.add_argument("--force", action="store_true", help="overwrite what exists")


def with_background(sub: argparse.ArgumentParser) -> None:
    """Adds --background."""
    sub.add_argument("--background", metavar="COLOUR", help="lay transparent pictures on this colour")


def with_picture(sub: argparse.ArgumentParser) -> None:
    """Adds how a picture is read."""
    with_background(sub)
    text = "of an animated or multi-page picture take this one; they count from 1 (the first)"
    sub.add_argument("--frame", type=int, metavar="N", help=text)
