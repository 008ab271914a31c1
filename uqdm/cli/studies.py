"""plot, report, allocation: pictures of what codecs do; and what tables of `uqdm eval` share with them."""

import argparse
from collections import Counter
from pathlib import Path

from uqdm.cli.common import (
    Commands,
    about,
    model_for,
    picture_of,
    with_force,
    with_model,
    with_picture,
)
from uqdm.cli.errors import UserError
from uqdm.cli.files import may_write, read, write
from uqdm.cli.progress import Progress, say

__all__ = ["add_commands", "curves_of", "known", "names", "plotter"]


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
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


def plotter():
    """`uqdm.evaluation.plots.plot_curves`, which needs matplotlib."""
    try:
        from uqdm.evaluation.plots import plot_curves
    except ModuleNotFoundError as error:
        raise UserError(str(error)) from None
    return plot_curves


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def known(text: str, table, option: str) -> tuple[str, ...]:
    """Names of a table, each once and in its order."""
    for name in names(text):
        if name not in table:
            raise UserError(f"{option} must be of {','.join(table)}, got {name!r}")
    if not names(text):
        raise UserError(f"{option} names nothing: give some of {','.join(table)}")
    return tuple(name for name in table if name in names(text))


def _plot(options: argparse.Namespace) -> None:
    from uqdm.evaluation import BASELINES, METRICS, baseline_points, curves, progressive_points, write_points

    plot_curves = plotter()

    _check_drawing(options)
    (metric,) = known(options.metric, METRICS, "--metric")
    tables = [path.lower().endswith(".csv") for path in options.inputs]
    if any(tables) and (options.csv or not all(tables)):
        raise UserError("give either pictures or tables; --csv is for pictures")
    table = str(Path(options.output).with_suffix(".csv"))
    if options.csv:
        may_write(table, options.force)
    rows = []
    if any(tables):
        found = curves_of(options.inputs, metric)
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


def curves_of(tables: list[str], metric: str) -> dict[str, list[tuple[float, float]]]:
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
