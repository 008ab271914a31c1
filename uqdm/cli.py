"""The command `uqdm`: parsing, files and printing. Nothing imports this module."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from uqdm import container
from uqdm.errors import StreamError

__all__ = ["main"]

STANDARD = "-"


class UserError(Exception):
    """One line for the user: what, why, what to do."""


def _read(path: str) -> bytes:
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _may_write(path: str, force: bool) -> None:
    """Refuses a target early, before any work is done."""
    if path == STANDARD:
        return
    if Path(path).is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if Path(path).exists() and not force:
        raise UserError(f"{path} exists: choose another name or add --force")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {folder} is not writable")


def _write(path: str, data: bytes) -> None:
    """Writes all or nothing: to a temporary file beside the target, then renamed."""
    if path == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=Path(path).absolute().parent, prefix=".uqdm-", delete=False) as file:
            temporary = file.name
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Turns what is wrong with a file into one line that names the file."""
    from uqdm.images import PictureError

    try:
        yield
    except (StreamError, PictureError) as error:
        raise UserError(f"{'standard input' if path == STANDARD else path}: {error}") from None


def _picture(path: str, background: str | None) -> np.ndarray:
    from uqdm.images import read_picture

    data = _read(path)
    with _about(path):
        picture = read_picture(data, background)
        container.check_size(picture.shape[1], picture.shape[0])
        return picture


def _model(name: str):
    from uqdm.library import load_model

    try:
        return load_model(name)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None


def _bar(total: int, what: str):
    """A progress bar on a terminal, for work that lasts over a second."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="step", delay=1, leave=False, disable=None, file=sys.stderr)


def _encode(options: argparse.Namespace) -> None:
    _may_write(options.output, options.force)
    picture, model = _picture(options.input, options.background), _model(options.model)
    if not 0 <= options.tau <= 1:
        raise UserError(f"--tau must lie in [0, 1] (1 sends nothing, 0 sends every step), got {options.tau}")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed must lie in [0, 2^32), got {options.seed}")
    from uqdm.codec import encode
    from uqdm.state import steps_until

    tau, steps = options.tau, steps_until(options.tau, model.steps)
    if options.lossless:
        from uqdm.lossless import load_tail
        from uqdm.model import Model

        if not isinstance(model, Model):
            raise UserError("--lossless needs a model of the nested process: choose another --model")
        tau, steps = None, load_tail().steps(model) + container.TAIL_STEPS
    with _bar(steps, "encode") as bar:
        data = encode(picture, tau, lossless=options.lossless, model=model, seed=options.seed, on_step=bar.update)
    if options.psnr is not None:
        data = _cut_to_psnr(data, picture, model, options.psnr)
    elif options.bytes is not None or options.bpp is not None:
        data = _cut_to_size(data, options)
    if options.verify:
        from uqdm.decoder import check_against

        try:
            check_against(data, picture, model=model)
        except StreamError as error:
            raise UserError(f"the stream does not decode to what was encoded ({error}): run uqdm doctor") from None
    _write(options.output, data)
    _say(f"{options.output}: {len(data)} bytes, {8 * len(data) / picture[..., 0].size:.4f} bpp")


def _size_limit(options: argparse.Namespace, data: bytes) -> int:
    header, start = container.unpack(data)
    limit = options.bytes
    if limit is None:
        limit = int(options.bpp * header.width * header.height / 8)
    if limit < start:
        raise UserError(f"{limit} bytes do not hold the header of {start} bytes: allow more")
    return limit


def _cut_to_size(data: bytes, options: argparse.Namespace) -> bytes:
    return data[: _size_limit(options, data)]


def _cut_to_psnr(data: bytes, picture: np.ndarray, model, target_db: float) -> bytes:
    """The shortest prefix that reaches a PSNR: first by steps, then by bisection inside the step."""
    from uqdm.codec import decode, previews
    from uqdm.metrics import psnr_db

    (_, low), reached, high = container.unpack(data), -np.inf, None
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


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _decode(options: argparse.Namespace) -> None:
    from uqdm.images import write_picture

    if (options.output is None) == (options.all is None):
        raise UserError("give either OUT or --all DIR")
    output = str(options.output)
    suffix = ".png" if output == STANDARD else Path(output).suffix
    if options.all is None:
        _may_write(output, options.force)
        with _about(output):
            write_picture(np.zeros((1, 1, 3), np.uint8), suffix)
    data = _read(options.input)
    with _about(options.input):
        if options.bytes is not None:
            data = data[: _size_limit(options, data)]
        header, _ = container.unpack(data)
        model = _model(options.model)
        from uqdm.codec import Decoder, previews

        if options.all is not None:
            _write_all(options, previews(data, model=model), header)
            return
        decoder = Decoder(data, model=model)
        try:
            decoder.check_method(options.method, options.remaining_steps)
        except ValueError as error:
            raise UserError(str(error)) from None
        with _bar(header.total_steps, "decode") as bar:
            while decoder.advance():
                bar.update()
        picture = decoder.reconstruct(options.method, options.remaining_steps, options.seed)
    with _about(output):
        _write(output, write_picture(picture, suffix))
    total = container.describe(data)["complete_bytes"]
    _say(f"{output}: step {decoder.step} of {header.total_steps}, {len(data)} of {total} bytes")


def _write_all(options: argparse.Namespace, previews: Iterator, header: container.Header) -> None:
    from uqdm.images import write_picture

    folder = Path(options.all)
    if folder.exists() and any(folder.iterdir()) and not options.force:
        raise UserError(f"{folder} is not empty: choose another folder or add --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {folder}: {error.strerror}") from None
    with _bar(header.total_steps, "decode") as bar:
        for preview in previews:
            name = folder / f"step_{preview.step:02d}_{preview.file_bytes:07d}_bytes.png"
            _write(str(name), write_picture(preview.picture, ".png"))
            bar.update()


def _info(options: argparse.Namespace) -> None:
    data = _read(options.input)
    with _about(options.input):
        facts = container.describe(data)
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name:15} {value:.4f}" if isinstance(value, float) else f"{name:15} {value}")


def _truncate(options: argparse.Namespace) -> None:
    _may_write(options.output, options.force)
    data = _read(options.input)
    with _about(options.input):
        cut = _cut_to_size(data, options)
    _write(options.output, cut)
    _say(f"{options.output}: {len(cut)} of {len(data)} bytes")


def _plot(options: argparse.Namespace) -> None:
    from uqdm.evaluate import progressive_points, write_csv
    from uqdm.plots import plot_curves
    from uqdm.rivals import RIVALS, rival_curve

    if not options.output.lower().endswith((".png", ".pdf", ".svg")):
        raise UserError(f"cannot draw into {options.output}: use .png, .pdf or .svg")
    table = str(Path(options.output).with_suffix(".csv"))
    for path in [options.output] + [table] * options.csv:
        _may_write(path, options.force)
    model, rows = _model(options.model), []
    pictures = {path: _picture(path, options.background) for path in options.images}
    with _bar(len(pictures) * (1 + len(RIVALS)), "plot") as bar:
        for path, picture in pictures.items():
            rows += [(Path(path).name, point) for point in progressive_points(picture, model)]
            bar.update()
            for codec in RIVALS:
                rows += [(Path(path).name, point) for point in rival_curve(codec, picture)]
                bar.update()
    _write(options.output, plot_curves(rows, Path(options.output).suffix[1:].lower()))
    if options.csv:
        _write(table, write_csv(rows).encode())


def _verify(options: argparse.Namespace) -> None:
    from uqdm.codec import Decoder

    data = _read(options.input)
    with _about(options.input):
        decoder = Decoder(data, model=_model(options.model))
        with _bar(decoder.header.total_steps, "verify") as bar:
            while decoder.advance():
                bar.update()
    facts = container.describe(data)
    if facts["complete"]:
        kind = "lossless, " if decoder.header.lossless else ""
        print(f"{options.input}: complete and undamaged, {kind}{decoder.step} steps, {len(data)} bytes")
    else:
        print(
            f"{options.input}: undamaged as far as it goes, step {decoder.step} of {decoder.header.total_steps}, "
            f"{len(data)} of {facts['complete_bytes']} bytes"
        )


def _import_checkpoint(options: argparse.Namespace) -> None:
    from uqdm.published import read_published

    _may_write(options.output, options.force)
    try:
        published = read_published(options.checkpoint, options.config, average=not options.raw)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    model = published.model(options.name)
    _write(options.output, model.to_bytes())
    noise = published.noise
    gammas = f"gamma {noise.gamma_min:.3f} to {noise.gamma_max:.3f}"
    _say(f"{options.output}: model {model.id[:4].hex()}, {model.steps} steps, {gammas}")


def _doctor(options: argparse.Namespace) -> None:
    from uqdm import doctor

    print(doctor.facts())
    unsafe = False
    for finding in doctor.examine():
        mark = "ok" if finding.good else "WRONG" if finding.needed else "no"
        print(f"  {mark:6} {finding.what:32} {finding.detail}", flush=True)
        unsafe |= finding.needed and not finding.good
    if unsafe:
        raise UserError("streams made here may be unreadable elsewhere, and others unreadable here")
    print("streams are portable: what is made here decodes everywhere, and the other way round")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uqdm", description="Progressive image compression with a diffusion model: every prefix is a picture."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def with_model(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--model", default="photo", metavar="M", help="a model of the package or a file (photo)")

    def with_force(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--force", action="store_true", help="overwrite what exists")

    def with_background(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--background", metavar="COLOUR", help="lay transparent pictures on this colour")

    sub = command("encode", _encode, "encode a picture as a progressive stream")
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
    with_background(sub), with_model(sub), with_force(sub)

    sub = command("decode", _decode, "decode a stream or any prefix of one")
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    sub.add_argument("output", metavar="OUT", nargs="?", help="the picture, or - for a PNG on standard output")
    sub.add_argument("--bytes", type=int, help="use only the first so many bytes")
    sub.add_argument(
        "--method", default="denoise", help="denoise (default), or sample, ancestral, flow: see the README"
    )
    sub.add_argument("--remaining-steps", type=int, metavar="N", help="steps of the reverse process to take")
    sub.add_argument("--seed", type=int, default=0, help="of sampling")
    sub.add_argument("--all", metavar="DIR", help="write one picture per step into a folder")
    with_model(sub), with_force(sub)
    sub.set_defaults(bpp=None)

    sub = command("info", _info, "say what a stream is; needs no model")
    sub.add_argument("input", metavar="IN")
    sub.add_argument("--json", action="store_true", help="as one line of JSON")

    sub = command("truncate", _truncate, "cut a stream; needs no model")
    sub.add_argument("input", metavar="IN")
    sub.add_argument("output", metavar="OUT")
    limit = sub.add_mutually_exclusive_group(required=True)
    limit.add_argument("--bytes", type=int, help="to so many bytes")
    limit.add_argument("--bpp", type=float, help="to so many bits per pixel")
    with_force(sub)

    sub = command("plot", _plot, "draw the rate-distortion curve of pictures beside JPEG, WebP, AVIF and JPEG 2000")
    sub.add_argument("images", metavar="IMAGE", nargs="+")
    sub.add_argument("-o", "--output", metavar="OUT.png", required=True)
    sub.add_argument("--csv", action="store_true", help="write the points beside it as OUT.csv")
    with_background(sub), with_model(sub), with_force(sub)

    sub = command("verify", _verify, "decode a stream and say whether it is whole and undamaged")
    sub.add_argument("input", metavar="IN")
    with_model(sub)

    sub = command("import-checkpoint", _import_checkpoint, "make a model file of a checkpoint of the published UQDM")
    sub.add_argument("checkpoint", metavar="CHECKPOINT.pt")
    sub.add_argument("config", metavar="CONFIG.json")
    sub.add_argument("output", metavar="OUT.npz")
    sub.add_argument("--raw", action="store_true", help="raw weights and the configured gamma, not moving averages")
    sub.add_argument("--name", default="uqdm", help="name in the model file")
    with_force(sub)

    command("doctor", _doctor, "say whether streams made on this machine decode on others")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, or 2 after one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"uqdm {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print(f"uqdm {options.command}: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print(f"uqdm {options.command}: not enough memory for a picture of this size", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
