"""What can go wrong with a file, as exceptions whose message is one line: what, why, what to do.

They go through pickles with their fields, so that a process that works for another reports them as themselves.
"""

from functools import partial

__all__ = [
    "DamagedStreamError",
    "FormatError",
    "IncompleteHeaderError",
    "ModelMismatchError",
    "PictureError",
    "StreamError",
]


class PictureError(ValueError):
    """A file that is no picture, or one that cannot be taken without losing something."""


class StreamError(ValueError):
    """A stream cannot be read."""


class FormatError(StreamError):
    """Not a stream of this format, or one of an unknown version, or a header that was damaged or cut."""


class IncompleteHeaderError(FormatError):
    """The bytes end inside the header: with more of them the stream may be a sound one."""


class ModelMismatchError(StreamError):
    """The stream was made with another model."""


class DamagedStreamError(StreamError):
    """The payload contradicts itself.

    Attributes:
      step: number of steps that were decoded and verified before the damage.
      good_bytes: length of the prefix that holds them, and decodes.
    """

    def __init__(self, message: str, *, step: int, good_bytes: int):
        super().__init__(message)
        self.step, self.good_bytes = step, good_bytes

    def __reduce__(self):
        # Exceptions are pickled and copied as calls with their message alone, which this one cannot be made of.
        return partial(type(self), step=self.step, good_bytes=self.good_bytes), self.args
