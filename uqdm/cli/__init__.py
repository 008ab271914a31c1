"""The command `uqdm`: parsing, files and printing. Nothing else imports this package.

What needs numpy or JAX is imported where it is used, so that `uqdm info` does not wait for it.
"""

import argparse
import os
import sys
from typing import NoReturn

from uqdm.cli import coding, evaluation, inspection, models, studies
from uqdm.cli.common import Commands
from uqdm.cli.errors import UserError

__all__ = ["main", "parser"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The command's parser, with all commands."""
    from uqdm import __version__

    whole = _Parser(
        prog="uqdm", description="Progressive image compression with a diffusion model: every prefix is a picture."
    )
    whole.add_argument("--version", action="version", version=f"uqdm {__version__}")
    commands = Commands(whole)
    for group in (coding, inspection, evaluation, studies, models):
        group.add_commands(commands)
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, or 2 after one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    options = parser().parse_args(arguments)
    try:
        options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        return _stop(f"uqdm {options.command}: {error}")
    except BrokenPipeError:
        _silence_output()
        return 2
    except OSError as error:
        if error.filename is None and error.strerror:  # what cannot be written has no name
            _silence_output()
            return _stop(f"uqdm {options.command}: cannot write to standard output: {error.strerror}")
        named = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
        return _stop(f"uqdm {options.command}: {named}")
    except KeyboardInterrupt:
        _stop(f"uqdm {options.command}: interrupted")
        return 130
    except MemoryError:
        return _stop(f"uqdm {options.command}: not enough memory for a picture of this size")
    finally:
        if programs := sys.modules.get("uqdm.exact.programs"):
            programs.abandon()
    return 0


def _stop(line: str) -> int:
    if sys.stderr is not None:
        print(line, file=sys.stderr)
    return 2


def _silence_output() -> None:
    """Nobody reads it any more: what is still in its buffer must not be written when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
