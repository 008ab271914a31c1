"""PerCo and Text+Sketch on pipelines of diffusers: tiny ones of random weights that are made here."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import make_picture
from PIL import Image
from test_pipeline import latent_pipeline, quiet

import uqdm
from uqdm.cli import main
from uqdm.codec.api import receiver_of
from uqdm.pretrained.perco import load_perco
from uqdm.pretrained.prompting import SETTINGS_FILE, clip_distance, settings_of, shared_noise
from uqdm.pretrained.text_sketch import load_text_sketch

CHANNELS, CODES = 6, 16


def needs_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'uqdm[diffusers]'")
    pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'uqdm[diffusers]'")


def hyper_encoder_weights(torch, places: int) -> dict:
    """Of random layers, by the names that published files have."""
    from uqdm.pretrained.perco import _layers

    config = hyper_encoder_config(places)
    layers = _layers(torch, config, (64 // places).bit_length() - 1)
    weights = {f"{part}.{name}": array for part, layer in layers.items() for name, array in layer.state_dict().items()}
    codes = torch.randn(1, CODES, config["codebook_dim"])
    return weights | {
        "quantizer._codebook.embed": codes,
        "quantizer._codebook.cluster_size": torch.ones(1, CODES),
        "quantizer.project_in.weight": torch.randn(3, CHANNELS),
        "quantizer.project_in.bias": torch.randn(3),
        "quantizer.project_out.weight": torch.randn(CHANNELS, 3),
        "quantizer.project_out.bias": torch.randn(CHANNELS),
    }


def hyper_encoder_config(places: int) -> dict:
    return {
        "_class_name": "HyperEncoder",
        "in_channels": 4,
        "num_residual_blocks": 1,
        "num_filters_base": 4,
        "num_filters_out": CHANNELS,
        "codebook_dim": 3,
        "cfg_ss": places,
        "cfg_cs": CODES,
    }


def save_perco(folder: Path, places: int = 32) -> Path:
    """As the open implementation saves it: a U-Net whose extended first layer lies beside the old one."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    latent_pipeline(folder).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": "StableDiffusionPipelinePerco", "hyper_enc": ["hyper_encoder_v2", "HyperEncoder"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    extended = torch.randn(8, 4 + CHANNELS, 3, 3) / 8
    weights |= {"conv_in_extended.weight": extended, "conv_in_extended.bias": torch.zeros(8)}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "hyper_enc").mkdir()
    (folder / "hyper_enc" / "config.json").write_text(json.dumps(hyper_encoder_config(places)))
    save_file(hyper_encoder_weights(torch, places), folder / "hyper_enc" / "diffusion_pytorch_model.safetensors")
    return folder


def save_control(folder: Path) -> Path:
    """A ControlNet pipeline of two candidates in two evaluations."""
    import torch
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    parts = dict(latent_pipeline(folder).components)
    network = parts["unet"]
    control = ControlNetModel.from_unet(network, conditioning_embedding_out_channels=(4, 8))
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):  # which begin with zeros
        torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight)
    parts["image_encoder"] = None
    made = StableDiffusionControlNetPipeline(**parts, controlnet=control, requires_safety_checker=False)
    made.save_pretrained(folder)
    (folder / SETTINGS_FILE).write_text(json.dumps({"candidates": 2, "evaluations": 2}))
    return folder


@pytest.fixture(scope="module")
def perco(tmp_path_factory) -> Path:
    needs_pytorch()
    return save_perco(tmp_path_factory.mktemp("pipelines") / "perco")


@pytest.fixture(scope="module")
def control(tmp_path_factory) -> Path:
    needs_pytorch()
    return save_control(tmp_path_factory.mktemp("pipelines") / "control")


@pytest.fixture
def photo(tmp_path) -> Path:
    Image.fromarray(make_picture(30, 45)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@quiet
@pytest.mark.parametrize("kind", ["perco", "text-sketch"])
def test_a_folder_is_a_codec_on_the_command_line(kind, photo, tmp_path, request, capsys):
    folder = request.getfixturevalue("perco" if kind == "perco" else "control")
    given, out = [f"--{kind}", str(folder)], str(tmp_path / "a.uqdm")
    assert main(["encode", str(photo), out, "--verify", "--caption", "a  picture", *given]) == 0
    data = (tmp_path / "a.uqdm").read_bytes()
    model = load_perco(folder) if kind == "perco" else load_text_sketch(folder)
    assert uqdm.info(data)["steps"] == model.steps
    assert main(["decode", out, str(tmp_path / "b.png"), *given]) == 0
    shown = np.asarray(Image.open(tmp_path / "b.png"))
    np.testing.assert_array_equal(shown, uqdm.decode(data, model=model))
    assert main(["verify", out, *given]) == 0
    assert main(["decode", out, str(tmp_path / "c.png")]) == 2
    assert "give the one it was made with" in capsys.readouterr().err
    receiver = receiver_of(data, model=model)
    assert receiver.receive()
    assert receiver.state.caption == "a picture"


@quiet
def test_whole_streams_are_measured_at_a_rate_that_they_stay_below(perco, photo, tmp_path):
    (tmp_path / "set").mkdir()
    photo.rename(tmp_path / "set" / "a.png")
    given = ["--perco", str(perco), "--rates", "4", "--codecs", "none", "--metrics", "psnr_db"]
    assert main(["eval", str(tmp_path / "set"), "-o", str(tmp_path / "results"), *given]) == 0
    model, picture = load_perco(perco), make_picture(30, 45)
    data = uqdm.encode(picture, model=model)
    measured = uqdm.metrics.psnr_db(picture, uqdm.decode(data, model=model))
    tables = "".join(path.read_text() for path in (tmp_path / "results").iterdir() if path.suffix in (".csv", ".md"))
    assert f"{measured:.4f}" in tables


@quiet
def test_what_is_drawn_depends_on_codes_caption_and_seed(perco):
    model = load_perco(perco)
    shape = model.grid(30, 45)
    first = model.draw(np.zeros(shape, np.int64), "", 30, 45, 0)
    np.testing.assert_array_equal(first, model.draw(np.zeros(shape, np.int64), "", 30, 45, 0))
    assert first.shape == (30, 45, 3)
    for codes, caption, seed in ((1, "", 0), (0, "a a a", 0), (0, "", 1)):
        assert (model.draw(np.full(shape, codes), caption, 30, 45, seed) != first).any()


@quiet
@pytest.mark.parametrize(("places", "sides"), [(64, (16, 24)), (32, (8, 12)), (16, (4, 6))])
def test_the_config_says_how_fine_the_grid_is(places, sides, tmp_path):
    needs_pytorch()
    model = load_perco(save_perco(tmp_path / "perco", places))
    picture = make_picture(30, 45)
    assert model.quantize(picture).shape == model.grid(30, 45) == sides
    assert f"{places} places along 512 pixels, {CODES} codes, latents times 0.18215" in model.name


@quiet
def test_another_rate_or_scale_is_refused_in_one_line(perco, tmp_path):
    data = uqdm.encode(make_picture(30, 45), model=load_perco(perco))
    changes = {"hyper_enc/config.json": {"cfg_ss": 64}, "vae/config.json": {"scaling_factor": 0.5}}
    for number, (file, change) in enumerate(changes.items()):
        other = tmp_path / str(number)
        if "hyper" in file:
            save_perco(other, 64)
        else:
            shutil.copytree(perco, other)
            config = json.loads((other / file).read_text())
            (other / file).write_text(json.dumps(config | change))
        with pytest.raises(uqdm.ModelMismatchError, match=r"^the stream was made with .* codes, latents times .*$"):
            uqdm.decode(data, model=load_perco(other))
    (shutil.copytree(perco, tmp_path / "same") / SETTINGS_FILE).write_text('{"evaluations": 2, "guidance": 1.0}')
    same = load_perco(tmp_path / "same")
    assert (uqdm.decode(data, model=same) != uqdm.decode(data, model=load_perco(perco))).any()


@quiet
def test_codes_are_those_of_the_nearest_angle_where_the_config_says_so(perco, tmp_path):
    other = shutil.copytree(perco, tmp_path / "cosine")
    config = json.loads((other / "hyper_enc" / "config.json").read_text())
    (other / "hyper_enc" / "config.json").write_text(json.dumps(config | {"use_cosine_sim": True}))
    assert (load_perco(perco).codebook.cosine, load_perco(other).codebook.cosine) == (False, True)
    assert (load_perco(perco).quantize(make_picture(30, 45)) != load_perco(other).quantize(make_picture(30, 45))).any()


@quiet
def test_parts_that_do_not_fit_are_refused(perco, tmp_path):
    with pytest.raises(ValueError, match="no diffusers pipeline"):
        load_perco(tmp_path)
    other = shutil.copytree(perco, tmp_path / "other")
    (other / "hyper_enc" / "config.json").write_text(json.dumps(hyper_encoder_config(32) | {"cfg_cs": 17}))
    with pytest.raises(ValueError, match=r"codebook is \(16, 3\), its config says \(17, 3\)"):
        load_perco(other)
    shutil.rmtree(other / "hyper_enc")
    with pytest.raises(ValueError, match="no PerCo pipeline: it has no hyper_enc"):
        load_perco(other)
    with pytest.raises(ValueError, match="names no controlnet"):
        load_text_sketch(perco)


@quiet
@pytest.mark.parametrize("best", [0, 1])
def test_the_number_of_the_best_candidate_is_sent(best, control):
    model, picture = load_text_sketch(control, caption="a a"), make_picture(30, 45)
    wanted = model.draw(sketch_of(model, picture), "a a", 0, best)
    prefers = replace(model, distance=lambda _, candidate: float((candidate != wanted).any()))
    receiver = receiver_of(uqdm.encode(picture, model=prefers), model=model)
    while receiver.receive():
        pass
    assert receiver.state.chosen == best
    np.testing.assert_array_equal(receiver.picture(), wanted)


def sketch_of(model, picture: np.ndarray) -> np.ndarray:
    """The sender's sketch, as large as the picture."""
    height, width = picture.shape[:2]
    return model.sketch_of(picture).repeat(model.scale, 0).repeat(model.scale, 1)[:height, :width]


@quiet
def test_sketches_and_candidates_are_seen_by_the_network(control):
    model = load_text_sketch(control)
    blank, lined = np.zeros((30, 45), bool), np.zeros((30, 45), bool)
    lined[10:12] = True
    assert (model.draw(blank, "", 0, 0) != model.draw(lined, "", 0, 0)).any()
    assert (model.draw(blank, "", 0, 0) != model.draw(blank, "", 0, 1)).any()
    np.testing.assert_array_equal(model.draw(lined, "", 0, 1), model.draw(lined, "", 0, 1))


@quiet
def test_settings_that_candidates_depend_on_are_in_the_id(control, tmp_path):
    other = shutil.copytree(control, tmp_path / "other")
    assert load_text_sketch(other).id == load_text_sketch(control).id
    (other / SETTINGS_FILE).write_text('{"candidates": 2, "evaluations": 3}')
    assert load_text_sketch(other).id != load_text_sketch(control).id


@quiet
def test_a_drawing_of_the_users_own_is_the_sketch(control, photo, tmp_path, capsys):
    drawing = np.zeros((30, 45), np.uint8)
    drawing[8, 4:40] = 255
    Image.fromarray(drawing).save(tmp_path / "lines.png")
    given = [
        str(photo),
        str(tmp_path / "a.uqdm"),
        "--text-sketch",
        str(control),
        "--sketch",
        str(tmp_path / "lines.png"),
    ]
    assert main(["encode", *given, "--sketch-scale", "1"]) == 0
    receiver = receiver_of((tmp_path / "a.uqdm").read_bytes(), model=load_text_sketch(control))
    while receiver.receive():
        pass
    np.testing.assert_array_equal(receiver.state.sketch, drawing > 0)
    for arguments, line in (
        (["--sketch-scale", "3"], "the scale of a sketch is one of 1, 2, 4, 8, got 3"),
        (["--sketch", str(photo), "--caption", "long " * 300], "a caption has at most 1024 bytes, this one 1499"),
    ):
        assert main(["encode", str(photo), str(tmp_path / "b.uqdm"), "--text-sketch", str(control), *arguments]) == 2
        assert line in capsys.readouterr().err
    Image.fromarray(drawing[:20]).save(tmp_path / "lines.png")
    assert main(["encode", *given, "--force"]) == 2
    assert "the sketch has 45 x 20 pixels, the picture 45 x 30" in capsys.readouterr().err


def test_captions_and_sketches_are_refused_where_nobody_uses_them(photo, tmp_path, capsys):
    for arguments, line in (
        (["--caption", "a"], "--caption is for --perco or --text-sketch: add one, or leave it out"),
        (["--sketch", str(photo), "--perco", str(tmp_path)], "--sketch is for --text-sketch"),
        (["--perco", str(tmp_path)], "no diffusers pipeline: it has no model_index.json"),
        (["--text-sketch", str(tmp_path)], "no diffusers pipeline: it has no model_index.json"),
    ):
        assert main(["encode", str(photo), str(tmp_path / "a.uqdm"), *arguments]) == 2
        assert line in capsys.readouterr().err
        assert not (tmp_path / "a.uqdm").exists()


def test_settings_are_checked(tmp_path):
    defaults = {"evaluations": 20, "guidance": 3.0, "beside": ""}
    assert settings_of(tmp_path, defaults) == defaults
    (tmp_path / SETTINGS_FILE).write_text('{"guidance": 2}')
    assert settings_of(tmp_path, defaults)["guidance"] == 2
    for text, line in (
        ("{", "uqdm_settings.json: "),
        ("[]", "holds no object: allowed are evaluations, guidance, beside"),
        ('{"steps": 3}', "holds 'steps', which is unknown"),
        ('{"evaluations": 2.5}', "evaluations must be a positive number, got 2.5"),
        ('{"evaluations": 0}', "evaluations must be a positive number, got 0"),
        ('{"guidance": true}', "guidance must be a positive number, got True"),
        ('{"beside": 3}', "beside must be a text, got 3"),
    ):
        (tmp_path / SETTINGS_FILE).write_text(text)
        with pytest.raises(ValueError, match=r"uqdm_settings\.json") as caught:
            settings_of(tmp_path, defaults)
        assert line in str(caught.value)


def test_shared_noise_is_white_and_named_by_seed_and_stream():
    noise = shared_noise(3, 1, (4, 64, 64))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 4 / 128  # 4 deviations of the mean of 16,384 numbers
    assert noise.std() == pytest.approx(1, abs=4 / 2**0.5 / 128)
    np.testing.assert_array_equal(noise, shared_noise(3, 1, (4, 64, 64)))
    assert (noise != shared_noise(3, 2, (4, 64, 64))).mean() > 0.99
    assert (noise != shared_noise(4, 1, (4, 64, 64))).mean() > 0.99


@quiet
def test_the_captioning_model_of_a_folder_says_what_pictures_show(perco, tmp_path):
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        BlipTextConfig,
        BlipVisionConfig,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "boat", "lake", "on"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = BlipTextConfig(
        **size, vocab_size=9, bos_token_id=2, eos_token_id=3, sep_token_id=3, pad_token_id=0, encoder_hidden_size=8
    )
    vision = BlipVisionConfig(**size, image_size=16, patch_size=8)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    folder = shutil.copytree(perco, tmp_path / "perco")
    BlipForConditionalGeneration(config).save_pretrained(folder / "captioner")
    eyes, words = BlipImageProcessor(size={"height": 16, "width": 16}), BertTokenizer(str(tmp_path / "vocab.txt"))
    BlipProcessor(eyes, words).save_pretrained(folder / "captioner")
    model, picture = load_perco(folder), make_picture(30, 45)
    assert model.id == load_perco(perco).id
    caption = model.caption(picture)
    assert set(caption.split()) <= {"a", "boat", "lake", "on", "[UNK]"}
    receiver = receiver_of(uqdm.encode(picture, model=model), model=load_perco(perco))
    receiver.receive()
    assert receiver.state.caption == " ".join(caption.split())


@quiet
def test_candidates_are_compared_by_the_clip_of_a_folder(tmp_path):
    needs_pytorch()
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    assert clip_distance(tmp_path, "cpu") is None
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(**size, projection_dim=8, image_size=16, patch_size=8)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16).save_pretrained(tmp_path / "clip")
    distance = clip_distance(tmp_path, "cpu")
    first, second = make_picture(30, 45), make_picture(30, 45, seed=1)
    assert distance(first, first) == pytest.approx(0, abs=1e-5)
    assert distance(first, second) > 1e-6
