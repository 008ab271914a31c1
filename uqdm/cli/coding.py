"""encode, decode, truncate: what makes streams and pictures."""

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from uqdm.cli.common import (
    DEFAULT_METHOD,
    Commands,
    PerCoFolder,
    PipelineFolder,
    TextSketchFolder,
    about,
    count,
    fraction,
    make_ready,
    model_for,
    model_of,
    opened_picture,
    percentage,
    positive,
    refuse,
    say_dropped,
    seed,
    start_jax,
    with_force,
    with_jobs,
    with_model,
    with_picture,
)
from uqdm.cli.errors import UserError
from uqdm.cli.files import STANDARD, may_write, read, write
from uqdm.cli.folders import WAYS, decode_folder, encode_folder
from uqdm.cli.progress import Progress, say
from uqdm.codec import container
from uqdm.errors import StreamError

__all__ = ["DEFAULT_QUALITY", "add_commands"]

_DRAWN_BY_DECODERS = ("PerCo", "Text+Sketch")
"""Families whose decoders draw whatever is asked for."""
DEFAULT_QUALITY = 80
"""38.3 dB and 1.8 bits per pixel on the 24 photographs of benchmarks/results/photos_val.csv."""


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add(
        "encode",
        _encode,
        "encode a picture as a progressive stream, by default of quality 80 (38 dB on photographs)",
        """photo.png photo.uqdm
        photo.png photo.uqdm -q 95
        photo.png photo.uqdm --bpp 0.5
        photo.png photo.uqdm --psnr 38
        photo.png photo.uqdm --lossless --verify
        - - --bytes 20000 < photo.png > photo.uqdm
        photographs/ streams/ --bpp 1 --jobs 4""",
    )
    sub.add_argument("input", metavar="IN", help="a picture, - for standard input, or a folder of pictures")
    sub.add_argument("output", metavar="OUT", help="the stream, - for standard output, or a folder of streams")
    limit = sub.add_mutually_exclusive_group()
    text = f"from 0 (the header alone) to 100 (every step, about 48 dB); {DEFAULT_QUALITY} by default"
    limit.add_argument("-q", "--quality", type=percentage, metavar="Q", help=text)
    limit.add_argument("--tau", type=fraction, help="the same as a time in [0, 1]: 1 - Q / 100")
    limit.add_argument("--bpp", type=positive, help="at most so many bits per pixel")
    limit.add_argument("--bytes", type=count, help="at most so many bytes")
    limit.add_argument("--psnr", type=positive, metavar="DB", help="as few bytes as reach this PSNR in dB")
    limit.add_argument("--lossless", action="store_true", help="so many that the whole stream is the very picture")
    sub.add_argument(
        "--rdoq",
        action="store_true",
        help="leave out what costs more than it shows: fewer bytes, but no prefix of the whole stream",
    )
    sub.add_argument("--seed", type=seed, default=0, help="of the common randomness (0)")
    sub.add_argument("--verify", action="store_true", help="decode the result before reporting success")
    text = "keep EXIF, XMP, a colour profile that was not applied, and the resolution"
    sub.add_argument("--keep-metadata", action="store_true", help=text)
    sub.add_argument("--index", action="store_true", help="list in the header which bytes give which PSNR")
    text = "with --perco or --text-sketch: what the picture shows (the folder's captioning model says it, or nobody)"
    sub.add_argument("--caption", metavar="TEXT", help=text)
    text = "with --text-sketch: a drawing, white lines on black, in the place of Canny's edges"
    sub.add_argument("--sketch", metavar="FILE", help=text)
    text = "with --text-sketch: 1, 2, 4 or 8 pixels of the picture along a side of one of the sketch (4)"
    sub.add_argument("--sketch-scale", type=count, metavar="N", help=text)
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
        default=DEFAULT_METHOD,
        help="how what is missing is filled in: denoise (default); refine, restore or sample, for the nested process; "
        "ancestral or flow, for UQDM and Gaussian models; latent_flow, for models of latents; diffuse, for conditional "
        "diffusion",
    )
    sub.add_argument("--remaining-steps", type=count, metavar="N", help="steps of the reverse process to take")
    sub.add_argument("--evaluations", type=count, metavar="N", help="of the network that restores (1) or diffuses (4)")
    sub.add_argument("--seed", type=seed, default=0, help="of draws (0)")
    sub.add_argument("--realism", type=fraction, metavar="R", help="between denoised (0) and drawn (1)")
    sub.add_argument("--all", metavar="DIR", help="write one picture per step into a folder")
    with_model(sub), with_jobs(sub), with_force(sub)
    sub.set_defaults(bpp=None)

    sub = commands.add(
        "truncate",
        _truncate,
        "cut a stream; needs no model",
        """photo.uqdm small.uqdm --bytes 5000
        indexed.uqdm small.uqdm --psnr 35
        photo.uqdm - --bpp 0.25 | ssh host uqdm decode - preview.png""",
    )
    sub.add_argument("input", metavar="IN", help="a stream, or - for standard input")
    sub.add_argument("output", metavar="OUT", help="the shorter one, or - for standard output")
    limit = sub.add_mutually_exclusive_group(required=True)
    limit.add_argument("--bytes", type=count, help="to so many bytes")
    limit.add_argument("--bpp", type=positive, help="to so many bits per pixel")
    limit.add_argument("--psnr", type=positive, metavar="DB", help="to this PSNR by the stream's own index (--index)")
    sub.add_argument("--keep-metadata", action="store_true", help="move metadata to the new end")
    with_force(sub)


def _end_by_quality(options: argparse.Namespace) -> None:
    """Turns --quality, given or by default, into the time at which transmission ends, in percent of all time."""
    others = (options.tau, options.bpp, options.bytes, options.psnr)
    if not options.lossless and all(limit is None for limit in others):
        prompted = isinstance(options.model, PerCoFolder | TextSketchFolder)  # whose steps are one picture together
        default = 100 if prompted else DEFAULT_QUALITY
        quality = default if options.quality is None else options.quality
        options.tau = 1 - quality / 100


def _encode(options: argparse.Namespace) -> None:
    by_time = options.tau is not None
    _end_by_quality(options)
    _check_prompts(options)
    if Path(options.input).is_dir():
        refuse(options, ("index", "keep_metadata"), "is for one picture: encode them one by one")
        _refuse_pipelines(options)
        encode_folder(options, drawn=not by_time)
        return
    may_write(options.output, options.force)
    opened = opened_picture(options.input, options)
    picture, metadata = opened.pixels, opened.metadata if options.keep_metadata else {}
    say_dropped(options.input, opened.lost if options.keep_metadata else opened.dropped)
    model = _prompted(model_for(options.model, picture, lossless=options.lossless), options)
    chosen = None if options.model is None else model
    from uqdm.codec.api import encode
    from uqdm.drawn.model import looks_drawn

    if chosen is not None or not looks_drawn(picture):  # a drawn picture may need no model
        make_ready(model, *picture.shape[:2], shown=False)
    limits = {"bpp": options.bpp, "file_bytes": options.bytes, "psnr_db": options.psnr}
    try:
        with Progress(_steps(options, model), "encode") as bar:
            data = encode(
                picture,
                options.tau,
                **limits,
                rdoq=options.rdoq,
                lossless=options.lossless,
                model=chosen,
                drawn=chosen is None and not by_time,
                seed=options.seed,
                index=options.index,
                metadata=metadata or None,
                on_step=bar.update,
            )
    except ValueError as error:
        raise UserError(f"{options.input}: {error}") from None
    if options.verify:
        from uqdm.codec.api import check_against

        try:
            check_against(data, None if options.rdoq else picture, model=chosen)
        except StreamError as error:
            raise UserError(f"the stream does not decode to what was encoded ({error}): run uqdm doctor") from None
    write(options.output, data, options.force)
    say(f"{options.output}: {len(data)} bytes, {8 * len(data) / picture[..., 0].size:.4f} bpp")


def _refuse_pipelines(options: argparse.Namespace) -> None:
    if isinstance(options.model, PipelineFolder):
        raise UserError("folders are coded with model files: give a pipeline one picture or stream at a time")


def _check_prompts(options: argparse.Namespace) -> None:
    """Refuses what other models have no use for."""
    takes = {
        "caption": ("--perco or --text-sketch", (PerCoFolder, TextSketchFolder)),
        "sketch": ("--text-sketch", (TextSketchFolder,)),
        "sketch_scale": ("--text-sketch", (TextSketchFolder,)),
    }
    for name, (wanted, kinds) in takes.items():
        if getattr(options, name) is not None and not isinstance(options.model, kinds):
            raise UserError(f"--{name.replace('_', '-')} is for {wanted}: add one, or leave it out")


def _prompted(model: Any, options: argparse.Namespace) -> Any:
    """A model with what --caption, --sketch and --sketch-scale say."""
    given = {"caption": options.caption, "scale": options.sketch_scale}
    if options.sketch is not None:
        drawing = opened_picture(options.sketch, argparse.Namespace(background="black", frame=None)).pixels
        given["edges"] = drawing.max(2) >= 128
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return model
    try:
        return dataclasses.replace(model, **given)
    except ValueError as error:
        raise UserError(str(error)) from None


def _steps(options: argparse.Namespace, model) -> int:
    """How many steps there are to send, at most."""
    from uqdm.contract import steps_until, times_of
    from uqdm.library import residual_of

    if not options.lossless:
        return steps_until(options.tau or 0.0, times_of(model))
    try:
        return residual_of(model).steps_before(model) + container.RESIDUAL_STEPS
    except ValueError as error:
        raise UserError(f"{error}: choose another --model") from None


def _cut(data: bytes, options: argparse.Namespace, *, keep_metadata: bool = False) -> bytes:
    """As many bytes as --bytes or --bpp allow."""
    header, _ = container.unpack(data)
    limit = options.bytes
    if limit is None:
        limit = int(min(options.bpp * header.width * header.height / 8, 2.0**62))
    return container.cut(data, limit, keep_metadata=keep_metadata)


def _reconstruction(options: argparse.Namespace, model: Any):
    """What --method, --realism, --seed, --evaluations and --remaining-steps mean for a model."""
    from uqdm import reconstruction
    from uqdm.codec.api import way_for
    from uqdm.library import reconstructions_of

    method = options.method
    if method == "denoise" and options.realism is not None:
        method = [*reconstructions_of(model), method][1]
    way_for(model, method, options.realism)
    way: Any = reconstruction.named(method)
    given = {"remaining_steps": options.remaining_steps, "evaluations": options.evaluations}
    given = {name: value for name, value in given.items() if value is not None}
    if meaningless := [name for name in given if not hasattr(way, name)]:
        raise ValueError(f"--{meaningless[0].replace('_', '-')} means nothing to --method {method}: leave it out")
    given |= {"seed": options.seed} if hasattr(way, "seed") else {}
    return way_for(model, dataclasses.replace(way, **given), options.realism)


def _decode(options: argparse.Namespace) -> None:
    import numpy as np

    from uqdm.pictures import described, picture_file, write_picture

    if Path(options.input).is_dir():
        _refuse_pipelines(options)
        decode_folder(options)
        return
    if (options.output is None) == (options.all is None):
        raise UserError("give either OUT or --all DIR")
    if options.all is not None:
        refuse(options, WAYS, "is for one picture, --all writes denoised ones: leave one out")
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
        from uqdm.codec.api import previews, receiver_of

        if options.all is not None:
            _write_all(options, previews(data, model=model), header)
            return
        receiver = receiver_of(data, model=model)
        make_ready(receiver.model, header.height, header.width, shown=True)
        try:
            way = _reconstruction(options, receiver.model)
        except ValueError as error:
            raise UserError(str(error)) from None
        with Progress(header.total_steps, "decode") as bar:
            while receiver.receive():
                bar.update()
        picture = way.show(receiver.model, receiver.state, receiver.step)
    with about(output):
        metadata = _metadata_of(data, options.input)
        if drawn := _drawn(options, way.name, receiver):
            metadata = described(metadata, drawn)
        file = picture_file(picture, suffix, metadata)
        write(output, file.data, options.force)
    for note in file.notes:
        say(f"{output}: {note}")
    total = container.info(data)["complete_bytes"]
    say(f"{output}: step {receiver.step} of {header.total_steps}, {len(data)} of {total} bytes")


def _drawn(options: argparse.Namespace, method: str, receiver: Any) -> str:
    """What to say of a picture whose detail is not all of the original."""
    decoder_draws = method == "diffuse" or receiver.model.family in _DRAWN_BY_DECODERS
    if method in ("denoise", "refine") and not decoder_draws:
        return ""
    if options.realism == 0 or (receiver.step == receiver.model.steps and not decoder_draws):
        return ""
    share = "" if options.realism is None else f", realism {options.realism:g}"
    return f"Detail drawn by uqdm ({method}, seed {options.seed}{share}): not all of it is of the original"


def _metadata_of(data: bytes, path: str) -> dict:
    """What a stream has kept; what is damaged is said and left aside."""
    try:
        return container.metadata(data)
    except StreamError as error:
        say(f"{path}: {error}: left aside")
        return {}


def _write_all(options: argparse.Namespace, previews: Iterator, header: container.Header) -> None:
    from uqdm.pictures import write_picture

    folder, fresh = Path(options.all), []
    try:
        if folder.exists() and any(folder.iterdir()) and not options.force:
            raise UserError(f"{folder} is not empty: choose another folder or add --force")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from None
    try:
        with Progress(header.total_steps, "decode") as bar:
            for preview in previews:
                path = folder / f"step_{preview.step:02d}_{preview.file_bytes:07d}_bytes.png"
                new = not path.exists()
                write(str(path), write_picture(preview.picture, ".png"))
                fresh += [path] if new else []
                bar.update()
    except BaseException:  # a stream that turns out to be damaged leaves nothing behind
        for path in fresh:
            with suppress(OSError):
                path.unlink()
        raise


def _truncate(options: argparse.Namespace) -> None:
    may_write(options.output, options.force)
    data = read(options.input)
    with about(options.input):
        if options.psnr is not None:
            cut = container.cut_to_psnr(data, options.psnr, keep_metadata=options.keep_metadata)
        else:
            cut = _cut(data, options, keep_metadata=options.keep_metadata)
    write(options.output, cut, options.force)
    say(f"{options.output}: {len(cut)} of {len(data)} bytes")
