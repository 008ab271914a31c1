"""Maps of bits add up to what a stream costs."""

import numpy as np
import pytest
from pictures import make_picture

from uqdm.codec.api import encode_with_costs
from uqdm.evaluation.plots import plot_allocation
from uqdm.nested.allocation import block_bits


@pytest.fixture(scope="module")
def picture():
    """Flat on the left, noise on the right."""
    picture = np.full((16, 24, 3), 90, np.uint8)
    picture[:, 16:] = np.random.default_rng(0).integers(0, 256, (16, 8, 3))
    return picture


@pytest.fixture(scope="module")
def bits(picture, tiny_model):
    return block_bits(picture, tiny_model, seed=3)


def test_bits_of_blocks_add_up_to_the_ideal_bits_of_every_step(picture, bits, tiny_model):
    _, costs = encode_with_costs(picture, model=tiny_model, seed=3)
    assert bits.shape == (tiny_model.steps, 2, 3)
    np.testing.assert_allclose(bits.sum((1, 2)), np.diff([cost.ideal_bits for cost in costs]), rtol=1e-9)


def test_bits_go_where_the_picture_is_rough(bits):
    assert bits.sum(0)[:, 2].min() > 3 * bits.sum(0)[:, :2].max()


def test_maps_are_drawn_for_every_step(bits):
    picture = make_picture(16, 24)
    drawn = plot_allocation(picture, bits, 8, "svg").decode()
    for step in range(len(bits)):
        assert drawn.count(f"<!-- step {step + 1}: ") == 1
    assert f"<!-- all steps: {bits.sum() / 384:.3f} bits per pixel -->" in drawn
