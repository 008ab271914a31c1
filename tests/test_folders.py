"""Folders: every file below one becomes a file below another, whoever does it and however often it is begun."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

import uqdm
from uqdm.cli import main
from uqdm.distributed import processes
from uqdm.distributed.work import Decoding, Encoding, batches_of, files_below

SIZES = {"a.png": (16, 16), "b.png": (16, 16), "deep/c.bmp": (9, 24), "deep/a.png": (16, 16), "deep/a.bmp": (8, 8)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, size) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(make_picture(*size, seed)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / ".hidden.png").write_bytes(b"not looked at")
    (folder / "notes.txt").write_text("not a picture")
    tiny_model.save(folder / "m.npz")
    return folder


def streams_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.uqdm"))}


def test_files_keep_their_places_and_never_share_a_name(pictures, tmp_path):
    files = files_below(pictures, tmp_path / "out", {".png", ".bmp"}, ".uqdm")
    targets = {Path(file.source).name if "deep" not in file.source else "deep/" + Path(file.source).name:
               Path(file.target).relative_to(tmp_path / "out").as_posix() for file in files}  # fmt: skip
    assert targets == {
        "a.png": "a.uqdm",
        "b.png": "b.uqdm",
        "broken.png": "broken.uqdm",
        "deep/a.bmp": "deep/a.bmp.uqdm",
        "deep/a.png": "deep/a.png.uqdm",
        "deep/c.bmp": "deep/c.uqdm",
    }


def test_results_are_not_taken_for_sources(pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "in")
    (tmp_path / "in" / "out").mkdir()
    shutil.copy(tmp_path / "in" / "a.png", tmp_path / "in" / "out" / "a.png")
    files = files_below(tmp_path / "in", tmp_path / "in" / "out", {".png"}, ".uqdm")
    assert not [file for file in files if "/out/" in file.source]


@pytest.mark.parametrize("out", [".", ".."])
def test_results_may_lie_beside_sources_or_above_them(pictures, out):
    names = [Path(file.source).name for file in files_below(pictures, pictures / out, {".png"}, ".uqdm")]
    assert names == ["a.png", "b.png", "broken.png", "a.png"]


def test_streams_are_verified_and_options_of_other_models_refused(pictures, tmp_path, monkeypatch, capsys):
    options = ["--model", str(pictures / "m.npz"), "--jobs", "1"]
    shutil.copytree(pictures, tmp_path / "in", ignore=shutil.ignore_patterns("broken*"))
    folders = [str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(["encode", *folders, *options, "--verify"]) == 0
    assert main(["encode", *folders, *options, "--caption", "a dog"]) == 2
    assert "--caption is for --perco or --text-sketch" in capsys.readouterr().err

    def refuse(*_, **__):
        raise uqdm.DamagedStreamError("what was decoded is of another picture", step=0, good_bytes=0)

    monkeypatch.setattr("uqdm.distributed.work.check_against", refuse)
    assert main(["encode", *folders, *options, "--force"]) == 0
    assert main(["encode", *folders, *options, "--force", "--verify"]) == 2
    assert capsys.readouterr().err.count("what was decoded is of another picture") == 5


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of memory\nallocating")])
def test_what_fails_for_one_file_fails_for_that_alone(pictures, tmp_path, monkeypatch, error):
    """Whether the file is too large for the memory, or for that of a device."""

    def encode(pictures, **_):
        if any(picture.shape[:2] == SIZES["deep/c.bmp"] for picture in pictures):
            raise error
        return [b"stream" for _ in pictures]

    monkeypatch.setattr("uqdm.distributed.work.encode_batch", encode)
    files = files_below(pictures, tmp_path, {".png", ".bmp"}, ".uqdm")
    said = {Path(outcome.source).name: outcome.error for outcome in Encoding()(files)}
    words = "not enough memory for a picture of this size", "RESOURCE_EXHAUSTED: out of memory"
    assert said.pop("c.bmp") == words[isinstance(error, RuntimeError)]
    assert said.pop("broken.png")
    assert set(said.values()) == {None}


def test_long_names_are_not_taken_by_others(tmp_path):
    for name in ("photo.jpg", "photo.png", "photo.jpg.png", "photo.jpg.jpg", "other.png"):
        (tmp_path / name).touch()
    files = files_below(tmp_path, tmp_path / "out", {".png", ".jpg"}, ".uqdm")
    targets = {Path(file.source).name: Path(file.target).name for file in files}
    assert len(set(targets.values())) == 5
    assert targets["other.png"] == "other.uqdm"


def test_a_tau_turns_the_drawn_process_off_as_it_does_for_one_file(pictures, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(tmp_path / "in" / "a.png")
    for number, options in enumerate((["--tau", "0.5"], ["--bpp", "4"])):
        out = tmp_path / str(number)
        assert main(["encode", str(tmp_path / "in"), str(out), "--jobs", "1", *options]) == 0
        assert main(["encode", str(tmp_path / "in" / "a.png"), str(tmp_path / f"{number}.uqdm"), *options]) == 0
        assert (out / "a.uqdm").read_bytes() == (tmp_path / f"{number}.uqdm").read_bytes()


def test_a_model_that_is_none_is_said_once(pictures, tmp_path, capsys):
    assert main(["encode", str(pictures), str(tmp_path), "--model", "typo"]) == 2
    err = capsys.readouterr().err
    assert "no model 'typo'" in err
    assert "standard output" not in err


def test_batches_have_one_size(pictures, tmp_path):
    do = Encoding()
    files = files_below(pictures, tmp_path, {".png", ".bmp"}, ".uqdm")
    batches = batches_of(files, do.size_of)
    assert sorted(len(batch) for batch in batches) == [1, 1, 1, 3]
    assert sorted(file for batch in batches for file in batch) == sorted(files)


def test_a_folder_is_encoded_and_decoded_with_what_is_broken_told_at_the_end(pictures, tmp_path, capsys):
    out, back = tmp_path / "out", tmp_path / "back"
    model = ["--model", str(pictures / "m.npz")]
    assert main(["encode", str(pictures), str(out), *model, "--bpp", "6", "--jobs", "1"]) == 2
    err = capsys.readouterr().err
    assert "broken.png: not a picture" in err
    assert "1 of 6 files failed" in err
    streams = streams_below(out)
    assert len(streams) == 5
    loaded = uqdm.load_model(str(pictures / "m.npz"))
    assert streams["a.uqdm"] == uqdm.encode(make_picture(16, 16, 0), bpp=6.0, model=loaded)
    assert main(["decode", str(out), str(back), *model, "--jobs", "1"]) == 0
    for name, data in streams.items():
        with Image.open((back / name).with_suffix(".png")) as image:
            np.testing.assert_array_equal(np.asarray(image), uqdm.decode(data, model=loaded))


def test_what_is_there_is_not_done_again(pictures, tmp_path, capsys):
    arguments = ["encode", str(pictures), str(tmp_path), "--model", str(pictures / "m.npz"), "--jobs", "1"]
    main([*arguments, "--tau", "0.8"])
    first = streams_below(tmp_path)
    (tmp_path / "b.uqdm").unlink()
    (tmp_path / "a.uqdm").write_bytes(b"kept")
    main([*arguments, "--tau", "0.8"])
    assert "4 were there before" in capsys.readouterr().err
    assert streams_below(tmp_path) == first | {"a.uqdm": b"kept"}
    main([*arguments, "--tau", "0.8", "--force"])
    assert streams_below(tmp_path) == first


def test_two_processes_make_the_same_files(pictures, tmp_path):
    do = Encoding(tau=0.7, model=str(pictures / "m.npz"))
    results = {}
    for count in (1, 2):
        files = files_below(pictures, tmp_path / str(count), {".png", ".bmp"}, ".uqdm")
        outcomes = list(processes.run(batches_of(files, do.size_of), do, processes=count))
        assert sorted(outcome.source for outcome in outcomes) == sorted(file.source for file in files)
        assert [Path(outcome.source).name for outcome in outcomes if outcome.error] == ["broken.png"]
        results[count] = streams_below(tmp_path / str(count))
    assert results[1] == results[2]
    assert len(results[1]) == 5


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'uqdm[ray]'")
def test_ray_makes_the_same_files(pictures, tmp_path):
    from uqdm.distributed import ray_data

    do = Encoding(tau=0.7, model=str(pictures / "m.npz"))
    results = []
    for run in (ray_data.run, lambda batches, do: processes.run(batches, do, processes=1)):
        out = tmp_path / str(len(results))
        files = files_below(pictures, out, {".png", ".bmp"}, ".uqdm")
        outcomes = list(run(batches_of(files, do.size_of), do))
        assert [Path(outcome.source).name for outcome in outcomes if outcome.error] == ["broken.png"]
        results.append(streams_below(out))
    assert results[0] == results[1]


def test_frames_are_chosen_and_what_was_noticed_is_told_once_per_kind(pictures, tmp_path, capsys):
    frames = [Image.fromarray(make_picture(8, 8, seed)) for seed in range(3)]
    for name, count in (("a", 2), ("b", 3), ("c", 3)):
        frames[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=frames[1:count], dpi=(300, 300))
    model = ["--model", str(pictures / "m.npz"), "--tau", "0.8", "--jobs", "1"]
    assert main(["encode", str(tmp_path), str(tmp_path / "first"), *model]) == 0
    said = capsys.readouterr().err
    assert "  the first of N frames is taken: --frame N chooses another (3 files)\n" in said
    assert "  not kept: N dpi (3 files)\n" in said
    assert said.count("is taken") == 1
    assert main(["encode", str(tmp_path), str(tmp_path / "third"), *model, "--frame", "3"]) == 2
    said = capsys.readouterr().err
    assert "a.tif: there is no frame 3: the file has 2" in said
    assert "1 of 3 files failed" in said
    loaded = uqdm.load_model(str(pictures / "m.npz"))
    for folder, frame in (("first", 0), ("third", 2)):
        expected = uqdm.encode(make_picture(8, 8, frame), 0.8, model=loaded)
        assert (tmp_path / folder / "b.uqdm").read_bytes() == expected


def test_a_prefix_of_every_stream_is_decoded(pictures, tmp_path):
    model = str(pictures / "m.npz")
    (tmp_path / "s.uqdm").write_bytes(uqdm.encode(make_picture(16, 16), model=uqdm.load_model(model)))
    do = Decoding(file_bytes=60, model=model)
    files = files_below(tmp_path, tmp_path / "out", {".uqdm"}, ".png")
    assert [outcome.error for outcome in processes.run(batches_of(files, do.size_of), do)] == [None]


def test_an_empty_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["encode", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "there is nothing to encode below" in capsys.readouterr().err


def test_metadata_of_streams_is_written_back_and_asked_for_one_by_one(tmp_path, tiny_model, capsys):
    tiny_model.save(tmp_path / "m.npz")
    (tmp_path / "streams").mkdir()
    data = uqdm.encode(make_picture(8, 8), metadata={"dpi": (300, 300)}, model=tiny_model)
    (tmp_path / "streams" / "a.uqdm").write_bytes(data)
    file = files_below(tmp_path / "streams", tmp_path / "out", {".uqdm"}, ".png")
    (outcome,) = Decoding(model=str(tmp_path / "m.npz"))(file)
    assert outcome.error is None
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert [round(dots) for dots in image.info["dpi"]] == [300, 300]
    assert main(["encode", str(tmp_path), str(tmp_path / "new"), "--keep-metadata"]) == 2
    assert "--keep-metadata is for one picture: encode them one by one" in capsys.readouterr().err
