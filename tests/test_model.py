import jax
import numpy as np
import pytest

from uqdm.model import Model, load_model
from uqdm.network import round_kernels


def test_a_model_file_brings_back_the_same_model(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "m.npz")
    again = load_model(tmp_path / "m.npz")
    assert again.id == tiny_model.id
    assert again.schedule == tiny_model.schedule
    assert again.name == "tiny"
    jax.tree.map(np.testing.assert_array_equal, again.parameters, tiny_model.parameters)
    assert again.to_bytes() == tiny_model.to_bytes()


def test_exported_kernels_are_on_their_grid_already(tiny_model):
    """Rounding again changes nothing: what was trained is what is shipped."""
    rounded = round_kernels(tiny_model.parameters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), rounded, tiny_model.parameters)


def test_the_id_depends_on_every_array(tiny_model):
    name = "weight/entry/kernel"
    arrays = dict(tiny_model.arrays)
    changed = arrays[name].copy()
    changed.flat[5] += 1 if changed.flat[5] < 127 else -1
    buffer = __import__("io").BytesIO()
    np.savez(buffer, **(arrays | {name: changed}))
    assert Model.from_bytes(buffer.getvalue()).id != tiny_model.id


@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x03\x04 broken zip"])
def test_other_files_are_no_models(data):
    with pytest.raises(ValueError, match="not a model file"):
        Model.from_bytes(data)


def test_a_missing_model_is_named():
    with pytest.raises(FileNotFoundError, match="no model 'nowhere'"):
        load_model("nowhere")
