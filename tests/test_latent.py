"""Codecs of latents: what is sent comes back, bits are as they should be, and what is wrong is refused."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import latent_codec, through_autoencoder
from pictures import make_picture
from PIL import Image
from random_autoencoder import random_autoencoder, random_latent_file, random_prediction

import uqdm
from channel_sim import SplitTables
from channel_sim.entropy import PRECISION, Reader, Writer
from uqdm import archive
from uqdm.cli import main
from uqdm.codec.api import receiver_of
from uqdm.evaluation import read_points
from uqdm.evaluation.latent_baselines import COLOURS, WIDTHS
from uqdm.latent import network as networks
from uqdm.latent.counted import LARGEST, decode_counted, encode_counted, read_rounded, write_rounded
from uqdm.latent.counts import Counts
from uqdm.latent.denoising import denoised, gamma_of
from uqdm.latent.file import read_model
from uqdm.latent.linear import LinearPredictor, moments
from uqdm.latent.network import LatentNetworkConfig
from uqdm.latent.palette import decode_palette, dithered, encode_palette, palette_of
from uqdm.latent.prediction import TICKS, Prediction, fitted
from uqdm.latent.state import Course, LatentState
from uqdm.latent.train import Recipe, Trainer
from uqdm.metrics import psnr_db

GOLDEN = Path(__file__).parent / "golden_latent"


def test_counts_are_probabilities_and_learn():
    counts = Counts(np.array([[1, 2, 5], [7, 1, 1]]), step=10, limit=100)
    table, rows = counts.table(np.array([1, 1, 0]))
    np.testing.assert_array_equal(rows, [1, 1, 0])
    assert (table.frequencies.sum(1) == 2**PRECISION).all()
    before = counts.copy()
    counts.add(np.array([0, 0, 1]), np.array([0, 0, 2]))
    np.testing.assert_array_equal(counts.counts, [[21, 2, 5], [7, 1, 11]])
    np.testing.assert_array_equal(before.counts, [[1, 2, 5], [7, 1, 1]])
    for _ in range(20):
        counts.add(np.zeros(5, int), np.zeros(5, int))
    assert counts.counts[0].sum() <= 100
    assert counts.counts.min() >= 1


@pytest.fixture(scope="module")
def latents():
    """Correlated along both sides and between channels, of about unit variance."""
    noise = np.random.default_rng(0).normal(size=(24, 28, 28, 4))
    blurred = sum(noise[:, y : y + 24, x : x + 24] for y in range(5) for x in range(5)) / 5
    return blurred @ np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.9], [0, 0, 0, 0.4]])


def sent(
    prediction: Prediction, latent: np.ndarray, width: float, is_dithered: bool
) -> tuple[LatentState, np.ndarray, Writer]:
    """A latent, sent whole, its ticks, and what was written."""
    ticks = np.floor(latent[..., prediction.order] * (TICKS / width)).astype(np.int64) - prediction.mean
    tables = SplitTables.logistic()
    course = Course(lambda height, width: latent.shape, lambda picture: ticks, prediction, tables, is_dithered)
    state, writer = LatentState(course, 1, 1, 3, np.zeros((1, 1, 3), np.uint8)), Writer()
    for step in range(prediction.steps):
        state.expect(step)
        state.send(writer, step)
    return state, ticks, writer


@pytest.mark.parametrize("is_dithered", [False, True])
@pytest.mark.parametrize("width", [0.25, 1.0])
def test_predictions_from_what_is_known_save_bits(latents, width, is_dithered):
    learned = fitted(latents[3:], width, dithered=is_dithered, group=2)
    deviation = latents[..., learned.order].std((0, 1, 2)).reshape(2, 1, 2).repeat(2, 1).reshape(4, 2, 1)
    alone = np.rint(8 * np.log2(deviation * (3**0.5 / math.pi * TICKS / width))).astype(np.int64)
    blind = learned._replace(kernel=0 * learned.kernel, scale_class=alone + 0 * learned.scale_class)
    bits = [
        sum(sent(prediction, latent, width, is_dithered)[2].ideal_bits for latent in latents[:3]) / latents[:3].size
        for prediction in (learned, blind)
    ]
    assert bits[0] < 0.75 * bits[1]
    if not is_dithered or width > 0.5:
        return
    # At fine widths dithered quantization of a Gaussian costs its differential entropy, less log2 of the width.
    entropy = np.mean(np.log2(deviation * (2 * math.pi * math.e) ** 0.5 / width))
    assert bits[1] == pytest.approx(entropy, abs=0.08)


def test_errors_of_dithered_quantization_are_uniform_and_those_of_rounding_depend_on_what_is_sent(latents):
    prediction = fitted(latents[3:], 1.0, group=2)
    for is_dithered in (True, False):
        state, ticks, _ = sent(prediction, latents[0], 1.0, is_dithered)
        error = (state.y - ticks) / TICKS
        assert np.abs(error).max() <= 0.5
        assert error.var() == pytest.approx(1 / 12, rel=0.1)
        near_zero = np.abs(ticks) < TICKS // 4
        assert (error[near_zero].var() > 1 / 15) == is_dithered


def test_integers_of_predictions_are_those_of_their_equation():
    prediction, rng = random_prediction(0.5), np.random.default_rng(1)
    y = rng.integers(-(2**26), 2**26, (5, 6, 16))
    clipped = np.clip(y, -(2**24), 2**24)
    for step in (0, 3, 15):
        location = prediction.location(y, step)
        for row, column, channel in ((0, 0, 0), (2, 3, 1), (4, 5, 0)):
            total = 2**13
            for d in range(9):
                at = row + d // 3 - 1, column + d % 3 - 1
                if 0 <= at[0] < 5 and 0 <= at[1] < 6:
                    kernel = prediction.kernel[step, d, :, channel]
                    total += sum(int(k) * int(v) for k, v in zip(kernel, clipped[at], strict=True))
            assert location[row, column, channel] == total >> 14


def test_predictions_that_do_not_fit_are_refused():
    arrays = random_prediction(0.5).to_arrays()
    assert Prediction.from_arrays(arrays).steps == 16
    with pytest.raises(ValueError, match="do not fit each other"):
        Prediction.from_arrays(arrays | {"order": np.zeros(16, np.int64)})
    with pytest.raises(ValueError, match="a prediction has the arrays order, mean"):
        Prediction.from_arrays({"order": arrays["order"]})
    with pytest.raises(ValueError, match="groups of 3 must divide 4 channels"):
        fitted(np.zeros((1, 4, 4, 4)), 1.0, group=3)


# Streams.


def golden_codec():
    """A model of integers alone: what makes latents does not matter to who decodes them."""
    return random_latent_file(1 / 256, dithered=True, with_network=False).model()


def test_golden_streams_decode_to_the_same_states():
    stored = json.loads((GOLDEN / "states.json").read_text())
    model = golden_codec()
    assert model.id.hex() == stored["model"]
    receiver = receiver_of((GOLDEN / "large.uqdm").read_bytes(), model=model)
    while receiver.receive():
        pass
    state: Any = receiver.state
    assert hashlib.sha256(state.y.astype("<i8").tobytes()).hexdigest() == stored["state"]


def test_rounded_streams_come_back_and_need_no_seed():
    model, picture = latent_codec(dithered=False), make_picture(23, 37)
    first, second = (uqdm.encode(picture, model=model, seed=seed) for seed in (1, 2))
    start = uqdm.info(first)["header_bytes"]
    assert first[start:] == second[uqdm.info(second)["header_bytes"] :]
    assert psnr_db(through_autoencoder(picture), uqdm.decode(first, model=model)) > 45


def test_files_hold_all_of_a_model(tmp_path):
    file = random_latent_file(1 / 64)
    file.save(tmp_path / "latent.npz")
    model = uqdm.load_model(tmp_path / "latent.npz")
    assert (model.family, model.id, model.steps) == ("latent", file.id, 16)
    assert model.id != random_latent_file(1 / 32).id
    assert model.id != random_latent_file(1 / 64, dithered=False).id
    arrays = dict(file.arrays)
    with pytest.raises(ValueError, match="is no model of latents of format 1"):
        read_model(arrays | {"config": archive.pack_config({**file.config, "format": 9})})
    arrays |= {f"prediction/{name}": array for name, array in random_prediction(1.0, 4).to_arrays().items()}
    with pytest.raises(ValueError, match="the parts of this model have"):
        read_model(arrays)
    picture = make_picture(9, 9)
    linear = moments(np.random.default_rng(0).normal(size=(4, 8, 8, 16)), 1 / 64, dithered=True)
    assert isinstance(random_latent_file(1 / 64, linear=linear).model().predictor, LinearPredictor)
    blind = random_latent_file(1 / 64, with_network=False).model()
    with pytest.raises(ValueError, match="this model has no predictor of noise"):
        uqdm.decode(uqdm.encode(picture, model=blind), model=blind, reconstruction="latent_flow")


# Denoising.


class Gaussian:
    """The best predictor for independent Gaussian elements of standard deviation `scale`."""

    scale = 2.0

    def predict(self, z, gamma):
        """eps_hat: z has unit variance, of which sigma^2 is noise."""
        return np.float32(1 / math.sqrt(1 + math.exp(-gamma))) * z


def test_the_flow_goes_from_noisy_latents_to_the_mean_in_one_step_and_to_their_law_in_many():
    rng, width = np.random.default_rng(0), 4.0
    x = rng.normal(0, 2.0, (64, 64, 4))
    y = x + rng.uniform(-width / 2, width / 2, x.shape)
    noise = width**2 / 12
    mean = denoised(Gaussian(), y, width, 1)
    np.testing.assert_allclose(mean, y * (4 / (4 + noise)), rtol=1e-5, atol=1e-5)
    assert np.square(mean - x).mean() == pytest.approx(4 * noise / (4 + noise), rel=0.05)
    errors = [abs(denoised(Gaussian(), y, width, count).std() - 2.0) for count in (1, 2, 4, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02
    assert math.exp(gamma_of(width, 2.0)) == pytest.approx(noise / 4)


@pytest.mark.parametrize("is_dithered", [False, True])
def test_linear_denoisers_use_what_is_around(latents, is_dithered):
    width, x = 2.0, latents[0]
    if is_dithered:
        y = x + np.random.default_rng(5).uniform(-width / 2, width / 2, x.shape)
    else:
        y = width * np.rint(x / width)
    predictor = LinearPredictor(moments(latents[1:], width, dithered=is_dithered), width)
    assert predictor.scale == pytest.approx(latents.std(), rel=0.05)
    mean, flowed = (denoised(predictor, y, width, count) for count in (1, 8))
    error, variance = np.square(y - x).mean(), x.var()
    alone = variance - np.mean(x * y) ** 2 / np.mean(y * y)  # by one number for all elements
    assert np.square(mean - x).mean() < 0.8 * min(error, alone)
    assert abs(flowed.std() - x.std()) < abs(mean.std() - x.std())


def test_predictors_that_give_no_numbers_are_refused():
    class Broken(Gaussian):
        def predict(self, z, gamma):
            return z[..., :1]

    with pytest.raises(ValueError, match=r"finite noise of shape \(4, 4, 2\), got \(4, 4, 1\)"):
        denoised(Broken(), np.zeros((4, 4, 2)), 1.0, 1)


def test_a_fresh_network_gives_the_estimate_for_independent_elements_and_learns(latents):
    config = LatentNetworkConfig(channels=4, widths=(8, 8), blocks=(1, 1), condition=8, std=2.0)
    parameters = networks.init(config, jax.random.key(0))
    y = jnp.asarray(latents[:2, :8, :8], jnp.float32)
    s, told = jnp.array([0.5, 3.0]), jnp.array([False, True])
    estimate = networks.apply(config, parameters, y, s, told)
    expected = np.asarray(y) * (4 / (4 + np.asarray(s) ** 2))[:, None, None, None]
    np.testing.assert_allclose(estimate, expected, rtol=1e-4, atol=1e-5)
    recipe = Recipe(widths=(8, 8), blocks=(1, 1), steps=60, warm_up=5, learning_rate=1e-2)
    trainer = Trainer(recipe=recipe, channels=4, std=1.0, mean=np.zeros(4, np.float32))
    pieces = np.asarray(latents[:8, :12, :12], np.float32)
    state = trainer.init()
    before = trainer.validate(state.parameters, pieces, 0)[0]["loss"]
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
        for step in range(60):
            state, _ = trainer.update(state, pieces, step)
    assert trainer.validate(state.parameters, pieces, 60)[0]["loss"] < 0.9 * before


# Indexed latents.


def test_palettes_hold_the_clusters_of_vectors():
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 256, (5, 4)).astype(float)
    vectors = np.concatenate([center + rng.normal(0, 1, (40, 4)) for center in centers])
    palette = palette_of(vectors, 5)
    assert np.abs(palette[:, None] - centers).max(2).min(1).max() < 1
    assert len(palette_of(np.ones((9, 4)), 16)) == 1


def test_dithering_keeps_the_mean_where_rounding_loses_it():
    flat = np.full((2, 32, 32, 4), 100.0)
    palettes = np.array([[[0.0] * 4, [255.0] * 4], [[90.0] * 4, [130.0] * 4]])
    indices = dithered(flat, palettes)
    shown = np.stack([palette[index] for palette, index in zip(palettes, indices, strict=True)])
    np.testing.assert_allclose(shown.mean((1, 2, 3)), 100.0, atol=5)
    assert 0.1 < indices.mean() < 0.9


@pytest.mark.parametrize("channels", [4, 5])
def test_indexed_latents_come_back_and_more_colours_are_better(channels):
    picture, autoencoder = make_picture(85, 61), random_autoencoder(channels)
    whole = autoencoder.decode(autoencoder.encode(picture), 85, 61)
    files = [encode_palette(picture, autoencoder, colours) for colours in (2, 64)]
    psnr = [psnr_db(whole, decode_palette(data, autoencoder)) for data in files]
    assert len(files[0]) < len(files[1])
    assert psnr[0] + 3 < psnr[1]


@pytest.mark.parametrize("codec", ["palette", "counted"])
def test_damaged_files_of_baselines_are_refused_in_one_line(codec):
    autoencoder, picture = random_autoencoder(), make_picture(40, 40)
    encode, decode = {"palette": (encode_palette, decode_palette), "counted": (encode_counted, decode_counted)}[codec]
    data = encode(picture, autoencoder, {"palette": 16, "counted": 0.05}[codec])
    for damaged in (b"", data[:5], data[: len(data) // 2], b"\0" * 40):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            decode(damaged, autoencoder)
    with pytest.raises(ValueError, match="latents of 4 channels, this autoencoder 5"):
        decode(data, random_autoencoder(5))


# Rounded latents under counts.


def test_counts_come_near_the_entropy_of_what_they_count():
    rng = np.random.default_rng(0)
    probabilities = np.array([0.05, 0.15, 0.6, 0.15, 0.05])
    k = rng.choice(np.arange(-2, 3), (64, 64, 8), p=probabilities)
    writer = Writer()
    write_rounded(writer, k)
    data = writer.getvalue()
    entropy = k.size * -(probabilities * np.log2(probabilities)).sum()
    assert entropy * 0.98 < writer.ideal_bits < entropy * 1.02
    assert writer.ideal_bits <= 8 * len(data) < writer.ideal_bits + 16
    np.testing.assert_array_equal(read_rounded(Reader(data), k.shape), k)


def test_rounded_latents_come_back_at_their_width():
    picture, autoencoder = make_picture(85, 61), random_autoencoder(5)
    latent, width = autoencoder.encode(picture), 0.125
    data = encode_counted(picture, autoencoder, width)
    k = np.clip(np.rint(latent / width), -LARGEST, LARGEST)
    expected = autoencoder.decode((k * width).astype(np.float32), 85, 61)
    np.testing.assert_array_equal(decode_counted(data, autoencoder), expected)
    with pytest.raises(ValueError, match="width must be a positive number"):
        encode_counted(picture, autoencoder, 0.0)


def test_an_evaluation_measures_codecs_of_latents(tmp_path):
    pytest.importorskip("matplotlib")
    Image.fromarray(make_picture(32, 40)).save(tmp_path / "a.png")
    random_autoencoder().save(tmp_path / "tiny.npz")
    command = ["eval", str(tmp_path / "a.png"), "--codecs", "none", "--steps", "--model", "small"]
    assert main([*command, "-o", str(tmp_path / "out"), "--autoencoder", str(tmp_path / "tiny.npz")]) == 0
    rows = [point for _, point in read_points((tmp_path / "out" / "pictures.csv").read_text())]
    for codec, settings in (("indexed latents", len(COLOURS)), ("counted latents", len(WIDTHS))):
        own = [point for point in rows if point.codec == codec]
        assert len(own) == settings
        assert own[0].file_bytes < own[-1].file_bytes
    assert main([*command, "-o", str(tmp_path / "new"), "--autoencoder", str(tmp_path / "a.png")]) == 2
