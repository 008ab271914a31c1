"""What all commands share: pictures and models by name, options and their checks."""

import argparse
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from uqdm.cli.errors import UserError
from uqdm.cli.files import STANDARD, read
from uqdm.cli.progress import announce_compilation, say
from uqdm.codec import container

__all__ = [
    "DEFAULT_METHOD",
    "Commands",
    "PerCoFolder",
    "PipelineFolder",
    "TextSketchFolder",
    "about",
    "count",
    "fraction",
    "make_ready",
    "model_for",
    "model_name",
    "model_of",
    "opened_picture",
    "percentage",
    "picture_of",
    "positive",
    "quiet_readers",
    "refuse",
    "say_dropped",
    "seed",
    "start_jax",
    "with_background",
    "with_force",
    "with_jobs",
    "with_model",
    "with_picture",
]


DEFAULT_METHOD = "denoise"
"""How decode fills in what is missing, unless it is told otherwise."""
_LONGEST_NAME = 64
"""Of a model, in characters."""


class PipelineFolder(str):
    """What --diffusers names, in the place of a model's name."""


class PerCoFolder(PipelineFolder):
    """What --perco names."""


class TextSketchFolder(PipelineFolder):
    """What --text-sketch names."""


@contextmanager
def about(path: str) -> Iterator[None]:
    """Turns what is wrong with a file into one line that names the file."""
    try:
        yield
    except ValueError as error:  # StreamError, PictureError, or a predictor that gives no numbers
        raise UserError(f"{'standard input' if path == STANDARD else path}: {error}") from None


def picture_of(path: str, options: argparse.Namespace):
    """A picture, uint8 (H, W, 3), of a size that streams can hold; what was noticed on reading is said.

    Args:
      path: its file.
      options: --background and --frame (`with_picture`).
    """
    return opened_picture(path, options).pixels


def opened_picture(path: str, options: argparse.Namespace):
    """As `picture_of`, with all that was noticed: a uqdm.pictures.Picture."""
    from uqdm.pictures import open_picture

    data = read(path)
    with about(path), quiet_readers():
        picture = open_picture(data, background=options.background, frame=options.frame)
        container.check_size(picture.pixels.shape[1], picture.pixels.shape[0])
    name = "standard input" if path == STANDARD else path
    for note in picture.notes:
        say(f"{name}: {note}")
    return picture


def say_dropped(path: str, names: Sequence[str]) -> None:
    """Says what a picture file holds that its stream does not."""
    if names:
        say(f"{'standard input' if path == STANDARD else path}: not kept: {', '.join(names)}")


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


def start_jax() -> None:
    """Makes sure that JAX finds a device, before any work is done, and lets compilations be said."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the second where no plug-in knows the platform at all
        asked = os.environ.get("JAX_PLATFORMS")
        what = f"JAX_PLATFORMS={asked} names no device that is here" if asked else f"{error}".partition("\n")[0]
        raise UserError(f"JAX cannot start: {what}; unset it or set JAX_PLATFORMS=cpu, and see uqdm doctor") from None
    announce_compilation()


def model_of(name: str):
    """A model by its name or path, or a pipeline of diffusers."""
    start_jax()
    try:
        if isinstance(name, PerCoFolder):
            from uqdm.pretrained.perco import load_perco

            return load_perco(name)
        if isinstance(name, TextSketchFolder):
            from uqdm.pretrained.text_sketch import load_text_sketch

            return load_text_sketch(name)
        if isinstance(name, PipelineFolder):
            from uqdm.pretrained.diffusers import load_pipeline

            return load_pipeline(name)
        from uqdm.library import load_model

        return load_model(name)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(str(error)) from None


def model_for(name: str | None, picture, *, lossless: bool = False):
    """The model asked for, or the one for pictures of this size."""
    if name is not None:
        return model_of(name)
    from uqdm.library import default_model

    start_jax()
    return default_model(*picture.shape[:2], lossless=lossless)


def make_ready(model: Any, height: int, width: int, *, shown: bool) -> None:
    """Begins to compile what pictures of a size take where it never was, while the first steps are worked on."""
    from uqdm.contract import PreparedModel

    if isinstance(model, PreparedModel):
        model.prepare(height, width, shown=shown, compiled=True)


def positive(text: str) -> float:
    """An argument: a number above 0."""
    value = _number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return value


def fraction(text: str) -> float:
    """An argument: a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in [0, 1], got {text}")
    return value


def percentage(text: str) -> float:
    """An argument: a number from 0 to 100."""
    value = _number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must lie in [0, 100], got {text}")
    return value


def count(text: str) -> int:
    """An argument: a whole number of at least 1."""
    return _whole(text, 1, 2**63)


def seed(text: str) -> int:
    """An argument: a whole number in [0, 2^32)."""
    return _whole(text, 0, 2**32)


def model_name(text: str) -> str:
    """An argument: what a model file calls itself, which other commands print."""
    if not (text.strip() and text.isprintable() and len(text) <= _LONGEST_NAME):
        raise argparse.ArgumentTypeError(f"must be one printable line of 1 to {_LONGEST_NAME} characters, got {text!r}")
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def _whole(text: str, least: int, end: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if not least <= value < end:
        allowed = f"at least {least}" if end > 2**32 else f"in [{least}, {end})"
        raise argparse.ArgumentTypeError(f"must be {allowed}, got {text}")
    return value


class Commands:
    """The parser of `uqdm`, to which modules add their commands."""

    def __init__(self, parser: argparse.ArgumentParser):
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        self, name: str, run: Callable[[argparse.Namespace], None], text: str, examples: str
    ) -> argparse.ArgumentParser:
        """A parser for one command, which calls `run`; its help ends with examples, one a line."""
        lines = "\n".join(f"  uqdm {name} {line.strip()}".rstrip() for line in examples.strip().splitlines() or [""])
        sub = self._commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub


def refuse(options: argparse.Namespace, names: Iterable[str], because: str) -> None:
    """Options that mean nothing here, if they were given.

    Raises:
      UserError: one was: its name, and why it cannot be.
    """
    for name in names:
        given = getattr(options, name)
        if not (given is None or given is False or given == DEFAULT_METHOD):
            raise UserError(f"--{name.replace('_', '-')} {because}")


def with_model(sub: argparse.ArgumentParser) -> None:
    """Adds --model, --diffusers, --perco and --text-sketch."""
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
    folders = {
        "--perco": (PerCoFolder, "a PerCo pipeline: caption and quantized latents"),
        "--text-sketch": (TextSketchFolder, "a ControlNet pipeline: caption and edges"),
    }
    for option, (kind, what) in folders.items():
        given = {"dest": "model", "type": kind, "default": argparse.SUPPRESS, "metavar": "FOLDER"}
        choice.add_argument(option, **given, help=f"{what}; needs uqdm[diffusers]")


def with_force(sub: argparse.ArgumentParser) -> None:
    """Adds --force."""
    sub.add_argument("--force", action="store_true", help="overwrite what exists")


def with_jobs(sub: argparse.ArgumentParser) -> None:
    """Adds --jobs and --ray."""
    choice = sub.add_mutually_exclusive_group()
    choice.add_argument("--jobs", type=count, metavar="N", help="for folders: so many processes (one per core)")
    choice.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="for folders: on Ray, here or on the cluster at an address; needs uqdm[ray]",
    )


def with_background(sub: argparse.ArgumentParser) -> None:
    """Adds --background."""
    sub.add_argument("--background", metavar="COLOUR", help="lay transparent pictures on this colour")


def with_picture(sub: argparse.ArgumentParser) -> None:
    """Adds how a picture is read."""
    with_background(sub)
    text = "of an animated or multi-page picture take this one; they count from 1 (the first)"
    sub.add_argument("--frame", type=int, metavar="N", help=text)
