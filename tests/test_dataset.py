"""Sources of pictures and what a step of a training sees of them."""

import os

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image
from scipy import stats

from uqdm.errors import PictureError
from uqdm.pictures import read_picture, write_picture
from uqdm.training.batches import Batches, Crops, random_crops
from uqdm.training.dataset import PictureSet, load_pictures, open_source

PICTURES = np.stack([make_picture(40, 40, seed) for seed in range(4)])


def test_a_folder_is_searched_for_pictures_in_the_order_of_names(tmp_path):
    for name, picture in (("b.png", 0), ("deep/a.PNG", 1), (".hidden/c.png", 2), ("deep/.d.png", 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(write_picture(PICTURES[picture], ".png"))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    np.savez(tmp_path / "set.npz", images=PICTURES)
    source = open_source(tmp_path)
    assert isinstance(source, PictureSet)
    assert [source.name(i) for i in range(len(source))] == ["b.png", "deep/a.PNG"]
    np.testing.assert_array_equal(np.stack(load_pictures(str(tmp_path))), PICTURES[:2])


def test_files_archives_arrays_and_open_sources_are_taken(tmp_path):
    (tmp_path / "a.png").write_bytes(write_picture(PICTURES[0], ".png"))
    np.savez(tmp_path / "set.npz", labels=np.arange(4), images=PICTURES)
    np.save(tmp_path / "own.npy", PICTURES[1:])
    np.testing.assert_array_equal(load_pictures(tmp_path / "a.png")[0], PICTURES[0])
    np.testing.assert_array_equal(np.stack(load_pictures(tmp_path / "set.npz")), PICTURES)
    np.testing.assert_array_equal(np.stack(load_pictures(open_source(tmp_path / "own.npy"))), PICTURES[1:])
    first_of_each = load_pictures(PICTURES, str(tmp_path / "own.npy"), count=2)
    np.testing.assert_array_equal(np.stack(first_of_each), PICTURES[[0, 1, 1, 2]])


def test_official_archives_make_one_set(tmp_path):
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(4, -1)
    for i, part in enumerate((flat[:3], flat[3:])):
        np.savez(tmp_path / f"train_data_batch_{i + 1}.npz", data=part, labels=np.zeros(len(part), np.int64))
    np.testing.assert_array_equal(np.stack(load_pictures(tmp_path)), PICTURES)


def test_a_large_archive_is_unpacked_once_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("uqdm.training.dataset._UNPACKED_FROM_BYTES", 100)
    np.savez(tmp_path / "set.npz", images=PICTURES)
    np.testing.assert_array_equal(open_source(tmp_path)[3], PICTURES[3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.npz", "set.npz.npy"]
    assert len(open_source(tmp_path)) == 4, "what was unpacked is no archive of its own"
    np.savez(tmp_path / "set.npz", images=PICTURES[::-1])
    later = (tmp_path / "set.npz.npy").stat().st_mtime + 1
    os.utime(tmp_path / "set.npz", (later, later))
    np.testing.assert_array_equal(open_source(tmp_path)[3], PICTURES[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "there is no such file or folder"),
        ("wrong.npz", {"labels": np.zeros(3)}, "no uint8 array of pictures in"),
        ("wrong.npy", np.zeros((2, 8, 8, 3), np.float32), "no uint8 array of pictures in"),
        ("odd.npy", np.zeros((2, 10), np.uint8), "no uint8 array of pictures in"),
        ("none.npy", np.zeros((0, 8, 8, 3), np.uint8), "no uint8 array of pictures in"),
        ("objects.npy", np.array([None]), "is no archive of pictures"),
        ("text.npz", b"no archive", "is no archive of pictures"),
        ("empty.npy", b"", "is no archive of pictures"),
    ],
)
def test_what_holds_no_pictures_is_said_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, allow_pickle=True, **content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(PictureError, match=message) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_said_to_be_one(tmp_path):
    with pytest.raises(PictureError, match="no pictures in .*: expected picture files or archives"):
        open_source(tmp_path)


def strange_files(folder) -> None:
    """A file turned by EXIF, one that is transparent, one of 16 bits, and one that is damaged."""
    image, exif = Image.fromarray(make_picture(24, 20)), Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "a_turned.jpg", exif=exif)
    translucent = image.convert("RGBA")
    translucent.putalpha(100)
    translucent.save(folder / "b_translucent.png")
    Image.fromarray(make_picture(24, 20)[..., 0].astype(np.uint16) * 257).save(folder / "c_grey16.png")
    (folder / "d_cut.png").write_bytes(write_picture(make_picture(24, 20), ".png")[:200])


@pytest.mark.parametrize("background", [None, "red"])
def test_sources_read_files_as_the_command_does(tmp_path, background):
    strange_files(tmp_path)
    source = open_source(tmp_path, background=background)
    for number in range(len(source)):
        file = tmp_path / source.name(number)
        try:
            expected = read_picture(file.read_bytes(), background)
        except PictureError as error:
            with pytest.raises(PictureError) as caught:
                source[number]
            assert str(caught.value) == f"{file}: {error}"
        else:
            np.testing.assert_array_equal(source[number], expected)
            assert (number, background) in ((0, None), (0, "red"), (1, "red"))


def test_a_training_names_the_file_that_it_cannot_take(tmp_path):
    (tmp_path / "small.png").write_bytes(write_picture(make_picture(8, 20), ".png"))
    with pytest.raises(PictureError, match=r"picture small.png of 20 x 8 is smaller than 16 pixels"):
        Batches(open_source(tmp_path), side=16, batch=2, seed=0)(0)
    (tmp_path / "small.png").write_bytes(b"")
    with pytest.raises(PictureError, match=r"small.png: the file is empty"):
        Batches(open_source(tmp_path), side=16, batch=2, seed=0)(0)


def test_batches_depend_on_the_step_only():
    source = open_source(np.stack([make_picture(20, 20, seed) for seed in range(24)]))
    batches = Batches(source, side=16, batch=8, seed=3)
    expected = [batches(step) for step in range(5)]
    assert expected[0].shape == (8, 16, 16, 3)
    later = Batches(source, side=16, batch=8, seed=3)
    np.testing.assert_array_equal(later(4), expected[4])
    np.testing.assert_array_equal(later(1), expected[1])
    halves = [Batches(source, side=16, batch=8, seed=3, part=(i, 2))(4) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), expected[4])
    with pytest.raises(ValueError, match="shared evenly"):
        Batches(source, side=16, batch=8, seed=3, part=(0, 3))


def test_crops_are_a_pure_function_of_seed_and_step():
    crops = Crops([*PICTURES], [(16, 8), (32, 3)], seed=1)
    expected = [crops(step) for step in range(7)]
    assert [part.shape for part in expected[5]] == [(8, 16, 16, 3), (3, 32, 32, 3)]
    again, alone = Crops([*PICTURES], [(16, 8), (32, 3)], seed=1, threads=5), random_crops([*PICTURES], 16, seed=1)
    for step in (5, 6, 2):
        for part, other in zip(again(step), expected[step], strict=True):
            np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(np.stack([alone[number] for number in range(40, 48)]), expected[5][0])
    assert (expected[5][0] != expected[6][0]).any()
    assert (Crops([*PICTURES], [(16, 8)], seed=2)(5)[0] != expected[5][0]).any()
    crops.close()
    with pytest.raises(PictureError, match="at least 41 pixels"):
        random_crops([*PICTURES], 41, seed=0)


def coordinates(height: int, width: int, mark: int) -> np.ndarray:
    """A picture whose pixels say where they are, and in the last channel which picture it is."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, mark)], -1).astype(np.uint8)


def drawn(pictures: list[np.ndarray], count: int, **options) -> np.ndarray:
    pieces = random_crops(pictures, 16, seed=4, **options)
    return np.stack([pieces[number] for number in range(count)]).astype(int)


def accept(*p_values: float) -> None:
    """Two-sided tests; a right implementation would fail with one seed in 1,000, and the seed is fixed."""
    assert min(p_values) > 1e-3 / len(p_values), p_values


def test_the_law_of_pictures_places_and_mirroring():
    sizes = [(40, 90), (200, 250), (15, 200)]
    crops = drawn([coordinates(*size, mark) for mark, size in enumerate(sizes)], 4000, rescaled=0.0)
    chosen, areas = np.bincount(crops[:, 0, 0, 2], minlength=3), np.sqrt([40 * 90, 200 * 250])
    assert chosen[2] == 0, "it is too low"
    # Along one axis of a crop rows rise, along the other columns rise or, mirrored, fall.
    transposed = crops[:, 0, -1, 0] != crops[:, 0, 0, 0]
    upright = np.where(transposed[:, None, None, None], crops.transpose(0, 2, 1, 3), crops)
    mirrored = upright[:, 0, -1, 1] < upright[:, 0, 0, 1]
    large = upright[upright[:, 0, 0, 2] == 1]
    places = [np.bincount(large[..., axis].min((1, 2)), minlength=length - 15) for axis, length in ((0, 200), (1, 250))]
    assert [len(place) for place in places] == [185, 235], "no crop leaves the picture"
    accept(
        stats.chisquare(chosen[:2], 4000 * areas / areas.sum()).pvalue,
        stats.binomtest(int(transposed.sum()), 4000, 0.25).pvalue,
        stats.binomtest(int(mirrored.sum()), 4000, 0.5).pvalue,
        *(stats.chisquare(place.reshape(5, -1).sum(1)).pvalue for place in places),
    )


def test_the_law_of_scales_and_filters():
    """Rows of a crop tell the window's size, and only the Lanczos filter goes beyond the values of its input."""
    rows = np.arange(42)[:, None]
    stripes = np.where(rows // 7 % 2, 60, 190)
    picture = np.stack(np.broadcast_arrays(6 * rows, stripes, rows.T), -1).astype(np.uint8)
    crops = drawn([picture], 3000)
    transposed = crops[:, 0, -1, 0] != crops[:, 0, 0, 0]
    upright = np.where(transposed[:, None, None, None], crops.transpose(0, 2, 1, 3), crops)
    windows = np.rint(16 * (upright[:, -1, 0, 0] - upright[:, 0, 0, 0]) / (15 * 6)).astype(int)
    up_to = np.log(np.arange(16, 41) / 16) / np.log(2.5)
    expected = 0.4 * np.diff(up_to)
    expected[0] += 0.6
    counts = np.bincount(windows, minlength=41)[16:40]
    assert counts.sum() == 3000
    lanczos = ((upright[..., 1] < 60) | (upright[..., 1] > 190)).any((1, 2))
    assert not lanczos[windows == 16].any()
    accept(
        stats.chisquare(counts, 3000 * expected).pvalue,
        stats.binomtest(int(lanczos.sum()), int((windows > 16).sum()), 0.5).pvalue,
    )


def test_unscaled_crops_are_pieces_of_the_pictures():
    picture = (np.arange(20 * 20 * 3).reshape(20, 20, 3) % 251).astype(np.uint8)
    pieces = np.lib.stride_tricks.sliding_window_view(picture, (8, 8), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    pieces = pieces.reshape(-1, 8, 8, 3)
    known = {
        view.tobytes() for p in pieces for view in (p, p[:, ::-1], p.transpose(1, 0, 2), p[:, ::-1].transpose(1, 0, 2))
    }
    crops = random_crops([picture], 8, seed=0, rescaled=0.0)
    assert {crops[number].tobytes() for number in range(50)} <= known
