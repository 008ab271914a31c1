"""encode, decode, truncate: what makes streams and pictures."""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from uqdm.cli.common import (
    Commands,
    about,
    bar_of,
    count,
    fraction,
    model_for,
    model_of,
    picture_of,
    positive,
    say,
    seed,
    start_jax,
    with_force,
    with_jobs,
    with_model,
    with_picture,
)
from uqdm.cli.errors import UserError
from uqdm.cli.files import STANDARD, may_write, read, write
from uqdm.cli.folders import decode_folder, encode_folder
from uqdm.codec import container
from uqdm.errors import StreamError

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add(
        "encode",
        _encode,
        "encode a picture as a progressive stream, by default every step of it (about 50 dB)",
        """photo.png photo.uqdm --bpp 0.5
        photo.png photo.uqdm --psnr 38
        photo.png photo.uqdm --lossless --verify
        - - --bytes 20000 < photo.png > photo.uqdm
        photographs/ streams/ --bpp 1 --jobs 4""",
    )
    sub.add_argument("input", metavar="IN", help="a picture, - for standard input, or a folder of pictures")
    sub.add_argument("output", metavar="OUT", help="the stream, - for standard output, or a folder of streams")
    limit = sub.add_mutually_exclusive_group()
    limit.add_argument("--tau", type=fraction, help="end of transmission in [0, 1]: 0 sends every step (0)")
    limit.add_argument("--bpp", type=positive, help="at most so many bits per pixel")
    limit.add_argument("--bytes", type=count, help="at most so many bytes")
    limit.add_argument("--psnr", type=positive, metavar="DB", help="as few bytes as reach this PSNR in dB")
    limit.add_argument("--lossless", action="store_true", help="so many that the whole stream is the very picture")
    sub.add_argument(
        "--rdoq",
        action="store_true",
        help="with --bpp, --bytes or --psnr: leave out what costs more than it shows; sends the last level twice",
    )
    sub.add_argument("--seed", type=seed, default=0, help="of the common randomness (0)")
    sub.add_argument("--verify", action="store_true", help="decode the result before reporting success")
    with_picture(sub), with_model(sub), with_jobs(sub), with_force(sub)

    sub = commands.add(
        "decode",
        _decode,
        "decode a stream or any prefix of one",
        """photo.uqdm picture.png
        photo.uqdm preview.png --bytes 5000
        photo.uqdm --all previews/
        photo.uqdm imagined.png --bytes 5000 --realism 0.5
        streams/ pictures/""",
    )
    sub.add_argument("input", metavar="IN", help="a stream, - for standard input, or a folder of streams")
    sub.add_argument(
        "output", metavar="OUT", nargs="?", help="the picture, - for a PNG on standard output, or a folder of pictures"
    )
    sub.add_argument("--bytes", type=count, help="use only the first so many bytes")
    sub.add_argument(
        "--method",
        default="denoise",
        help="how what is missing is filled in: denoise (default); sample, for the nested process; ancestral or flow, "
        "for UQDM and Gaussian models",
    )
    sub.add_argument("--remaining-steps", type=count, metavar="N", help="steps of the reverse process to take")
    sub.add_argument("--seed", type=seed, default=0, help="of sampling (0)")
    sub.add_argument("--realism", type=fraction, metavar="R", help="between denoised (0) and drawn (1)")
    sub.add_argument("--all", metavar="DIR", help="write one picture per step into a folder")
    with_model(sub), with_jobs(sub), with_force(sub)
    sub.set_defaults(bpp=None)

    sub = commands.add(
        "truncate",
        _truncate,
        "cut a stream; needs no model",
        """photo.uqdm small.uqdm --bytes 5000
        photo.uqdm - --bpp 0.25 | ssh host uqdm decode - preview.png""",
    )
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    sub.add_argument("output", metavar="OUT", help="the shorter one, or - for standard output")
    limit = sub.add_mutually_exclusive_group(required=True)
    limit.add_argument("--bytes", type=count, help="to so many bytes")
    limit.add_argument("--bpp", type=positive, help="to so many bits per pixel")
    with_force(sub)


def _encode(options: argparse.Namespace) -> None:
    if Path(options.input).is_dir():
        encode_folder(options)
        return
    may_write(options.output, options.force)
    picture = picture_of(options.input, options, tell_dropped=True)
    model = model_for(options.model, picture, lossless=options.lossless)
    from uqdm.codec.api import encode

    limits = {"bpp": options.bpp, "file_bytes": options.bytes, "psnr_db": options.psnr}
    try:
        with bar_of(_steps(options, model), "encode") as bar:
            data = encode(
                picture,
                options.tau,
                **limits,
                rdoq=options.rdoq,
                lossless=options.lossless,
                model=model,
                seed=options.seed,
                on_step=bar.update,
            )
    except ValueError as error:
        raise UserError(f"{options.input}: {error}") from None
    if options.verify:
        from uqdm.codec.api import check_against

        try:
            check_against(data, None if options.rdoq else picture, model=model)
        except StreamError as error:
            raise UserError(f"the stream does not decode to what was encoded ({error}): run uqdm doctor") from None
    write(options.output, data, options.force)
    say(f"{options.output}: {len(data)} bytes, {8 * len(data) / picture[..., 0].size:.4f} bpp")


def _steps(options: argparse.Namespace, model) -> int:
    """How many steps there are to send, at most."""
    from uqdm.contract import steps_until
    from uqdm.library import residual_of

    if not options.lossless:
        return steps_until(options.tau or 0.0, model.steps)
    try:
        return residual_of(model).steps_before(model) + container.RESIDUAL_STEPS
    except ValueError as error:
        raise UserError(f"{error}: choose another --model") from None


def _cut(data: bytes, options: argparse.Namespace) -> bytes:
    """As many bytes as --bytes or --bpp allow."""
    header, _ = container.unpack(data)
    limit = options.bytes
    if limit is None:
        limit = int(min(options.bpp * header.width * header.height / 8, 2.0**62))
    return container.cut(data, limit)


def _reconstruction(options: argparse.Namespace):
    """What --method, --seed and --remaining-steps mean."""
    from uqdm import reconstruction

    way = reconstruction.named(options.method)
    given = {"seed": options.seed, "remaining_steps": options.remaining_steps}
    return dataclasses.replace(way, **{name: value for name, value in given.items() if hasattr(way, name)})


def _decode(options: argparse.Namespace) -> None:
    import numpy as np

    from uqdm.pictures import write_picture

    if Path(options.input).is_dir():
        decode_folder(options)
        return
    if (options.output is None) == (options.all is None):
        raise UserError("give either OUT or --all DIR")
    output = str(options.output)
    suffix = ".png" if output == STANDARD else Path(output).suffix
    if options.all is None:
        may_write(output, options.force)
        with about(output):
            write_picture(np.zeros((1, 1, 3), np.uint8), suffix)
    data = read(options.input)
    with about(options.input):
        if options.bytes is not None:
            data = _cut(data, options)
        header, _ = container.unpack(data)
        model = options.model and model_of(options.model)
        start_jax()
        from uqdm.codec.api import previews, receiver_of, way_for

        if options.all is not None:
            _write_all(options, previews(data, model=model), header)
            return
        receiver = receiver_of(data, model=model)
        try:
            way = way_for(receiver.model, _reconstruction(options), options.realism)
        except ValueError as error:
            raise UserError(str(error)) from None
        with bar_of(header.total_steps, "decode") as bar:
            while receiver.receive():
                bar.update()
        picture = way.show(receiver.model, receiver.state, receiver.step)
    with about(output):
        write(output, write_picture(picture, suffix), options.force)
    total = container.info(data)["complete_bytes"]
    say(f"{output}: step {receiver.step} of {header.total_steps}, {len(data)} of {total} bytes")


def _write_all(options: argparse.Namespace, previews: Iterator, header: container.Header) -> None:
    from uqdm.pictures import write_picture

    folder = Path(options.all)
    if folder.exists() and any(folder.iterdir()) and not options.force:
        raise UserError(f"{folder} is not empty: choose another folder or add --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {folder}: {error.strerror}") from None
    with bar_of(header.total_steps, "decode") as bar:
        for preview in previews:
            name = folder / f"step_{preview.step:02d}_{preview.file_bytes:07d}_bytes.png"
            write(str(name), write_picture(preview.picture, ".png"))
            bar.update()


def _truncate(options: argparse.Namespace) -> None:
    may_write(options.output, options.force)
    data = read(options.input)
    with about(options.input):
        cut = _cut(data, options)
    write(options.output, cut, options.force)
    say(f"{options.output}: {len(cut)} of {len(data)} bytes")
