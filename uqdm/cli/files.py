"""Reading and writing as a command should: all or nothing, and what OUT is stays what it is.

A regular file appears whole, in one moment, or not at all (uqdm.files). Pipes, devices and standard output are written
into, never replaced.
"""

import os
import stat
import sys
from pathlib import Path

from uqdm.cli.errors import UserError
from uqdm.files import write_whole

__all__ = ["STANDARD", "may_write", "read", "write"]

STANDARD = "-"


def read(path: str) -> bytes:
    """The bytes of a file, or of standard input."""
    try:
        if path != STANDARD:
            return Path(path).read_bytes()
        if sys.stdin is None:
            raise UserError("cannot read standard input: it is closed")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UserError(f"cannot read {_shown(path, 'standard input')}: {error.strerror}") from None


def may_write(path: str, force: bool) -> None:
    """Refuses a target early, before any work is done."""
    if path == STANDARD:
        if sys.stdout is None:
            raise UserError("cannot write to standard output: it is closed")
        return
    target = Path(path)
    try:
        if target.is_dir():
            raise UserError(f"cannot write {path}: it is a folder")
        if _is_stream(target):
            return
        if target.exists():
            if not force:
                raise UserError(f"{path} exists: choose another name or add --force")
            if not _is_writable(target):
                raise UserError(f"cannot write {path}: it is write-protected")
        folder = target.resolve().parent
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {folder} is not writable")


def write(path: str, data: bytes, force: bool = True) -> None:
    """Writes all or nothing.

    Args:
      path: of the target, or - for standard output.
      data: what to write.
      force: whether a file may be there already.
    """
    try:
        if path == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif _is_stream(Path(path)):
            with open(path, "wb", buffering=0) as stream:
                view = memoryview(data)
                while view:
                    view = view[stream.write(view) :]
        else:
            write_whole(Path(path), data, force=force)
    except BrokenPipeError:
        raise
    except FileExistsError:
        raise UserError(f"{path} exists: choose another name or add --force") from None
    except OSError as error:
        raise UserError(f"cannot write {_shown(path, 'to standard output')}: {error.strerror}") from None


def _is_stream(target: Path) -> bool:
    """Whether a target is there and can only be written into: a pipe, a device, a socket."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_writable(target: Path) -> bool:
    """Whether somebody may write a file; a superuser may write any, but is told of protection as everybody is."""
    return bool(target.stat().st_mode & 0o222) and os.access(target, os.W_OK)


def _shown(path: str, standard: str) -> str:
    return standard if path == STANDARD else path
