"""Conditional flow and diffusion: closed forms, draws of prefixes, files, and trainings."""

import csv
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

import uqdm
from uqdm import archive
from uqdm.cli import main
from uqdm.codec.api import receiver_of
from uqdm.conditional import network as networks
from uqdm.conditional.diffusion import denoise
from uqdm.conditional.errors import Errors, fitted, kinds
from uqdm.conditional.flow import follow, follow_with_noise, mean_velocity
from uqdm.conditional.model import ConditionalModel
from uqdm.conditional.network import Condition, ConditionalConfig
from uqdm.conditional.paths import PATHS, point
from uqdm.conditional.train import Recipe, fit
from uqdm.metrics import psnr_db
from uqdm.nested.process import TICKS
from uqdm.pictures import described, read_picture
from uqdm.training.loop import Run
from uqdm.transforms.wavelet import analysis, pad_to_blocks

PHOTOGRAPH = Path(__file__).parents[1] / "experiments" / "pictures" / "kodim23.webp"
PICTURES = np.stack([make_picture(40, 40, seed) for seed in range(4)])


def _flow(model, key=0, path="flow") -> ConditionalModel:
    """Of random weights, heads included."""
    shape = ConditionalConfig(steps=model.steps, widths=(8, 12), blocks_in=(1, 1), blocks_out=(1, 1), condition=8)
    network = dataclasses.replace(shape, path=path)
    parameters = networks.init(network, jax.random.key(key))
    head = parameters["head"]["kernel"]
    parameters["head"]["kernel"] = 0.1 * jax.random.normal(jax.random.key(key + 1), head.shape)
    count, rows = kinds(model.block).max() + 1, model.steps + 1
    errors = Errors(
        np.zeros((rows, count), np.float32), np.full((rows, count), 0.8, np.float32), np.full(rows, 12.0, np.float32)
    )
    return ConditionalModel.from_training(model=model, network=network, errors=errors, parameters=parameters)


@pytest.fixture(scope="module")
def flow(tiny_model):
    return _flow(tiny_model)


@pytest.fixture(scope="module")
def diffusion(tiny_model):
    return _flow(tiny_model, path="diffusion")


@pytest.fixture(scope="module")
def prefix(tiny_model):
    data = uqdm.encode(make_picture(41, 58, 3), model=tiny_model)
    return data[: len(data) // 4]


# Closed forms: a picture N(m, v) given y, a start N(y, w).


@pytest.mark.parametrize(("evaluations", "tolerance"), [(64, 0.02), (8, 0.1)])
def test_the_end_of_the_flow_has_the_law_of_the_picture(evaluations, tolerance):
    m, v, y, w = 3.0, 0.25, 2.0, 1.0
    start = y + np.sqrt(w) * np.random.default_rng(0).standard_normal(40_000)

    def predict(x, t, _):
        gain = t * v / (t**2 * v + (1 - t) ** 2 * w)
        return m + gain * (x - t * m - (1 - t) * y)

    end = follow(predict, start, evaluations, shortcuts=False)
    assert abs(end.mean() - m) < 0.02
    assert abs(end.std() - np.sqrt(v)) < tolerance


@pytest.mark.parametrize("churn", [0.5, 2.0])
def test_noise_on_the_way_changes_no_law(churn):
    """The same end, of other draws: the start is forgotten the more, the more noise comes in."""
    m, v, y, w, rng = 3.0, 0.25, 2.0, 1.0, np.random.default_rng(0)

    def fresh():
        return y + np.sqrt(w) * rng.standard_normal(40_000)

    def predict(x, t, _):
        gain = t * v / (t**2 * v + (1 - t) ** 2 * w)
        return m + gain * (x - t * m - (1 - t) * y)

    start = fresh()
    end = follow_with_noise(predict, start, y, fresh, 100, churn)
    assert abs(end.mean() - m) < 0.02
    assert abs(end.std() - np.sqrt(v)) < 0.02
    followed = follow(predict, start, 100, shortcuts=False)
    kept = np.corrcoef(end, start)[0, 1]
    assert np.corrcoef(followed, start)[0, 1] > 0.99 > 0.9 > kept > 0.1 * (churn < 1)


def test_restoration_with_noise_is_a_draw_like_any_other(tiny_model, flow, prefix):
    ways = [uqdm.Restore(flow=flow, evaluations=2, churn=churn, seed=seed) for churn in (0.0, 1.0) for seed in (1, 2)]
    shown = [uqdm.decode(prefix, model=tiny_model, reconstruction=way) for way in (*ways, ways[2])]
    assert len({picture.tobytes() for picture in shown}) == 4
    np.testing.assert_array_equal(shown[2], shown[4])
    for churn in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="churn must be"):
            uqdm.Restore(churn=churn)


def test_one_shortcut_is_the_whole_way():
    """A network that knows mean velocities needs one evaluation; told the moment's, it gives the mean."""
    m, v, y, w = 3.0, 0.25, 2.0, 1.0
    start = y + np.sqrt(w) * np.random.default_rng(0).standard_normal(1_000)

    def predict(x, t, s):
        return m + np.sqrt(v / w) * (x - y) if (t, s) == (0.0, 1.0) else np.full_like(x, m)

    np.testing.assert_allclose(follow(predict, start, 1, shortcuts=True), m + 0.5 * (start - y))
    np.testing.assert_allclose(follow(predict, start, 1, shortcuts=False), m)


def test_velocities_lead_from_point_to_point():
    start, end = jnp.zeros((2, 3)), jnp.ones((2, 3))
    t = jnp.array([0.25, 0.5])
    x = point("flow", start, 7 + end, end, t)
    np.testing.assert_allclose(x[:, 0], t)
    np.testing.assert_allclose(mean_velocity(x, end, t), end - start)


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_from_starts_to_pictures(path):
    start, center, end = (jnp.full((1, 2), value) for value in (3.0, 1.0, -4.0))
    np.testing.assert_allclose(point(path, start, center, end, jnp.zeros(1)), start, atol=1e-6)
    np.testing.assert_allclose(point(path, start, center, end, jnp.ones(1)), end, atol=1e-6)


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("evaluations", "tolerance"), [(100, 0.03), (8, 0.2)])
def test_the_end_of_the_diffusion_has_the_law_of_the_picture(churn, evaluations, tolerance):
    """Of a picture N(m, v) given y, from white noise of deviation c."""
    m, v, y, c, rng = 3.0, 0.25, 2.0, 1.5, np.random.default_rng(0)

    def fresh():
        return y + c * rng.standard_normal(40_000)

    def predict(x, t):
        p, q = (float(part) for part in PATHS["diffusion"](jnp.float32(t)))
        gain = p * v / (p**2 * v + q**2 * c**2)
        return m + gain * (x - y - p * (m - y))

    start = fresh()
    end = denoise(predict, start, y, fresh, evaluations, churn)
    assert abs(end.mean() - m) < 0.02
    assert abs(end.std() - np.sqrt(v)) < tolerance
    kept = np.corrcoef(end, start)[0, 1]
    assert kept > 0.99 if churn == 0 else kept < 0.9
    np.testing.assert_allclose(denoise(predict, start, y, fresh, 1, churn), m, atol=1e-5)


def test_the_scale_of_errors_is_found():
    """Errors whose logarithmic scale is a line in what the network says, one line for each kind."""
    rng, kind = np.random.default_rng(1), np.array([0, 0, 1])
    log_scale = rng.normal(size=(200, 200, 3))
    line = np.array([0.5, 0.5, -1.0]) + np.array([0.8, 0.8, 0.3]) * log_scale
    offset, slope = fitted(np.exp(line) * rng.standard_normal(line.shape), log_scale, kind)
    np.testing.assert_allclose(slope, [0.8, 0.3], atol=0.05)
    np.testing.assert_allclose(offset, [0.5, -1.0], atol=0.05)


@pytest.mark.parametrize(("path", "share"), [("flow", 1.0), ("diffusion", 2**-0.5)])
def test_untrained_networks_predict_what_gaussians_would(path, share):
    config = ConditionalConfig(steps=3, widths=(8,), blocks_in=(1,), blocks_out=(1,), condition=8, path=path)
    parameters = networks.init(config, jax.random.key(0))
    x, y = (jnp.asarray(PICTURES[i : i + 1, :16, :16], jnp.float32) for i in range(2))
    t = jnp.array([0.5])
    given = Condition(jnp.array([1]), t, t, jnp.array([9.0]))
    np.testing.assert_allclose(networks.apply(config, parameters, x, y, given), y + share * (x - y), rtol=1e-5)
    given = Condition(jnp.array([1]), 0 * t, t, jnp.array([9.0]))
    np.testing.assert_allclose(networks.apply(config, parameters, x, y, given), y, rtol=1e-5)


# Draws.


@pytest.mark.parametrize("path", PATHS)
def test_draws_depend_on_the_prefix_and_the_seed_alone(tiny_model, flow, diffusion, prefix, path):
    way = functools.partial(uqdm.Restore, flow=flow if path == "flow" else diffusion, evaluations=2)

    def draw(seed):
        return uqdm.decode(prefix, model=tiny_model, reconstruction=way(seed=seed))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
    assert (draw(1) != uqdm.decode(prefix, model=tiny_model)).any()


@pytest.mark.parametrize(("path", "evaluations", "churn"), [("flow", 1, 0), ("flow", 3, 0), ("diffusion", 3, 1)])
def test_draws_lie_in_the_cells(tiny_model, flow, diffusion, path, evaluations, churn):
    """Up to the rounding of pixels, and to what lies outside of the picture."""
    way = uqdm.Restore(flow=flow if path == "flow" else diffusion, evaluations=evaluations, churn=float(churn))
    picture = make_picture(40, 56, 3)
    data = uqdm.encode(picture, model=tiny_model)
    receiver = receiver_of(data[: len(data) // 4], model=tiny_model)
    while receiver.receive():
        pass
    assert receiver.partly_known
    drawn = way.show(tiny_model, receiver.state, receiver.step)
    low, high = (end / (TICKS / tiny_model.schedule.finest_width) for end in receiver.state.bounds(receiver.step))

    def outside(picture):
        coefficients = analysis(pad_to_blocks(picture, 8).astype(np.float32)[None], 8).reshape(-1)
        return np.maximum(np.maximum(low - coefficients, coefficients - high), 0)

    assert outside(picture).max() < 0.05
    assert outside(drawn).max() < 2
    assert outside(PICTURES[0][np.arange(40)][:, np.arange(56) % 40]).max() > 20


def test_bounds_are_those_of_prefixes(tiny_model):
    """The cells of all prefixes hold the picture, and those of longer ones lie within."""
    picture = make_picture(24, 32, 5)
    data = uqdm.encode(picture, model=tiny_model)
    ticks = analysis(picture.astype(np.float32)[None], 8).reshape(-1) * (TICKS / tiny_model.schedule.finest_width)
    before = None
    for size in range(40, len(data), 61):
        receiver = receiver_of(data[:size], model=tiny_model)
        while receiver.receive():
            pass
        low, high = receiver.state.bounds(receiver.step)
        assert (low <= ticks + 1).all()
        assert (ticks <= high + 1).all()
        if before is not None:
            assert (before[0] <= low).all()
            assert (high <= before[1]).all()
        before = low, high


def test_nothing_is_drawn_where_nothing_is_missing(tiny_model, flow):
    data = uqdm.encode(PICTURES[1], model=tiny_model)
    way = uqdm.Restore(flow=flow)
    np.testing.assert_array_equal(
        uqdm.decode(data, model=tiny_model, reconstruction=way), uqdm.decode(data, model=tiny_model)
    )


@pytest.mark.parametrize("size", [(1, 1), (5, 70)])
def test_pictures_of_any_size_are_drawn(tiny_model, flow, size):
    data = uqdm.encode(make_picture(*size), 0.6, model=tiny_model)
    shown = uqdm.decode(data, model=tiny_model, reconstruction=uqdm.Restore(flow=flow, evaluations=1))
    assert shown.shape == (*size, 3)


def test_large_pictures_are_evaluated_in_tiles(tiny_model, flow, monkeypatch):
    monkeypatch.setattr("uqdm.conditional.model._SIDES", (64, 128))
    rng = np.random.default_rng(2)
    x, y = (rng.uniform(0, 255, (168, 96, 3)).astype(np.float32) for _ in range(2))
    tiled = flow.predict(x, y, 2, 0.25, 0.5)
    given = Condition(*(jnp.array([value]) for value in (2, 0.25, 0.5, 12.0)))
    whole = networks.apply(flow.network, flow.parameters, jnp.asarray(x)[None], jnp.asarray(y)[None], given)[0]
    np.testing.assert_allclose(tiled[32:-32, 32:-32], whole[32:-32, 32:-32], atol=0.2)


def test_realism_mixes_the_mean_and_the_draw(tiny_model, flow, prefix):
    way = uqdm.Restore(flow=flow, seed=5)
    mean, drawn = (uqdm.decode(prefix, model=tiny_model, reconstruction=one).astype(int) for one in (way.mean, way))
    mixed = uqdm.decode(prefix, model=tiny_model, reconstruction=way, realism=0.25)
    np.testing.assert_allclose(mixed, 0.75 * mean + 0.25 * drawn, atol=0.5)


def test_the_network_of_photo_refines_photographs():
    """Its mean is nearer to the picture than the model's own at low rates, as is what the model filters."""
    natural = read_picture(PHOTOGRAPH.read_bytes())[200:328, 300:460]
    for bpp, gain_db in ((0.1, 0.1), (0.15, 0.1)):
        data = uqdm.encode(natural, bpp=bpp, model="photo")
        refined, filtered = (psnr_db(natural, uqdm.decode(data, reconstruction=way)) for way in ("refine", "denoise"))
        denoised = psnr_db(natural, uqdm.decode(data, model=uqdm.load_model("photo").with_postfilter(None)))
        assert min(refined, filtered) > denoised + gain_db


# Files and models.


def test_files_come_back(tiny_model, flow, tmp_path, prefix):
    flow.save(tmp_path / "flow.npz")
    again = ConditionalModel.from_bytes((tmp_path / "flow.npz").read_bytes())
    assert again.id == flow.id
    shown = [
        uqdm.decode(prefix, model=tiny_model, reconstruction=uqdm.Restore(flow=one, evaluations=1))
        for one in (flow, str(tmp_path / "flow.npz"))
    ]
    np.testing.assert_array_equal(*shown)


def test_models_without_a_flow_are_named(tiny_model, flow, prefix):
    with pytest.raises(ValueError, match="must be one of denoise, sample for this model, got 'restore'"):
        uqdm.decode(prefix, model=tiny_model, reconstruction="restore")
    with pytest.raises(ValueError, match="the package has no flow for the model 'tiny'"):
        uqdm.decode(prefix, model=tiny_model, reconstruction=uqdm.Restore())
    small = uqdm.encode(PICTURES[0], 0.5, model="small")
    with pytest.raises(ValueError, match="trained for another model than the model 'small'"):
        uqdm.decode(small, reconstruction=uqdm.Restore(flow=flow))
    with pytest.raises(ValueError, match="evaluations must be at least 1, got 0"):
        uqdm.Restore(evaluations=0)


def test_other_files_are_no_flows(tiny_model):
    with pytest.raises(ValueError, match="no conditional flow or conditional diffusion of format 1"):
        ConditionalModel.from_bytes(tiny_model.to_bytes())
    for path, network in (("flow", "diffusion"), ("diffusion", "flow"), ("flow", "bridge")):
        own = _flow(tiny_model, path=path)
        config = {**own.config, "network": {**own.config["network"], "path": network}}
        with pytest.raises(ValueError, match=r"cannot have a network for|path must be one of flow, diffusion"):
            ConditionalModel.from_arrays({**own.arrays, "config": archive.pack_config(config)})
    with pytest.raises(ValueError, match="not a model file"):
        ConditionalModel.from_bytes(b"nonsense")


def test_photo_is_usually_drawn_by_its_flow():
    data = uqdm.encode(make_picture(48, 64, 2), 0.7, model="photo")
    usual, restored, mean = (
        uqdm.decode(data, **way) for way in ({"realism": 1.0}, {"reconstruction": "restore"}, {"realism": 0.0})
    )
    np.testing.assert_array_equal(usual, restored)
    np.testing.assert_array_equal(mean, uqdm.decode(data, reconstruction="refine"))
    assert (restored != mean).any()


@pytest.mark.parametrize("before", [None, "A meadow"])
def test_files_say_that_their_detail_was_drawn(tmp_path, before):
    metadata = None if before is None else {"exif": described({}, before)["exif"]}
    stream = uqdm.encode(make_picture(32, 32, 1), 0.6, model="photo", metadata=metadata)
    (tmp_path / "a.uqdm").write_bytes(stream)
    ways = {
        "draw": ["--realism", "1", "--seed", "3", "--evaluations", "1"],
        "mixture": ["--method", "restore", "--realism", "0.5"],
        "sample": ["--method", "sample"],
        "mean": ["--method", "refine"],
        "preview": ["--realism", "0"],
    }
    said = {}
    for suffix in (".png", ".jpg"):
        for name, options in ways.items():
            target = tmp_path / f"{name}{suffix}"
            assert main(["decode", str(tmp_path / "a.uqdm"), str(target), *options]) == 0
            with Image.open(target) as image:
                said[name] = image.getexif().get(0x010E)
        first = "" if before is None else f"{before}; "
        assert (
            said["draw"]
            == f"{first}Detail drawn by uqdm (restore, seed 3, realism 1): not all of it is of the original"
        )
        assert "realism 0.5" in said["mixture"]
        assert "sample, seed 0)" in said["sample"]
        assert said["mean"] == said["preview"] == before


def test_the_command_names_ways_that_a_model_does_not_have(tmp_path, capsys):
    (tmp_path / "a.uqdm").write_bytes(uqdm.encode(make_picture(16, 16), 0.6, model="small"))
    assert main(["decode", str(tmp_path / "a.uqdm"), str(tmp_path / "a.png"), "--method", "restore"]) == 2
    assert "must be one of denoise, sample for this model, got 'restore'" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


# Training.


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("path", PATHS)
def test_a_training_lowers_the_loss_and_goes_on(tiny_model, tmp_path, path):
    recipe = Recipe(
        path=path,
        widths=(8,),
        blocks_in=(1,),
        blocks_out=(1,),
        crops=((32, 4),),
        steps=24,
        warm_up=2,
        learning_rate=3e-3,
        often=(2, 4),
        shortcuts=0.5,
    )
    with jax.numpy_dtype_promotion("standard"):
        train = functools.partial(fit, recipe, tiny_model, [PICTURES])
        unbroken = train({"made": PICTURES[:1]}, tmp_path / "a", run=Run(checkpoint_every=12, log_every=4))
        train({}, tmp_path / "b", run=Run(stop_after=12, checkpoint_every=12))
        resumed = train({}, tmp_path / "b", run=Run(checkpoint_every=12))
    assert resumed.id == unbroken.id
    assert unbroken.restores(tiny_model)
    with (tmp_path / "a" / "train.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    with (tmp_path / "a" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sent"]) for row in rows] == [1, 3]
