"""Training of the Gaussian and the uniform process: deterministic, resumable, the same on any number of devices."""

import csv
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.diffusion import process as diffusion
from uqdm.diffusion import train as training
from uqdm.diffusion.loss import DiffusionLoss
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.train import Recipe, Trainer
from uqdm.training.batches import Batches
from uqdm.training.dataset import open_source
from uqdm.training.loop import Run

ROOT = Path(__file__).resolve().parents[1]
NETWORK = UNetConfig(width=8, levels=2, blocks=1, norm_groups=4, heads=1)

pytestmark = pytest.mark.usefixtures("compiled_quickly")

RECIPE = Recipe(network=NETWORK, side=16, batch=8, steps=6, warm_up=2, learning_rate=1e-3, ema=0.9, diffusion_steps=3)


@pytest.fixture
def _standard_promotion():
    """Optax mixes integers and real numbers."""
    with jax.numpy_dtype_promotion("standard"):
        yield


optax_inside = pytest.mark.usefixtures("_standard_promotion")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    np.savez(path, pictures=np.stack([make_picture(20, 20, seed=i) for i in range(24)]))
    return str(path)


def fit(folder, archive, recipe=RECIPE, **options):
    run = Run(log_every=1, checkpoint_every=2, **options)
    return training.fit(recipe, archive, {}, folder, run=run)


def bpp(folder: Path) -> list[float]:
    with (folder / "train.csv").open() as file:
        return [float(row["bpp"]) for row in csv.DictReader(file)]


@optax_inside
def test_a_resumed_training_equals_an_unbroken_one(archive, tmp_path):
    whole = fit(tmp_path / "whole", archive)
    fit(tmp_path / "parts", archive, stop_after=3)
    resumed = fit(tmp_path / "parts", archive)
    assert resumed.id == whole.id
    assert bpp(tmp_path / "parts") == bpp(tmp_path / "whole")
    picture = make_picture(16, 16)
    assert uqdm.decode(uqdm.encode(picture, model=whole), model=whole).shape == picture.shape
    assert whole.noise.gamma_min != RECIPE.gamma_min


@optax_inside
def test_a_training_goes_on_from_a_copy_in_half_precision(archive, tmp_path):
    fit(tmp_path / "whole", archive)
    fit(tmp_path / "here", archive, stop_after=3, export_state=tmp_path / "state.npz")
    fit(tmp_path / "there", archive, resume_from=tmp_path / "state.npz")
    np.testing.assert_allclose(bpp(tmp_path / "there"), bpp(tmp_path / "whole")[3:], rtol=1e-3)


@optax_inside
def test_a_fixed_noise_schedule_stays(archive, tmp_path):
    model = fit(tmp_path / "run", archive, replace(RECIPE, learn_gamma=False, process="gaussian"), stop_after=2)
    assert model.noise.gamma_min == pytest.approx(RECIPE.gamma_min)
    with pytest.raises(ValueError, match="no-learned-scale"):
        uqdm.encode(make_picture(16, 16), model=model)


@optax_inside
def test_a_training_from_a_model_keeps_what_the_model_fixes():
    model = DiffusionModel.from_training(
        replace(RECIPE, diffusion_steps=2, gamma_max=5.0, logistic=False).config.with_gammas([5.0, 1.0, -11.0]),
        DiffusionLoss(config=RECIPE.config).init(jax.random.key(5))["network"],
    )
    trainer = Trainer(recipe=RECIPE, start_from=model)
    state = trainer.init()
    assert trainer.config == replace(model.diffusion_config, levels=None)
    np.testing.assert_array_equal(state.parameters["network"]["entry"]["kernel"], model.parameters["entry"]["kernel"])
    exported = trainer.export(state, "further")
    assert exported.noise.gamma_min == pytest.approx(model.noise.gamma_min)
    assert replace(exported.diffusion_config, noise=model.noise) == trainer.config


def test_a_recipe_for_pictures_that_its_network_does_not_take_is_refused():
    with pytest.raises(ValueError, match="side must be a multiple of 2 for this network, got 15"):
        Trainer(recipe=replace(RECIPE, side=15))


@optax_inside
def test_accumulated_gradients_are_those_of_the_whole_batch(archive):
    """For a loss without random parts, here the last term alone, parts add up to the whole."""
    batch = Batches(open_source(archive), side=16, batch=8, seed=0)(0)
    metrics = {}
    for count in (1, 4):
        trainer = Trainer(recipe=replace(RECIPE, accumulate=count))
        state = trainer.init()
        _, metrics[count] = trainer.update(state, batch, 0)
        # The step took over the buffers of its state.
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    # Every part draws its own steps, noise and rows; the mean stays.
    assert float(metrics[4]["rest_bpp"]) == pytest.approx(float(metrics[1]["rest_bpp"]), rel=0.2)
    assert float(metrics[4]["bpp"]) == pytest.approx(float(metrics[1]["bpp"]), rel=0.5)


def test_one_drawn_step_estimates_the_cost_of_all():
    loss = DiffusionLoss(config=replace(RECIPE, gamma_min=-9.0).config)
    parameters = loss.init(jax.random.key(0))
    pictures = np.stack([make_picture(16, 16, seed=i) for i in range(6)])
    terms = jax.jit(jax.vmap(lambda key: loss(parameters, pictures, key).rate.mean()))
    drawn = np.asarray(terms(jax.random.split(jax.random.key(1), 60)))
    rates, psnr, _ = loss.progression(parameters, pictures, jax.random.key(2))
    assert drawn.mean() == pytest.approx(float(rates.sum(1).mean()), abs=float(4 * drawn.std() / 60**0.5) + 0.02)
    # The first state knows nothing, and an untrained network guesses.
    assert (np.diff(np.asarray(psnr).mean(0))[1:] > 0).all()


@pytest.mark.parametrize("process", ["uniform", "gaussian"])
def test_states_have_the_forward_process_moments(process):
    loss = DiffusionLoss(config=replace(RECIPE, process=process).config)
    parameters = {"gamma_min": jnp.float32(-9.0)}
    x = jnp.full((400, 8, 8, 3), 0.4)
    states = np.asarray(loss.states(parameters, x, jax.random.key(0)))
    for gamma, z in zip(diffusion.NoiseSchedule(gamma_min=-9.0, gamma_max=6.0).gammas(3), states, strict=True):
        alpha, sigma = float(diffusion.alpha(gamma)), float(diffusion.sigma(gamma))
        # z_1 of the uniform process knows nothing of x: what is missing of its mean fades with the noise.
        assert z.std() == pytest.approx(sigma, rel=0.02)
        assert z.mean() == pytest.approx(alpha * 0.4, abs=0.02 + 0.4 * alpha * (gamma == 6.0))


def test_the_gaussian_cost_is_the_divergence_of_its_steps():
    """With the true picture as the estimate and the posterior's deviation a step costs nothing."""
    z, x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3)), jnp.full((2, 4, 4, 3), 0.3)
    target = diffusion.posterior(z, x, 1.0, -2.0)
    np.testing.assert_allclose(diffusion.gaussian_kl_bits(target, target), 0.0, atol=1e-6)
    shifted = diffusion.Moments(jnp.asarray(target.mean) + target.std, target.std)
    np.testing.assert_allclose(diffusion.gaussian_kl_bits(target, shifted), 0.5 / np.log(2), rtol=1e-5)


def command(archive: str, folder: Path, *more: str) -> list[str]:
    recipe = {
        "process": "uniform",
        "diffusion-steps": 3,
        "network.width": 8,
        "network.levels": 2,
        "network.norm-groups": 4,
        "side": 16,
        "batch": 8,
        "steps": 6,
        "warm-up": 2,
        "learning-rate": 1e-3,
        "ema": 0.9,
    }
    words = [word for name, value in recipe.items() for word in (f"--recipe.{name}", str(value))]
    script = [sys.executable, str(ROOT / "experiments" / "train_imagenet64.py")]
    return [*script, "--folder", str(folder), "--source", archive, "--log-every", "1", *words, *more]


ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def run_together(archive: str, folder: Path, *more: str) -> None:
    """Trains in two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    more = ("--coordinator", address, "--processes", "2", *more)
    commands = [command(archive, folder, *more, "--process", str(i)) for i in range(2)]
    processes = [subprocess.Popen(words, env=ENVIRONMENT) for words in commands]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]


@pytest.mark.slow
def test_two_processes_and_eight_devices_train_as_one(archive, tmp_path):
    subprocess.run(command(archive, tmp_path / "one"), env=ENVIRONMENT, check=True)
    eight = ENVIRONMENT | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    subprocess.run(command(archive, tmp_path / "eight"), env=eight, check=True)
    run_together(archive, tmp_path / "two", "--stop-after", "3", "--export-state", str(tmp_path / "state.npz"))
    run_together(archive, tmp_path / "two")
    run_together(archive, tmp_path / "copied", "--resume-from", str(tmp_path / "state.npz"))
    one = bpp(tmp_path / "one")
    assert len(one) == 6
    np.testing.assert_allclose(bpp(tmp_path / "eight"), one, rtol=1e-4)
    np.testing.assert_allclose(bpp(tmp_path / "two"), one, rtol=1e-4)
    np.testing.assert_allclose(bpp(tmp_path / "copied"), one[3:], rtol=1e-3)
