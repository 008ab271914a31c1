"""Splitting steps are ordered by slope: what that is, and what it is good for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from plain_decoder import decode_state

import uqdm
from channel_sim.entropy import Writer
from channel_sim.split_tables import LOCATION_CLASSES, SCALE_CLASSES, SplitTables
from uqdm.codec.api import encode_with_costs, receiver_of
from uqdm.metrics import psnr_db
from uqdm.nested.model import NestedModel
from uqdm.nested.slopes import LARGEST, UNITS, Slopes
from uqdm.pictures import read_picture

SLOPES = Slopes.logistic()
UNIT_LOG2 = 12


def row(location: float, octaves: float) -> int:
    """Of tables, for a location in child widths and a scale of 2^octaves of them."""
    unit = np.int64(2**UNIT_LOG2)
    places = np.array([round(location * unit)]), np.array([round(8 * octaves) + 8 * UNIT_LOG2])
    return int(SplitTables.row(*places, np.array(UNIT_LOG2))[0])


@pytest.mark.parametrize("location", [0.0, 0.5, -1.25])
@pytest.mark.parametrize("octaves", [-1.5, 0.0, 1.0])
@pytest.mark.parametrize("table", ["zero", "first"])
def test_slopes_are_what_drawn_numbers_show(table, location, octaves):
    """The fall of the squared error per bit, of numbers drawn from the density."""
    rng = np.random.default_rng(0)
    y = rng.logistic(location, 2.0**octaves, 400_000)
    if table == "zero":
        y = y[np.abs(y) < 2]
    child = np.sign(y) * np.floor(np.abs(y))
    _, inverse, counts = np.unique(child, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, y) / counts
    gain, p = np.var(y) - np.mean((y - means[inverse]) ** 2), counts / len(y)
    slope = UNITS * gain / -np.sum(p * np.log2(p))
    assert getattr(SLOPES, table)[row(location, octaves)] == pytest.approx(min(slope, LARGEST), abs=1.2, rel=0.02)


def test_tables_of_slopes_are_symmetric_and_rise_with_the_scale():
    for table in (SLOPES.zero, SLOPES.first):
        grid = table.reshape(2 * SCALE_CLASSES + 1, 2 * LOCATION_CLASSES + 1).astype(int)
        np.testing.assert_array_equal(grid, grid[:, ::-1])
        assert (np.diff(grid[:, LOCATION_CLASSES]) >= 0).all()
    assert SLOPES.zero.max() < 0.75 * UNITS
    assert SLOPES.first.max() == LARGEST


def test_coefficients_come_by_falling_slope_and_equal_ones_in_their_order(tiny_model):
    state = tiny_model.new_state(40, 56, 3, make_picture(40, 56))
    seen = 0
    for step, about in enumerate(tiny_model.schedule.steps[:-1]):
        tiny_model.expect([state], step)
        part = state._part_of(step)
        own = state.grid.members(step).places
        before = {member: number for number, member in enumerate(own.tolist())}
        places = np.array([before[member] for member in part.members.tolist()])

        if about.halving:
            assert (np.diff(places) > 0).all()
        else:
            unseen = part.cells.high > 2**40
            rows = SplitTables.row(part.reference.location, part.reference.scale_class, np.array(about.level + 8))
            slope = np.where(unseen, tiny_model.slopes.first[rows], tiny_model.slopes.zero[rows]).astype(int)
            fall = np.diff(slope)
            assert (fall <= 0).all()
            assert (np.diff(places)[fall == 0] > 0).all()
            seen += int((fall < 0).any())
        state.send(Writer(), step)
    assert seen >= 3


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("opened", [True, False])
def test_the_plain_decoder_reads_both_orders(tiny_model, opened_model, ordered, opened):
    model: NestedModel = opened_model if opened else tiny_model
    model = model if ordered else model.with_slopes(None)
    picture = make_picture(33, 50)
    data = uqdm.encode(picture, model=model, seed=4)
    for size in (len(data), len(data) // 2):
        midpoints, steps = decode_state(data[:size], dict(model.arrays))
        receiver = receiver_of(data[:size], model=model)
        while receiver.receive():
            assert receiver.state.agrees_with(picture, receiver.step)
        assert steps == receiver.step
        np.testing.assert_array_equal(midpoints, receiver.state.midpoint)


def test_the_order_is_a_part_of_what_a_model_is(tiny_model):
    plain = tiny_model.with_slopes(None)
    assert plain.slopes is None
    assert plain.id != tiny_model.id
    assert plain.with_slopes(SLOPES).id == tiny_model.id
    assert NestedModel.from_bytes(plain.to_bytes()).id == plain.id
    # What whole steps say does not depend on it.
    whole = [uqdm.encode(make_picture(24, 24), model=model) for model in (plain, tiny_model)]
    np.testing.assert_array_equal(
        *(uqdm.decode(data, model=m) for data, m in zip(whole, (plain, tiny_model), strict=True))
    )
    assert abs(len(whole[0]) - len(whole[1])) <= 4


def test_tables_of_slopes_that_are_none_are_refused(tiny_model):
    arrays = dict(tiny_model.arrays)
    with pytest.raises(ValueError, match="must have slope/zero and slope/first, got zero"):
        NestedModel.from_arrays({name: array for name, array in arrays.items() if name != "slope/first"})
    with pytest.raises(ValueError, match="slope/zero must be uint8"):
        NestedModel.from_arrays({**arrays, "slope/zero": arrays["slope/zero"].astype(np.int64)})
    with pytest.raises(ValueError, match="0 to 63"):
        replace(SLOPES, first=SLOPES.first + np.uint8(100))
    without = {name: array for name, array in arrays.items() if not name.startswith("slope/")}
    with pytest.raises(ValueError, match="format 4 is unknown here"):
        NestedModel.from_arrays(without)


@pytest.fixture(scope="module")
def natural() -> np.ndarray:
    path = Path(__file__).parents[1] / "experiments/pictures/kodim23.webp"
    return read_picture(path.read_bytes())[100:228, 300:428]


def test_prefixes_that_end_inside_of_steps_show_more_by_slope(natural):
    """Of the shipped model, at a half of long steps; at their ends both orders are as good."""
    photo = uqdm.load_model("photo")
    gains, ends = [], []
    streams = [(encode_with_costs(natural, model=model), model) for model in (photo, photo.with_slopes(None))]
    costs = streams[0][0][1]
    for step in (20, 25, 26, 30, 31, 33):
        first, last = costs[step].file_bytes, costs[step + 1].file_bytes
        for size, found in (((first + last) // 2, gains), (last, ends)):
            ours, plain = (psnr_db(natural, uqdm.decode(data[:size], model=model)) for (data, _), model in streams)
            found.append(ours - plain)
    assert np.mean(gains) > 0.03
    assert np.abs(np.mean(ends)) < 0.01
