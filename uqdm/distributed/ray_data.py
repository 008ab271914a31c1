"""Batches of files on Ray Data: the cores of this machine, or all of a cluster whose machines see the same files.

A batch is an item of a data set, and its outcomes are the rows that it is mapped to; Ray places the work, and repeats
it where a machine is lost. A file that was written before its machine was lost is written again, with the same bytes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from uqdm.distributed.work import File, Outcome

__all__ = ["run"]


def run(
    batches: Sequence[Sequence[File]], do: Callable[[Sequence[File]], list[Outcome]], *, address: str | None = None
) -> Iterator[Outcome]:
    """What becomes of files, in the order in which batches are done.

    Args:
      batches: of files, with paths that mean the same on all machines.
      do: does a batch (uqdm.distributed.work).
      address: of a running cluster ("auto" for the one that this machine belongs to); by default Ray starts on this
        machine, with all its cores.

    Raises:
      ModuleNotFoundError: Ray is not installed; the message says how to get it.
    """
    try:
        ray: Any = import_module("ray")
        data: Any = import_module("ray.data")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a cluster needs {error.name}: pip install 'uqdm[ray]'", name=error.name) from None

    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="error")
    data.DataContext.get_current().enable_progress_bars = False

    items = [{"files": [list(file) for file in batch]} for batch in batches]
    try:
        given = data.from_items(items, override_num_blocks=max(1, len(items)))
        for row in given.flat_map(_outcomes, fn_kwargs={"do": do}).iter_rows():
            yield Outcome(**row | {"notes": tuple(row["notes"])})
    finally:
        if started:
            ray.shutdown()


def _outcomes(row: dict[str, Any], do: Callable[[Sequence[File]], list[Outcome]]) -> list[dict[str, Any]]:
    """A batch and what became of it, as rows; a task has one core of the cluster."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return [outcome._asdict() for outcome in do([File(*file) for file in row["files"]])]
