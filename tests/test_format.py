"""docs/format.md is complete: a receiver written from it alone gives the same states."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from pictures import make_picture
from plain_decoder import decode_state
from plain_picture import show
from plain_residual import decode_picture

import uqdm
from uqdm.codec import container
from uqdm.codec.api import receiver_of
from uqdm.library import model_of_stream
from uqdm.lossless.predicted import load_residual
from uqdm.nested.model import NestedModel
from uqdm.nested.network import NetworkConfig, init
from uqdm.nested.schedule import Schedule
from uqdm.pictures import read_picture
from uqdm.transforms.wavelet import layout

FOLDERS = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())


def assert_same_state(data: bytes, model: NestedModel) -> None:
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    midpoints, steps = decode_state(data, dict(model.arrays))
    assert steps == min(receiver.step, receiver.header.steps)
    state = receiver.state.before if receiver.header.lossless else receiver.state
    np.testing.assert_array_equal(midpoints, state.midpoint)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_plain_decoder_reads_golden_streams(folder):
    model = model_of_stream(bytes.fromhex(folder.name))
    assert isinstance(model, NestedModel)
    for name in json.loads((folder / "states.json").read_text()):
        assert_same_state((folder / f"{name}.uqdm").read_bytes(), model)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_plain_decoder_shows_the_pictures_of_golden_streams(folder):
    model = model_of_stream(bytes.fromhex(folder.name))
    assert isinstance(model, NestedModel)
    for name, expected in json.loads((folder / "states.json").read_text()).items():
        data = (folder / f"{name}.uqdm").read_bytes()
        if expected["steps"] < uqdm.info(data)["steps"]:
            continue  # a prefix, whose last cells are in part those of a step that is not complete
        picture = show(data, dict(model.arrays))
        np.testing.assert_array_equal(picture, read_picture((folder / f"{name}.png").read_bytes()))


@pytest.mark.parametrize("bpp", [0.5, 2.0, 6.0])
def test_the_plain_decoder_shows_the_pictures_of_steps(tiny_model, bpp):
    data = uqdm.encode(make_picture(33, 17), bpp=bpp, model=tiny_model, seed=9)
    receiver = receiver_of(data, model=tiny_model)
    while receiver.receive():
        pass
    whole = uqdm.encode(make_picture(33, 17), 1 - receiver.step / tiny_model.steps, model=tiny_model, seed=9)
    np.testing.assert_array_equal(show(whole, dict(tiny_model.arrays)), uqdm.decode(whole, model=tiny_model))


@pytest.mark.parametrize("tau", [0.5, 0.0])
def test_the_plain_decoder_holds_pictures(tiny_model, tau):
    """Of stripes, which look worse after some steps than before."""
    stripes = np.repeat(200 * (np.arange(48) // 4 % 2), 3).reshape(1, 48, 3).repeat(40, 0).astype(np.uint8)
    data = uqdm.encode(stripes, tau, model=tiny_model)
    header, _ = container.unpack(data)
    assert header.held_steps
    np.testing.assert_array_equal(show(data, dict(tiny_model.arrays)), uqdm.decode(data, model=tiny_model))


@pytest.mark.parametrize("name", ["1x1", "7x5_noise", "64x64"])
def test_the_plain_decoder_reads_golden_lossless_streams(name):
    model, residual = uqdm.load_model(), load_residual()
    folder = Path(__file__).parent / "golden_lossless" / f"{model.id[:4].hex()}_{residual.id[:4].hex()}"
    data = (folder / f"{name}.uqdm").read_bytes()
    picture = decode_picture(data, dict(model.arrays), dict(residual.arrays))
    np.testing.assert_array_equal(picture, read_picture((folder / f"{name}.png").read_bytes()))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_the_plain_decoder_reads_lossless_streams(tiny_model, tau):
    noise = np.random.default_rng(0).integers(0, 256, (11, 18, 3), dtype=np.uint8)
    for picture in (make_picture(33, 17), noise):
        data = uqdm.encode(picture, tau, lossless=True, model=tiny_model, seed=9)
        decoded = decode_picture(data, dict(tiny_model.arrays), dict(load_residual().arrays))
        np.testing.assert_array_equal(decoded, picture)
        assert_same_state(data[: len(data) // 2], tiny_model)


@pytest.mark.parametrize("lossless", [False, True])
def test_the_plain_decoder_reads_streams_with_extras(tiny_model, lossless):
    picture, metadata = make_picture(21, 30), {"exif": b"II*\0" + bytes(50), "dpi": (300, 300)}
    whole = uqdm.encode(picture, index=True, metadata=metadata, lossless=lossless, model=tiny_model)
    cut = uqdm.encode(picture, index=True, metadata=metadata, file_bytes=len(whole) // 2, model=tiny_model)
    for data in (whole, whole[: len(whole) // 2], cut, cut[:-30], cut[:-90]):
        assert_same_state(data, tiny_model)
    if lossless:
        decoded = decode_picture(whole, dict(tiny_model.arrays), dict(load_residual().arrays))
        np.testing.assert_array_equal(decoded, picture)


def extreme_model(block: int, phases: tuple[tuple[int, int], ...], size: float) -> NestedModel:
    """Random weights, large enough for every limit of the network to be met."""
    channels = layout(block)
    prior_std = 200.0 / (1 + channels.band) / (1 + (channels.colour > 0))
    schedule = Schedule(block=block, finest_width=3.0, phases=phases, prior_std=tuple(prior_std.tolist()))
    network = NetworkConfig(block=block, steps=len(schedule.steps), width=16, blocks=2, local_width=8)
    keys = iter(jax.random.split(jax.random.key(block), 100))
    parameters = jax.tree.map(
        lambda leaf: leaf * (1 + size) + size * jax.random.normal(next(keys), leaf.shape),
        init(network, jax.random.key(0)),
    )
    for name in ("ceilings", "local_ceilings"):
        parameters[name] = np.maximum(np.abs(parameters[name]), 0.5)
    return NestedModel.from_training(schedule=schedule, network=network, parameters=parameters, name="extreme")


@pytest.mark.parametrize("size", [0.1, 1.0])
@pytest.mark.parametrize(
    ("block", "phases"),
    [
        (2, ((1, 0), (2, 1), (4, 0))),
        (4, ((2, 0), (0, 1), (1, 0), (0, 2), (1, 0))),
        (8, ((4, 0), (2, 4), (0, 0), (2, 2), (1, 0))),
    ],
)
@pytest.mark.slow
def test_the_plain_decoder_reads_streams_of_extreme_models(block, phases, size):
    model = extreme_model(block, phases, size)
    rng = np.random.default_rng(block)
    noise = rng.integers(0, 256, (21, 30, 3), dtype=np.uint8)
    for picture, seed in ((make_picture(40, 33), 2**32 - 1), (noise, 3), (noise[:3, :1], 0)):
        data = uqdm.encode(picture, model=model, seed=seed)
        for cut in (len(data), max(30, len(data) * 2 // 3), max(30, len(data) // 3)):
            assert_same_state(data[:cut], model)
        assert np.array_equal(uqdm.decode(data, model=model).shape, picture.shape)


def test_the_plain_decoder_refuses_what_the_document_refuses(tiny_model):
    data = uqdm.encode(make_picture(16, 16), model=tiny_model)
    arrays = dict(tiny_model.arrays)
    for wrong, message in (
        (b"", "magic"),
        (b"\x89" + data[1:], "magic"),
        (data[:3] + b"\x01" + data[4:], "version"),
        (data[:4] + b"none" + data[8:], "CRC"),
        (data[:-2] + bytes([data[-2] ^ 255]) + data[-1:], "check value|code word|too large"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_state(wrong, arrays)
