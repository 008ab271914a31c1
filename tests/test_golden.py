"""Streams made by released versions decode for ever, to the same states."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import uqdm
from uqdm.codec.api import receiver_of
from uqdm.drawn.model import DrawnModel
from uqdm.library import SHIPPED
from uqdm.lossless.predicted import load_residual
from uqdm.pictures import read_picture

FOLDERS = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())
CASES = [(folder, name) for folder in FOLDERS for name in json.loads((folder / "states.json").read_text())]


@pytest.mark.parametrize("name", SHIPPED)
def test_there_are_golden_streams_of_shipped_models(name):
    assert uqdm.load_model(name).id[:4].hex() in {folder.name for folder in FOLDERS}


@pytest.mark.parametrize(("folder", "name"), CASES, ids=lambda value: getattr(value, "name", value))
def test_golden_streams_decode_to_their_states(folder, name):
    expected = json.loads((folder / "states.json").read_text())[name]
    receiver = receiver_of((folder / f"{name}.uqdm").read_bytes())
    while receiver.receive():
        pass
    assert receiver.step == expected["steps"]
    assert hashlib.sha256(receiver.state.midpoint.astype("<i4").tobytes()).hexdigest() == expected["state"]
    np.testing.assert_array_equal(receiver.picture(), read_picture((folder / f"{name}.png").read_bytes()))


DRAWN = sorted((Path(__file__).parent / "golden_drawn").glob("*/*.uqdm"))


def test_there_are_golden_streams_of_the_drawn_process():
    assert DrawnModel().id[:4].hex() in {path.parent.name for path in DRAWN}


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_golden_drawn_streams_decode_exactly(path):
    np.testing.assert_array_equal(uqdm.decode(path.read_bytes()), read_picture(path.with_suffix(".png").read_bytes()))


LOSSLESS = sorted((Path(__file__).parent / "golden_lossless").glob("*/*.uqdm"))


def test_there_are_golden_lossless_streams_of_what_is_shipped():
    shipped = f"{uqdm.load_model().id[:4].hex()}_{load_residual().id[:4].hex()}"
    assert shipped in {path.parent.name for path in LOSSLESS}


@pytest.mark.parametrize("path", LOSSLESS, ids=lambda path: path.stem)
def test_golden_lossless_streams_decode_exactly(path):
    np.testing.assert_array_equal(uqdm.decode(path.read_bytes()), read_picture(path.with_suffix(".png").read_bytes()))
