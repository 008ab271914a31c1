"""Errors are values: they go through pickles and copies, and say what was given."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture

import uqdm


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


def test_a_seed_that_is_no_integer_is_refused():
    """In a process of its own: here, types of arguments are checked before any function is called."""
    lines = "import numpy, uqdm\ntry:\n    uqdm.encode(numpy.zeros((8, 8, 3), numpy.uint8), seed=1.5)\n"
    lines += "except TypeError as error:\n    print(error)"
    ran = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert ran.stdout == "seed must be an integer, got 1.5\n"
