"""DiffC with predictors of noise whose every answer is known: those of Gaussian pictures."""

from dataclasses import replace

import numpy as np
import pytest
from pictures import make_picture

import uqdm
from channel_sim import GaussianChannel
from uqdm.codec.api import encode_with_costs
from uqdm.diffusion.predictor import PredictorModel
from uqdm.metrics import psnr_db
from uqdm.reconstruction import Ancestral, Denoise, Flow
from uqdm.transforms.latents import Latents
from uqdm.transforms.pixels import Pixels

VARIANCE = 1 / 16
GAMMAS = tuple(np.linspace(5.0, -5.0, 11).tolist())
FEW = GaussianChannel(chunk_bits=6.0, candidates_log2=13)


def gaussian_predictor(z: np.ndarray, gamma: float) -> np.ndarray:
    """eps_hat where all coordinates of x are independent N(0, VARIANCE)."""
    alpha_squared, sigma_squared = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    return z * np.sqrt(sigma_squared) / (alpha_squared * VARIANCE + sigma_squared)


def gaussian_picture(seed: int, side: int = 16) -> np.ndarray:
    x = np.random.default_rng(seed).normal(0, VARIANCE**0.5, (side, side, 3))
    return np.clip(np.round((x + 1) * 128 - 0.5), 0, 255).astype(np.uint8)


def mean_of_blocks(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)) / 128 - 1


def flat_blocks(x: np.ndarray) -> np.ndarray:
    return np.clip((x + 1) * 128, 0, 255).repeat(4, 0).repeat(4, 1).round().astype(np.uint8)


@pytest.fixture
def model() -> PredictorModel:
    return PredictorModel(predict=gaussian_predictor, gammas=GAMMAS, identity=b"gaussian", channel=FEW)


@pytest.fixture
def latent_model(model) -> PredictorModel:
    return replace(model, source=Latents(encode=mean_of_blocks, decode=flat_blocks, channels=3, factor=4, stride=2))


def test_a_latent_is_sent_where_an_autoencoder_makes_one(latent_model):
    picture = make_picture(27, 18)
    data = uqdm.encode(picture, model=latent_model)
    decoded = uqdm.decode(data, model=latent_model)
    padded = np.pad(picture, ((0, 5), (0, 6), (0, 0)), mode="edge")
    best = flat_blocks(mean_of_blocks(padded))[:27, :18]
    assert decoded.shape == picture.shape
    # Noise of 0.08 in values of blocks is 5 grey levels off what the autoencoder gives.
    assert 25 < psnr_db(best, decoded) < 32
    assert len(data) < len(uqdm.encode(picture, model=replace(latent_model, source=Pixels(stride=8))))


@pytest.mark.parametrize("method", ["ancestral", "flow"])
def test_what_is_missing_is_drawn_or_follows_the_flow(model, method):
    """Theis et al. 2022, for Gaussian pictures: how far the mean, a draw and the flow are from the original.

    With q = V SNR when the stream ends and q_0 at the last gamma, where both reverse processes end in a mean, in units
    of V: pictures have the variance q / (1 + q) and q_0 / (1 + q_0), and their covariances with the original are
    q / (1 + q) for the mean and for draws, and the product of the two deviations for the flow.
    """
    picture = gaussian_picture(1, side=32)
    data, costs = encode_with_costs(picture, model=model)
    prefix = data[: costs[8].file_bytes]
    q, q_0 = VARIANCE * np.exp(3.0), VARIANCE * np.exp(5.0)
    assert (GAMMAS[8], GAMMAS[-1]) == (-3.0, -5.0)
    variance = {"denoise": q / (1 + q), method: q_0 / (1 + q_0)}
    covariance = {"denoise": q / (1 + q), "ancestral": q / (1 + q), "flow": np.prod(list(variance.values())) ** 0.5}
    ways = {"denoise": Denoise(), "ancestral": Ancestral(remaining_steps=20), "flow": Flow(remaining_steps=20)}
    pictures = {name: uqdm.decode(prefix, model=model, reconstruction=ways[name]) for name in variance}
    for name, shown in pictures.items():
        error = 128**2 * VARIANCE * (1 + variance[name] - 2 * covariance[name])
        assert psnr_db(picture, shown) == pytest.approx(10 * np.log10(255**2 / error), abs=0.3)
        assert Pixels().values(shown).var() == pytest.approx(VARIANCE * variance[name], rel=0.1)
    other = ways[method] if method == "flow" else Ancestral(remaining_steps=20, seed=1)
    again = uqdm.decode(prefix, model=model, reconstruction=other)
    assert (again == pictures[method]).all() == (method == "flow")


@pytest.mark.parametrize(
    "other",
    [
        {"identity": b"another"},
        {"gammas": (*GAMMAS[:-1], -4.5)},
        {"channel": GaussianChannel(chunk_bits=6.0, candidates_log2=14)},
        {"source": Pixels(stride=2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_streams_are_tied_to_all_that_they_depend_on(model, other):
    data = uqdm.encode(make_picture(8, 8), 0.7, model=model)
    with pytest.raises(uqdm.ModelMismatchError):
        uqdm.decode(data, model=replace(model, **other))
    assert (uqdm.decode(data, model=replace(model, name="renamed")) == uqdm.decode(data, model=model)).all()


def test_a_predictor_that_computes_otherwise_is_noticed(model):
    """The same identity on a machine whose results differ in the last bits."""
    data = uqdm.encode(gaussian_picture(2), 0.5, model=model)
    shaky = replace(model, predict=lambda z, gamma: gaussian_predictor(z, gamma) * np.float32(1 + 1e-6))
    with pytest.raises(uqdm.DamagedStreamError):
        uqdm.decode(data, model=shaky)


def test_what_no_predictor_may_do_is_explained(model, latent_model):
    picture = make_picture(8, 8)
    with pytest.raises(ValueError, match=r"finite noise of shape \(8, 8, 3\), got shape \(4,\)"):
        uqdm.encode(picture, model=replace(model, predict=lambda z, gamma: np.zeros(4)))
    with pytest.raises(ValueError, match="infinite or undefined values at gamma 5"):
        uqdm.encode(picture, model=replace(model, predict=lambda z, gamma: z * np.nan))
    with pytest.raises(ValueError, match="finite numbers that fall"):
        replace(model, gammas=(0.0, 1.0))
    with pytest.raises(ValueError, match="255 steps at most, got 256"):
        replace(model, gammas=np.linspace(5.0, -5.0, 257).tolist())
    large = replace(latent_model.source, encode=lambda picture: 1000.0 * mean_of_blocks(picture))
    with pytest.raises(ValueError, match="about unit scale"):
        uqdm.encode(picture, model=replace(latent_model, source=large))
    with pytest.raises(ValueError, match="where .* was announced"):
        uqdm.encode(picture, model=replace(latent_model, source=replace(latent_model.source, channels=4)))
