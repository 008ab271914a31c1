"""Pipelines of diffusers: what their predictions mean, and tiny pipelines of random weights that are made here."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image

import uqdm
from uqdm.cli import main
from uqdm.diffusion import process as diffusion
from uqdm.pretrained.diffusers import (
    GAMMAS_FILE,
    flow_coordinates,
    load_autoencoder,
    load_latent_model,
    load_pipeline,
    noise_of,
)

# PyTorch, diffusers and transformers warn of each other's versions.
quiet = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("gamma", [-6.0, 0.0, 5.0])
def test_every_kind_of_prediction_means_the_same_noise(gamma):
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 4, 4, 3))
    alpha, sigma = float(diffusion.alpha(gamma)), float(diffusion.sigma(gamma))
    z = alpha * x + sigma * noise
    y, s = flow_coordinates(z, gamma)
    np.testing.assert_allclose(y, (1 - s) * x + s * noise, atol=1e-6)
    exact = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x, "sample": x, "flow": noise - x}
    for kind, said in exact.items():
        np.testing.assert_allclose(noise_of(said, kind, z, gamma), noise, atol=1e-5)


def test_what_is_no_pipeline_is_refused_in_one_line(tmp_path, capsys):
    Image.fromarray(make_picture(8, 8)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), str(tmp_path / "a.uqdm"), "--diffusers", str(tmp_path)]
    assert main(["encode", *arguments]) == 2
    assert "has no model_index.json" in capsys.readouterr().err
    assert not (tmp_path / "a.uqdm").exists()


def tokenizer(folder: Path):
    """Of two tokens: all that an empty prompt takes."""
    from transformers import CLIPTokenizer

    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)


def pixel_pipeline(_: Path):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    network = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return DDPMPipeline(unet=network, scheduler=DDPMScheduler(prediction_type="v_prediction"))


def autoencoder():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )


def text_config():
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=3,
        hidden_size=8,
        intermediate_size=8,
        projection_dim=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def latent_pipeline(folder: Path):
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(folder),
        unet=network,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def flow_pipeline(folder: Path):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=16,
    )
    words = tokenizer(folder)
    return StableDiffusion3Pipeline(
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(),
        text_encoder=CLIPTextModelWithProjection(text_config()),
        tokenizer=words,
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer_2=words,
        text_encoder_3=None,
        tokenizer_3=None,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A pipeline of each kind, with six steps."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'uqdm[diffusers]'")
    pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'uqdm[diffusers]'")
    torch.manual_seed(0)
    found = {}
    for name, make in (("pixels", pixel_pipeline), ("latents", latent_pipeline), ("flow", flow_pipeline)):
        folder = tmp_path_factory.mktemp(name)
        make(folder).save_pretrained(folder)
        (folder / GAMMAS_FILE).write_text(json.dumps([5.0, 3.0, 1.0, -1.0, -3.0]))
        found[name] = folder
    return found


@quiet
@pytest.mark.parametrize("kind", ["pixels", "latents", "flow"])
def test_a_pipeline_folder_is_a_codec_on_the_command_line(folders, kind, tmp_path):
    picture = make_picture(14, 15)
    Image.fromarray(picture).save(tmp_path / "a.png")
    given = ["--diffusers", str(folders[kind])]
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.uqdm"), "--verify", *given]) == 0
    assert main(["decode", str(tmp_path / "a.uqdm"), str(tmp_path / "b.png"), *given]) == 0
    assert main(["verify", str(tmp_path / "a.uqdm"), *given]) == 0
    assert np.asarray(Image.open(tmp_path / "b.png")).shape == picture.shape
    assert main(["decode", str(tmp_path / "a.uqdm"), str(tmp_path / "c.png")]) == 2


@quiet
@pytest.mark.parametrize("kind", ["latents", "flow"])
def test_the_state_of_a_latent_model_ends_at_the_latent(folders, kind):
    from uqdm.codec.api import receiver_of

    picture, model = make_picture(16, 16), load_pipeline(folders[kind])
    receiver = receiver_of(uqdm.encode(picture, model=model), model=model)
    while receiver.receive():
        pass
    x = model.course.source.values(picture)
    assert x.shape == (8, 8, 4)
    noise = (receiver.state.z - float(diffusion.alpha(-3.0)) * x) / float(diffusion.sigma(-3.0))
    assert abs(noise.mean()) < 4 / 16
    assert noise.std() == pytest.approx(1.0, abs=4 / 512**0.5)


@quiet
def test_the_id_follows_weights_and_levels(folders, tmp_path):
    import shutil

    first = load_pipeline(folders["pixels"])
    shutil.copytree(folders["pixels"], tmp_path / "copy")
    assert load_pipeline(tmp_path / "copy").id == first.id
    (tmp_path / "copy" / GAMMAS_FILE).unlink()
    other = load_pipeline(tmp_path / "copy")
    assert other.id != first.id
    # DDPM's linear betas: from gamma 10.1, which is cut at 9, to -9.2.
    assert (other.steps, other.gammas[0]) == (64, 9.0)
    assert other.gammas[-1] == pytest.approx(-9.0)
    weights = next((tmp_path / "copy" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert load_pipeline(tmp_path / "copy").id != other.id
    (tmp_path / "copy" / GAMMAS_FILE).write_text("[1.0, 2.0]")
    with pytest.raises(ValueError, match=r"uqdm_gammas\.json: .* fall"):
        load_pipeline(tmp_path / "copy")


@quiet
@pytest.mark.parametrize("kind", ["latents", "flow"])
def test_latents_of_a_pipeline_are_quantized_and_its_network_takes_the_noise_away(folders, kind):
    from random_autoencoder import random_prediction

    width = 1 / 16
    given = {"width": width, "dithered": True, "prediction": random_prediction(width, 4)}
    model = load_latent_model(folders[kind], **given)
    picture = make_picture(16, 16)
    data = uqdm.encode(picture, model=model)
    shown = {way: uqdm.decode(data, model=model, reconstruction=way) for way in ("denoise", "latent_flow")}
    assert (shown["denoise"] != shown["latent_flow"]).any()
    other = load_latent_model(folders[kind], **given | {"width": 2 * width})
    with pytest.raises(uqdm.ModelMismatchError, match="made with model"):
        uqdm.decode(data, model=other)
    with pytest.raises(ValueError, match="works on pixels"):
        load_latent_model(folders["pixels"], **given)
    with pytest.raises(ValueError, match="the prediction is for 16 channels, latents have 4"):
        load_latent_model(folders[kind], **given | {"prediction": random_prediction(width, 16)})


def tiny_autoencoder():
    from diffusers import AutoencoderTiny

    widths = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    return AutoencoderTiny(**widths, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=4)


@quiet
@pytest.mark.parametrize("make", [autoencoder, tiny_autoencoder])
def test_autoencoders_alone_are_read(make, folders, tmp_path):
    make().save_pretrained(tmp_path)
    latents, picture = load_autoencoder(tmp_path), make_picture(15, 17)
    x = latents.values(picture)
    assert (latents.factor, x.shape) == (2, latents.shape(15, 17))
    assert latents.picture(x, 15, 17).shape == picture.shape
    np.testing.assert_array_equal(latents.values(picture), x)


def test_folders_of_other_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"it has no config\.json that names a class"):
        load_autoencoder(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(ValueError, match="its class is VQModel"):
        load_autoencoder(tmp_path)
