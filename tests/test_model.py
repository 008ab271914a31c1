import jax
import numpy as np
import pytest

from uqdm.exact.fixed_point import round_kernels
from uqdm.library import load_model
from uqdm.nested.model import NestedModel
from uqdm.nested.network import NetworkConfig, init
from uqdm.nested.network_integers import from_parameters


def test_a_model_file_brings_back_the_same_model(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "m.npz")
    again = load_model(tmp_path / "m.npz")
    assert again.id == tiny_model.id
    assert again.schedule == tiny_model.schedule
    assert again.name == "tiny"
    jax.tree.map(np.testing.assert_array_equal, again.parameters, tiny_model.parameters)
    assert again.to_bytes() == tiny_model.to_bytes()


def test_kernels_are_shipped_as_they_were_trained(tiny_model):
    """Training rounds kernels to the grid that the file stores."""
    key = jax.random.key(0)
    trained = init(tiny_model.network, key)
    exported = NestedModel.from_training(schedule=tiny_model.schedule, network=tiny_model.network, parameters=trained)
    jax.tree.map(np.testing.assert_array_equal, exported.parameters, jax.device_get(round_kernels(trained)))


def test_sums_that_could_lose_bits_are_refused_at_saving_and_loading(tiny_model):
    arrays = dict(tiny_model.arrays)
    arrays["integer/entry/multiplier"] = np.full_like(arrays["integer/entry/multiplier"], 2**30)
    with pytest.raises(ValueError, match="the integer network is not exact: products of entry may overflow"):
        NestedModel.from_bytes(NestedModel(arrays=arrays).to_bytes())
    config = NetworkConfig(block=8, steps=3, width=16, blocks=1)
    parameters = jax.device_get(init(config, jax.random.key(0)))
    parameters["gains"] = np.full_like(parameters["gains"], 1e9)
    with pytest.raises(ValueError, match="the integer network is not exact"):
        from_parameters(config, parameters)


def test_the_id_depends_on_every_array(tiny_model):
    name = "integer/entry/kernel"
    arrays = dict(tiny_model.arrays)
    changed = arrays[name].copy()
    changed.flat[5] += 1 if changed.flat[5] < 127 else -1
    buffer = __import__("io").BytesIO()
    np.savez(buffer, **(arrays | {name: changed}))
    assert NestedModel.from_bytes(buffer.getvalue()).id != tiny_model.id


def test_the_id_does_not_depend_on_how_streams_are_shown(tiny_model):
    assert (tiny_model.preview_weights == 1).all()
    changed = tiny_model.with_preview_weights(np.linspace(1, 0.5, tiny_model.steps + 1))
    again = NestedModel.from_bytes(changed.to_bytes())
    np.testing.assert_array_equal(again.preview_weights, np.float32(np.linspace(1, 0.5, tiny_model.steps + 1)))
    assert again.id == tiny_model.id


@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x03\x04 broken zip"])
def test_other_files_are_no_models(data):
    with pytest.raises(ValueError, match="not a model file"):
        NestedModel.from_bytes(data)


def test_a_missing_model_is_named():
    with pytest.raises(FileNotFoundError, match="no model 'nowhere'"):
        load_model("nowhere")
