"""Errors are values: they go through pickles and copies, and say what was given."""

import copy
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

import uqdm
from uqdm import archive
from uqdm.library import model_from_bytes
from uqdm.pictures import read_picture


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(
    "error",
    [
        uqdm.DamagedStreamError("what", step=3, good_bytes=77),
        uqdm.FormatError("what"),
        uqdm.ModelMismatchError("what"),
        uqdm.PictureError("what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickles_and_copies(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))


@pytest.mark.parametrize("what", ["a.uqdm", Path("a.uqdm"), io.BytesIO(b"")], ids=lambda what: type(what).__name__)
def test_a_file_in_the_place_of_its_bytes_is_named(what):
    for call in (uqdm.decode, uqdm.info):
        with pytest.raises(TypeError, match=rf"is given as bytes, got {type(what).__name__}: read the file first"):
            call(what)


@pytest.mark.parametrize("wrong", [3, None, np.zeros(4, np.int64)], ids=lambda what: type(what).__name__)
def test_what_holds_no_bytes_is_refused(wrong):
    with pytest.raises(TypeError, match="is given as bytes, got"):
        uqdm.decode(wrong)


def test_whatever_holds_bytes_is_taken(tiny_model):
    data = uqdm.encode(make_picture(8, 8), model=tiny_model)
    whole = uqdm.decode(data, model=tiny_model)
    for same in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(uqdm.decode(same, model=tiny_model), whole)
        assert uqdm.info(same) == uqdm.info(data)


@pytest.mark.parametrize("pieces", ["abc", 3, [b"\x8fUQ", 10**8], iter(b"\x8fUQ")], ids=["text", "3", "sizes", "iter"])
def test_pieces_that_are_none_are_refused_before_anything_is_allocated(pieces):
    with pytest.raises(TypeError, match="is given as bytes, got"):
        list(uqdm.previews(pieces))


def test_models_are_taken_by_name():
    picture = make_picture(16, 16)
    assert uqdm.encode(picture, 0.9, model="small") == uqdm.encode(picture, 0.9)


def test_decoded_pictures_can_be_written_into(tiny_model):
    data = uqdm.encode(make_picture(8, 8), lossless=True, model=tiny_model)
    for size in (uqdm.info(data)["header_bytes"], len(data)):
        uqdm.decode(data[:size], model=tiny_model)[0, 0] = 0


WRONG = {
    "encode('a.png')": "a picture must be an array, uint8 of shape (H, W, 3), got str: read the file first",
    "encode(Path('a.png'))": "got PosixPath: read the file first",
    "encode(b'RIFF')": "got bytes: read the file first",
    "encode(None)": "a picture must be an array, uint8 of shape (H, W, 3), got NoneType",
    "encode(x, '0.5')": "tau must be a number, got '0.5'",
    "encode(x, bpp='1')": "bpp must be a number, got '1'",
    "encode(x, bpp=True)": "bpp must be a number, got True",
    "encode(x, psnr_db=[30])": "psnr_db must be a number, got [30]",
    "encode(x, file_bytes=100.5)": "file_bytes must be a whole number, got 100.5",
    "encode(x, seed=1.5)": "seed must be an integer, got 1.5",
    "encode(x, model=3)": "model must be a model, or the name or path of one, got int",
    "encode(x, model=b'small')": "model must be a model, or the name or path of one, got bytes",
    "load_model(None)": "a model is loaded by its name or path, got NoneType",
    "load_model([])": "a model is loaded by its name or path, got list",
    "decode(data, reconstruction=3)": "reconstruction must be a name or one such as Sample(), got 3",
    "decode(data, reconstruction=Sample)": "reconstruction must be a name or one such as Sample(), got <class",
    "decode(data, realism='1')": "realism must be a number, got '1'",
    "read_picture('a.png')": "a picture file is given as bytes, got str: read the file first",
    "read_picture(3)": "a picture file is given as bytes, got int",
}
"""Calls of newcomers, and what they must be told."""


def test_type_errors_say_what_is_wanted():
    """In a process of its own: here, types of arguments are checked before any function is called."""
    program = """
import json, sys
from pathlib import Path
import numpy as np
from uqdm import *
from uqdm.pictures import read_picture
x = np.zeros((8, 8, 3), np.uint8)
data, told = encode(x, 0.9), []
for call in json.loads(sys.argv[1]):
    try:
        eval(call)
        told.append("taken")
    except TypeError as error:
        told.append(str(error))
    except Exception as error:
        told.append(repr(error))
print(json.dumps(told))
"""
    command = [sys.executable, "-c", program, json.dumps(list(WRONG))]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    missed = {call: found for (call, wanted), found in zip(WRONG.items(), told, strict=True) if wanted not in found}
    assert not missed
    assert not [line for line in told if "\n" in line]


def test_pictures_that_were_read_can_be_written_into():
    buffer = io.BytesIO()
    Image.fromarray(make_picture(8, 8)).save(buffer, "PNG")
    read_picture(buffer.getvalue())[0, 0] = 0


@pytest.mark.parametrize("change", [{"network": 3}, {"process": []}, {"network": {"wiVth": 3}}])
def test_a_damaged_configuration_is_no_model_file(change, tiny_model):
    arrays = dict(tiny_model.arrays) | {"config": archive.pack_config(tiny_model.config | change)}
    with pytest.raises(ValueError, match=r"^(not a model file|a model of the process|a NetworkConfig has block)"):
        model_from_bytes(archive.to_bytes(arrays))
