"""Arrays that take long to make: made once, kept in a file, and never taken for others."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from uqdm import archive
from uqdm.errors import PictureError
from uqdm.files import write_whole

__all__ = ["kept_arrays"]


def kept_arrays(path: Path, about: str, make: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The arrays of a file, or those that are made now and kept in it.

    Args:
      path: of the file.
      about: all that the arrays depend on, in words.
      make: makes them.

    Raises:
      PictureError: the file holds arrays of something else, or is damaged.
    """
    wrong = f"{path} holds something else than {about}: choose another folder, or remove it"
    if path.exists():
        try:
            arrays = archive.from_bytes(path.read_bytes())
        except ValueError:
            raise PictureError(wrong) from None
        if archive.config_of(arrays) != {"about": about}:
            raise PictureError(wrong)
        return [arrays[str(number)] for number in range(len(arrays) - 1)]
    made = list(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {str(number): array for number, array in enumerate(made)}
    write_whole(path, archive.to_bytes(named | {"config": archive.pack_config({"about": about})}), force=True)
    return made
