"""The first levels in steps of their own, by a network of their own: later steps do not notice."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from pictures import make_picture
from plain_decoder import decode_state
from plain_picture import show

import uqdm
from channel_sim.entropy import Writer
from uqdm.codec.api import receiver_of
from uqdm.contract import steps_until
from uqdm.nested.model import NestedModel
from uqdm.nested.opening import RECIPE, fit_opening, trainer_of, with_opening
from uqdm.nested.schedule import BLOCK_CLASSES, UNSEEN, Schedule, block_classes
from uqdm.nested.train import Recipe, fit
from uqdm.nested.transfer import similar_states
from uqdm.postfilter.config import FilterConfig
from uqdm.postfilter.postfilter import Postfilter
from uqdm.training.loop import Run


def test_the_low_pass_band_is_sent_as_a_pyramid(opened_model):
    low, sent = slice(0, 3), np.zeros((8, 8, 3), bool)
    shares = []
    for step in opened_model.schedule.steps[:7]:
        assert step.doublings == 3
        members = step.members[block_classes(8, 8)]
        assert not members[..., 3:].any()
        assert not (sent & members[..., low]).any()
        sent |= members[..., low]
        shares.append(sent.mean((0, 1)).tolist())
    assert shares[:3] == [[1 / 16] * 3, [1 / 8] * 3, [1 / 4] * 3]
    assert shares[3:] == [[1 / 2, 1 / 4, 1 / 4], [1, 1 / 4, 1 / 4], [1, 1 / 2, 1 / 2], [1, 1, 1]]


def test_blocks_of_a_step_of_the_pyramid_lie_between_those_before(opened_model):
    """Each has at least two that are known among the blocks next to it at the step's distance."""
    known = np.zeros((17, 17), bool)
    for number, (step, distances) in enumerate(
        zip(opened_model.schedule.steps[:5], ([], [(2, 2)], [(0, 2), (2, 0)], [(1, 1)], [(0, 1), (1, 0)]), strict=True)
    ):
        members = step.members[block_classes(17, 17)][..., 0]
        for row, column in np.argwhere(members[2:-2, 2:-2]) + 2:
            around = [known[row + s * dy, column + t * dx] for dy, dx in distances for s in (-1, 1) for t in (-1, 1)]
            assert sum(around) >= 2 or number == 0
        known |= members


def test_later_steps_are_those_of_the_model_without_it(tiny_model, opened_model):
    opening, rest = opened_model.schedule.sections
    assert opening.range.stop == rest.range.start
    old = tiny_model.schedule.steps[-len(rest.range) :]
    for a, b in zip(rest.steps, old, strict=True):
        assert (a.level, a.halving, a.doublings) == (b.level, b.halving, b.doublings)
        np.testing.assert_array_equal(a.members, b.members)
    for ours, theirs in zip(rest.levels, tiny_model.schedule.levels, strict=True):
        np.testing.assert_array_equal(ours, theirs[-len(rest.range) - 1 :])


def test_time_says_as_much_with_an_opening(tiny_model, opened_model):
    old, new = tiny_model.times, opened_model.times
    assert (old[0], old[-1], new[0], new[-1]) == (1, 0, 1, 0)
    assert (np.diff(new) < 0).all()
    first = opened_model.schedule.sections[1].range.start
    assert new[first:] == pytest.approx(old[-len(new[first:]) :])
    for tau in (0.0, 0.3, old[-3]):
        later = [len(model.times) - steps_until(tau, model.times) for model in (tiny_model, opened_model)]
        assert later[0] == later[1]


def sent_until(model: NestedModel, step: int, picture: np.ndarray):
    state, writer = model.new_state(*picture.shape[:2], 5, picture), Writer()
    for number in range(step):
        model.expect([state], number)
        state.send(writer, number)
    return state


def test_later_references_and_estimates_are_those_of_the_model_without_it(tiny_model, opened_model):
    """States after the opening are the same, and so is everything that is said of them."""
    picture, first = make_picture(40, 56), opened_model.schedule.sections[1].range.start
    replaced = tiny_model.steps - len(opened_model.schedule.sections[1].range)
    ours, theirs = sent_until(opened_model, first, picture), sent_until(tiny_model, replaced, picture)
    np.testing.assert_array_equal(ours.midpoint, theirs.midpoint)
    np.testing.assert_array_equal(ours.units, theirs.units)
    units = ours.units.reshape(1, *ours.grid.shape)
    for a, b in zip(opened_model.reference(units, first), tiny_model.reference(units, replaced), strict=True):
        np.testing.assert_array_equal(a, b)
    midpoint, shift = ours.midpoint.reshape(units.shape[1:]), ours.shift.reshape(units.shape[1:])
    estimates = [
        model.estimate(units[0], midpoint, shift, step)
        for model, step in ((opened_model, first), (tiny_model, replaced))
    ]
    np.testing.assert_array_equal(*estimates)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 17), (72, 90)])
def test_every_step_decodes_from_its_prefix(opened_model, size):
    picture = make_picture(*size)
    data = uqdm.encode(picture, model=opened_model, seed=2)
    steps = [preview.step for preview in uqdm.previews(data, model=opened_model)]
    assert steps == list(range(opened_model.steps + 1))
    state, receiver = sent_until(opened_model, opened_model.steps, picture), receiver_of(data, model=opened_model)
    assert state.agrees_with(picture, opened_model.steps)
    while receiver.receive():
        assert receiver.state.agrees_with(picture, receiver.step)


@pytest.mark.parametrize("step", [0, 1, 3, 5, 9, 14, 16, 30])
def test_the_plain_decoder_reads_openings(opened_model, step):
    """States and pictures, in the opening, at its end and after it."""
    picture = make_picture(33, 50)
    step = min(step, opened_model.steps)
    data = uqdm.encode(picture, opened_model.times[step], model=opened_model, seed=9)
    midpoints, steps = decode_state(data, dict(opened_model.arrays))
    receiver = receiver_of(data, model=opened_model)
    while receiver.receive():
        pass
    assert steps == receiver.step == step
    np.testing.assert_array_equal(midpoints, receiver.state.midpoint)
    np.testing.assert_array_equal(show(data, dict(opened_model.arrays)), uqdm.decode(data, model=opened_model))


def test_the_network_of_an_opening_sees_the_bands_that_it_sends(opened_model):
    opening = opened_model.networks[0]
    assert (opening.config.block, opening.config.classes) == (opening.section.block, BLOCK_CLASSES)
    wide = Schedule(
        block=16, finest_width=3.0, phases=((2, 0), (2, 2)), prior_std=(900.0,) * 3 + (0.1,) * 765, opening=1
    )
    assert wide.sections[0].block == 2
    assert (wide.levels.zero[wide.sections[0].range.stop][:, 3:] == UNSEEN).all()


def test_states_that_know_as_much_are_alike(tiny_model, opened_model):
    states = similar_states(tiny_model.schedule, opened_model.schedule)
    first = opened_model.schedule.sections[1].range.start
    replaced = tiny_model.steps - len(opened_model.schedule.sections[1].range)
    assert (states[0], states[first], states[-1]) == (0, replaced, tiny_model.steps)
    assert (np.diff(states) >= 0).all()
    assert (np.diff(states[first:]) == 1).all()


def test_what_shapes_previews_comes_along(tiny_model, opened_model):
    weights = np.linspace(1, 0, tiny_model.steps + 1).astype(np.float32)
    config = FilterConfig(steps=tiny_model.steps, widths=(8,), blocks_in=(1,), blocks_out=(0,))
    from model_cases import postfilter_parameters

    postfilter = Postfilter.from_training(config, postfilter_parameters(config), range(2, 8))
    shaped = tiny_model.with_preview_weights(weights).with_postfilter(postfilter)
    own = opened_model.networks[0]
    opened = with_opening(shaped, 2, own.config, own.parameters)
    assert opened.id == opened_model.id
    first, replaced = opened.schedule.sections[1].range.start, tiny_model.steps - len(opened.schedule.sections[1].range)
    np.testing.assert_array_equal(opened.preview_weights[first:], weights[replaced:])
    np.testing.assert_array_equal(opened.preview_weights[:first], 1)
    assert opened.postfilter is not None
    later = [opened.postfilter.filters(step) for step in range(first, opened.steps + 1)]
    assert later == [postfilter.filters(step) for step in range(replaced, tiny_model.steps + 1)]
    shown = np.random.default_rng(0).integers(0, 65281, (16, 16, 3), np.uint16)
    np.testing.assert_array_equal(opened.postfilter(shown, first), postfilter(shown, replaced))


def test_another_opening_takes_the_place_of_the_first(tiny_model, opened_model):
    own = opened_model.networks[0]
    assert with_opening(opened_model, 2, own.config, own.parameters).id == opened_model.id
    with pytest.raises(ValueError, match="the model has an opening of 2 levels"):
        with_opening(opened_model, 1, own.config, own.parameters)


def test_openings_that_fit_nothing_are_refused(opened_model):
    arrays = dict(opened_model.arrays)
    wrong = "opening/integer/entry/offset"
    with pytest.raises(ValueError, match="must have"):
        NestedModel.from_arrays({**arrays, wrong: arrays[wrong][..., :-1]})
    silent = (1.0,) * 3 + opened_model.schedule.prior_std[3:]
    with pytest.raises(ValueError, match="must begin with the low-pass band"):
        replace(opened_model.schedule, prior_std=silent)
    with pytest.raises(ValueError, match="fewer than all levels"):
        replace(opened_model.schedule, opening=4)


@pytest.mark.usefixtures("compiled_quickly")
@jax.numpy_dtype_promotion("standard")  # optax promotes
def test_an_opening_is_trained_alone(tiny_model, tmp_path):
    """Some steps lower what its steps cost; the rest of the model stays."""
    pictures = np.stack([make_picture(64, 64, seed) for seed in range(4)])
    recipe = replace(
        RECIPE, width=16, blocks=1, local_width=8, crops=((64, 4),), steps=30, quantize_from=20, warm_up=2, ema=0.5
    )
    trainer = trainer_of(recipe, tiny_model, 2)
    before = trainer.validate(trainer.init().parameters, pictures, 0)
    opened = fit_opening(recipe, tiny_model, 2, [pictures], {}, tmp_path, run=Run())
    after = trainer.validate(jax.tree.map(np.asarray, opened.networks[0].parameters), pictures, 30)
    assert [row["sent"] for row in after] == list(range(len(trainer.section.steps) + 1))
    assert after[-1]["bpp"] < 0.97 * before[-1]["bpp"]
    np.testing.assert_array_equal(
        opened.networks[1].arrays["integer/first_0/kernel"], tiny_model.arrays["integer/first_0/kernel"]
    )


@pytest.mark.usefixtures("compiled_quickly")
@jax.numpy_dtype_promotion("standard")  # optax promotes
def test_a_model_that_is_trained_further_keeps_its_opening(opened_model, tmp_path):
    schedule, network = opened_model.schedule, opened_model.network
    recipe = Recipe(
        block=8,
        finest_width=schedule.finest_width,
        phases=schedule.phases,
        width=network.width,
        blocks=network.blocks,
        local_width=network.local_width,
        crops=((32, 2),),
        steps=3,
        quantize_from=0,
        warm_up=1,
    )
    pictures = np.stack([make_picture(32, 32, seed) for seed in range(4)])
    tuned = fit(recipe, [pictures], {}, tmp_path / "same", start_from=opened_model, name="tuned")
    assert (tuned.schedule, tuned.name) == (schedule, "tuned")
    for name, array in opened_model.arrays.items():
        if name.startswith("opening/"):
            np.testing.assert_array_equal(tuned.arrays[name], array)
    change = np.abs(tuned.parameters["entry_bias"] - opened_model.parameters["entry_bias"]).max()
    assert 0 < change < 0.02
    other = replace(recipe, phases=((2, 0), *schedule.phases[1:]))
    changed = fit(other, [pictures], {}, tmp_path / "other", start_from=opened_model)
    assert changed.schedule.opening == 0
