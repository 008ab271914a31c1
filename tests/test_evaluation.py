"""Evaluations: what is measured is real, and does not depend on who measured what, or when."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

from uqdm.cli import main
from uqdm.codec.api import decode, encode_with_costs, previews
from uqdm.codec.rate_control import pictures_at
from uqdm.evaluation import (
    Plan,
    Point,
    Records,
    baseline_points,
    curves,
    point_of,
    progressive_points,
    read_points,
    run,
    write_points,
    write_tables,
)
from uqdm.evaluation.records import prepare
from uqdm.evaluation.run import shown_by
from uqdm.library import load_model
from uqdm.metrics import psnr_db
from uqdm.pictures import write_picture
from uqdm.training.dataset import open_source

COUNT = 3
TABLES = ("pictures.csv", "pictures.jsonl", "means.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model) -> Path:
    """A model, and pictures in a folder of folders."""
    folder = tmp_path_factory.mktemp("evaluation")
    tiny_model.save(folder / "m.npz")
    for number in range(COUNT):
        (folder / "set" / f"{number}").mkdir(parents=True)
        picture = make_picture(16, 24, seed=number)
        (folder / "set" / f"{number}" / "a.png").write_bytes(write_picture(picture, ".png"))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(str(folder / "m.npz"))


@pytest.fixture
def uqdm_eval(folder, capsys):
    """Runs `uqdm eval` on the pictures; gives (exit code, standard output, standard error)."""

    def uqdm_eval(*options: str, data: str = str(folder / "set")):
        code = main(["eval", data, "--model", str(folder / "m.npz"), *options])
        out = capsys.readouterr()
        return code, out.out, out.err

    return uqdm_eval


@pytest.fixture(scope="module")
def unbroken(folder) -> Path:
    """What one process writes that nobody disturbs."""
    arguments = ["--model", str(folder / "m.npz"), "--codecs", "jpeg,webp", "--rates", "0.5,1,4,90"]
    assert main(["eval", str(folder / "set"), "-o", str(folder / "unbroken"), *arguments]) == 0
    return folder / "unbroken"


def same_results(one: Path, other: Path) -> bool:
    """Whether all tables are equal, times apart."""
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for summary in summaries:
        del summary["times"]
    return summaries[0] == summaries[1] and all((one / t).read_bytes() == (other / t).read_bytes() for t in TABLES)


def test_what_is_shown_otherwise_is_another_evaluation(unbroken, model, uqdm_eval, tmp_path):
    """Though the id of the model is the same."""
    shown = model.with_preview_weights(np.full(model.steps + 1, 0.5, np.float32))
    assert shown.id == model.id
    assert len({shown_by(model, ["denoise"]), shown_by(shown, ["denoise"]), shown_by(shown, ["restore"])}) == 2
    photo = load_model("photo")
    assert shown_by(photo, ["denoise"]) != shown_by(photo, ["denoise", "restore"])
    shown.save(tmp_path / "m.npz")
    options = ["--codecs", "jpeg,webp", "--rates", "0.5,1,4,90", "--model", str(tmp_path / "m.npz")]
    assert uqdm_eval("-o", str(unbroken), *options)[0] == 2


def test_pictures_that_cannot_be_measured_are_left_out_and_named(uqdm_eval, tmp_path):
    """As those that are too small for a metric."""
    pictures = tmp_path / "set"
    pictures.mkdir()
    for name, size in (("large", (176, 168)), ("small", (24, 16))):
        (pictures / f"{name}.png").write_bytes(write_picture(make_picture(*size), ".png"))
    options = ["--codecs", "jpeg", "--rates", "2", "--metrics", "ms_ssim"]
    for shard in ("1/2", "0/2", "0/2"):  # the small one is of the process that begins
        code, _, err = uqdm_eval("-o", str(tmp_path / "out"), "--shard", shard, *options, data=str(pictures))
        assert code == 2
    assert "1 of 2 pictures are left out, the first is small.png: " in err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["pictures"] == 1
    (pictures / "large.png").unlink()
    code, _, err = uqdm_eval("-o", str(tmp_path / "none"), *options, data=str(pictures))
    assert code == 2
    assert "1 of 1 pictures are left out" in err


def test_weights_that_are_none_are_said_before_all_work(uqdm_eval, tmp_path, monkeypatch):
    monkeypatch.delenv("UQDM_LPIPS_WEIGHTS", raising=False)
    (tmp_path / "no.npz").write_bytes(b"no weights")
    for options in (["--metrics", "lpips_squeezenet"], ["--rates", "1", "--patches", str(tmp_path / "no.npz")]):
        code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *options)
        assert code == 2
        assert [line.startswith("uqdm eval: ") for line in err.splitlines()].count(True) == 1
        assert not (tmp_path / "out").exists()


def test_rates_are_measured_once_and_patches_have_a_pyramid(uqdm_eval, tmp_path):
    out = ["-o", str(tmp_path / "out"), "--codecs", "none"]
    assert uqdm_eval(*out, "--limit", "1", "--rates", "1,1.0,2,1.00")[0] == 0
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["means"]
    assert [(row["setting"], row["pictures"]) for row in rows] == [("1 bpp", 1), ("2 bpp", 1)]
    assert "--rates names nothing" in uqdm_eval(*out, "--rates", ",")[2]
    wrong = ["--rates", "1", "--patches", "weights.npz", "--patch-side", "8"]
    assert "--patch-side must be at least 16 pixels, got 8" in uqdm_eval(*out, *wrong)[2]


def test_a_folder_that_another_process_is_about_to_begin_is_none_of_something_else(tmp_path):
    (tmp_path / ".plan-of-another").touch()
    plan = Plan(data="set", model="00", codecs=(), metrics=(), rates_bpp=(), steps=True)
    prepare(tmp_path, plan)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(ValueError, match="is not empty and holds no evaluation"):
        prepare(tmp_path / "other", plan)


def test_prefixes_decoded_in_one_pass_are_those_that_decode_shows(model):
    picture = make_picture(16, 24)
    data, costs = encode_with_costs(picture, model=model)
    sizes = [costs[0].file_bytes, costs[3].file_bytes, costs[3].file_bytes + 7, costs[3].file_bytes + 9, 200, len(data)]
    assert sizes == sorted(sizes)
    for size, shown in zip(sizes, pictures_at(data, sizes, model), strict=True):
        np.testing.assert_array_equal(shown, decode(data[:size], model=model))


def test_points_are_real_prefixes(model):
    picture = make_picture(16, 24)
    data, _ = encode_with_costs(picture, model=model)
    points = {point.setting: point for point in progressive_points(picture, model, rates_bpp=(0.01, 2.0, 90.0))}
    for preview in previews(data, model=model):
        point = points.pop(f"step {preview.step}")
        assert point.file_bytes == preview.file_bytes
        decoded = decode(data[: preview.file_bytes], model=model)
        assert point.quality["psnr_db"] == psnr_db(picture, decoded)
    assert points["2 bpp"].file_bytes == 2 * picture[..., 0].size // 8
    assert points["2 bpp"].quality["psnr_db"] == psnr_db(picture, decode(data[:96], model=model))
    assert points["90 bpp"].file_bytes == len(data), "a larger budget than the stream takes the stream"
    assert "0.01 bpp" not in points, "no file is smaller than its header"


def test_two_processes_and_one_give_the_same_evaluation(folder, uqdm_eval, unbroken, tmp_path):
    options = ["-o", str(tmp_path / "out"), "--codecs", "jpeg,webp", "--rates", "0.5,1,4,90"]
    command = [
        sys.executable,
        "-m",
        "uqdm.cli",
        "eval",
        str(folder / "set"),
        "--model",
        str(folder / "m.npz"),
        *options,
    ]
    with subprocess.Popen([*command, "--shard", "1/2"]) as other:
        assert uqdm_eval(*options, "--shard", "0/2")[0] == 0
        assert other.wait(300) == 0
    records = {path.name: path.read_text().count("\n") for path in (tmp_path / "out").glob("records-*")}
    assert records == {"records-0-of-2.jsonl": 2, "records-1-of-2.jsonl": 1}
    assert same_results(tmp_path / "out", unbroken)


def test_a_killed_run_goes_on_with_the_same_result(folder, unbroken, tmp_path, model):
    kept = json.loads((unbroken / "plan.json").read_text())
    plan = Plan(**{name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()})
    source = open_source(str(folder / "set"))

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    with pytest.raises(Killed):
        run(source, plan, model, tmp_path / "out", count=COUNT, on_picture=kill)
    records = tmp_path / "out" / "records-0-of-1.jsonl"
    first = records.read_bytes()
    assert first.count(b"\n") == 1
    records.write_bytes(first + b'["0123", "1/a.png", 16, 24, [0.')
    assert len(Records(tmp_path / "out").keys()) == 1, "half a line is no measurement"
    members = run(source, plan, model, tmp_path / "out", count=COUNT)
    assert records.read_bytes().startswith(first), "what was measured is not measured again"
    write_tables(tmp_path / "out", plan, [(member.name, member.key) for member in members.values()])
    assert same_results(tmp_path / "out", unbroken)


def test_the_last_process_writes_the_tables(uqdm_eval, unbroken, tmp_path):
    options = ["-o", str(tmp_path / "out"), "--codecs", "jpeg,webp", "--rates", "0.5,1,4,90"]
    code, _, err = uqdm_eval(*options, "--shard", "1/2")
    assert code == 0
    assert "1 of 3 pictures" in err
    assert not (tmp_path / "out" / "summary.json").exists()
    assert uqdm_eval(*options)[0] == 0
    assert len((tmp_path / "out" / "records-0-of-1.jsonl").read_text().splitlines()) == 2
    assert same_results(tmp_path / "out", unbroken)


def test_an_evaluation_of_something_else_is_not_added_to(uqdm_eval, unbroken, tmp_path):
    before = {path.name: path.read_bytes() for path in unbroken.iterdir()}
    code, _, err = uqdm_eval("-o", str(unbroken), "--codecs", "jpeg,webp", "--rates", "0.5,2")
    assert code == 2
    assert "another rates_bpp ([0.5, 1.0, 4.0, 90.0], not [0.5, 2.0])" in err
    assert {path.name: path.read_bytes() for path in unbroken.iterdir()} == before
    (tmp_path / "precious.txt").write_text("precious")
    code, _, err = uqdm_eval("-o", str(tmp_path))
    assert code == 2
    assert "is not empty and holds no evaluation" in err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_tables_have_a_row_per_picture_and_setting_and_their_means(unbroken):
    rows = read_points((unbroken / "pictures.csv").read_text())
    assert sorted({picture for picture, _ in rows}) == ["0/a.png", "1/a.png", "2/a.png"]
    chosen = [point for _, point in rows if point[:2] == ("JPEG", "50")]
    means = read_points((unbroken / "means.csv").read_text())
    (mean,) = [point for _, point in means if point[:2] == ("JPEG", "50")]
    assert mean.bpp == pytest.approx(np.mean([point.bpp for point in chosen]), abs=1e-6)
    assert mean.quality["psnr_db"] == pytest.approx(np.mean([p.quality["psnr_db"] for p in chosen]), abs=1e-4)
    for codec, curve in curves(rows).items():
        np.testing.assert_allclose(curve, curves(means)[codec], atol=1e-3)
    summary = json.loads((unbroken / "summary.json").read_text())
    assert summary["bd_rate_percent"]["psnr_db"]["JPEG"]["pictures"] == COUNT
    times = (unbroken / "times.csv").read_text().splitlines()
    assert [line.split(",")[5] for line in times] == ["compiled", "1", "0", "0"], "compilation is paid once"
    assert min(summary["times"].values()) > 0
    assert (unbroken / "curves_psnr_db.png").read_bytes().startswith(b"\x89PNG")


def made(setting: str, bpp: float, psnr: float, codec: str = "uqdm") -> Point:
    return Point(codec, setting, 100, float(bpp), {"psnr_db": float(psnr)})


def test_a_setting_that_a_picture_lacks_makes_no_curve():
    rows = [("a", made("1", 1, 30, "JPEG")), ("a", made("2", 2, 34, "JPEG")), ("b", made("2", 4, 36, "JPEG"))]
    assert curves(rows) == {"JPEG": [(3, 35)]}


def test_means_at_equal_steps_and_at_equal_rates_are_not_mixed():
    points = [made("step 1", 1, 30), made("step 2", 2, 34), made("1.5 bpp", 1.5, 31)]
    assert curves(("a", point) for point in points)["uqdm"] == [(1, 30), (2, 34)]
    assert curves(("a", point) for point in points[2:])["uqdm"] == [(1.5, 31)]


def test_pictures_without_error_end_no_curve():
    assert curves([("a", made("step 1", 1, 30)), ("a", made("step 2", 2, np.inf))])["uqdm"] == [(1, 30)]


def test_a_table_comes_back():
    rows = [("a, b.png", made("step 1", 0.5, 30.25)), ("c.png", made("97", 3, np.inf, "WebP"))]
    assert read_points(write_points(rows)) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "not a table of points: it needs the columns"),
        ("", "not a table of points"),
        ("codec,setting,bpp,psnr_db\nJPEG,5,much,30\n", "line 2 of the table"),
        ("codec,setting,bpp,psnr_db\nJPEG,5,1\n", "line 2 of the table"),
    ],
)
def test_what_is_no_table_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_points(text)


def test_rivals_are_measured_by_what_they_decode():
    picture = make_picture(16, 24)
    points = baseline_points("webp", picture)
    assert [point.setting for point in points] == [
        "5",
        "10",
        "20",
        "30",
        "40",
        "50",
        "60",
        "70",
        "80",
        "87",
        "93",
        "97",
    ]
    assert points[-1].file_bytes > points[0].file_bytes
    assert points[-1].quality["psnr_db"] > points[0].quality["psnr_db"] + 5
    assert point_of("x", "", 30, picture, picture, ["psnr_db"]) == Point("x", "", 30, 0.625, {"psnr_db": np.inf})


def test_a_codec_that_is_not_here_is_named_and_left_out(uqdm_eval, tmp_path, monkeypatch):
    monkeypatch.setattr("uqdm.evaluation.available", lambda codec: codec == "jpeg")
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), "--codecs", "jpeg,jxl", "--rates", "1", "--limit", "1")
    assert code == 0
    assert "JPEG XL is left out, since Pillow does not write it here: pip install pillow-jxl-plugin" in err
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["codecs"] == ["jpeg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "2/2"], "--shard must be I/N with 0 <= I < N, got 2/2"),
        (["--rates", "1,x"], "--rates must be bits per pixel between 0 and 100, separated by commas, got 'x'"),
        (["--codecs", "gif"], "--codecs must be of jpeg,webp,avif,jp2,jxl, got 'gif'"),
        (["--metrics", "beauty"], "--metrics must be of psnr_db"),
    ],
)
def test_bad_options_get_one_line_and_leave_nothing(uqdm_eval, tmp_path, options, message):
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read_is_named(uqdm_eval, tmp_path):
    assert "no such file or folder" in uqdm_eval("-o", str(tmp_path / "out"), data=str(tmp_path / "nowhere"))[2]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "text.png").write_text("no picture")
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), "--codecs", "none", data=str(tmp_path / "set"))
    assert code == 2
    assert "none of 1 pictures can be taken, the first is" in err
    assert "text.png: not a picture" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


OPTIONS = ("--codecs", "jpeg", "--steps")


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of two pictures."""
    (tmp_path / "set").mkdir()
    for seed, name in enumerate(("b.png", "d.png")):
        (tmp_path / "set" / name).write_bytes(write_picture(make_picture(16, 24, seed), ".png"))
    return tmp_path / "set"


def names_and_lines(folder: Path) -> tuple[list[str], int]:
    """Pictures of the tables, and lines of the records."""
    names = [json.loads(line)["picture"] for line in (folder / "pictures.jsonl").read_text().splitlines()]
    return names, sum(path.read_text().count("\n") for path in folder.glob("records-*"))


def test_a_broken_picture_is_left_out_named_and_shows_in_the_exit_code(uqdm_eval, pictures, tmp_path):
    (pictures / "a_text.png").write_text("no picture")
    Image.new("RGBA", (16, 24), (0, 0, 0, 9)).save(pictures / "c_clear.png")
    for _ in range(2):  # the second time all is measured
        code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))
        assert code == 2
        assert f"left out: {pictures / 'a_text.png'}: not a picture that Pillow can read\n" in err
        assert f"left out: {pictures / 'c_clear.png'}: the picture has transparent pixels" in err
        assert "uqdm eval: 2 of 4 pictures are left out" in err.splitlines()[-1]
        assert names_and_lines(tmp_path / "out") == (["b.png", "d.png"], 2)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["pictures"], len(summary["left_out"])) == (2, 2)
    code, _, err = uqdm_eval("-o", str(tmp_path / "half"), *OPTIONS, "--shard", "0/2", data=str(pictures))
    assert (code, err.count("left out")) == (2, 3)
    assert not (tmp_path / "half" / "summary.json").exists()
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, "--background", "red", data=str(pictures))
    assert "1 of 4 pictures are left out" in err
    assert names_and_lines(tmp_path / "out") == (["b.png", "c_clear.png", "d.png"], 3)


def test_results_belong_to_contents(uqdm_eval, pictures, tmp_path):
    assert uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))[0] == 0
    assert names_and_lines(tmp_path / "out") == (["b.png", "d.png"], 2)
    (pictures / "a.png").write_bytes(write_picture(make_picture(24, 16, 7), ".png"))  # all places change
    (pictures / "b.png").rename(pictures / "z.png")
    Image.open(pictures / "d.png").save(pictures / "copy.webp", lossless=True)  # the same pixels in another file
    assert uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))[0] == 0
    assert names_and_lines(tmp_path / "out") == (["a.png", "copy.webp", "d.png", "z.png"], 3)
    (pictures / "d.png").write_bytes(write_picture(make_picture(16, 24, 9), ".png"))  # another picture of this name
    assert uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))[0] == 0
    assert names_and_lines(tmp_path / "out")[1] == 4
    assert uqdm_eval("-o", str(tmp_path / "new"), *OPTIONS, data=str(pictures))[0] == 0
    assert same_results(tmp_path / "out", tmp_path / "new")


@pytest.mark.parametrize("line", [b"oops\n", b"{}\n", b'[0, "b.png", 16, 24, [], []]\n', bytes(40) + b"\n", b"\xff\n"])
def test_a_damaged_record_is_named_with_what_to_do(uqdm_eval, pictures, tmp_path, line):
    assert uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))[0] == 0
    records = tmp_path / "out" / "records-0-of-1.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole.replace(b"\n", b"\n" + line, 1))
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))
    assert (code, err) == (
        2,
        f"uqdm eval: line 2 of {records} is damaged: delete it, and its picture is measured again\n",
    )
    records.write_bytes(whole)
    (tmp_path / "out" / "plan.json").write_bytes(line)
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))
    assert code == 2
    assert "plan.json" in err
    assert err.count("\n") == 1


def test_what_was_noticed_about_pictures_is_said(uqdm_eval, pictures, tmp_path):
    first, second = (Image.fromarray(make_picture(16, 24, seed)) for seed in (3, 4))
    first.save(pictures / "moving.png", save_all=True, append_images=[second])
    code, _, err = uqdm_eval("-o", str(tmp_path / "out"), *OPTIONS, data=str(pictures))
    assert code == 0
    assert "moving.png: the first of 2 frames is taken: --frame N chooses another" in err
    with pytest.raises(ValueError, match=r"moving.png: the file has 2 frames"):
        open_source(pictures)[2]


def test_curves_of_several_tables_are_told_apart(unbroken, tmp_path, capsys):
    other = tmp_path / "other" / "means.csv"
    other.parent.mkdir()
    other.write_bytes((unbroken / "means.csv").read_bytes())
    tables = [str(unbroken / "means.csv"), str(other)]
    assert main(["plot", *tables, "-o", str(tmp_path / "curves.svg")]) == 0
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.count("<!-- uqdm, unbroken -->") == drawn.count("<!-- uqdm, other -->") == 1
    assert drawn.count("<!-- JPEG -->") == 1
    changed = unbroken / "changed.csv"  # in one folder with another table, and not alike
    lines = (unbroken / "means.csv").read_text().splitlines(keepends=True)
    ours = next(number for number, line in enumerate(lines) if "JPEG" in line)
    changed.write_text("".join(lines[:ours] + lines[ours + 1 :]))
    assert main(["plot", tables[0], str(changed), str(other), "-o", str(tmp_path / "three.svg")]) == 0
    drawn = (tmp_path / "three.svg").read_text()
    assert drawn.count(f"<!-- uqdm, {tables[0]} -->") == drawn.count(f"<!-- JPEG, {changed} -->") == 1
    assert drawn.count("<!-- uqdm, other -->") == drawn.count("<!-- JPEG, other -->") == 1
    changed.unlink()
    assert main(["plot", *tables, "-o", str(tmp_path / "no.png"), "--csv"]) == 2
    assert "give either pictures or tables" in capsys.readouterr().err
