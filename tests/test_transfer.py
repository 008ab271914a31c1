"""Weights of one schedule start another: every step begins with what the most similar old one has learned."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from uqdm.nested.model import NestedModel
from uqdm.nested.network import init
from uqdm.nested.transfer import similar_steps, transferred


@pytest.fixture(scope="module")
def weights(tiny_model) -> dict:
    """Weights that all differ, so that one cannot stand for another."""
    leaves, tree = jax.tree.flatten(tiny_model.parameters)
    rng = np.random.default_rng(0)
    changed = [leaf + 0.05 * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, changed)


def test_the_same_schedule_keeps_its_weights(tiny_model, weights):
    schedule = tiny_model.schedule
    assert similar_steps(schedule, schedule).tolist() == list(range(tiny_model.steps + 1))
    same = transferred(weights, tiny_model.network, old=schedule, new=schedule)
    jax.tree.map(np.testing.assert_array_equal, same, weights)


def test_new_coarse_levels_leave_the_finer_ones_what_they_know(tiny_model, weights):
    old = tiny_model.schedule
    new = replace(old, phases=((2, 0), *old.phases))
    similar = similar_steps(old, new)
    # Where a level begins has changed for the coarsest one only: it refines zero cells now, and has a halving step.
    assert similar[-10:].tolist() == list(range(len(old.steps) - 9, len(old.steps) + 1))
    network = replace(tiny_model.network, steps=len(new.steps))
    moved = transferred(weights, network, old=old, new=new)
    wanted = init(network, jax.random.key(0))
    assert jax.tree.map(np.shape, moved) == jax.tree.map(np.shape, wanted)
    np.testing.assert_array_equal(moved["entry_bias"], weights["entry_bias"][similar])
    np.testing.assert_array_equal(moved["local_biases"], weights["local_biases"][:, :, similar])
    assert moved["entry"] is weights["entry"]
    NestedModel.from_training(schedule=new, network=network, parameters=moved)


def test_references_are_those_of_where_a_kind_was_sent(tiny_model, weights):
    """Twice the phases: new steps share an old one, whose references all of their kinds have."""
    old = tiny_model.schedule
    new = replace(old, phases=((2, 0), *old.phases[1:]))
    network = replace(tiny_model.network, steps=len(new.steps))
    moved = transferred(weights, network, old=old, new=new)
    kind = network.kind
    for step, row in zip(new.steps, moved["reference_bias"], strict=False):
        for own in set() if step.halving else set(kind[step.members.any(0)].tolist()):
            sent = [
                number
                for number, other in enumerate(old.steps)
                if not other.halving and other.level == step.level and other.members[:, kind == own].any()
            ]
            assert any((row[:, own] == weights["reference_bias"][number][:, own]).all() for number in sent)
