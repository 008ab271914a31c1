"""Latents of autoencoders as what the nested process sends."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import latent_nested_model, mean_autoencoder
from pictures import make_picture
from plain_decoder import decode_state
from test_exactness import inexact, programme

import uqdm
from uqdm.cli import main
from uqdm.codec.api import receiver_of
from uqdm.nested import network as networks
from uqdm.nested.latent_model import coder_for, joined
from uqdm.nested.latent_training import LatentCrops, coordinates_of, fit_latents, metric_of
from uqdm.nested.model import NestedModel
from uqdm.nested.network_config import NetworkConfig
from uqdm.nested.schedule import block_classes
from uqdm.nested.train import Recipe
from uqdm.pictures import read_picture
from uqdm.pictures.writing import write_picture
from uqdm.pretrained.tiny_autoencoder import read_tiny_autoencoder
from uqdm.transforms.autoencoder import Autoencoder

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"
GOLDEN_STREAMS = sorted((Path(__file__).parent / "golden_nested_latents").iterdir())
TAEF2 = ("taef2_encoder.pth", "taef2_decoder.pth")


@pytest.fixture(scope="module")
def taef2(shared):
    """A published autoencoder."""
    return read_tiny_autoencoder(*(shared / "weights" / "taef2" / name for name in TAEF2), name="taef2")


def test_a_coder_belongs_to_one_autoencoder(tmp_path):
    model, autoencoder = latent_nested_model(), mean_autoencoder()
    coder = NestedModel.from_arrays({n: a for n, a in model.arrays.items() if not n.startswith("autoencoder/")})
    assert joined(coder, autoencoder).id == model.id
    with pytest.raises(ValueError, match="lacks the autoencoder of its latents"):
        uqdm.encode(make_picture(16, 16), model=coder)
    arrays = dict(autoencoder.arrays)
    arrays["autoencoder/encoder/14/bias"] = arrays["autoencoder/encoder/14/bias"] + np.float16(1)
    other = Autoencoder.from_arrays(arrays)
    assert coder_for(other) is None
    with pytest.raises(ValueError, match="latents of another autoencoder than means"):
        joined(coder, other)
    autoencoder.save(tmp_path / "alone.npz")
    with pytest.raises(ValueError, match="has no coder for the latents of autoencoder"):
        uqdm.load_model(tmp_path / "alone.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent/matrix": np.eye(3, dtype=np.float32)}, "are not of 12 channels"),
        ({"latent/matrix": np.zeros((12, 12), np.float32)}, "has no inverse"),
        ({"latent/mean": np.full(12, np.nan, np.float32)}, "has no inverse"),
    ],
)
def test_damaged_coordinates_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        NestedModel.from_arrays({**latent_nested_model().arrays, **changes})


def test_latents_that_look_like_bands_of_pictures_are_refused():
    with pytest.raises(ValueError, match="latents of 9 channels cannot be told from bands of pictures"):
        NetworkConfig(block=1, colours=9, steps=3)


def test_the_command_makes_a_model_of_published_files(taef2, shared, tmp_path, capsys):
    files = [str(shared / "weights" / "taef2" / name) for name in TAEF2]
    out, picture, stream = (str(tmp_path / name) for name in ("latent.npz", "a.png", "a.uqdm"))
    assert main(["import-autoencoder", *files, out]) == 0
    assert Autoencoder.from_bytes(Path(out).read_bytes()).identity == taef2.identity
    Path(picture).write_bytes(write_picture(read_picture(PHOTOGRAPH.read_bytes())[100:196, 200:296], ".png"))
    assert main(["encode", picture, stream, "--bpp", "0.5", "--model", out]) == 0
    assert main(["decode", stream, str(tmp_path / "b.png"), "--model", out]) == 0
    assert main(["import-autoencoder", *files, out]) == 2
    assert main(["import-autoencoder", *reversed(files), str(tmp_path / "x.npz")]) == 2
    assert not (tmp_path / "x.npz").exists()
    capsys.readouterr()


def test_errors_of_coordinates_are_those_of_pixels():
    """Of an autoencoder that is linear, exactly; and components are uncorrelated."""
    rng = np.random.default_rng(0)
    columns = jnp.asarray(rng.normal(size=(4, 3 * 64)), jnp.float32)

    def decode(z):
        n, h, w, _ = z.shape
        pixels = jnp.matmul(z, columns, precision="highest").reshape(n, h, w, 8, 8, 3)
        return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(n, 8 * h, 8 * w, 3)

    z = (rng.normal(size=(3, 24, 24, 4)) @ rng.normal(size=(4, 4)) + 1).astype(np.float32)
    metric = np.mean([metric_of(decode, z, jax.random.key(i)) for i in range(40)], axis=0)
    np.testing.assert_allclose(metric, np.asarray(columns) @ np.asarray(columns).T, atol=5.0)
    coordinates = coordinates_of(z, np.asarray(columns, np.float64) @ np.asarray(columns).T, evenness=0.0)
    change = rng.normal(size=z.shape).astype(np.float32)
    y = coordinates.of(z + change) - coordinates.of(z)
    pixels = np.asarray(decode(jnp.asarray(z + change)) - decode(jnp.asarray(z)), np.float64)
    assert np.sum(y.astype(np.float64) ** 2) == pytest.approx(np.sum(pixels**2), rel=1e-3)
    covariance = np.cov(coordinates.of(z).reshape(-1, 4).T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2 * covariance[0, 0]
    assert (np.diff(np.diag(covariance)) <= 0).all()


def test_windows_are_a_function_of_seed_and_step():
    pictures = [np.full((9, 30, 2), 1.0, np.float16), np.arange(40 * 50 * 2, dtype=np.float16).reshape(40, 50, 2)]
    crops = LatentCrops(pictures, ((8, 3), (16, 2)), seed=1)
    again = LatentCrops(pictures, ((8, 3), (16, 2)), seed=1)
    for small, large, *_ in (crops(5), again(5)):
        assert (small.shape, large.shape) == ((3, 8, 8, 2), (2, 16, 16, 2))
    for one, other, later in zip(crops(5), again(5), crops(6), strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one != later).any()
    with pytest.raises(ValueError, match="no latent has windows of all sides: 64"):
        LatentCrops(pictures, ((64, 1),), seed=0)


def test_a_training_on_latents_lowers_the_rate(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(4, 32, 32, 3)), 1), 2).astype(np.float32)
    recipe = Recipe(
        block=1, colours=3, factor=8, finest_width=8.0, phases=((1, 0), (2, 0)), width=8, blocks=1, local_width=1,
        crops=((8, 4),), steps=30, quantize_from=0, warm_up=5, learning_rate=5e-3,
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):  # optax
        model = fit_latents(recipe, list(smooth), {"val": smooth[:1, :8, :8]}, tmp_path, name="trained")
    assert (model.network.colours, model.schedule.block, model.name) == (3, 1, "trained")
    rows = (tmp_path / "train.csv").read_text().splitlines()
    assert len(rows) >= 2


@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_the_plain_decoder_reads_streams_of_latents(tau):
    model = latent_nested_model()
    data = uqdm.encode(make_picture(70, 45), tau, model=model, seed=3)
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    midpoints, steps = decode_state(data, dict(model.arrays))
    assert steps == receiver.step
    np.testing.assert_array_equal(midpoints, receiver.state.midpoint)


@pytest.mark.parametrize("kind", ["trunk", "references"])
def test_latents_are_coded_by_exact_primitives(kind):
    assert inexact(programme(latent_nested_model(), kind, 0, "float32")) == set()


def test_the_integer_network_of_latents_is_near_the_one_that_was_trained():
    model, rng = latent_nested_model(), np.random.default_rng(0)
    units = (rng.integers(-127, 128, (1, 5, 4, 12)) * (rng.random((1, 5, 4, 12)) < 0.4)).astype(np.int8)
    state = networks.Inputs(jnp.asarray(units, jnp.float32), jnp.asarray(block_classes(5, 4)), jnp.full((1,), 5))
    trained = networks.apply(model.network, jax.device_put(model.parameters), state, quantized=True)
    a, b, _ = model.reference(units, 5)
    np.testing.assert_allclose(a, np.asarray(trained.location) * 64, rtol=0.03, atol=4)
    np.testing.assert_allclose(b, np.asarray(trained.log2_scale) * 64, rtol=0.03, atol=4)


@pytest.mark.parametrize("folder", GOLDEN_STREAMS, ids=lambda folder: folder.name)
def test_golden_streams_of_latents_decode_to_their_states(taef2, folder):
    model = joined(coder_for(taef2), taef2)
    assert model.id[:4].hex() == folder.name
    for name, expected in json.loads((folder / "states.json").read_text()).items():
        data = (folder / f"{name}.uqdm").read_bytes()
        receiver = receiver_of(data, model=model)
        while receiver.receive():
            pass
        midpoints, steps = decode_state(data, dict(model.arrays))
        assert receiver.step == steps == expected["steps"]
        np.testing.assert_array_equal(midpoints, receiver.state.midpoint)
        assert hashlib.sha256(midpoints.astype("<i4").tobytes()).hexdigest() == expected["state"]
