"""encode and decode with folders in the place of files: every picture or stream below IN."""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from uqdm.cli.common import model_of, refuse, start_jax
from uqdm.cli.errors import UserError
from uqdm.cli.progress import Progress, say

__all__ = ["WAYS", "decode_folder", "encode_folder"]

WAYS = ("realism", "evaluations", "remaining_steps", "method")
"""Options that say how one picture is shown."""


def encode_folder(options: argparse.Namespace, *, drawn: bool) -> None:
    """All pictures below IN to streams below OUT; `drawn` says whether the drawn process may be taken."""
    from uqdm.distributed.work import Encoding
    from uqdm.training.dataset import SUFFIXES

    names = ("tau", "bpp", "rdoq", "lossless", "model", "seed", "background", "frame", "verify", "force")
    given = {name: getattr(options, name) for name in names}
    do = Encoding(file_bytes=options.bytes, psnr_db=options.psnr, drawn=drawn, **given)
    _run(options, do, SUFFIXES, ".uqdm", "encode")


def decode_folder(options: argparse.Namespace) -> None:
    """All streams below IN to PNG files below OUT."""
    from uqdm.distributed.work import Decoding

    refuse(options, ("all", *WAYS), "is for one stream: decode them one by one")
    do = Decoding(suffix=".png", file_bytes=options.bytes, model=options.model, force=options.force)
    _run(options, do, {".uqdm"}, do.suffix, "decode")


def _run(options: argparse.Namespace, do, suffixes: set[str], suffix: str, what: str) -> None:
    from uqdm.distributed.work import batches_of, files_below

    if options.output is None or Path(options.output).is_file():
        raise UserError("OUT must be a folder, since IN is one")
    if options.model is not None:
        model_of(options.model)  # what is wrong with it is said once, before all work
    start_jax()
    folder, out = Path(options.input), Path(options.output)
    files = files_below(folder, out, suffixes, suffix)
    if not files:
        raise UserError(f"there is nothing to {what} below {folder}")
    missing = [file for file in files if options.force or not Path(file.target).exists()]
    failed, written, notes = [], 0, Counter()
    with Progress(len(files), what, "file") as bar:
        bar.update(len(files) - len(missing))
        for outcome in _outcomes(options, batches_of(missing, do.size_of), do):
            bar.update()
            written += outcome.target_bytes
            notes.update(map(_kind_of_note, outcome.notes))
            if outcome.error:
                failed.append(outcome)
    done = len(missing) - len(failed)
    before = f", {len(files) - len(missing)} were there before" if len(missing) < len(files) else ""
    say(f"{out}: {done} of {len(files)} files, {written} bytes{before}")
    for note, count in notes.most_common():
        say(f"  {note} ({count} {'file' if count == 1 else 'files'})")
    for outcome in failed:
        say(f"  {outcome.source}: {outcome.error}")
    if failed:
        raise UserError(f"{len(failed)} of {len(files)} files failed")


def _kind_of_note(note: str) -> str:
    """A note without its numbers, so that equal ones are counted together: the first of N frames, N dpi."""
    return re.sub(r"\b\d+(\.\d+)?\b", "N", note)


def _outcomes(options: argparse.Namespace, batches: list, do) -> Iterator:
    from uqdm.distributed import processes, ray_data

    try:
        if options.ray is not None:
            yield from ray_data.run(batches, do, address=options.ray or None)
        else:
            yield from processes.run(batches, do, processes=options.jobs)
    except (ChildProcessError, ModuleNotFoundError, ConnectionError) as error:
        raise UserError(str(error)) from None
