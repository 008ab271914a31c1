import jax.numpy as jnp
import numpy as np
import pytest

from uqdm.contract import steps_until
from uqdm.nested.process import prior_of_levels
from uqdm.nested.schedule import BLOCK_CLASSES, UNSEEN, Schedule, block_classes
from uqdm.transforms.wavelet import layout, unpack


@pytest.fixture
def schedule():
    """Blocks of 4: one low-pass band, three coarse and three fine ones (both octaves count as fine here)."""
    channels = layout(4)
    std = np.where(channels.band == 0, 50.0, np.where(channels.side == 1, 3.0, 0.1))
    return Schedule(block=4, finest_width=3.0, phases=((4, 0), (1, 2), (1, 0)), prior_std=tuple(std.tolist()))


def test_every_coefficient_reaches_the_finest_level_once_per_level(schedule):
    zero, other = (levels.astype(int) for levels in schedule.levels)
    assert (zero[0] == UNSEEN).all()
    assert (zero[-1] == 0).all()
    assert (other[-1] == 0).all()
    assert (other >= zero).all()
    assert (np.diff(zero, axis=0) <= 0).all()
    assert (np.diff(other, axis=0) <= 0).all()
    # 50 takes part in all levels, 3 exceeds 0.3 * 6 but not 0.3 * 12, 0.1 waits for the last.
    # Blocks are told apart by 16 classes, 4 of each.
    sizes = [4 * size for size in (3, 3, 3, 3, 2 * 12, 2 * 12, 4 * 3, 4 * 48, 4 * 12)]
    assert [int(step.members.sum()) for step in schedule.steps] == sizes
    assert [step.level for step in schedule.steps] == [2, 2, 2, 2, 1, 1, 1, 0, 0]


def test_a_level_ends_with_the_halving_of_what_was_seen_before(schedule):
    halving = [i for i, step in enumerate(schedule.steps) if step.halving]
    assert halving == [6, 8]
    for i in halving:
        members = schedule.steps[i].members
        assert (schedule.levels.other[i][members] == schedule.steps[i].level + 1).all()
        assert (schedule.levels.zero[i][members] == schedule.steps[i].level).all()


def test_coarse_bands_go_before_the_two_finest_octaves():
    channels = layout(16)
    schedule = Schedule(block=16, finest_width=3.0, phases=((1, 2),), prior_std=(9.0,) * 768)
    coarse, *fine = (step.members for step in schedule.steps if not step.halving)
    np.testing.assert_array_equal(coarse, np.broadcast_to(channels.side < 4, (BLOCK_CLASSES, 768)))
    np.testing.assert_array_equal(
        sum(f.astype(int) for f in fine), np.broadcast_to(channels.side >= 4, (BLOCK_CLASSES, 768))
    )


def test_phases_are_a_checkerboard_in_every_band():
    """No coefficient touches one of its own phase and band along a side."""
    schedule = Schedule(block=8, finest_width=3.0, phases=((2, 0),), prior_std=(9.0,) * 192)
    members = schedule.steps[0].members[block_classes(5, 7)]
    for band in unpack(jnp.asarray(members[None], jnp.float32), 8):
        white = np.asarray(band).reshape(*band.shape[1:3], -1) > 0
        assert white.any()
        assert not (white[1:] & white[:-1]).any()
        assert not (white[:, 1:] & white[:, :-1]).any()
        assert (white[1:] | white[:-1]).all()


@pytest.mark.parametrize(("tau", "steps"), [(1.0, 0), (0.0, 9), (0.5, 4), (1 / 9, 8), (5 / 9, 4)])
def test_tau_is_the_end_of_transmission(tau, steps):
    assert steps_until(tau, [1 - i / 9 for i in range(10)]) == steps


@pytest.mark.parametrize("tau", [-0.1, 1.1, float("nan")])
def test_tau_out_of_range_is_refused(tau):
    with pytest.raises(ValueError, match="tau must lie in"):
        steps_until(tau, [1.0, 0.0])


@pytest.mark.parametrize("wrong", [{"phases": ((3, 0),)}, {"finest_width": 0.0}, {"prior_std": (1.0,)}])
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Schedule(**({"block": 2, "finest_width": 3.0, "phases": ((1, 0),), "prior_std": (1.0,) * 12} | wrong))


def test_the_prior_is_the_posterior_of_a_gaussian_seen_through_its_cell(schedule):
    first, last = (prior_of_levels(schedule, schedule.levels.zero[i]) for i in (0, -1))
    std, width = 50.0, 3.0
    assert first.std[0, 0] == pytest.approx(std)
    assert not first.input_gain.any()
    assert last.std[0, 0] == pytest.approx((1 / std**2 + 12 / width**2) ** -0.5)
    assert last.input_gain[0, 0] == pytest.approx((std**2 + width**2 / 12) ** -0.5)
