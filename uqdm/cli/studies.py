"""eval, plot, report, allocation: what measures codecs, compares them and shows what they do."""

import argparse
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from uqdm.cli.common import (
    Commands,
    about,
    count,
    model_for,
    picture_of,
    quiet_readers,
    with_background,
    with_force,
    with_model,
    with_picture,
)
from uqdm.cli.errors import UserError
from uqdm.cli.files import may_write, read, write
from uqdm.cli.progress import Progress, say
from uqdm.errors import PictureError

if TYPE_CHECKING:
    from uqdm.training.dataset import PictureSet

__all__ = ["add_commands"]

_LEAST_PATCH = 16
"""Pixels: smaller ones have no pyramid."""
_RATES = "0.05,0.1,0.15,0.2,0.25,0.35,0.5,0.75,1,1.5,2,3,4,6"


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add(
        "eval",
        _eval,
        "measure rate and distortion on a set of pictures, beside other codecs",
        "photographs/ -o results --limit 24",
    )
    sub.add_argument("data", metavar="DATA", help="a folder of pictures, an .npz or .npy file, or tfds:NAME[:SPLIT]")
    sub.add_argument("-o", "--output", metavar="DIR", required=True, help="tables, plots and what a resumed run needs")
    sub.add_argument(
        "--codecs", metavar="LIST", help="of jpeg,webp,avif,jp2,jxl, or none (all that Pillow writes here)"
    )
    sub.add_argument("--metrics", metavar="LIST", default="psnr_db", help="names of metrics (psnr_db)")
    sub.add_argument("--autoencoder", metavar="FILE", help="also codecs of its latents (of uqdm import-autoencoder)")
    cuts = sub.add_mutually_exclusive_group()
    cuts.add_argument("--rates", metavar="LIST", help=f"cut at these bits per pixel only (steps and {_RATES})")
    cuts.add_argument("--steps", action="store_true", help="cut at the ends of steps only")
    sub.add_argument(
        "--reconstruct",
        metavar="LIST",
        help="show prefixes in these ways, such as denoise,refine,restore; with --rates",
    )
    sub.add_argument("--seeds", type=count, default=1, metavar="N", help="of every draw: mean and spread (1)")
    sub.add_argument("--patches", metavar="WEIGHTS", help="compare sets of patches by this MobileNetV2; with --rates")
    sub.add_argument("--patch-side", type=count, default=192, metavar="N", help="side of a patch in pixels (192)")
    sub.add_argument("--limit", type=count, metavar="N", help="the first N pictures only")
    sub.add_argument("--shard", metavar="I/N", default="0/1", help="be process I of N, 0 <= I < N, on one folder (0/1)")
    with_background(sub), with_model(sub)

    sub = commands.add(
        "plot",
        _plot,
        "draw rate-distortion curves of pictures beside other codecs, or of tables of eval",
        "photo.png -o curve.png --csv\nresults/means.csv -o means.png",
    )
    sub.add_argument("inputs", metavar="IN", nargs="+", help="pictures, or tables (pictures.csv, means.csv)")
    sub.add_argument("-o", "--output", metavar="OUT.png", required=True, help="the figure (.png, .pdf or .svg)")
    sub.add_argument("--metric", default="psnr_db", metavar="NAME", help="which metric of the tables (psnr_db)")
    sub.add_argument("--csv", action="store_true", help="write the points beside it as OUT.csv")
    with_picture(sub), with_model(sub), with_force(sub)

    sub = commands.add(
        "report", _report, "write one HTML file that shows a picture as bytes arrive", "photo.png -o photo.html"
    )
    sub.add_argument("image", metavar="IMAGE", help="a picture, or - for standard input")
    sub.add_argument("-o", "--output", metavar="OUT.html", required=True, help="the page")
    sub.add_argument("--draws", action="store_true", help="with a second slider for realism (half a minute and more)")
    with_picture(sub), with_model(sub), with_force(sub)

    sub = commands.add(
        "allocation",
        _allocation,
        "draw how many bits every block of a picture takes at every step",
        "photo.png -o bits.png",
    )
    sub.add_argument("image", metavar="IMAGE", help="a picture, or - for standard input")
    sub.add_argument("-o", "--output", metavar="OUT.png", required=True, help="the figure (.png, .pdf or .svg)")
    with_picture(sub), with_model(sub), with_force(sub)


def _eval(options: argparse.Namespace) -> None:
    shard = re.fullmatch(r"(\d+)/(\d+)", options.shard)
    if not shard or not int(shard[1]) < int(shard[2]):
        raise UserError(f"--shard must be I/N with 0 <= I < N, got {options.shard}")
    rates = () if options.steps else _rates(options.rates or _RATES)
    if options.patches and options.patch_side < _LEAST_PATCH:
        raise UserError(f"--patch-side must be at least {_LEAST_PATCH} pixels, got {options.patch_side}")
    equal_rates = bool(options.reconstruct or options.patches)
    if equal_rates and not options.rates:
        raise UserError(
            "--reconstruct and --patches compare at equal rates: name some with --rates, such as 0.1,0.2,0.3"
        )
    if equal_rates and options.autoencoder:
        raise UserError("codecs on latents have a few settings and no equal rates: leave --autoencoder out")
    from uqdm.evaluation import METRICS, Plan, Records, members_of, run, write_tables
    from uqdm.evaluation.patches import id_of_weights
    from uqdm.evaluation.points import LPIPS_WEIGHTS
    from uqdm.evaluation.run import Member, shown_by
    from uqdm.library import reconstructions_of
    from uqdm.training.dataset import open_source

    plot_curves = _plotter()

    metrics = _known(options.metrics, METRICS, "--metrics")
    codecs = _codecs(options.codecs)
    others = _latent_codecs(options.autoencoder) if options.autoencoder else {}
    try:
        source = open_source(options.data, background=options.background)
        count = min(len(source), options.limit or len(source))
        with quiet_readers():
            first = _first_picture(source, count)
    except ImportError:
        raise UserError(f"{options.data} needs tensorflow-datasets: pip install 'uqdm[train]'") from None
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    began = time.perf_counter()
    model = model_for(options.model, first)
    load_s = time.perf_counter() - began
    try:
        patch_weights = id_of_weights(options.patches) if options.patches else ""
        lpips = os.environ.get(LPIPS_WEIGHTS, "") if "lpips_squeezenet" in metrics else ""
        metric_weights = id_of_weights(lpips) if lpips else ""
        _try_weights(metrics, options.patches, options.patch_side)
    except ValueError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from None
    ways = _known(options.reconstruct or "denoise", reconstructions_of(model), "--reconstruct")
    plan = Plan(
        data=options.data if options.data.startswith("tfds:") else str(Path(options.data)),
        model=model.id.hex(),
        codecs=(*codecs, *others),
        metrics=metrics,
        rates_bpp=rates,
        steps=not options.rates,
        equal_rates=equal_rates,
        reconstructions=ways,
        seeds=options.seeds,
        patch_side=options.patch_side if options.patches else 0,
        patch_weights=patch_weights,
        metric_weights=metric_weights,
        shown_by=shown_by(model, ways),
    )
    folder = Path(options.output)
    part = int(shard[1]), int(shard[2])
    try:
        with Progress(len(range(part[0], count, part[1])), "eval", "picture") as bar:
            own = run(
                source,
                plan,
                model,
                folder,
                count=count,
                shard=part,
                load_s=load_s,
                others=others,
                patch_weights=options.patches or "",
                on_picture=bar.update,
                on_note=bar.say,
            )
        records, pictures, left_out = Records(folder), [], []
        measured = records.keys()

        def why_left_out(member: Member) -> str:
            if member.left_out or member.key not in measured:
                return member.left_out
            why = records[member.key].left_out
            return why and f"{member.name}: {why}"

        for member in members_of(source, count, own):
            if why := why_left_out(member):
                left_out.append(why)
            elif member.key in measured:
                pictures.append((member.name, member.key))
            else:
                say(f"{folder}: {len(measured)} of {count} pictures; who measures the last one writes the tables")
                _check_complete([why for member in own.values() if (why := why_left_out(member))], len(own))
                return
        if not pictures:
            _check_complete(left_out, count)
        summary = write_tables(folder, plan, pictures, left_out)
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"cannot read or write {where}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    for metric in metrics:
        found = _curves_of([str(folder / "means.csv")], metric)
        write(str(folder / f"curves_{metric}.png"), plot_curves(found, METRICS[metric].label))
    _tell(summary, folder)
    _check_complete(left_out, count)


def _try_weights(metrics: tuple[str, ...], patches: str | None, side: int) -> None:
    """What is wrong with the networks of metrics is wrong for every picture.

    Raises:
      ValueError: there are no weights, or others.
    """
    import numpy as np

    from uqdm.evaluation import METRICS
    from uqdm.evaluation import patches as sets

    if "lpips_squeezenet" in metrics:
        grey = np.full((64, 64, 3), 128, np.uint8)
        METRICS["lpips_squeezenet"].measure(grey, grey)
    if patches:
        sets.mobilenet_features(np.full((1, side, side, 3), 128, np.uint8), patches)


def _first_picture(source: "PictureSet", count: int):
    """The first that can be taken."""
    from uqdm.evaluation import picture_at

    reasons = []
    for number in range(count):
        try:
            return picture_at(source, number).pixels
        except PictureError as error:
            reasons.append(error)
    raise UserError(f"none of {count} pictures can be taken, the first is {reasons[0]}")


def _check_complete(left_out: list[str], count: int) -> None:
    if left_out:
        raise UserError(f"{len(left_out)} of {count} pictures are left out, the first is {left_out[0]}")


def _plotter():
    """`uqdm.evaluation.plots.plot_curves`, which needs matplotlib."""
    try:
        from uqdm.evaluation.plots import plot_curves
    except ModuleNotFoundError as error:
        raise UserError(str(error)) from None
    return plot_curves


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _rates(text: str) -> tuple[float, ...]:
    """Each once, by the name that tables have for it."""
    rates = {}
    for name in _names(text):
        try:
            if 0 < (rate := float(name)) < 100:
                rates.setdefault(f"{rate:g}", rate)
                continue
        except ValueError:
            pass
        raise UserError(f"--rates must be bits per pixel between 0 and 100, separated by commas, got {name!r}")
    if not rates:
        raise UserError("--rates names nothing: give bits per pixel, separated by commas")
    return tuple(rates.values())


def _known(text: str, table, option: str) -> tuple[str, ...]:
    """Names of a table, each once and in its order."""
    for name in _names(text):
        if name not in table:
            raise UserError(f"{option} must be of {','.join(table)}, got {name!r}")
    if not _names(text):
        raise UserError(f"{option} names nothing: give some of {','.join(table)}")
    return tuple(name for name in table if name in _names(text))


def _codecs(text: str | None) -> tuple[str, ...]:
    """Those asked for that there are here."""
    from uqdm.evaluation import BASELINES, available

    if text == "none":
        return ()
    wanted = tuple(BASELINES) if text is None else _known(text, BASELINES, "--codecs")
    for codec in wanted:
        if not available(codec):
            hint = ": pip install pillow-jxl-plugin" if codec == "jxl" else ""
            say(f"{BASELINES[codec].name} is left out, since Pillow does not write it here{hint}")
    return tuple(codec for codec in wanted if available(codec))


def _latent_codecs(path: str) -> dict:
    """Codecs of the latents of an autoencoder."""
    from uqdm.evaluation.latent_baselines import latent_baselines
    from uqdm.transforms.autoencoder import Autoencoder

    try:
        return latent_baselines(Autoencoder.from_bytes(read(path)))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _tell(summary: dict, folder: Path) -> None:
    """What most want to know, as lines."""
    print(f"{summary['pictures']} pictures, model {summary['plan']['model'][:8]}")
    for metric, rates in summary["bd_rate_percent"].items():
        for codec, rate in rates.items():
            of_means, single = rate["of_means"], rate["mean_over_pictures"]
            if of_means is not None and single is not None:
                print(f"BD-rate against {codec:9} {of_means:+7.1f} %, mean over pictures {single:+7.1f} % ({metric})")
    times = summary["times"]
    if times["encode_s"] is not None:
        print(f"encode {times['encode_s']:.2f} s, decode {times['decode_s']:.2f} s per picture", end="")
        print(f"; the first {times['encode_with_loading_s']:.1f} s and {times['decode_with_loading_s']:.1f} s")
    say(f"written: pictures.csv, pictures.jsonl, means.csv, times.csv, summary.json and plots in {folder}")


def _plot(options: argparse.Namespace) -> None:
    from uqdm.evaluation import BASELINES, METRICS, baseline_points, curves, progressive_points, write_points

    plot_curves = _plotter()

    _check_drawing(options)
    (metric,) = _known(options.metric, METRICS, "--metric")
    tables = [path.lower().endswith(".csv") for path in options.inputs]
    if any(tables) and (options.csv or not all(tables)):
        raise UserError("give either pictures or tables; --csv is for pictures")
    table = str(Path(options.output).with_suffix(".csv"))
    if options.csv:
        may_write(table, options.force)
    rows = []
    if any(tables):
        found = _curves_of(options.inputs, metric)
    else:
        pictures = {path: picture_of(path, options) for path in options.inputs}
        with Progress(len(pictures) * (1 + len(BASELINES)), "plot") as bar:
            for path, picture in pictures.items():
                model = model_for(options.model, picture)
                with about(path):
                    rows += [(path, point) for point in progressive_points(picture, model, metrics=[metric])]
                bar.update()
                for codec in BASELINES:
                    rows += [(path, point) for point in baseline_points(codec, picture, [metric])]
                    bar.update()
        found = curves(rows, metric)
    write(options.output, plot_curves(found, METRICS[metric].label, Path(options.output).suffix[1:].lower()))
    if options.csv:
        write(
            table,
            write_points(((Path(path).name, point) for path, point in rows), [metric]).encode(
                errors="backslashreplace"
            ),
        )


def _check_drawing(options: argparse.Namespace) -> None:
    """Refuses targets that cannot be drawn into."""
    if not options.output.lower().endswith((".png", ".pdf", ".svg")):
        raise UserError(f"cannot draw into {options.output}: use .png, .pdf or .svg")
    may_write(options.output, options.force)


def _curves_of(tables: list[str], metric: str) -> dict[str, list[tuple[float, float]]]:
    """The curves of tables; of several, ours and those that are not alike get the names of the tables' folders."""
    from uqdm.evaluation import OURS, curves, read_points

    by_codec: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for path in dict.fromkeys(tables):
        try:
            rows = read_points(read(path).decode())
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
        if rows and metric not in rows[0][1].quality:
            raise UserError(f"{path} has no column {metric}: choose another --metric")
        for codec, curve in curves(rows, metric).items():
            by_codec.setdefault(codec, {})[path] = curve
    folders = Counter(Path(path).absolute().parent.name for path in dict.fromkeys(tables))
    found = {}
    for codec, of_tables in by_codec.items():
        alike = all(curve == next(iter(of_tables.values())) for curve in of_tables.values())
        for path, curve in of_tables.items():
            folder = Path(path).absolute().parent.name
            where = folder if folders[folder] == 1 else path
            found[codec if alike and (codec != OURS or len(folders) == 1) else f"{codec}, {where}"] = curve
    return found


def _report(options: argparse.Namespace) -> None:
    from uqdm.evaluation.report import can_draw, report

    may_write(options.output, options.force)
    picture = picture_of(options.image, options)
    model = model_for(options.model, picture)
    if options.draws and not can_draw(model):
        raise UserError(f"the model {model.name!r} cannot draw: leave --draws out, or choose another --model")
    with about(options.image), Progress(2 * model.steps, "report") as bar:
        text = report(Path(options.image).name, picture, model, draws=options.draws, on_step=bar.update)
    write(options.output, text.encode(errors="backslashreplace"))
    say(f"{options.output}: {len(text) / 2**20:.1f} MiB; open it in a browser")


def _allocation(options: argparse.Namespace) -> None:
    from uqdm.evaluation.plots import plot_allocation
    from uqdm.nested.allocation import block_bits
    from uqdm.nested.model import NestedModel

    _check_drawing(options)
    picture = picture_of(options.image, options)
    model = model_for(options.model, picture)
    if not isinstance(model, NestedModel):
        raise UserError("only models of the nested process have blocks: choose another --model")
    with about(options.image), Progress(model.steps, "allocation") as bar:
        bits = block_bits(picture, model, on_step=bar.update)
    write(options.output, plot_allocation(picture, bits, model.block, Path(options.output).suffix[1:].lower()))
