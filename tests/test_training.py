import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

from uqdm.nested.train import Recipe, Trainer, fit
from uqdm.pictures import write_picture
from uqdm.training.data import load_pictures, random_crops
from uqdm.training.loop import Run

PICTURES = np.stack([make_picture(40, 40, seed) for seed in range(4)])
RECIPE = Recipe(
    block=8,
    finest_width=8.0,
    phases=((2, 0), (1, 0)),
    width=8,
    blocks=1,
    crops=((32, 2), (16, 2)),
    local_width=8,
    steps=6,
    quantize_from=3,
    warm_up=2,
    prior_crops=100,
)


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_pictures_come_from_folders_files_and_arrays(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.png").write_bytes(write_picture(PICTURES[0], ".png"))
    (tmp_path / "deep" / "a.png").write_bytes(write_picture(PICTURES[1], ".png"))
    (tmp_path / "notes.txt").write_text("no picture")
    np.savez(tmp_path / "set.npz", labels=np.arange(4), images=PICTURES)
    assert [p.shape for p in load_pictures(tmp_path)] == [(40, 40, 3)] * 2
    np.testing.assert_array_equal(load_pictures(tmp_path / "b.png")[0], PICTURES[0])
    np.testing.assert_array_equal(np.stack(load_pictures(tmp_path / "set.npz")), PICTURES)
    np.testing.assert_array_equal(np.stack(load_pictures(PICTURES)), PICTURES)


def test_a_source_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures in"):
        load_pictures(tmp_path)
    np.savez(tmp_path / "set.npz", labels=np.arange(4))
    with pytest.raises(ValueError, match="no uint8 array"):
        load_pictures(tmp_path / "set.npz")


def test_crops_are_a_pure_function_of_seed_and_step():
    pictures = list(PICTURES)
    crops = random_crops(pictures, 16, 8, seed=1, step=5)
    assert crops.shape == (8, 16, 16, 3)
    np.testing.assert_array_equal(crops, random_crops(pictures, 16, 8, seed=1, step=5))
    assert (crops != random_crops(pictures, 16, 8, seed=1, step=6)).any()
    with pytest.raises(ValueError, match="at least 41 pixels"):
        random_crops(pictures, 41, 1, seed=0, step=0)


def test_unscaled_crops_are_pieces_of_the_pictures():
    picture = np.arange(20 * 20 * 3).reshape(20, 20, 3) % 251
    picture = picture.astype(np.uint8)
    pieces = np.lib.stride_tricks.sliding_window_view(picture, (8, 8), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    pieces = pieces.reshape(-1, 8, 8, 3)
    known = {
        view.tobytes() for p in pieces for view in (p, p[:, ::-1], p.transpose(1, 0, 2), p[:, ::-1].transpose(1, 0, 2))
    }
    crops = random_crops([picture], 8, 50, seed=0, step=0, rescaled=0.0)
    assert {crop.tobytes() for crop in crops} <= known


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
    trainer = Trainer(recipe=recipe, schedule=model.schedule)
    crops = tuple(jnp.asarray(random_crops(list(PICTURES), side, 16, seed=9, step=0)) for side, _ in recipe.crops)
    before = trainer.loss(trainer.init().parameters, crops, jax.random.key(0), quantized=True)
    after = trainer.loss(jax.device_put(model.parameters), crops, jax.random.key(0), quantized=True)
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
