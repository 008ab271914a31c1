"""One process per core of this machine.

Each process is bound to a core of its own, so that JAX makes one thread in it: many pictures at once need no threads
within one, and bound processes do not take each other's time. Processes share the cache of compiled programmes.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from uqdm.distributed.work import File, Outcome

__all__ = ["cores", "run"]


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _start(queue) -> None:
    """In a new process: binds it to the next core, and lets signals end it, which its parent may have blocked.

    Several processes would take an accelerator from each other: they compute on their cores, unless told otherwise.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if "jax" in sys.modules:  # by what the process has imported to come here; it has not computed yet
        sys.modules["jax"].config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
    if hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    core = queue.get()
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def run(
    batches: Sequence[Sequence[File]], do: Callable[[Sequence[File]], list[Outcome]], *, processes: int | None = None
) -> Iterator[Outcome]:
    """What becomes of files, in the order in which batches are done.

    Args:
      batches: of files.
      do: does a batch, in another process (uqdm.distributed.work).
      processes: how many; by default one per core. With one, all is done in this process.

    Raises:
      ChildProcessError: a process was killed, as for want of memory.
    """
    available = cores()
    count = min(processes or len(available), len(batches))
    if count <= 1:
        for batch in batches:
            yield from do(batch)
        return
    context = get_context("spawn")
    queue = context.Queue()
    for place in range(count):
        queue.put(available[place] if count <= len(available) else None)
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(queue,)) as executor:
        waiting: set[Future] = set()
        remaining = iter(batches)
        try:
            while True:
                # Few at a time, so that a folder of millions does not fill the queue.
                while len(waiting) < 2 * count and (batch := next(remaining, None)) is not None:
                    waiting.add(executor.submit(do, batch))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process was killed, perhaps for want of memory: what is done is done, run the command again"
            ) from None
