"""Model files of all families: what is wrong with one is said in a line when it is loaded, not in its use."""

import json
import math
import os
import zipfile

import numpy as np
import pytest
from model_cases import latent_nested_model, mean_autoencoder, tiny_model, transform_model, unet_model
from random_autoencoder import random_latent_file

import uqdm
from uqdm import archive
from uqdm.latent.linear import moments
from uqdm.library import model_from_arrays


def linear_file():
    latents = np.random.default_rng(0).normal(size=(2, 12, 12, 16))
    return random_latent_file(1 / 64, linear=moments(latents, 1 / 64, dithered=True))


FILES = {
    "nested": tiny_model,
    "nested latents": latent_nested_model,
    "uniform": unet_model,
    "gaussian": lambda: unet_model("gaussian"),
    "latent": lambda: random_latent_file(1 / 64),
    "latent, linear": linear_file,
    "transform coding": transform_model,
    "conditional diffusion": lambda: transform_model(True, True),
}
UNREAD = ("scale/", "weight/", "preview/")
"""Of the nested process: what only trainings read, apart from estimates."""
FREE = {("name",), ("autoencoder",), ("factor",)}
"""Values of configurations that may be anything."""
SIGNED = {("threshold",), ("gamma_min",), ("gamma_max",)}
DAMAGES = {
    "missing": lambda array: None,
    "flat": lambda array: array.ravel()[: array.size // 2],
    "of one more axis": lambda array: array[None],
    "empty": lambda array: array.ravel()[:0],
    "text": lambda array: np.full(array.shape, "x"),
    "not finite": lambda array: np.full_like(array, np.nan) if array.dtype.kind == "f" else None,
}


def one_of_a_kind(names):
    """The names of arrays, but of those that differ by their numbers the first."""
    kinds = {}
    for name in names:
        kinds.setdefault("".join("0" if letter.isdigit() else letter for letter in name), name)
    return sorted(kinds.values())


def places(config, before=()):
    """Of all values in a configuration."""
    for name, value in config.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from places(value, (*before, name))


def changed(config, place, value):
    """A copy of a configuration that has another value."""
    copy = json.loads(json.dumps(config))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return copy


def refusal(arrays):
    """What is said of a file; nothing of one that is taken."""
    try:
        model_from_arrays(arrays)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("family", FILES)
def test_damaged_arrays_are_refused_on_loading(family):
    arrays = dict(FILES[family]().arrays)
    nested, taken = family.startswith("nested"), []
    read = [name for name in arrays if not (nested and name.startswith(UNREAD)) or "estimate" in name]
    weights = one_of_a_kind(name for name in read if name.startswith(("weight/", "network/", "autoencoder/")))
    others = one_of_a_kind(set(read) - {"config"} - set(weights))
    for name in (*weights[:: max(1, len(weights) // 6)], *others[:: max(1, len(others) // 12)]):
        for damage, change in DAMAGES.items():
            array = change(arrays[name])
            rest = {other: array for other, array in arrays.items() if other != name}
            said = refusal(rest if array is None else rest | {name: array})
            if not said or "\n" in said:
                taken.append((name, damage))
    assert set(taken) <= {("scale/estimate_head/kernel", "of one more axis")}  # it is flattened anyway


@pytest.mark.parametrize("family", FILES)
def test_damaged_configurations_are_refused_on_loading(family):
    arrays = dict(FILES[family]().arrays)
    config, taken = archive.config_of(arrays), []
    for place in places(config):
        for value in ("x", [], -1, 1e308, math.nan):
            said = refusal(arrays | {"config": archive.pack_config(changed(config, place, value))})
            allowed = place in FREE or (value == -1 and place in SIGNED)
            if "\n" in said or not (said or allowed):
                taken.append((place, value))
    assert not taken


def test_damaged_autoencoders_are_refused():
    from uqdm.transforms.autoencoder import Autoencoder

    arrays = mean_autoencoder().arrays
    for name in one_of_a_kind(set(arrays) - {"config"}):
        for array in (arrays[name][None], arrays[name][:1] * np.nan):
            with pytest.raises(ValueError, match="not a file of an autoencoder"):
                Autoencoder.from_arrays({**arrays, name: array})


def test_whole_numbers_of_configurations_are_no_truths_and_no_fractions():
    from uqdm.transform_coding.config import from_config, to_config

    values = to_config(transform_model().network)
    assert from_config(json.loads(json.dumps(values))) == transform_model().network
    for wrong in (True, 2.5, -1):
        with pytest.raises(ValueError, match="width cannot be"):
            from_config({**values, "width": wrong})
    with pytest.raises(ValueError, match="has spread, step"):
        from_config({**values, "deep": 1})


@pytest.mark.parametrize(
    "damaged", [b"", b"text", b"PK\x03\x04 no archive", None], ids=["empty", "text", "PK", "an array"]
)
def test_damaged_weights_of_metrics_are_named_in_a_line(damaged, tmp_path):
    from uqdm.metrics.mobilenet import mobilenet_features
    from uqdm.metrics.squeezenet import read_weights

    path = tmp_path / "weights.npz"
    if damaged is None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(damaged)
    for read in (read_weights, lambda path: mobilenet_features(np.zeros((1, 8, 8, 3), np.uint8), path)):
        with pytest.raises(ValueError, match="weights.npz is no file of weights") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "large.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(3):
            file.writestr(f"weight_{number}.npy", bytes(100 * 2**20))
    assert (tmp_path / "large.npz").stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"not a model file \(\d+ bytes would become 314572800\)"):
        uqdm.load_model(tmp_path / "large.npz")


def test_a_file_that_was_written_again_is_read_again(tmp_path, tiny_model):
    path = tmp_path / "m.npz"
    tiny_model.save(path)
    first = uqdm.load_model(path)
    assert uqdm.load_model(str(path)) is first
    changed = tiny_model.with_preview_weights(np.full(tiny_model.steps + 1, 0.5, np.float32))
    changed.save(path)
    os.utime(path, ns=(1, 1))  # as clocks are coarse
    assert uqdm.load_model(path).preview_weights[0] == 0.5
