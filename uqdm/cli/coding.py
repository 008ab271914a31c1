"""encode, decode, truncate: what makes streams and pictures."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from uqdm.cli.common import (
    STANDARD,
    Commands,
    UserError,
    about,
    bar_of,
    may_write,
    model_for,
    model_of,
    picture_of,
    read,
    say,
    with_force,
    with_model,
    with_picture,
    write,
)
from uqdm.codec import container
from uqdm.errors import StreamError

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add("encode", _encode, "encode a picture as a progressive stream")
    sub.add_argument("input", metavar="IN", help="a picture, or - for standard input")
    sub.add_argument("output", metavar="OUT", help="the stream, or - for standard output")
    limit = sub.add_mutually_exclusive_group()
    limit.add_argument("--tau", type=float, default=0.0, help="end of transmission in [0, 1]: 0 sends every step (0)")
    limit.add_argument("--bpp", type=float, help="at most so many bits per pixel")
    limit.add_argument("--bytes", type=int, help="at most so many bytes")
    limit.add_argument("--psnr", type=float, metavar="DB", help="as few bytes as reach this PSNR in dB")
    limit.add_argument("--lossless", action="store_true", help="so many that the whole stream is the very picture")
    sub.add_argument("--seed", type=int, default=0, help="of the common randomness (0)")
    sub.add_argument("--verify", action="store_true", help="decode the result before reporting success")
    with_picture(sub), with_model(sub), with_force(sub)

    sub = commands.add("decode", _decode, "decode a stream or any prefix of one")
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    sub.add_argument("output", metavar="OUT", nargs="?", help="the picture, or - for a PNG on standard output")
    sub.add_argument("--bytes", type=int, help="use only the first so many bytes")
    sub.add_argument(
        "--method",
        default="denoise",
        help="how what is missing is filled in: denoise (default); sample, for the nested process; ancestral or flow, "
        "for UQDM and Gaussian models",
    )
    sub.add_argument("--remaining-steps", type=int, metavar="N", help="steps of the reverse process to take")
    sub.add_argument("--seed", type=int, default=0, help="of sampling")
    sub.add_argument("--realism", type=float, metavar="R", help="between denoised (0) and drawn (1)")
    sub.add_argument("--all", metavar="DIR", help="write one picture per step into a folder")
    with_model(sub), with_force(sub)
    sub.set_defaults(bpp=None)

    sub = commands.add("truncate", _truncate, "cut a stream; needs no model")
    sub.add_argument("input", metavar="IN")
    sub.add_argument("output", metavar="OUT")
    limit = sub.add_mutually_exclusive_group(required=True)
    limit.add_argument("--bytes", type=int, help="to so many bytes")
    limit.add_argument("--bpp", type=float, help="to so many bits per pixel")
    with_force(sub)


def _encode(options: argparse.Namespace) -> None:
    may_write(options.output, options.force)
    picture = picture_of(options.input, options, tell_dropped=True)
    model = model_for(options.model, picture, lossless=options.lossless)
    if not 0 <= options.tau <= 1:
        raise UserError(f"--tau must lie in [0, 1] (1 sends nothing, 0 sends every step), got {options.tau}")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed must lie in [0, 2^32), got {options.seed}")
    from uqdm.codec.api import encode
    from uqdm.contract import steps_until

    tau, steps = options.tau, steps_until(options.tau, model.steps)
    if options.lossless:
        from uqdm.library import residual_of

        try:
            tau, steps = None, residual_of(model).steps(model) + container.RESIDUAL_STEPS
        except ValueError as error:
            raise UserError(f"{error}: choose another --model") from None
    try:
        with bar_of(steps, "encode") as bar:
            data = encode(picture, tau, lossless=options.lossless, model=model, seed=options.seed, on_step=bar.update)
    except ValueError as error:  # of a predictor that gives no numbers, say
        raise UserError(f"the model cannot encode this picture: {error}") from None
    if options.psnr is not None:
        data = _cut_to_psnr(data, picture, model, options.psnr)
    elif options.bytes is not None or options.bpp is not None:
        data = _cut_to_size(data, options)
    if options.verify:
        from uqdm.codec.loop import check_against

        try:
            check_against(data, picture, model=model)
        except StreamError as error:
            raise UserError(f"the stream does not decode to what was encoded ({error}): run uqdm doctor") from None
    write(options.output, data)
    say(f"{options.output}: {len(data)} bytes, {8 * len(data) / picture[..., 0].size:.4f} bpp")


def _cut_to_psnr(data: bytes, picture, model, target_db: float) -> bytes:
    """The shortest prefix that reaches a PSNR: first by steps, then by bisection inside the step."""
    from uqdm.codec.api import decode, previews
    from uqdm.metrics import psnr_db

    (_, low), reached, high = container.unpack(data), -math.inf, None
    for preview in previews(data, model=model):
        reached = psnr_db(picture, preview.picture)
        if reached >= target_db:
            high = preview.file_bytes
            break
        low = preview.file_bytes
    if high is None:
        raise UserError(f"{target_db} dB is out of reach: the whole stream gives {reached:.2f} dB")
    while high - low > 1:
        middle = (low + high) // 2
        enough = psnr_db(picture, decode(data[:middle], model=model)) >= target_db
        low, high = (low, middle) if enough else (middle, high)
    return data[:high]


def _cut_to_size(data: bytes, options: argparse.Namespace) -> bytes:
    return data[: size_limit(options, data)]


def size_limit(options: argparse.Namespace, data: bytes) -> int:
    header, start = container.unpack(data)
    limit = options.bytes
    if limit is None:
        limit = int(options.bpp * header.width * header.height / 8)
    if limit < start:
        raise UserError(f"{limit} bytes do not hold the header of {start} bytes: allow more")
    return limit


def _decode(options: argparse.Namespace) -> None:
    import numpy as np

    from uqdm.pictures import write_picture

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
            data = data[: size_limit(options, data)]
        header, _ = container.unpack(data)
        model = options.model and model_of(options.model)
        from uqdm.codec.api import Decoder, previews

        if options.all is not None:
            _write_all(options, previews(data, model=model), header)
            return
        decoder = Decoder(data, model=model)
        try:
            decoder.check_method(options.method, options.remaining_steps, options.realism)
        except ValueError as error:
            raise UserError(str(error)) from None
        with bar_of(header.total_steps, "decode") as bar:
            while decoder.advance():
                bar.update()
        picture = decoder.reconstruct(options.method, options.remaining_steps, options.seed, options.realism)
    with about(output):
        write(output, write_picture(picture, suffix))
    total = container.describe(data)["complete_bytes"]
    say(f"{output}: step {decoder.step} of {header.total_steps}, {len(data)} of {total} bytes")


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
        cut = _cut_to_size(data, options)
    write(options.output, cut)
    say(f"{options.output}: {len(cut)} of {len(data)} bytes")
