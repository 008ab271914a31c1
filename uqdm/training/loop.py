"""The loop of every training: batches, steps, logs, checkpoints and validation. It can be killed at any time.

What a step does is a function of (state, batch, number of the step) only, and so is a batch of its number: a training
that was killed and goes on from its last checkpoint takes the same steps as an unbroken one. While the device computes
a step, the next batch is prepared in another thread.

A folder holds

    checkpoints/     the last two states
    train.csv        step, metrics, and seconds since this run began
    validation.csv   step, name of the set, and what the family measures

With several processes all of them run the loop, and save checkpoints together; only the first writes anything else. A
family of models brings a `Trainer`.
"""

import csv
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp
from tqdm import tqdm

from uqdm.training.state import TrainState, read_half, write_half

__all__ = ["Run", "Trainer", "append_rows", "train"]

_LOG, _VALIDATION = "train.csv", "validation.csv"


@runtime_checkable
class Trainer(Protocol):
    """What a family of models brings."""

    def init(self) -> TrainState:
        """The state before the first step."""
        ...

    def update(self, state: TrainState, batch: Any, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
        """One optimisation step, without waiting for its end.

        Args:
          state: after `step` steps; it is given away (its buffers become those of the next one).
          batch: of this step.
          step: its number, from 0.

        Returns:
          The next state, and metrics; one that is not finite ends the training.
        """
        ...

    def validate(self, parameters: Any, pictures: np.ndarray, step: int) -> list[dict[str, int | float]]:
        """Rows of validation.csv.

        Args:
          parameters: averaged, arrays of numpy.
          pictures: uint8 (N, H, W, 3).
          step: how many steps were taken.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a training is run: what does not decide its result."""

    stop_after: int | None = None
    """End early after so many steps in all; the learning rate stays that of the whole training."""
    log_every: int = 50
    """Steps between lines of train.csv."""
    checkpoint_every: int = 1_000
    """Steps between checkpoints."""
    validate_every: int = 2_000
    """Steps between validations."""
    export_state: Path | None = None
    """Where a copy of every checkpoint in half precision goes, one small .npz file, for going on elsewhere."""
    resume_from: Path | None = None
    """Such a copy to go on from, where the folder has no checkpoint."""

    def __post_init__(self):
        if min(self.log_every, self.checkpoint_every, self.validate_every) < 1:
            raise ValueError("log_every, checkpoint_every and validate_every must be 1 or more")


def train(
    trainer: Trainer,
    batches: Callable[[int], Any],
    validation: Mapping[str, np.ndarray],
    folder: str | Path,
    *,
    steps: int,
    run: Run | None = None,
) -> TrainState:
    """Trains, or goes on where a checkpoint in `folder` left off.

    Args:
      trainer: of a family.
      batches: the batch of a step, by its number; called in another thread, in order, one step ahead.
      validation: named uint8 arrays (N, H, W, 3).
      folder: where checkpoints and logs go; with several processes, one that all of them see.
      steps: of the whole training.
      run: when it stops, how often it writes, and what it goes on from; `Run()` by default.

    Returns:
      The last state.

    Raises:
      FloatingPointError: a metric, such as the loss, became infinite or undefined. It is asked before a checkpoint is
        written, so that the last one is sound.
    """
    run, folder = run or Run(), Path(folder).absolute()
    last = min(steps, run.stop_after or steps)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(folder / "checkpoints", options=options) as checkpoints, ThreadPoolExecutor(1) as worker:
        state = _begin(trainer, checkpoints, run)
        first = int(state.step)
        recorder = _Recorder(
            trainer=trainer, validation=validation, folder=folder, checkpoints=checkpoints, run=run, last=last
        )
        recorder.forget_after(first)
        coming = worker.submit(batches, first)
        quiet = None if recorder.first_process else True
        with tqdm(range(first, last), "train", last, initial=first, mininterval=5, disable=quiet) as bar:
            for step in bar:
                batch = coming.result()
                coming = worker.submit(batches, step + 1)
                state, metrics = trainer.update(state, batch, step)
                recorder.record(state, metrics, step + 1, bar)
    return state


def _begin(trainer: Trainer, checkpoints: ocp.CheckpointManager, run: Run) -> TrainState:
    """The newest checkpoint, else the state to resume from, else a fresh one."""
    state, newest = trainer.init(), checkpoints.latest_step()
    if newest is not None:
        restored: Any = checkpoints.restore(newest, args=ocp.args.StandardRestore(state))
        return restored
    return read_half(run.resume_from, state) if run.resume_from else state


@dataclass(frozen=True, kw_only=True)
class _Recorder:
    """Writes what is due after a step."""

    trainer: Trainer
    validation: Mapping[str, np.ndarray]
    folder: Path
    checkpoints: ocp.CheckpointManager
    run: Run
    last: int
    began: float = field(default_factory=time.monotonic)
    first_process: bool = field(default_factory=lambda: jax.process_index() == 0)

    def forget_after(self, step: int) -> None:
        """Drops the rows of steps that a killed run took after its last checkpoint: they are taken again."""
        paths = [self.folder / name for name in (_LOG, _VALIDATION)] if self.first_process else []
        for path in (path for path in paths if path.exists()):
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
            kept = path.with_suffix(".kept")
            kept.unlink(missing_ok=True)
            append_rows(kept, rows)
            if rows:
                kept.replace(path)
            else:
                path.unlink()

    def record(self, state: TrainState, metrics: Mapping[str, jax.Array], step: int, bar: tqdm) -> None:
        """After the step that made `step` of them: what is due by now, at the end everything."""
        log, checkpoint, validation = (
            step % every == 0 or step == self.last
            for every in (self.run.log_every, self.run.checkpoint_every, self.run.validate_every)
        )
        if log or checkpoint:
            values = _finite(metrics, step)
            bar.set_postfix(values, refresh=False)
            if log and self.first_process:
                seconds = round(time.monotonic() - self.began, 1)
                append_rows(self.folder / _LOG, [{"step": step, **values, "seconds": seconds}])
        if validation and self.first_process:
            self._validate(state, step)
        if checkpoint:
            self._save(state, step)

    def _validate(self, state: TrainState, step: int) -> None:
        average = jax.device_get(state.average)
        for name, pictures in self.validation.items():
            rows = self.trainer.validate(average, pictures, step)
            append_rows(self.folder / _VALIDATION, [{"step": step, "set": name, **row} for row in rows])

    def _save(self, state: TrainState, step: int) -> None:
        self.checkpoints.save(step, args=ocp.args.StandardSave(state))
        # The next step gives away the buffers that are being written.
        self.checkpoints.wait_until_finished()
        if self.run.export_state and self.first_process:
            write_half(state, self.run.export_state)


def _finite(metrics: Mapping[str, jax.Array], step: int) -> dict[str, float]:
    values = {name: round(float(value), 6) for name, value in jax.device_get(dict(metrics)).items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} became {value} at step {step}: lower the learning rate")
    return values


def append_rows(path: Path, rows: list[dict]) -> None:
    """Appends rows to a CSV file; the first ones write the header, from their keys."""
    if not rows:
        return
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        if new:
            writer.writeheader()
        writer.writerows(rows)
