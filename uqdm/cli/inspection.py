"""info, verify, doctor: what says how streams and machines are."""

import argparse
import json
import math

from uqdm.cli.common import Commands, about, model_of, start_jax, with_model
from uqdm.cli.errors import UserError
from uqdm.cli.files import read
from uqdm.cli.progress import Progress
from uqdm.codec import container

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add(
        "info",
        _info,
        "say what a stream is; needs no model",
        """photo.uqdm
        photo.uqdm --json""",
    )
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    sub.add_argument("--json", action="store_true", help="as one line of JSON")

    sub = commands.add("verify", _verify, "decode a stream and say whether it is whole and undamaged", "photo.uqdm")
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    with_model(sub)

    commands.add(
        "doctor",
        _doctor,
        "say whether streams made on this machine decode on others, and what is optional and here",
        "",
    )


def _info(options: argparse.Namespace) -> None:
    data = read(options.input)
    with about(options.input):
        facts = container.info(data)
    qualities = facts.pop("qualities")
    if options.json:
        # JSON has no infinity: the PSNR of the very picture is null.
        points = [point._replace(psnr_db=point.psnr_db if point.psnr_db < math.inf else None) for point in qualities]
        print(json.dumps(facts | {"qualities": [point._asdict() for point in points]}))
        return
    sizes = facts.pop("metadata")
    for name, value in facts.items():
        print(f"{name:15} {value:.4f}" if isinstance(value, float) else f"{name:15} {value}")
    if facts["metadata_bytes"]:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        print(f"{'metadata':15} {listed or 'cut off or damaged'}")
    for step, size, psnr in qualities:
        print(f"{'quality':15} {psnr:6.2f} dB at {size} bytes, step {step}")


def _verify(options: argparse.Namespace) -> None:
    from uqdm.codec.api import receiver_of

    data = read(options.input)
    start_jax()
    with about(options.input):
        receiver = receiver_of(data, model=options.model and model_of(options.model))
        with Progress(receiver.header.total_steps, "verify") as bar:
            while receiver.receive():
                bar.update()
        container.metadata(data)
    facts = container.info(data)
    if facts["complete"]:
        kind = "lossless, " if receiver.header.lossless else ""
        print(f"{options.input}: complete and undamaged, {kind}{receiver.step} steps, {len(data)} bytes")
    else:
        print(
            f"{options.input}: undamaged as far as it goes, step {receiver.step} of {receiver.header.total_steps}, "
            f"{len(data)} of {facts['complete_bytes']} bytes"
        )


def _doctor(options: argparse.Namespace) -> None:
    start_jax()
    from uqdm import doctor

    print(doctor.facts())
    unsafe = False
    for finding in doctor.examine():
        mark = "ok" if finding.good else "WRONG" if finding.needed else "no"
        print(f"  {mark:6} {finding.what:32} {finding.detail}", flush=True)
        unsafe |= finding.needed and not finding.good
    print("optional:")
    for finding in doctor.optional():
        print(f"  {'ok' if finding.good else 'no':6} {finding.what:32} {finding.detail}")
    if unsafe:
        raise UserError("streams made here may be unreadable elsewhere, and others unreadable here")
    print("streams are portable: what is made here decodes everywhere, and the other way round")
