"""Reading and writing as a command should: all or nothing, and what OUT is stays what it is.

A regular file appears whole, in one moment, or not at all: its bytes go to a temporary file beside it first, which then
takes its name; without --force the name must still be free at that moment. A file that exists keeps its mode, its owner
and its links. Pipes, devices and standard output are written into, never replaced.
"""

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from uqdm.cli.errors import UserError

__all__ = ["STANDARD", "forget_unfinished", "may_write", "read", "write"]

STANDARD = "-"

_unfinished: set[str] = set()
"""Temporary files that have not got their names yet."""


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
            _replace(Path(path).resolve(), data, force)
    except BrokenPipeError:
        raise
    except FileExistsError:
        raise UserError(f"{path} exists: choose another name or add --force") from None
    except OSError as error:
        raise UserError(f"cannot write {_shown(path, 'to standard output')}: {error.strerror}") from None


def forget_unfinished() -> None:
    """Removes temporary files; what a command does that stops at once."""
    for path in list(_unfinished):
        with suppress(OSError):
            os.unlink(path)


def _replace(target: Path, data: bytes, force: bool) -> None:
    """A regular file: new, or with everything but its bytes kept."""
    before = target.stat() if force and target.exists() else None
    if before and before.st_nlink > 1:
        # Another name of the same file would be left with the old bytes: this one is written in place.
        target.write_bytes(data)
        return
    temporary = target.parent / f".uqdm-{os.getpid()}-{secrets.token_hex(8)}"
    _unfinished.add(str(temporary))
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        if before:
            with suppress(PermissionError):
                os.chown(temporary, before.st_uid, before.st_gid)
            os.chmod(temporary, stat.S_IMODE(before.st_mode))
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        if force:
            os.replace(temporary, target)
        else:
            _take_free_name(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(str(temporary))


def _take_free_name(temporary: Path, target: Path) -> None:
    """Gives a file a name that is free, or raises FileExistsError."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, target)


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
