"""Files that appear whole, in one moment, or not at all.

Bytes go to a temporary file beside the target first, which then takes its name; where nothing may be overwritten, the
name must still be free at that moment. A file that exists keeps its mode, its owner and its links.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["forget_unfinished", "unfinished", "write_whole"]

_unfinished: set[str] = set()
"""Temporary files that have not got their names yet."""


def write_whole(path: Path, data: bytes, *, force: bool) -> None:
    """Writes a regular file, all of it or nothing.

    Args:
      path: of the file; a symbolic link stays one.
      data: what to write.
      force: whether a file may be there already.

    Raises:
      FileExistsError: one is there, and may not be.
      OSError: it cannot be written.
    """
    target = path.resolve()
    before = target.stat() if force and target.exists() else None
    if before and before.st_nlink > 1:
        # Another name of the same file would be left with the old bytes: this one is written in place.
        target.write_bytes(data)
        return
    temporary = target.parent / f".uqdm-{os.getpid()}-{secrets.token_hex(8)}"
    with unfinished(str(temporary)):
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


def _take_free_name(temporary: Path, target: Path) -> None:
    """Gives a file a name that is free, or raises FileExistsError."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, target)


@contextmanager
def unfinished(name: str) -> Iterator[None]:
    """While a temporary file has not got its name: it is removed unless that happens."""
    _unfinished.add(name)
    try:
        yield
    finally:
        Path(name).unlink(missing_ok=True)
        _unfinished.discard(name)


def forget_unfinished() -> None:
    """Removes temporary files; what a process does that stops at once."""
    for path in list(_unfinished):
        with suppress(OSError):
            os.unlink(path)
