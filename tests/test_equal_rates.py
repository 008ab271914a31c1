"""`uqdm eval` at equal rates: several reconstructions of one stream, draws over seeds, and sets of patches."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture

from uqdm.cli import main
from uqdm.codec.api import decode, encode
from uqdm.evaluation import BASELINES, OURS, patches
from uqdm.evaluation.baselines import baseline_within
from uqdm.evaluation.patches import patches_of
from uqdm.library import load_model
from uqdm.metrics import kid, psnr_db
from uqdm.pictures import write_picture
from uqdm.reconstruction import Sample

COUNT, SIDE = 3, 16


def plain_features(pictures: np.ndarray, weights: str | Path) -> np.ndarray:
    """In place of a network's: averages of 4 x 4 pixels."""
    assert Path(weights).read_bytes() == b"weights"
    return np.mean(pictures.reshape(len(pictures), 4, SIDE // 4, 4, SIDE // 4, 3), (2, 4)).reshape(len(pictures), -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("equal")
    tiny_model.save(folder / "m.npz")
    (folder / "weights").write_bytes(b"weights")
    (folder / "set").mkdir()
    for number in range(COUNT):
        (folder / "set" / f"{number}.png").write_bytes(write_picture(make_picture(32, 24, seed=number), ".png"))
    return folder


def uqdm_eval(folder: Path, out: Path, *options: str, rates: str = "2,4") -> int:
    arguments = ["--codecs", "webp", "--reconstruct", "denoise,sample", "--seeds", "2", "--patches"]
    arguments += [str(folder / "weights"), "--patch-side", str(SIDE), "--rates", rates]
    return main(["eval", str(folder / "set"), "-o", str(out), "--model", str(folder / "m.npz"), *arguments, *options])


@pytest.fixture(scope="module")
def done(folder) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "mobilenet_features", plain_features)
        assert uqdm_eval(folder, folder / "done") == 0
    return folder / "done"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_way_and_codec_has_a_row_at_every_rate(done):
    rows = rows_of(done / "means.csv")
    assert {(row["codec"], row["setting"]) for row in rows} == {
        (codec, rate) for codec in (OURS, f"{OURS} sample", "WebP") for rate in ("2 bpp", "4 bpp")
    }
    for row in rows:
        assert float(row["bpp"]) <= float(row["setting"].removesuffix(" bpp"))
        assert (row["psnr_db_spread"] != "") == (row["codec"] == f"{OURS} sample"), "only draws differ"
        assert row["patches"] == str(2 * int(row["pictures"]))


def test_draws_are_the_mean_over_seeds_with_their_spread(folder, done):
    model, picture = load_model(str(folder / "m.npz")), make_picture(32, 24, seed=1)
    data = encode(picture, model=model)[: 2 * 32 * 24 // 8]
    found = [psnr_db(picture, decode(data, model=model, reconstruction=Sample(seed=seed))) for seed in range(2)]
    lines = [json.loads(line) for line in (done / "pictures.jsonl").read_text().splitlines()]
    (points,) = [line["points"] for line in lines if line["picture"] == "1.png"]
    (point,) = [p for p in points if (p["codec"], p["setting"]) == (f"{OURS} sample", "2 bpp")]
    assert point["quality"]["psnr_db"] == pytest.approx(np.mean(found))
    assert point["spread"]["psnr_db"] == pytest.approx(np.std(found, ddof=1))
    assert point["spread"]["psnr_db"] > 0
    means = {(row["codec"], row["setting"]): row for row in rows_of(done / "means.csv")}
    all_points = [p for line in lines for p in line["points"] if (p["codec"], p["setting"]) == (OURS, "2 bpp")]
    mean = np.mean([p["quality"]["psnr_db"] for p in all_points])
    assert float(means[OURS, "2 bpp"]["psnr_db"]) == pytest.approx(mean, abs=1e-4)


def test_sets_are_the_patches_of_all_pictures(folder, done):
    model = load_model(str(folder / "m.npz"))
    pictures = [make_picture(32, 24, seed=number) for number in range(COUNT)]
    streams = [encode(picture, model=model)[: 2 * 32 * 24 // 8] for picture in pictures]
    original, *drawn = (
        plain_features(np.concatenate([patches_of(one, SIDE) for one in ones]), folder / "weights")
        for ones in (
            pictures,
            *([decode(d, model=model, reconstruction=Sample(seed=seed)) for d in streams] for seed in range(2)),
        )
    )
    summary = json.loads((done / "summary.json").read_text())
    (row,) = [r for r in summary["means"] if (r["codec"], r["setting"]) == (f"{OURS} sample", "2 bpp")]
    assert row["sets"]["kid"] == pytest.approx(
        np.mean([kid(original, features, paired=True) for features in drawn]), rel=1e-5
    )
    assert row["sets"]["patches"] == 2 * COUNT
    assert all(r["sets"]["fid"] >= 0 and r["sets"]["sliced_wasserstein"] > 0 for r in summary["means"])


def test_a_run_that_lost_records_goes_on_with_the_same_result(folder, done, tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "mobilenet_features", plain_features)
    assert uqdm_eval(folder, tmp_path / "out", "--limit", "1") == 0
    assert rows_of(tmp_path / "out" / "means.csv")[0]["pictures"] == "1"
    assert uqdm_eval(folder, tmp_path / "out") == 0
    for table in ("means.csv", "pictures.csv", "pictures.jsonl"):
        assert (tmp_path / "out" / table).read_bytes() == (done / table).read_bytes()
    kept = sorted((tmp_path / "out" / "patches").iterdir())
    assert len(kept) == COUNT
    kept[0].unlink()
    assert uqdm_eval(folder, tmp_path / "out") == 2, "features that were lost are not passed over"


def test_other_codecs_take_the_finest_file_that_fits():
    picture = make_picture(32, 24)
    for codec in BASELINES:
        if (found := baseline_within(codec, picture, 900)) is not None:
            coarser = baseline_within(codec, picture, found[0] - 1)
            assert found[0] <= 900
            assert found[1].shape == picture.shape
            assert coarser is None or coarser[0] < found[0]
    assert baseline_within("jpeg", picture, 10) is None


def test_patches_are_a_grid_in_the_middle():
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    found = patches_of(picture, 2)
    assert found.shape == (6, 2, 2, 3)
    np.testing.assert_array_equal(found[4], picture[2:4, 2:4])
    with pytest.raises(ValueError, match="of 7 x 5 pixels has no patch of 6 x 6: choose a smaller side"):
        patches_of(picture, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reconstruct", "sample"], "at equal rates: name some with --rates"),
        (["--rates", "2", "--reconstruct", "restore"], "--reconstruct must be of denoise,sample"),
        (["--rates", "2", "--patches", "nowhere.npz"], "cannot read nowhere.npz"),
    ],
)
def test_bad_options_get_one_line(folder, tmp_path, capsys, options, message):
    command = ["eval", str(folder / "set"), "-o", str(tmp_path / "out"), "--model", str(folder / "m.npz"), *options]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluations_of_before_are_gone_on_with(folder, tmp_path):
    command = ["eval", str(folder / "set"), "-o", str(tmp_path / "out"), "--model", str(folder / "m.npz")]
    command += ["--rates", "2", "--codecs", "none"]
    assert main([*command, "--limit", "1"]) == 0
    plan = tmp_path / "out" / "plan.json"
    known = ("data", "model", "codecs", "metrics", "rates_bpp", "steps")
    plan.write_text(json.dumps({name: value for name, value in json.loads(plan.read_text()).items() if name in known}))
    assert main([*command, "--limit", "2"]) == 0
