import csv
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

from uqdm.nested.train import Recipe, Trainer, fit
from uqdm.training.batches import Crops
from uqdm.training.loop import Run

PICTURES = np.stack([make_picture(40, 40, seed) for seed in range(4)])
RECIPE = Recipe(
    block=8,
    finest_width=8.0,
    phases=((2, 0), (1, 0)),
    width=8,
    blocks=1,
    crops=((32, 2),),
    local_width=8,
    steps=6,
    quantize_from=3,
    warm_up=2,
    prior_crops=100,
)


pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    validation, update, given = {"made": PICTURES[:1]}, Trainer.update, []

    def watched(self, state, batch, step):
        given.append(state)
        return update(self, state, batch, step)

    monkeypatch.setattr(Trainer, "update", watched)
    unbroken = fit(RECIPE, [PICTURES], validation, tmp_path / "a", run=Run(checkpoint_every=3))
    fit(RECIPE, [PICTURES], {}, tmp_path / "b", run=Run(stop_after=3, checkpoint_every=3))
    resumed = fit(RECIPE, [PICTURES], {}, tmp_path / "b", run=Run(checkpoint_every=3))
    assert resumed.id == unbroken.id
    # Every step took over the buffers of its state.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
    with (tmp_path / "a" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sent"]) for row in rows] == list(range(unbroken.steps + 1))
    assert float(rows[0]["bpp"]) == 0 < float(rows[-1]["bpp"])
    assert float(rows[-1]["psnr_db"]) > float(rows[0]["psnr_db"]) + 10
    assert (tmp_path / "a" / "train.csv").read_text().startswith("step,loss,seconds\n6,")


def test_training_lowers_the_loss_and_can_go_on_from_a_model(tmp_path):
    from dataclasses import replace

    recipe = replace(RECIPE, steps=60, quantize_from=0, learning_rate=1e-2)
    model = fit(recipe, [PICTURES], {}, tmp_path / "a")
    with (tmp_path / "a" / "train.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    trainer = Trainer(recipe=recipe, section=model.schedule.sections[0])
    crops = tuple(map(jnp.asarray, Crops([*PICTURES], [(side, 16) for side, _ in recipe.crops], seed=9)(0)))
    loss = jax.jit(partial(trainer.loss, quantized=True))
    before = loss(trainer.init().parameters, crops, jax.random.key(0))
    after = loss(jax.device_put(model.parameters), crops, jax.random.key(0))
    assert float(after) < 0.96 * float(before)
    assert np.isfinite(losses).all()
    tuned = fit(replace(RECIPE, steps=3, quantize_from=0), [PICTURES], {}, tmp_path / "b", start_from=model)
    assert tuned.schedule == model.schedule
    change = np.abs(tuned.parameters["entry_bias"] - model.parameters["entry_bias"]).max()
    assert 0 < change < 0.02


def test_an_impossible_recipe_is_refused():
    with pytest.raises(ValueError, match="warm_up"):
        Recipe(steps=10, quantize_from=5, warm_up=20)
    with pytest.raises(ValueError, match="quantize_from"):
        Recipe(steps=10, quantize_from=10, warm_up=2)
