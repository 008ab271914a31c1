"""Transform coding: what its numbers are, beside the laws that tests/test_models.py has for it."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import CASES, digest, transform_model
from pictures import make_picture
from PIL import Image
from test_exactness import inexact

import uqdm
from channel_sim.entropy import Writer
from uqdm.cli import main
from uqdm.codec.api import receiver_of
from uqdm.exact.convolution import CONVOLUTIONS
from uqdm.transform_coding import denoiser, hyper_integers, loss, network
from uqdm.transform_coding.config import DenoiserConfig, from_config, groups_of, to_config
from uqdm.transform_coding.model import TransformModel
from uqdm.transform_coding.train import Recipe, Trainer, fit, principal_components

GOLDEN = Path(__file__).parent / "golden_transform"


@pytest.fixture(scope="module")
def model():
    return transform_model()


@pytest.fixture(scope="module")
def diffusion():
    return transform_model(universal=True, diffusion=True)


@pytest.fixture(scope="module")
def hyper_latents(model):
    shape = (9, 5, model.network.hyper_latents)
    return np.random.default_rng(0).integers(-network.HYPER_LIMIT, network.HYPER_LIMIT + 1, shape).astype(np.int8)


# What decides the meaning of bytes is exact.


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_the_hyper_synthesis_is_made_of_exact_primitives(model, hyper_latents, convolution):
    tile, inside = hyper_latents[:8, :4], np.ones((8, 4), bool)
    run = partial(hyper_integers.expected, convolution)
    assert inexact(jax.make_jaxpr(run)(model._rows, tile, inside).jaxpr) == set()


def test_its_floating_point_twin_is_found_inexact(model, hyper_latents):
    z = jnp.asarray(hyper_latents[None], jnp.float32)
    twin = partial(network.hyper_synthesis, model.network)
    jaxpr = jax.make_jaxpr(twin)(jax.device_put(model.parameters), z).jaxpr
    assert {entry.split("(")[0] for entry in inexact(jaxpr)} >= {"div", "conv_general_dilated"}


def test_ways_to_convolve_and_tiles_change_no_reference(model, hyper_latents, monkeypatch):
    expected = model.reference(hyper_latents)
    for name in CONVOLUTIONS:
        for a, b in zip(replace(model, convolution=name).reference(hyper_latents), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    monkeypatch.setattr("uqdm.transform_coding.model._SIDES", (8,))
    for a, b in zip(model.reference(hyper_latents), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_integers_are_near_the_network_that_was_trained(model, hyper_latents):
    """Within a hundredth of what is said, and a few ticks: weights are stored in half precision beside them."""
    z = jnp.asarray(hyper_latents[None], jnp.float32)
    prior = network.hyper_synthesis(model.network, jax.device_put(model.parameters), z)
    location, log2_scale = (
        part.reshape(9, 5, 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(18, 10, -1)
        for part in model.reference(hyper_latents)
    )
    mean, scale = 256 * np.asarray(prior.mean[0]), 64 * (8 + np.asarray(prior.log2_scale[0]))
    assert np.abs(location - mean).mean() < 0.02 * np.abs(mean).mean()
    np.testing.assert_allclose(log2_scale, scale, atol=8)


def test_integers_that_may_overflow_are_refused(model):
    arrays = dict(model.arrays)
    arrays["integer/second/multiplier"] = np.full_like(arrays["integer/second/multiplier"], 2**30)
    with pytest.raises(ValueError, match="sums or products of second may overflow"):
        TransformModel.from_arrays(arrays)
    del arrays["integer/second/multiplier"]
    with pytest.raises(ValueError, match="lacks second/multiplier, int32 of shape"):
        TransformModel.from_arrays(arrays)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.uqdm")), ids=lambda path: path.stem)
def test_golden_streams_decode_to_their_states(path):
    model = uqdm.load_model(GOLDEN / "model.npz")
    expected = json.loads((GOLDEN / "states.json").read_text())[path.stem]
    receiver = receiver_of(path.read_bytes(), model=model)
    while receiver.receive():
        pass
    assert receiver.step == expected["steps"]
    assert digest(receiver.state.shown.astype("<i4")) == expected["state"]


def test_there_are_golden_streams():
    assert len(list(GOLDEN.glob("*.uqdm"))) == len(json.loads((GOLDEN / "states.json").read_text())) >= 4


# The channel.


def sent_latents(model: TransformModel, seed: int) -> np.ndarray:
    """What the receiver has, less what the sender's analysis gave, in widths."""
    picture = CASES["transform coding"].picture("noise")
    data = uqdm.encode(picture, model=model, seed=seed)
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    return (receiver.state.values - model.analyse(picture).latents).reshape(-1) / 256


def test_universal_quantization_adds_uniform_noise_whatever_the_latent_is():
    """Kolmogorov's distance for 4,608 latents at a false-alarm rate of 1e-6; rounding under one shift fails it."""
    model = transform_model(universal=True)
    errors, other = sent_latents(model, 1), sent_latents(model, 2)
    spread = (np.sort(errors) + 0.5) * len(errors) - np.arange(len(errors))
    assert np.abs(spread).max() / np.sqrt(len(errors)) < 2.7
    assert abs(np.corrcoef(errors, other)[0, 1]) < 0.08
    rounding = sent_latents(transform_model(), 1)
    np.testing.assert_array_equal(rounding, sent_latents(transform_model(), 2))
    assert np.abs(rounding).max() <= 0.5


@pytest.mark.parametrize("universal", [False, True])
def test_the_rate_of_the_loss_is_that_of_streams(universal):
    model, picture = transform_model(universal), make_picture(48, 64)
    writer = Writer()
    state = model.new_state(48, 64, 0, picture)
    for step in range(model.steps):
        model.expect([state], step)
        state.send(writer, step)
    x, parameters = jnp.asarray(picture[None], jnp.float32), jax.device_put(model.parameters)
    bits = loss.coded(model.network, parameters, x, jax.random.key(0), rounded=True).bits
    assert writer.ideal_bits == pytest.approx(float(bits[0]), rel=0.02)


def test_groups_are_steps_in_falling_variance():
    assert [len(group) for group in groups_of(96)] == [4, 4, 8, 16, 32, 32]
    assert [place for group in groups_of(96) for place in group] == list(range(96))
    with pytest.raises(ValueError, match="one falling number"):
        replace(transform_model().network, spread=(1.0, 2.0))
    with pytest.raises(ValueError, match="1 to 192 latents"):
        replace(transform_model().network, spread=(1.0,) * 193)


def test_pictures_do_not_depend_on_tiles(diffusion, monkeypatch):
    """Up to the rounding of sums in floating point; last layers are not zero, so that what is around counts."""
    parameters, rng = jax.tree.map(np.array, diffusion.parameters), np.random.default_rng(0)
    for name, gain in (("analysis", 5.0), ("synthesis", 5.0), ("denoiser", 0.3)):
        kernel = parameters[name]["head"]["kernel"]
        kernel[:] = gain * rng.standard_normal(kernel.shape) / np.sqrt(kernel.shape[2])
    model = TransformModel.from_training(network=diffusion.network, parameters=parameters, name="busy")
    picture = make_picture(40, 210)
    data, latents = uqdm.encode(picture, model=model), model.analyse(picture).latents
    ways = ("denoise", uqdm.Diffuse(evaluations=2, seed=1))
    whole = [uqdm.decode(data, model=model, reconstruction=way).astype(int) for way in ways]
    assert np.abs(model.analyse(picture).latents - diffusion.analyse(picture).latents).mean() > 8
    monkeypatch.setattr("uqdm.transform_coding.model._SIDES", (20,))
    assert np.abs(model.analyse(picture).latents - latents).max() <= 1
    for way, expected in zip(ways, whole, strict=True):
        assert np.abs(uqdm.decode(data, model=model, reconstruction=way) - expected).max() <= 1


# The diffusion decoder.


def test_ddim_ends_where_the_network_points():
    rng = np.random.default_rng(0)
    clean, start = rng.standard_normal((2, 4, 4))
    for evaluations in (1, 2, 7):
        np.testing.assert_allclose(denoiser.ddim(lambda r, t: clean, start, evaluations), clean, atol=1e-12)


def test_ddim_keeps_the_variance_that_a_gaussian_residual_has():
    """For r ~ N(0, 1) the best prediction is alpha r_t, and the flow of Eq. 4 a rotation that loses less with steps."""
    start = np.ones(1)

    def predicted(r, t):
        return float(np.cos(np.pi / 2 * t)) * r

    ends = [float(denoiser.ddim(predicted, start, n)[0]) for n in (1, 4, 16, 256)]
    assert ends == sorted(ends)
    assert ends[0] == pytest.approx(0.0, abs=1e-12)
    assert ends[-1] == pytest.approx(1.0, abs=0.01)


def test_the_weight_of_times_is_the_limited_snr():
    config, t = DenoiserConfig(error=6.0), jnp.array([0.01, 0.5, 0.95, 0.999])
    snr = (np.cos(np.pi / 2 * np.asarray(t)) / np.sin(np.pi / 2 * np.asarray(t))) ** 2 * (127.5 / 6.0) ** 2
    np.testing.assert_allclose(denoiser.time_weight(config, t), np.minimum(snr, 5) / 5, rtol=1e-3)


def test_an_untrained_decoder_predicts_the_best_of_a_gaussian_residual(diffusion):
    config = diffusion.network.denoiser
    rng = np.random.default_rng(0)
    x, mean = (jnp.asarray(rng.uniform(0, 255, (2, 16, 16, 3)), jnp.float32) for _ in range(2))
    t = jnp.array([0.25, 1.0])
    noisy = denoiser.noised(config, x, mean, t, jnp.zeros_like(x))
    features = jnp.zeros((2, 2, 2, diffusion.network.width))
    predicted = denoiser.predict(config, jax.device_put(diffusion.parameters["denoiser"]), noisy, mean, features, t)
    alpha = np.cos(np.pi / 2 * np.asarray(t))[:, None, None, None]
    np.testing.assert_allclose(noisy, alpha * (np.asarray(x) - mean) / config.error, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(predicted, alpha * noisy, rtol=1e-4, atol=1e-4)


def test_denoisers_may_have_many_blocks():
    key, blocks = jax.random.key(0), (5, 6, 6)
    many, few = (denoiser.init(DenoiserConfig(widths=(4, 4, 4), blocks=each), 4, key) for each in (blocks, (1, 1, 1)))
    kernels = [many[f"out_{name}_{i}"]["first"]["kernel"] for name, n in zip(("half", "quarter", "eighth"), blocks,
               strict=True) for i in range(n)]  # fmt: skip
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == 17
    np.testing.assert_array_equal(many["out_half_0"]["first"]["kernel"], few["out_half_0"]["first"]["kernel"])


def test_what_is_drawn_of_a_whole_stream_is_said(diffusion, tmp_path):
    diffusion.save(tmp_path / "m.npz")
    (tmp_path / "a.uqdm").write_bytes(uqdm.encode(make_picture(16, 16), model=diffusion))
    for method, said in (("denoise", None), ("diffuse", "Detail drawn by uqdm (diffuse, seed 0)")):
        target = tmp_path / f"{method}.png"
        options = ["--model", str(tmp_path / "m.npz"), "--method", method]
        assert main(["decode", str(tmp_path / "a.uqdm"), str(target), *options]) == 0
        with Image.open(target) as image:
            found = image.getexif().get(0x010E)
        assert found is None if said is None else found.startswith(said)


def test_draws_need_a_decoder_and_sensible_numbers(model):
    data = uqdm.encode(make_picture(8, 8), model=model)
    with pytest.raises(ValueError, match="must be one of denoise for this model, got 'diffuse'"):
        uqdm.decode(data, model=model, reconstruction="diffuse")
    with pytest.raises(ValueError, match="start_noise must lie in"):
        uqdm.Diffuse(start_noise=1.5)
    receiver = receiver_of(data, model=model)
    with pytest.raises(ValueError, match="has no diffusion decoder"):
        uqdm.Diffuse().show(model, receiver.state, 0)


# Files and training.


@pytest.mark.parametrize("name", ["transform coding", "conditional diffusion"])
def test_files_come_back(name, tmp_path):
    model = CASES[name].model
    model.save(tmp_path / "model.npz")
    again = uqdm.load_model(tmp_path / "model.npz")
    assert again.id == model.id
    assert again.family == name
    assert from_config(json.loads(json.dumps(to_config(model.network)))) == model.network == again.network
    picture = make_picture(9, 17)
    assert uqdm.encode(picture, model=again) == uqdm.encode(picture, model=model)
    config = np.frombuffer(model.arrays["config"].tobytes().replace(b'"format": 1', b'"format": 2'), np.uint8)
    with pytest.raises(ValueError, match="format 2 is unknown"):
        TransformModel.from_arrays({**model.arrays, "config": config})


@pytest.fixture
def _standard_promotion():
    """What optax computes inside mixes kinds of numbers."""
    with jax.numpy_dtype_promotion("standard"):
        yield


RECIPE = Recipe(
    rate_weight=100.0, latents=24, width=8, blocks=1, hyper_latents=4, hyper_width=8, crops=((32, 4),),
    denoiser_widths=(4, 8, 8), steps=40, warm_up=5, component_crops=50, learning_rate=1e-2,
)  # fmt: skip


def test_principal_components_are_orthonormal_and_fall():
    basis, deviations = principal_components([make_picture(64, 64, seed=i) for i in range(3)], RECIPE)
    np.testing.assert_allclose(basis.T @ basis, np.eye(24), atol=1e-5)
    assert list(deviations) == sorted(deviations, reverse=True)


@pytest.mark.usefixtures("_standard_promotion")
def test_trainings_lower_the_loss_and_give_models(tmp_path):
    """A transform codec, and from it a diffusion decoder end to end; both are used as they are."""
    pictures = np.stack([make_picture(64, 64, seed=i) for i in range(4)])
    validation = {"same": pictures[:2]}
    first = fit(RECIPE, [pictures], validation, tmp_path / "a", name="first")
    rows = (tmp_path / "a" / "validation.csv").read_text().splitlines()
    assert len(rows) == 2
    more = replace(RECIPE, diffusion=True, steps=6)
    second = fit(more, [pictures], validation, tmp_path / "b", start_from=first, name="second")
    assert (first.family, second.family) == ("transform coding", "conditional diffusion")
    fresh = Trainer(recipe=RECIPE, config=first.network, start=network.init(
        first.network, principal_components(list(pictures), RECIPE)[0], jax.random.key(0)
    ))  # fmt: skip
    crops, key = jnp.asarray(pictures[:, :32, :32]), jax.random.key(5)
    terms = jax.jit(fresh.terms)
    before, after = (float(jnp.mean(terms(p, crops, key)[0])) for p in (fresh.start, jax.device_put(first.parameters)))
    assert after < 0.97 * before
    data = uqdm.encode(pictures[0], model=second)
    assert uqdm.decode(data, model=second, reconstruction="diffuse").shape == pictures[0].shape
    with pytest.raises(ValueError, match="perceptual_weight needs the weights of LPIPS"):
        fit(replace(RECIPE, perceptual_weight=1.0), [pictures], {}, tmp_path / "c")


def test_every_parameter_has_a_gradient(diffusion):
    """Of a decoder whose last layers do not begin at zero, at times of a training."""
    keys = iter(jax.random.split(jax.random.key(0), 200))
    parameters = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), jax.device_put(diffusion.parameters)
    )
    trainer = Trainer(recipe=replace(RECIPE, diffusion=True), config=diffusion.network, start=parameters)
    crops = jnp.asarray(np.stack([make_picture(32, 32, seed=i) for i in range(2)]))
    gradients = jax.jit(jax.grad(lambda p: jnp.mean(trainer.terms(p, crops, jax.random.key(1))[0])))(parameters)
    silent = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not (np.isfinite(leaf).all() and np.abs(leaf).max() > 0)
    ]
    assert silent == []


def test_distances_with_gradients_are_lpips(shared):
    from uqdm.metrics.perceptual_similarity import perceptual_distances

    weights = shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz"
    x, y = make_picture(32, 40), make_picture(32, 40, seed=1)
    first, second = (jnp.asarray(np.stack(pair), jnp.float32) for pair in ((x, x), (x, y)))
    same, other = (float(value) for value in perceptual_distances(first, second, weights))
    assert same == 0.0
    assert other == pytest.approx(uqdm.metrics.lpips(x, y, weights), rel=1e-3)
    gradient = jax.grad(lambda y: jnp.sum(perceptual_distances(first, y, weights)))(second)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[1]).max() > 0
