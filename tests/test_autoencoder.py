"""Tiny autoencoders: read without PyTorch, and what they say is what PyTorch says."""

import collections
import io
import pickle
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture
from PIL import Image
from random_autoencoder import random_autoencoder, random_parameters

import uqdm
from uqdm import archive
from uqdm.cli import main
from uqdm.metrics import psnr_db
from uqdm.pretrained.tiny_autoencoder import read_tiny_autoencoder
from uqdm.transforms.autoencoder import Autoencoder, decode_values, encode_values

TESTS = Path(__file__).parent
PHOTOGRAPH = TESTS.parent / "experiments" / "pictures" / "kodim23.webp"
NAMES = {"conv_0": "conv.0", "conv_1": "conv.2", "conv_2": "conv.4", "kernel": "weight", "bias": "bias"}
POOL = {"into": "pool.0.weight", "scale": "pool.1.weight", "offset": "pool.1.bias", "back": "pool.3.weight"}


@pytest.fixture(scope="module")
def taef2(shared) -> Autoencoder:
    folder = shared / "weights" / "taef2"
    if not folder.is_dir():
        pytest.skip("the weights of taef2 are not here")
    return read_tiny_autoencoder(folder / "taef2_encoder.pth", folder / "taef2_decoder.pth", name="taef2")


def photograph() -> np.ndarray:
    return np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))


def published(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the names and in the layout of PyTorch."""
    state = {}
    for name, array in parameters.items():
        index, *parts = name.split("/")
        theirs = POOL.get(parts[0]) or ".".join(NAMES[part] for part in parts)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T[:, :, None, None]
        state[f"{index}.{theirs}"] = np.ascontiguousarray(array, np.float16)
    return state


def save(path: Path, state: dict[str, np.ndarray], monkeypatch) -> Path:
    """As PyTorch saves state dictionaries."""
    storages: list[np.ndarray] = []
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")

    def rebuild(*_):
        raise AssertionError("only named")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    torch._utils, torch.HalfStorage = utils, type("HalfStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Storage:
        def __init__(self, array):
            self.array = array

    class Tensor:
        def __init__(self, array):
            self.array = array

        def __reduce__(self):
            strides = tuple(stride // self.array.itemsize for stride in self.array.strides)
            return rebuild, (Storage(self.array), 0, self.array.shape, strides, False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Storage):
                return None
            storages.append(obj.array)
            return "storage", torch.HalfStorage, str(len(storages) - 1), "cpu", obj.array.size

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(collections.OrderedDict((name, Tensor(array)) for name, array in state.items()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", buffer.getvalue())
        for number, array in enumerate(storages):
            archive.writestr(f"net/data/{number}", array.tobytes())
    monkeypatch.undo()
    return path


def pair(tmp_path: Path, monkeypatch, channels: int, pooled: bool, **changes) -> tuple[Path, Path]:
    paths = []
    for side in ("encoder", "decoder"):
        state = published(random_parameters(side, channels, pooled)) | changes
        paths.append(save(tmp_path / f"{side}_{channels}.pth", state, monkeypatch))
    return paths[0], paths[1]


def test_latents_and_pictures_are_those_of_pytorch(taef2):
    stored = np.load(TESTS / "golden_autoencoder" / "taef2.npz")
    latent = taef2.encode(photograph()[96:160, 200:248])
    assert latent.shape == (8, 6, 32)
    np.testing.assert_allclose(latent[:, :, ::4], stored["latent"], atol=1e-4)
    values = jax.jit(decode_values)(taef2.decoder, latent[None])
    np.testing.assert_allclose(values[0, ::8, ::8], stored["values"], atol=1e-4)


def test_a_photograph_comes_back_as_well_as_was_published(taef2):
    picture = photograph()
    latent = taef2.encode(picture)
    assert psnr_db(picture, taef2.decode(latent, *picture.shape[:2])) == pytest.approx(33.34, abs=0.01)
    assert float(latent.std()) == pytest.approx(0.82, abs=0.01)


@pytest.mark.parametrize(("channels", "pooled"), [(4, False), (16, False), (4, True)])
def test_checkpoints_are_read_by_their_shapes(tmp_path, monkeypatch, channels, pooled):
    read = read_tiny_autoencoder(*pair(tmp_path, monkeypatch, channels, pooled), name="random")
    assert read.id == random_autoencoder(channels, pooled).id
    assert (read.channels, read.factor) == (channels, 8)


def test_what_is_no_tiny_autoencoder_is_refused(tmp_path, monkeypatch):
    encoder, decoder = pair(tmp_path, monkeypatch, 4, False)
    with pytest.raises(ValueError, match=r"it has no convolution 14"):
        read_tiny_autoencoder(decoder, decoder)
    wide = {"6.weight": np.zeros((96, 64, 3, 3), np.float16)}
    with pytest.raises(ValueError, match=r"6\.weight is \(96, 64, 3, 3\), expected \(64, 64, 3, 3\)"):
        read_tiny_autoencoder(*pair(tmp_path, monkeypatch, 5, False, **wide))
    other, _ = pair(tmp_path, monkeypatch, 16, False)
    with pytest.raises(ValueError, match="latents of 16 channels"):
        read_tiny_autoencoder(other, pair(tmp_path, monkeypatch, 4, False)[1])
    assert main(["import-autoencoder", str(encoder), str(PHOTOGRAPH), str(tmp_path / "a.npz")]) == 2


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys):
    out = tmp_path / "tiny.npz"
    arguments = [str(path) for path in (*pair(tmp_path, monkeypatch, 4, True), out)]
    assert main(["import-autoencoder", *arguments, "--name", "random"]) == 0
    assert "4 channels at 1/8 of the sides" in capsys.readouterr().err
    assert Autoencoder.from_bytes(out.read_bytes()).id == random_autoencoder().id


@pytest.mark.parametrize("pooled", [False, True])
def test_strips_give_what_the_whole_gives(pooled):
    picture, whole = make_picture(8 * 50, 24), random_autoencoder(pooled=pooled)
    strips = replace(whole, strip_pixels=1)
    latent = whole.encode(picture)
    np.testing.assert_allclose(strips.encode(picture), latent, atol=2e-5)
    shown = whole.decode(latent, 399, 20).astype(int)
    assert shown.shape == (399, 20, 3)
    assert np.abs(strips.decode(latent, 399, 20) - shown).max() <= 1
    local = replace(whole, strip_pixels=1)
    object.__setattr__(local, "encoder", {**whole.encoder, "14": jax.tree.map(lambda x: 2 * x, whole.encoder["14"])})
    assert np.abs(local.encode(picture) - latent).max() > 0.1


def test_pictures_of_any_size_have_latents_and_come_back():
    autoencoder = random_autoencoder()
    picture = make_picture(13, 21)
    latent = autoencoder.encode(picture)
    assert latent.shape == autoencoder.shape(13, 21) == (2, 3, 4)
    padded = np.pad(picture, ((0, 3), (0, 3), (0, 0)), mode="edge")
    values = jax.jit(encode_values)(autoencoder.encoder, jnp.asarray(padded[None], jnp.float32) / 255)
    np.testing.assert_allclose(latent, values[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"has a latent \(3, 3, 4\), got \(2, 3, 4\)"):
        autoencoder.decode(latent, 17, 21)


def test_files_of_other_kinds_and_formats_are_refused():
    with pytest.raises(ValueError, match="is no autoencoder of format 1"):
        Autoencoder.from_arrays(uqdm.load_model("small").arrays)
    arrays = dict(random_autoencoder().arrays)
    with pytest.raises(ValueError, match="is no autoencoder of format 1"):
        Autoencoder.from_arrays(arrays | {"config": archive.pack_config({"process": "autoencoder", "format": 2})})
    del arrays["autoencoder/decoder/1/kernel"]
    with pytest.raises(ValueError, match="it has no part 'kernel'"):
        Autoencoder.from_arrays(arrays)
