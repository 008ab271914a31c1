"""What a command says while one waits: a bar on a terminal, lines elsewhere, and that a programme is being compiled.

Before a few steps are done there is no estimate of the time that is left: the first one waits for compilation. What
does not go to a terminal, such as a log, gets a line now and then, and no carriage returns.
"""

import sys
import threading
import time
from collections.abc import Callable

__all__ = ["Progress", "announce_compilation", "say"]

_ESTIMATED_FROM = 3
_LINE_EVERY_S = 10.0
_WITHOUT_ESTIMATE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}]"


def say(line: str) -> None:
    """A line for people, beside what goes to standard output; nobody gets it where standard error is closed."""
    if sys.stderr is not None:  # print would take standard output then
        print(line, file=sys.stderr)


class Progress:
    """Of work that may last: as a context, with `update` after every step.

    Args:
      total: how many steps there are.
      what: is being done.
      unit: what a step is.
      clock: gives seconds.
    """

    def __init__(self, total: int, what: str, unit: str = "step", clock: Callable[[], float] = time.monotonic):
        self._total, self._what, self._unit, self._clock = total, what, unit, clock
        self._done, self._updates, self._said_at = 0, 0, clock()
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            # Work of less than a second needs no bar.
            options = {"delay": 1, "leave": False, "bar_format": _WITHOUT_ESTIMATE, "file": sys.stderr}
            self._bar = tqdm(total=total, desc=what, unit=unit, **options)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1) -> None:
        """So many steps more are done."""
        self._done += count
        self._updates += count > 0
        if self._bar is not None:
            if self._updates == _ESTIMATED_FROM:
                self._bar.bar_format = None
            self._bar.update(count)
        elif self._clock() - self._said_at >= _LINE_EVERY_S and self._done < self._total:
            self._said_at = self._clock()
            say(f"{self._what}: {self._done} of {self._total} {self._unit}s")

    def say(self, line: str) -> None:
        """A line beside the bar."""
        if self._bar is None:
            say(line)
        else:
            self._bar.write(line, file=sys.stderr)


class _Announcement:
    """Says something once, whichever threads ask for it."""

    def __init__(self):
        self._lock, self._said = threading.Lock(), False

    def __call__(self) -> None:
        with self._lock:
            if self._said or sys.stderr is None:
                return
            self._said = True
        from tqdm import tqdm

        from uqdm.exact.programs import cache_folder

        kept = " (once)" if cache_folder() is not None else ""
        tqdm.write(f"compiling for this machine{kept}", file=sys.stderr)


_announcement = _Announcement()


def announce_compilation() -> None:
    """Lets this process say, at the first moment at which it must wait for a compilation, that it does."""
    from uqdm.exact import programs

    if _announcement not in programs.on_compile:
        programs.on_compile.append(_announcement)
