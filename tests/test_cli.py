import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

import uqdm
from uqdm.cli import main
from uqdm.codec.api import encode
from uqdm.exact.grids import CAPACITIES
from uqdm.library import load_model
from uqdm.metrics import psnr_db
from uqdm.pictures import read_picture, write_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("cli")
    tiny_model.save(folder / "m.npz")
    (folder / "in.png").write_bytes(write_picture(make_picture(24, 32), ".png"))
    arguments = [str(folder / "in.png"), str(folder / "whole.uqdm"), "--model", str(folder / "m.npz"), "-q", "100"]
    assert main(["encode", *arguments]) == 0
    return folder


@pytest.fixture
def run(folder, tmp_path, capsys, monkeypatch):
    """Runs a command in a fresh folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, model: bool = True):
        chosen = ["--model", str(folder / "m.npz")] if model else []
        try:
            code = main([*arguments, *chosen])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_picture_goes_out_and_comes_back(run, folder, tmp_path):
    assert run("encode", str(folder / "in.png"), "a.uqdm", "--tau", "0")[0] == 0
    assert (tmp_path / "a.uqdm").read_bytes() == (folder / "whole.uqdm").read_bytes()
    code, _, err = run("decode", "a.uqdm", "a.png")
    assert code == 0
    assert "step 15 of 15" in err
    assert psnr_db(make_picture(24, 32), read_picture((tmp_path / "a.png").read_bytes())) > 38


@pytest.mark.parametrize(("limit", "size"), [(["--bytes", "300"], 300), (["--bpp", "2"], 192)])
def test_a_size_can_be_asked_for(run, folder, tmp_path, limit, size):
    assert run("encode", str(folder / "in.png"), "a.uqdm", *limit)[0] == 0
    assert len((tmp_path / "a.uqdm").read_bytes()) == size
    assert run("truncate", str(folder / "whole.uqdm"), "b.uqdm", *limit, model=False)[0] == 0
    asked, cut = ((tmp_path / name).read_bytes() for name in ("a.uqdm", "b.uqdm"))
    payload, same = (data[uqdm.info(data)["header_bytes"] :] for data in (asked, cut))
    shorter = min(len(payload), len(same))
    assert payload[:shorter] == same[:shorter], "what lies behind the end is not computed; the rest is the same"


@pytest.mark.parametrize(("asked", "steps"), [([], 12), (["-q", "80"], 12), (["--quality", "50"], 7), (["-q", "0"], 0)])
def test_a_quality_is_a_share_of_the_steps(run, folder, tmp_path, asked, steps):
    assert run("encode", str(folder / "in.png"), "a.uqdm", *asked)[0] == 0
    assert uqdm.info((tmp_path / "a.uqdm").read_bytes())["steps"] == steps
    code, _, err = run("encode", str(folder / "in.png"), "b.uqdm", "-q", "50", "--bpp", "1")
    assert code == 2
    assert "not allowed with" in err


def test_a_psnr_can_be_asked_for(run, folder, tmp_path):
    assert run("encode", str(folder / "in.png"), "a.uqdm", "--psnr", "30")[0] == 0
    data = (tmp_path / "a.uqdm").read_bytes()
    for size, enough in ((len(data), True), (len(data) - 1, False)):
        (tmp_path / "b.uqdm").write_bytes(data[:size])
        assert run("decode", "b.uqdm", "b.png", "--force")[0] == 0
        assert (psnr_db(make_picture(24, 32), read_picture((tmp_path / "b.png").read_bytes())) >= 30) == enough
    assert run("encode", str(folder / "in.png"), "o.uqdm", "--psnr", "30", "--rdoq", "--verify")[0] == 0
    assert run("encode", str(folder / "in.png"), "o.uqdm", "-q", "40", "--rdoq", "--verify", "--force")[0] == 0
    code, _, err = run("encode", str(folder / "in.png"), "o.uqdm", "-q", "100", "--rdoq", "--force")
    assert code == 2
    assert "give a tau above 0, bpp, file_bytes or psnr_db with it" in err
    code, _, err = run("encode", str(folder / "in.png"), "c.uqdm", "--psnr", "90")
    assert code == 2
    assert "out of reach" in err


def test_a_lossless_stream_is_the_very_picture(run, folder, tmp_path):
    code, _, err = run("encode", str(folder / "in.png"), "a.uqdm", "--lossless", "--verify")
    assert code == 0, err
    code, out, _ = run("info", "a.uqdm", "--json", model=False)
    facts = json.loads(out)
    assert facts["lossless"]
    assert not json.loads(run("info", str(folder / "whole.uqdm"), "--json", model=False)[1])["lossless"]
    assert "lossless, " in run("verify", "a.uqdm")[1]
    assert "step 12 of 12" in run("decode", "a.uqdm", "a.png")[2]
    np.testing.assert_array_equal(read_picture((tmp_path / "a.png").read_bytes()), make_picture(24, 32))
    assert run("truncate", "a.uqdm", "b.uqdm", "--bytes", str(facts["file_bytes"] - 40), model=False)[0] == 0
    assert "undamaged as far as it goes, step 11 of 12" in run("verify", "b.uqdm")[1]
    assert run("decode", "b.uqdm", "--all", "steps")[0] == 0
    assert len(list((tmp_path / "steps").glob("step_*.png"))) == 13  # and one of what is left over
    assert run("encode", str(folder / "in.png"), "c.uqdm", "--lossless", "--bpp", "2")[0] == 2


def test_what_is_done_to_a_picture_and_what_is_not_kept_is_said(run, tmp_path):
    first, second = (Image.fromarray(make_picture(24, 32, seed)) for seed in (0, 1))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    first.save("a.png", save_all=True, append_images=[second], exif=exif, dpi=(300, 300))
    code, _, err = run("encode", "a.png", "a.uqdm", "--tau", "0.9")
    assert code == 0
    assert err.splitlines()[:2] == [
        "a.png: the first of 2 frames is taken: --frame N chooses another",
        "a.png: not kept: EXIF, 300 dpi",
    ]
    assert run("encode", "a.png", "b.uqdm", "--tau", "0.9", "--frame", "2")[0] == 0
    assert (tmp_path / "a.uqdm").read_bytes() != (tmp_path / "b.uqdm").read_bytes()
    code, _, err = run("encode", "a.png", "c.uqdm", "--frame", "3")
    assert (code, err) == (2, "uqdm encode: a.png: there is no frame 3: the file has 2, and the first is frame 1\n")


def test_metadata_is_kept_where_it_is_asked_for(run, tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    Image.fromarray(make_picture(24, 32)).save("a.png", exif=exif, dpi=(300, 200), comment="lost")
    code, _, err = run("encode", "a.png", "a.uqdm", "--tau", "0.5", "--keep-metadata")
    assert code == 0
    assert "not kept" not in err
    facts = json.loads(run("info", "a.uqdm", "--json", model=False)[1])
    assert list(facts["metadata"]) == ["exif", "dpi"]
    assert f"metadata        exif {facts['metadata']['exif']}, dpi 8" in run("info", "a.uqdm", model=False)[1]
    assert run("decode", "a.uqdm", "a.jpg")[0] == 0
    with Image.open("a.jpg") as image:
        assert image.size == (24, 32)
        assert (image.getexif()[0x010F], image.getexif()[0x0112]) == ("maker", 1)
        assert [round(dots) for dots in image.info["dpi"]] == [200, 300]
    err = run("decode", "a.uqdm", "a.ppm")[2]
    assert "a.ppm: PPM does not keep EXIF, 200 x 300 dpi\n" in err
    assert run("truncate", "a.uqdm", "b.uqdm", "--bytes", str(facts["file_bytes"] - 20), model=False)[0] == 0
    assert "cut off or damaged" in run("info", "b.uqdm", model=False)[1]
    assert run("truncate", "a.uqdm", "c.uqdm", "--bytes", "250", "--keep-metadata", model=False)[0] == 0
    assert uqdm.metadata((tmp_path / "c.uqdm").read_bytes()) == uqdm.metadata((tmp_path / "a.uqdm").read_bytes())
    damaged = bytearray((tmp_path / "a.uqdm").read_bytes())
    damaged[-6] ^= 1
    (tmp_path / "d.uqdm").write_bytes(damaged)
    code, _, err = run("decode", "d.uqdm", "d.png")
    assert code == 0
    assert "d.uqdm: its metadata is damaged (the checksum does not match): left aside\n" in err
    assert run("verify", "d.uqdm")[0] == 2


def test_readers_below_pillow_keep_quiet(folder, tmp_path):
    """Their warnings go to the descriptor of standard error, beside Python."""
    data = io.BytesIO()
    Image.fromarray(make_picture(24, 32)).save(data, "TIFF", compression="tiff_lzw")
    damaged = bytearray(data.getvalue())
    damaged[8 : len(damaged) // 2] = bytes(len(damaged) // 2 - 8)
    (tmp_path / "a.tif").write_bytes(damaged)
    command = [sys.executable, "-m", "uqdm.cli", "encode", str(tmp_path / "a.tif"), str(tmp_path / "a.uqdm")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"uqdm encode: {tmp_path / 'a.tif'}: ")
    assert done.stderr.count(b"\n") == 1


def test_all_previews_are_written(run, folder, tmp_path):
    assert run("decode", str(folder / "whole.uqdm"), "--all", "steps")[0] == 0
    assert len(list((tmp_path / "steps").glob("step_*.png"))) == 16
    code, _, err = run("decode", str(folder / "whole.uqdm"), "--all", "steps")
    assert code == 2
    assert "not empty" in err


def test_info_says_what_the_header_says(run, folder):
    code, out, _ = run("info", str(folder / "whole.uqdm"), "--json", model=False)
    facts = json.loads(out)
    assert code == 0
    assert (facts["width"], facts["height"], facts["complete"]) == (32, 24, True)
    assert "complete_bytes" in run("info", str(folder / "whole.uqdm"), model=False)[1]


def test_an_index_tells_and_cuts_without_a_model(run, folder, tmp_path):
    assert run("encode", str(folder / "in.png"), "a.uqdm", "--index", "--lossless")[0] == 0
    points = json.loads(run("info", "a.uqdm", "--json", model=False)[1])["qualities"]
    assert [point["step"] for point in points] == list(range(13))
    assert [point["psnr_db"] is None for point in points] == 12 * [False] + [True]
    assert (
        f"quality            inf dB at {points[-1]['file_bytes']} bytes, step 12"
        in run("info", "a.uqdm", model=False)[1]
    )
    assert run("truncate", "a.uqdm", "b.uqdm", "--psnr", "35", model=False)[0] == 0
    assert len((tmp_path / "b.uqdm").read_bytes()) == next(p["file_bytes"] for p in points if p["psnr_db"] >= 35)
    assert run("decode", "b.uqdm", "b.png")[0] == 0
    assert psnr_db(make_picture(24, 32), read_picture((tmp_path / "b.png").read_bytes())) >= 35
    code, _, err = run("truncate", str(folder / "whole.uqdm"), "c.uqdm", "--psnr", "35", model=False)
    assert code == 2
    assert "has no index of qualities: encode with --index, or cut to bytes" in err


def test_info_waits_neither_for_numpy_nor_for_jax(folder):
    program = "import sys, uqdm.cli; uqdm.cli.main(['info', sys.argv[1]]); sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program, str(folder / "whole.uqdm")], check=True, capture_output=True)


def test_verify_tells_whole_cut_and_damaged_apart(run, folder, tmp_path):
    data = (folder / "whole.uqdm").read_bytes()
    assert "complete and undamaged" in run("verify", str(folder / "whole.uqdm"))[1]
    (tmp_path / "cut.uqdm").write_bytes(data[:-100])
    assert "undamaged as far as it goes" in run("verify", "cut.uqdm")[1]
    (tmp_path / "bad.uqdm").write_bytes(data[:60] + bytes([data[60] ^ 4]) + data[61:])
    code, _, err = run("verify", "bad.uqdm")
    assert code == 2
    assert "damaged" in err


def test_a_plot_and_its_table(run, folder, tmp_path):
    assert run("plot", str(folder / "in.png"), "-o", "curve.png", "--csv")[0] == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "curve.csv").read_text().splitlines()
    assert table[0] == "picture,codec,setting,file_bytes,bpp,psnr_db"
    assert {line.split(",")[1] for line in table[1:]} >= {"uqdm", "JPEG"}


def test_a_report_and_a_map_of_bits(run, folder, tmp_path):
    assert run("report", str(folder / "in.png"), "-o", "report.html")[0] == 0
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert run("allocation", str(folder / "in.png"), "-o", "bits.png")[0] == 0
    assert (tmp_path / "bits.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("report", str(folder / "in.png"), "-o", "report.html")
    assert code == 2
    assert "report.html exists: choose another name or add --force" in err


def test_standard_streams_work(folder, tmp_path):
    command = [sys.executable, "-m", "uqdm.cli"]
    model = ["--model", str(folder / "m.npz")]
    encoded = subprocess.run(
        [*command, "encode", "-", "-", "-q", "100", *model],
        input=(folder / "in.png").read_bytes(),
        capture_output=True,
        check=True,
    ).stdout
    assert encoded == (folder / "whole.uqdm").read_bytes()
    decoded = subprocess.run([*command, "decode", "-", "-", *model], input=encoded, capture_output=True, check=True)
    assert read_picture(decoded.stdout).shape == (24, 32, 3)


def bad_inputs(folder):
    whole = (folder / "whole.uqdm").read_bytes()
    damaged_header = whole[:9] + bytes([whole[9] ^ 1]) + whole[10:]
    return {
        "empty.uqdm": (b"", "is empty"),
        "picture.uqdm": ((folder / "in.png").read_bytes(), "not a uqdm stream"),
        "future.uqdm": (whole[:3] + b"\x07" + whole[4:], "format version 7 is unknown"),
        "header.uqdm": (damaged_header, "header is damaged"),
        "short.uqdm": (whole[:10], "ends inside its header"),
        "flipped.uqdm": (whole[:40] + bytes([whole[40] ^ 255]) + whole[41:], "damaged"),
    }


def test_without_matplotlib_plot_says_what_to_install(run, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "uqdm.evaluation.plots", raising=False)
    code, _, err = run("plot", str(folder / "in.png"), "-o", "curve.png", "--csv")
    assert code == 2
    assert err == "uqdm plot: figures need matplotlib: pip install 'uqdm[plot]'\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["empty.uqdm", "picture.uqdm", "future.uqdm", "header.uqdm", "short.uqdm", "flipped.uqdm"]
)
def test_a_bad_stream_gets_one_line_and_leaves_nothing(run, folder, tmp_path, name):
    data, message = bad_inputs(folder)[name]
    (tmp_path / name).write_bytes(data)
    code, out, err = run("decode", name, "out.png")
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert name in err
    assert message in err
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_wrong_model_is_named(run, folder, tmp_path):
    from uqdm.codec import container

    whole = (folder / "whole.uqdm").read_bytes()
    header, start = container.unpack(whole)
    (tmp_path / "other.uqdm").write_bytes(container.pack(header._replace(model_id=b"abcd")) + whole[start:])
    code, _, err = run("decode", "other.uqdm", "out.png")
    assert code == 2
    assert "made with model 61626364" in err
    assert run("info", "other.uqdm", model=False)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "nowhere.png", "out.uqdm"], "cannot read nowhere.png: No such file"),
        (["encode", "text.png", "out.uqdm"], "text.png: not a picture"),
        (["encode", "IN", "no/folder/out.uqdm"], "there is no folder"),
        (["encode", "IN", "exists.uqdm"], "exists.uqdm exists: choose another name or add --force"),
        (["encode", "IN", "out.uqdm", "--bytes", "5"], "do not hold the header"),
        (["decode", "WHOLE", "out.xyz"], "cannot write pictures ending in '.xyz'"),
        (["decode", "WHOLE", "out.ico"], "ICO changes the size of pictures: use .png"),
        (["decode", "WHOLE"], "give either OUT or --all DIR"),
        (["plot", "IN", "-o", "out.txt"], "use .png, .pdf or .svg"),
    ],
)
def test_bad_arguments_get_one_line_and_leave_nothing(run, folder, tmp_path, arguments, message):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "exists.uqdm").write_text("precious")
    names = {"IN": str(folder / "in.png"), "WHOLE": str(folder / "whole.uqdm")}
    code, _, err = run(*(names.get(a, a) for a in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"text.png", "exists.uqdm"}
    assert (tmp_path / "exists.uqdm").read_text() == "precious"


def test_a_missing_model_is_one_line(run, folder):
    code, _, err = run("encode", str(folder / "in.png"), "out.uqdm", "--model", "nowhere", model=False)
    assert code == 2
    assert "no model 'nowhere'" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_an_unwritable_folder_is_one_line(run, folder, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, err = run("encode", str(folder / "in.png"), "locked/out.uqdm")
    assert code == 2
    assert "not writable" in err


def test_force_overwrites(run, folder, tmp_path):
    (tmp_path / "out.uqdm").write_text("old")
    assert run("encode", str(folder / "in.png"), "out.uqdm", "--force", "--tau", "1")[0] == 0
    assert run("decode", "out.uqdm", "grey.png")[0] == 0
    assert np.ptp(read_picture((tmp_path / "grey.png").read_bytes()), axis=(0, 1)).max() <= 60


def test_encode_can_verify_its_own_output(run, folder, tmp_path, monkeypatch):
    assert run("encode", str(folder / "in.png"), "a.uqdm", "--verify", "--bytes", "200")[0] == 0
    assert len((tmp_path / "a.uqdm").read_bytes()) == 200

    another = encode(make_picture(24, 32, seed=1), model=load_model(folder / "m.npz"))
    monkeypatch.setattr("uqdm.codec.api.encode", lambda *_, **__: another)
    code, _, err = run("encode", str(folder / "in.png"), "b.uqdm", "--verify")
    assert code == 2
    assert "does not decode to what was encoded" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "b.uqdm").exists()


def test_damage_names_the_part_that_is_good(run, folder, tmp_path):
    data = bytearray((folder / "whole.uqdm").read_bytes())
    data[200] ^= 16
    (tmp_path / "d.uqdm").write_bytes(data)
    code, _, err = run("decode", "d.uqdm", "d.png")
    assert code == 2
    assert "bytes are verified" in err
    assert not (tmp_path / "d.png").exists()
    good = err.split("its first ")[1].split(" ")[0]
    assert run("decode", "d.uqdm", "d.png", "--bytes", good)[0] == 0


def test_doctor_finds_this_machine_fit(run):
    code, out, err = run("doctor", model=False)
    assert code == 0
    assert err in ("", "compiling for this machine (once)\n")
    assert "streams are portable" in out
    fit, _, optional = out.partition("optional:\n")
    assert fit.count("  ok ") >= 5
    assert len(fit.splitlines()) < 20
    assert "extra diffusers" in optional
    assert "pictures in AVIF" in optional


def test_doctor_names_what_installs_an_extra(monkeypatch):
    from uqdm import doctor

    def version(package: str) -> str:
        if package == "torch":
            raise doctor.metadata.PackageNotFoundError(package)
        return "1.2.3"

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.features, "check", lambda name: name != "avif")
    found = {finding.what: finding for finding in doctor.optional()}
    assert found["extra ray"][1:] == (True, False, "ray 1.2.3")
    assert found["extra diffusers"][1:] == (False, False, "missing: torch; pip install 'uqdm[diffusers]'")
    assert found["pictures in AVIF"][1:] == (False, False, "not in this Pillow")
    assert found["pictures in WebP"].good


def test_doctor_finds_wrong_results(run, monkeypatch):
    monkeypatch.setattr("uqdm.doctor.elementwise", lambda: "0")
    code, out, err = run("doctor", model=False)
    assert code == 2
    assert "WRONG" in out
    assert err == "uqdm doctor: streams made here may be unreadable elsewhere, and others unreadable here\n"


def test_doctor_goes_on_where_wrong_results_end_in_errors(run, monkeypatch):
    def damaged(*_):
        raise uqdm.DamagedStreamError("the stream is damaged", step=0, good_bytes=0)

    monkeypatch.setattr("uqdm.doctor.stream", damaged)
    code, out, err = run("doctor", model=False)
    assert (code, err.count("\n")) == (2, 1)
    assert out.count("DamagedStreamError: the stream is damaged") == 2
    assert "stored lossless stream" in out

    def inexact():
        raise RuntimeError("sums of integers are wrong on this backend")

    monkeypatch.setattr("uqdm.exact.convolution.proven_convolution", inexact)
    code, out, err = run("doctor", model=False)
    assert (code, err.count("\n")) == (2, 1)
    assert "sums of integers are wrong" in out


def test_pipes_and_devices_are_written_into_and_never_replaced(folder, tmp_path):
    import threading

    stream, pipe = str(folder / "whole.uqdm"), tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert main(["truncate", stream, str(pipe), "--bytes", "60", "--force"]) == 0
    reader.join(timeout=20)
    assert pipe.is_fifo()
    assert [len(data) for data in received] == [60]


def test_a_file_keeps_its_mode_and_its_links(folder, tmp_path):
    stream, target = str(folder / "whole.uqdm"), tmp_path / "out.uqdm"
    target.write_bytes(b"before")
    target.chmod(0o640)
    (tmp_path / "soft").symlink_to(target)
    assert main(["truncate", stream, str(tmp_path / "soft"), "--bytes", "60", "--force"]) == 0
    assert (tmp_path / "soft").is_symlink()
    assert (len(target.read_bytes()), target.stat().st_mode & 0o777) == (60, 0o640)
    (tmp_path / "hard").hardlink_to(target)
    assert main(["truncate", stream, str(target), "--bytes", "50", "--force"]) == 0
    assert len((tmp_path / "hard").read_bytes()) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hard", "out.uqdm", "soft"]


def test_a_protected_file_is_not_overwritten(folder, tmp_path, capsys):
    target = tmp_path / "out.uqdm"
    target.write_bytes(b"before")
    target.chmod(0o444)
    assert main(["truncate", str(folder / "whole.uqdm"), str(target), "--bytes", "60", "--force"]) == 2
    assert "it is write-protected" in capsys.readouterr().err
    assert target.read_bytes() == b"before"


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path):
    from uqdm.cli.errors import UserError
    from uqdm.cli.files import write

    write(str(tmp_path / "new"), b"first", force=False)
    with pytest.raises(UserError, match="exists: choose another name or add --force"):
        write(str(tmp_path / "new"), b"second", force=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("new", b"first")]


@pytest.mark.parametrize("command", [["truncate", "{}", "-", "--bytes", "60"], ["info", "{}"]])
@pytest.mark.parametrize("output", ["full", "closed"])
def test_a_standard_output_that_is_full_or_closed_is_one_line(folder, command, output):
    arguments = " ".join(part.format(folder / "whole.uqdm") for part in command)
    redirection = "> /dev/full" if output == "full" else ">&-"
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m uqdm {arguments} {redirection}"], capture_output=True, text=True
    )
    assert ran.returncode == (0 if command[0] == "info" and output == "closed" else 2), ran.stderr
    assert ran.stderr.count("\n") == (ran.returncode != 0), ran.stderr


def test_an_interrupted_command_ends_at_once_and_leaves_nothing(folder, tmp_path):
    import signal
    import time

    # What runs in the background ignores the signal, and so would its children: here nobody does.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{heed}; from uqdm.cli.__main__ import run; run()"
    command = [sys.executable, "-c", run, "encode", str(folder / "in.png"), str(tmp_path / "x.uqdm")]
    slow = os.environ | {"UQDM_CACHE": "off"}  # which compiles, so that the signal is not too late
    for moment in (2.0, 4.0):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=slow) as running:
            time.sleep(moment)
            if running.poll() is not None:
                (tmp_path / "x.uqdm").unlink()
                continue  # a fast machine, which had done it all
            running.send_signal(signal.SIGINT)
            sent = time.monotonic()
            err = running.communicate(timeout=60)[1]
        assert running.returncode == 130, err
        said = err.splitlines()  # what the command says while it compiles, then one line
        assert said[-1] == "uqdm: interrupted"
        assert all(line.startswith(("compiling", "encode:")) for line in said[:-1])
        assert time.monotonic() - sent < 10
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "bell\a", "x" * 65])
@pytest.mark.parametrize("command", ["import-checkpoint", "import-autoencoder"])
def test_names_of_models_are_one_printable_line(command, name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(
            [command, "one", "two", *(["three"] if command == "import-autoencoder" else []), "out.npz", "--name", name]
        )
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "--name: must be one printable line of 1 to 64 characters" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "plot", "allocation"])
def test_models_that_lack_a_part_are_refused_in_one_line(run, folder, tmp_path, command):
    """A coder of latents without its autoencoder."""
    name = {"report": "out.html"}.get(command, "out.png")
    coder = Path(uqdm.__file__).parent / "weights" / "taef2_coder.npz"
    code, _, err = run(command, str(folder / "in.png"), "-o", name, "--model", str(coder), model=False)
    assert code == 2
    assert "lacks the autoencoder of its latents" in err
    assert err.count("\n") == 1
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--bpp", "nan"], "--bpp: must be a positive number, got nan"),
        (["--bpp", "inf"], "--bpp: must be a positive number, got inf"),
        (["--bytes", "-3"], "--bytes: must be at least 1, got -3"),
        (["--psnr", "x"], "--psnr: must be a number, got 'x'"),
        (["--tau", "1.5"], "--tau: must lie in [0, 1], got 1.5"),
        (["-q", "101"], "--quality: must lie in [0, 100], got 101"),
        (["--quality", "nan"], "--quality: must lie in [0, 100], got nan"),
        (["--seed", "4294967296"], "--seed: must be in [0, 4294967296), got 4294967296"),
    ],
)
def test_wrong_numbers_are_refused_before_any_work(arguments, what, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["encode", "there is no such file", "x.uqdm", *arguments])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert what in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("platform", ["no_such_device", "rocm"])
def test_a_device_that_is_not_there_is_named_in_one_line(folder, platform):
    environment = os.environ | {"JAX_PLATFORMS": platform}
    for command in (["decode", str(folder / "whole.uqdm"), "-"], ["doctor"]):
        ran = subprocess.run([sys.executable, "-m", "uqdm", *command], capture_output=True, text=True, env=environment)
        assert ran.returncode == 2
        assert f"JAX_PLATFORMS={platform} names no device" in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_every_help_text_has_examples(capsys):
    for command in ("encode", "decode", "truncate", "info", "verify", "doctor", "eval", "plot", "report", "allocation"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"examples:\n  uqdm {command}" in capsys.readouterr().out


def test_warm_up_leaves_nothing_to_compile(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("UQDM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("uqdm.nested.evaluation.CAPACITIES", CAPACITIES[:1])
    for module in ("exact.tiles", "lossless.predicted"):
        monkeypatch.setattr(f"uqdm.{module}.SIDES", (8,))
    monkeypatch.setattr("uqdm.exact.programs._promises", {})
    code, _, error = run("warm-up")
    assert (code, error.splitlines()[-1]) == (0, f"{tmp_path / 'cache'}: ready")
    monkeypatch.setattr("uqdm.exact.programs._promises", {})
    monkeypatch.setattr("uqdm.exact.programs._compiled", lambda program: pytest.fail(f"{program.function} compiled"))
    model, picture = load_model(folder / "m.npz"), make_picture(13, 16)
    assert (uqdm.decode(encode(picture, lossless=True, model=model), model=model) == picture).all()
    monkeypatch.setenv("UQDM_CACHE", "off")
    assert run("warm-up")[0] == 2


def test_all_pictures_of_a_stream_are_denoised_and_none_is_left_of_a_damaged_one(run, folder, tmp_path):
    whole = str(folder / "whole.uqdm")
    for option in (["--method", "sample"], ["--realism", "1"], ["--evaluations", "2"], ["--remaining-steps", "1"]):
        code, _, err = run("decode", whole, "--all", "steps", *option)
        assert code == 2
        assert f"{option[0]} is for one picture, --all writes denoised ones" in err
    wrong = bytearray((folder / "whole.uqdm").read_bytes())
    wrong[-20] ^= 1
    (tmp_path / "wrong.uqdm").write_bytes(wrong)
    code, _, err = run("decode", "wrong.uqdm", "--all", "steps")
    assert (code, "damaged" in err, [*(tmp_path / "steps").iterdir()]) == (2, True, [])
    assert run("decode", whole, "--all", "steps")[0] == 0
    assert len([*(tmp_path / "steps").iterdir()]) == 16
    (tmp_path / "file").touch()
    code, _, err = run("decode", whole, "--all", "file")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot write into file" in err


def test_a_good_decode_outlives_a_bad_one(run, folder, tmp_path):
    whole = str(folder / "whole.uqdm")
    assert run("decode", whole, "--all", "steps")[0] == 0
    wrong = bytearray((folder / "whole.uqdm").read_bytes())
    wrong[-20] ^= 1
    (tmp_path / "wrong.uqdm").write_bytes(wrong)
    assert run("decode", "wrong.uqdm", "--all", "steps", "--force")[0] == 2
    assert len([*(tmp_path / "steps").iterdir()]) == 16


def test_options_that_mean_nothing_to_a_method_are_refused(run, folder):
    for method, option in (("denoise", "--evaluations"), ("denoise", "--remaining-steps"), ("sample", "--evaluations")):
        code, _, err = run("decode", str(folder / "whole.uqdm"), "a.png", "--method", method, option, "2")
        assert code == 2
        assert f"{option} means nothing to --method {method}: leave it out" in err


def test_a_closed_standard_error_does_not_end_up_in_the_stream(folder, tmp_path):
    command = [sys.executable, "-m", "uqdm", "truncate", str(folder / "whole.uqdm"), "-", "--bytes", "300"]
    found = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], capture_output=True, check=False)
    assert found.returncode == 0
    assert found.stdout == (folder / "whole.uqdm").read_bytes()[:300]


def test_exif_that_is_none_is_left_out_and_said(run, tmp_path, tiny_model):
    """It may come from anybody: a stream's check value says that it is what was written, not that it is EXIF."""
    data = uqdm.encode(make_picture(24, 32), 0.5, model=tiny_model, metadata={"exif": b"garbage", "dpi": (300, 300)})
    (tmp_path / "a.uqdm").write_bytes(data)
    for name, options in (("a.tiff", []), ("a.webp", []), ("a.png", ["--method", "sample"]), ("a.jpg", [])):
        code, _, err = run("decode", "a.uqdm", name, *options)
        assert code == 0
        assert ("EXIF is damaged: left out" in err) == (not options), "what is drawn is said in EXIF of its own"
        with Image.open(tmp_path / name) as image:
            assert name == "a.webp" or tuple(map(round, image.info["dpi"])) == (300, 300)


def test_bits_without_end_are_all_bits(run, folder, tmp_path):
    assert run("encode", str(folder / "in.png"), "a.uqdm", "--bpp", "1e305")[0] == 0
    assert (tmp_path / "a.uqdm").read_bytes() == (folder / "whole.uqdm").read_bytes()


def test_metadata_counts_among_the_bytes_of_a_drawn_stream():
    picture = make_picture(64, 64)
    limits = {"file_bytes": 900, "metadata": {"xmp": np.random.default_rng(0).bytes(400)}}
    assert len(uqdm.encode(picture, model="drawn", **limits)) <= 900
    assert len(uqdm.encode(picture // 64 * 64, **limits)) <= 900


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_names_of_files_may_be_any_bytes_in_what_is_written(run, folder, tmp_path):
    name = os.fsdecode(b"\xff.png")
    (tmp_path / name).write_bytes((folder / "in.png").read_bytes())
    assert run("report", name, "-o", "report.html")[0] == 0
    assert "\\udcff.png" in (tmp_path / "report.html").read_text()
