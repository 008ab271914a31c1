"""eval: rate and distortion of a set of pictures, beside other codecs."""

import argparse
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from uqdm.cli.common import Commands, count, model_for, quiet_readers, with_background, with_model
from uqdm.cli.errors import UserError
from uqdm.cli.files import read, write
from uqdm.cli.progress import Progress, say
from uqdm.cli.studies import curves_of, known, names, plotter
from uqdm.errors import PictureError

if TYPE_CHECKING:
    from uqdm.training.dataset import PictureSet

__all__ = ["add_commands"]

_LEAST_PATCH = 16
"""Pixels: smaller ones have no pyramid."""
_RATES = "0.05,0.1,0.15,0.2,0.25,0.35,0.5,0.75,1,1.5,2,3,4,6"


def add_commands(commands: Commands) -> None:
    """Adds it to the parser."""
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

    plot_curves = plotter()

    metrics = known(options.metrics, METRICS, "--metrics")
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
    ways = known(options.reconstruct or "denoise", reconstructions_of(model), "--reconstruct")
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
        found = curves_of([str(folder / "means.csv")], metric)
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


def _rates(text: str) -> tuple[float, ...]:
    """Each once, by the name that tables have for it."""
    rates = {}
    for name in names(text):
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


def _codecs(text: str | None) -> tuple[str, ...]:
    """Those asked for that there are here."""
    from uqdm.evaluation import BASELINES, available

    if text == "none":
        return ()
    wanted = tuple(BASELINES) if text is None else known(text, BASELINES, "--codecs")
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
