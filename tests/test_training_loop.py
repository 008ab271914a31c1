"""The loop of all trainings: it can be killed, it overlaps work, it keeps sound states, and small copies of them."""

import csv
import threading
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from uqdm.errors import PictureError
from uqdm.training.kept import kept_arrays
from uqdm.training.loop import Run, Trainer, train
from uqdm.training.state import TrainState, first_state, next_state, read_half, write_half

SIZE = 200
OPTIMIZER = optax.adam(0.05)
PICTURES = {"made": np.zeros((1, 4, 4, 3), np.uint8)}


@pytest.fixture(autouse=True)
def _standard_promotion():
    """Optax mixes integers and real numbers."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@dataclass
class Regression:
    """Weights move towards the batches; a batch of infinities has an infinite loss."""

    size: int = SIZE

    def init(self) -> TrainState:
        return first_state({"weight": jnp.zeros(self.size), "scale": jnp.float32(0.1)}, OPTIMIZER)

    def update(self, state, batch, step):
        return _descend(state, jnp.asarray(batch))

    def validate(self, parameters, pictures, step):
        assert isinstance(parameters["weight"], np.ndarray)
        return [{"pictures": len(pictures), "sum": float(parameters["weight"].sum())}]


@jax.jit
def _descend(state: TrainState, batch):
    def loss(parameters):
        return jnp.square(parameters["weight"] + parameters["scale"] - batch).mean()

    value, gradients = jax.value_and_grad(loss)(state.parameters)
    return next_state(state, gradients, OPTIMIZER, 0.9), {"loss": value}


def batches(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(3.0, 1.0, SIZE).astype(np.float32)


def fit(folder, steps=6, batches=batches, **options) -> TrainState:
    run = Run(**({"log_every": 1, "checkpoint_every": 2, "validate_every": 3} | options))
    return train(Regression(), batches, PICTURES, folder, steps=steps, run=run)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_equal(one: TrainState, other: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_that_was_killed_between_checkpoints_leaves_no_trace(tmp_path):
    def killed(step: int) -> np.ndarray:
        if step == 5:
            raise KeyboardInterrupt
        return batches(step)

    assert isinstance(Regression(), Trainer)
    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", batches=killed)
    assert [row["step"] for row in rows(tmp_path / "parts" / "train.csv")][-1] == "5"
    assert_equal(fit(tmp_path / "parts"), whole)
    for table in ("train.csv", "validation.csv"):
        assert rows(tmp_path / "parts" / table) == rows(tmp_path / "whole" / table)
    assert [row["step"] for row in rows(tmp_path / "whole" / "train.csv")] == list("123456")
    assert [row["step"] for row in rows(tmp_path / "whole" / "validation.csv")] == ["3", "6"]


def test_tables_of_others_are_left_alone(tmp_path):
    (tmp_path / "own.csv").write_text("name,value\na,1\n")
    fit(tmp_path, stop_after=3)
    fit(tmp_path)
    assert (tmp_path / "own.csv").read_text() == "name,value\na,1\n"
    assert [row["step"] for row in rows(tmp_path / "train.csv")] == list("123456")
    assert not [*tmp_path.glob("*.kept")]


def test_arrays_are_kept_and_never_taken_for_others(tmp_path):
    path, made = tmp_path / "folder" / "kept.npz", []

    def make():
        made.append(1)
        return [np.arange(3), np.ones((2, 2), np.float16)]

    for _ in range(2):
        for found, wanted in zip(kept_arrays(path, "threes", make), make(), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert len(made) == 3
    with pytest.raises(PictureError, match="holds something else than fours: choose another folder"):
        kept_arrays(path, "fours", make)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PictureError, match="holds something else than threes"):
        kept_arrays(path, "threes", make)


def test_a_run_that_ends_early_writes_what_an_unbroken_one_has_then(tmp_path):
    early = fit(tmp_path / "early", stop_after=3)
    assert_equal(early, fit(tmp_path / "short", steps=3))
    assert_equal(fit(tmp_path / "early", stop_after=3), early)


def test_the_next_batch_is_prepared_while_a_step_is_taken(tmp_path):
    asked = [threading.Event() for _ in range(7)]
    threads = set()

    class Waiting(Regression):
        def update(self, state, batch, step):
            assert asked[step + 1].wait(timeout=60), "nobody prepares the next batch"
            return super().update(state, batch, step)

    def announced(step: int) -> np.ndarray:
        asked[step].set()
        threads.add(threading.current_thread())
        return batches(step)

    train(Waiting(), announced, {}, tmp_path, steps=6)
    assert threading.current_thread() not in threads


def test_a_loss_that_is_not_finite_ends_the_training_before_it_is_kept(tmp_path):
    def spoilt(step: int) -> np.ndarray:
        return batches(step) * np.float32(np.inf if step == 3 else 1)

    with pytest.raises(FloatingPointError, match="loss became inf at step 4: lower the learning rate"):
        fit(tmp_path, batches=spoilt, log_every=100)
    # From the last sound state the training goes on.
    assert_equal(fit(tmp_path), fit(tmp_path / "whole"))


def test_intervals_of_zero_steps_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        Run(checkpoint_every=0)


def test_the_average_forgets_its_beginning_first_and_keeps_its_decay_later():
    state, gradients = Regression().init(), {"weight": jnp.ones(SIZE), "scale": jnp.float32(1)}
    expected = 0.0
    for n in range(120):
        state = next_state(state, gradients, OPTIMIZER, 0.9)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * float(state.parameters["weight"][0])
        assert float(state.average["weight"][0]) == pytest.approx(expected, rel=1e-4)
    assert int(state.step) == 120


def moved(size: int = SIZE) -> TrainState:
    """A state whose second moments are too small for float16."""
    state = Regression(size).init()
    gradients = {"weight": 1e-9 * jax.random.normal(jax.random.key(0), (size,)), "scale": jnp.float32(3e-9)}
    for _ in range(3):
        state = next_state(state, gradients, OPTIMIZER, 0.9)
    return state


def test_a_copy_in_half_precision_is_small_and_near(tmp_path):
    state, path = moved(20_000), tmp_path / "deep" / "state.npz"
    write_half(state, path)
    assert path.stat().st_size < 8 * 20_000 * 1.05
    back = read_half(path, Regression(20_000).init())
    for part, relative, absolute in (
        ("parameters", 2**-11, 2**-25),
        ("average", 2**-11, 2**-25),
        ("optimizer", 2**-8, 0),
    ):
        for one, other in zip(jax.tree.leaves(getattr(state, part)), jax.tree.leaves(getattr(back, part)), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(other, one, rtol=relative, atol=absolute)
    # Counters and single numbers are exact, and no second moment became 0, by which updates would grow beyond bounds.
    assert int(back.step) == 3 == int(back.optimizer[0].count)
    assert back.parameters["scale"] == state.parameters["scale"]
    assert (np.asarray(back.optimizer[0].nu["weight"]) > 0).all()


def test_a_training_goes_on_from_a_copy_with_nearly_the_same_loss(tmp_path):
    copy = tmp_path / "state.npz"
    fit(tmp_path / "whole", steps=40)
    fit(tmp_path / "here", steps=40, stop_after=20, export_state=copy)
    fit(tmp_path / "there", steps=40, resume_from=copy)
    later, whole = rows(tmp_path / "there" / "train.csv"), rows(tmp_path / "whole" / "train.csv")
    assert [row["step"] for row in later] == [str(step) for step in range(21, 41)]
    for one, other in zip(later, whole[20:], strict=True):
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=2e-3)


def test_a_checkpoint_goes_before_a_copy(tmp_path):
    copy = tmp_path / "state.npz"
    fit(tmp_path / "other", steps=2, export_state=copy)
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "parts", stop_after=4)
    assert_equal(fit(tmp_path / "parts", resume_from=copy), whole)


def test_a_copy_of_another_training_is_refused(tmp_path):
    copy = tmp_path / "state.npz"
    write_half(moved(), copy)
    with pytest.raises(ValueError, match=r"state.npz is of another training: average/weight is \(200,\) there"):
        read_half(copy, Regression(100).init())
    copy.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="no state of a training"):
        read_half(copy, Regression().init())
