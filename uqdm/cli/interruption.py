"""Ctrl-C at any moment: one line, at once, and nothing left behind.

Python runs handlers of signals between its own instructions, and a compilation or a matrix product is one instruction,
which may take seconds; an exception raised inside of them can crash the process. So SIGINT and SIGTERM are blocked in
all threads but one, which waits for them and ends the process.
"""

import multiprocessing
import os
import signal
import sys
import threading

from uqdm.files import forget_unfinished

__all__ = ["exit_on_signals"]

_SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def exit_on_signals(command: str) -> None:
    """Ends this process with 128 + the signal's number and one line; what is ignored already stays so.

    Args:
      command: what the line begins with.
    """
    waited = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    if not waited or not hasattr(signal, "pthread_sigmask"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)

    def wait() -> None:
        number = signal.sigwait(waited)
        forget_unfinished()
        for child in multiprocessing.active_children():
            child.kill()
        if sys.stderr is not None:
            new_line = "\n" if os.isatty(2) else ""  # behind a progress bar
            os.write(2, f"{new_line}{command}: {_SIGNALS[signal.Signals(number)]}\n".encode())
        os._exit(128 + number)

    threading.Thread(target=wait, daemon=True, name="signals").start()
