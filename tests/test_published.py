"""The published UQDM model: its checkpoint, read here, says what the authors' programme says."""

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import encode_with_costs, receiver_of
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, GaussianProcess, UniformProcess
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.process import Moments, Prediction
from uqdm.metrics import psnr_db
from uqdm.pretrained.checkpoint import _rebuild, read_checkpoint
from uqdm.pretrained.published_uqdm import read_published
from uqdm.reconstruction import Ancestral, Flow
from uqdm.transforms.pixels import pixels_of, values_of


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    return shared / "golden" / "uqdm_tiny"


@pytest.fixture(scope="module")
def golden(folder):
    """Values of the authors' programme, channels last."""
    stored = np.load(folder / "golden_tiny.npz")
    return {name: np.moveaxis(stored[name], 1, -1) if stored[name].ndim == 4 else stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def raw(folder):
    return read_published(folder / "checkpoint.pt", folder / "config.json", average=False)


@pytest.fixture(scope="module")
def averaged(folder):
    return read_published(folder / "checkpoint.pt", folder / "config.json")


@pytest.fixture(scope="module")
def model(averaged):
    return averaged.model("uqdm-tiny")


@pytest.mark.parametrize("average", [False, True])
def test_weights_are_those_that_pytorch_reads(folder, raw, averaged, average):
    stored = np.load(folder / "tiny_weights.npz")
    parameters = (averaged if average else raw).parameters
    assert unet.count_parameters(parameters) == 167_494
    prefix = "ema" if average else "raw"
    for theirs, ours in (("conv_in.weight", "entry"), ("up_blocks.1.resnet_block.skip_conv.weight", "out_0_1_skip")):
        np.testing.assert_array_equal(parameters[ours]["kernel"], stored[f"{prefix}/{theirs}"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(parameters["head_norm"]["scale"], stored[f"{prefix}/conv_out.0.weight"])


def test_the_learned_gamma_comes_back_with_the_moving_averages(raw, averaged, golden):
    assert raw.config.noise.gamma_min == -12.3
    np.testing.assert_allclose(raw.config.noise.gammas(4), golden["gamma_all"], atol=1e-6)
    assert averaged.config.noise.gamma_max - averaged.config.noise.gamma_min == pytest.approx(float(golden["ema_w"]))


@pytest.mark.parametrize("step", range(4))
def test_network_outputs_are_the_published_ones(raw, golden, step):
    z, gamma = jnp.asarray(golden[f"s{step}_z_t"]), jnp.full((2,), float(golden[f"s{step}_gamma_t"]))
    prediction = jax.jit(unet.apply, static_argnums=0)(raw.config.network, raw.parameters, z, gamma)
    np.testing.assert_allclose(prediction.noise, golden[f"s{step}_eps_hat"], atol=1e-4)
    np.testing.assert_allclose(prediction.factor, golden[f"s{step}_pred_scale_factors"], atol=1e-4)


def test_network_outputs_of_the_moving_averages_are_the_published_ones(averaged, golden):
    gamma = jnp.full((2,), averaged.config.noise.gammas(4)[1])
    z = jnp.asarray(golden["s1_z_t"])
    prediction = jax.jit(unet.apply, static_argnums=0)(averaged.config.network, averaged.parameters, z, gamma)
    np.testing.assert_allclose(prediction.noise, golden["ema_s1_eps_hat"], atol=1e-4)
    np.testing.assert_allclose(prediction.factor, golden["ema_s1_pred_scale_factors"], atol=1e-4)


@pytest.mark.parametrize("step", range(4))
def test_closed_forms_are_the_published_ones(golden, step):
    def stored(name):
        return golden[f"s{step}_{name}"]

    def same(got, name, tolerance=1e-5):
        np.testing.assert_allclose(got, stored(name), rtol=tolerance, atol=tolerance)

    z, gammas = jnp.asarray(stored("z_t")), (float(stored("gamma_t")), float(stored("gamma_s")))
    prediction = Prediction(jnp.asarray(stored("eps_hat")), jnp.asarray(stored("pred_scale_factors")))
    target = diffusion.posterior(z, values_of(golden["x_raw"]), *gammas)
    reference = diffusion.reference(z, prediction, *gammas)
    same(target.mean, "q_loc")
    same(target.std, "q_scale")
    same(target.width, "delta")
    same(reference.mean, "p_loc")
    same(reference.std, "p_scale")
    same(reference.std * 3**0.5 / np.pi, "logistic_scale")
    same(prediction.denoised(z, gammas[0]), "x_hat_clipped", 2e-5)
    same(diffusion.flow(z, prediction.denoised(z, gammas[0], clip=False), *gammas), "flow_loc")
    # A value in the middle between two pixels may round either way.
    differing = np.asarray(pixels_of(prediction.denoised(z, gammas[0]))) != stored("recon_denoise")
    assert differing.mean() < 3e-4


@pytest.mark.parametrize("step", range(4))
def test_coded_integers_and_rates_are_the_published_ones(golden, step):
    def stored(name):
        return golden[f"s{step}_{name}"]

    delta = float(stored("delta"))
    k = np.round((stored("q_loc") - stored("p_loc") + delta * stored("u")) / delta)
    np.testing.assert_array_equal(k, stored("k"))
    z_s = stored("k") * delta + stored("p_loc") - delta * stored("u")
    np.testing.assert_allclose(z_s, stored("z_s"), atol=1e-5)
    psi = Moments(jnp.asarray(stored("p_loc")), jnp.asarray(stored("p_scale")))
    nats = -diffusion.log_psi_mass(stored("z_s") - delta / 2, stored("z_s") + delta / 2, psi)
    np.testing.assert_allclose(nats, stored("rate_nats"), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(nats.sum((1, 2, 3)), stored("rate_sum_nats"), rtol=1e-5)
    residuals = stored("probe_y")
    far = diffusion.log_psi_mass(residuals - delta / 2, residuals + delta / 2, psi) - np.log(delta)
    np.testing.assert_allclose(far, stored("probe_log_prob"), rtol=2e-3, atol=1e-3)


def test_the_observation_model_is_the_published_one(golden):
    log_p = diffusion.log_p_of_x(jnp.asarray(golden["z_0"]), float(golden["gamma_all"][-1]))
    chosen = jnp.take_along_axis(log_p, jnp.asarray(golden["x_raw"], jnp.int32)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, golden["log_probs_x_z0"], atol=1e-4)
    np.testing.assert_allclose(-chosen.sum((1, 2, 3)), golden["loss_recon_nats"], rtol=1e-5)
    alpha = diffusion.alpha(float(golden["gamma_all"][-1]))
    np.testing.assert_array_equal(pixels_of(golden["z_0"] / alpha), golden["argmax_z0"])


def test_a_published_model_makes_files_of_which_any_prefix_decodes(model, folder):
    picture = np.load(folder / "anchor_sets.npz")["small"][3]
    data, costs = encode_with_costs(picture, model=model)
    for cost in costs:
        assert cost.file_bytes <= 1.003 * cost.ideal_bits / 8 + 24
    steps = [psnr_db(picture, preview.picture) for preview in uqdm.previews(data, model=model)]
    assert steps == sorted(steps)
    assert steps[-1] > 55
    sizes = range(costs[0].file_bytes, len(data), 257)
    cut = [psnr_db(picture, uqdm.decode(data[:size], model=model)) for size in sizes]
    assert min(np.diff(cut)) > -0.3
    assert uqdm.encode(picture, model=model) == data


def test_a_checkpoint_cannot_run_code(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(print))
    with pytest.raises(ValueError, match=r"builtins\.print, which no checkpoint of weights needs"):
        read_checkpoint(tmp_path / "bad.pt")
    for content in (b"\x80\x02}K\x01R.", b"\x80\x02)R.", b"\x80\x02]K\x00K\x01s."):  # calls and items of what has none
        with zipfile.ZipFile(tmp_path / "damaged.pt", "w") as archive:
            archive.writestr("damaged/data.pkl", content)
        with pytest.raises(ValueError, match=r"damaged.pt is no PyTorch checkpoint"):
            read_checkpoint(tmp_path / "damaged.pt")
    (tmp_path / "none.pt").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (2, 2), (-100, 101)), (-3, (4,), (1,)), (-1, (), ()), (0, (3, 3), (3, 2)), (9, (1,), (1,))],
)
def test_a_tensor_lies_within_its_storage(offset, shape, strides):
    with pytest.raises((pickle.UnpicklingError, IndexError)):
        _rebuild(np.arange(8.0), offset, shape, strides)


@pytest.fixture(scope="module")
def folding_model():
    """Random weights, two resolutions."""
    config = unet.UNetConfig(width=8, levels=2, norm_groups=4)
    parameters = unet.init(config, jax.random.key(0))
    noise = diffusion.NoiseSchedule(gamma_min=-9.0, gamma_max=6.0)
    record = DiffusionConfig(process=UniformProcess(), noise=noise, steps=5, network=config)
    return DiffusionModel.from_training(record, parameters)


def test_a_diffusion_model_file_brings_back_the_same_model(folding_model, tmp_path):
    folding_model.save(tmp_path / "m.npz")
    again = uqdm.load_model(tmp_path / "m.npz")
    assert again.id == folding_model.id
    assert again.network == folding_model.network
    assert again.noise == folding_model.noise


def test_an_archive_that_is_no_model_is_refused(tmp_path):
    np.savez(tmp_path / "odd.npz", config=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(ValueError, match="format None"):
        uqdm.load_model(tmp_path / "odd.npz")
    np.savez(tmp_path / "list.npz", config=np.frombuffer(b"[]", np.uint8))
    with pytest.raises(ValueError, match="not a model file"):
        uqdm.load_model(tmp_path / "list.npz")


def test_the_mean_of_a_truncated_logistic_is_right():
    integrate, stats = pytest.importorskip("scipy.integrate"), pytest.importorskip("scipy.stats")
    density = stats.logistic(scale=3**0.5 / np.pi).pdf
    ends = [(-1.0, 1.0), (-60.0, 0.3), (2.0, 60.0), (2.0, 2.001), (15.0, 16.0), (-50.0, -49.0), (-3.0, 50.0)]
    for low, high in ends:
        mass = integrate.quad(density, low, high, limit=200, points=[0.0])[0]
        mean = integrate.quad(lambda x: x * density(x), low, high, limit=200, points=[0.0])[0] / mass
        got = diffusion.truncated_logistic_mean(np.array([low]), np.array([high]))[0]
        assert got == pytest.approx(mean, abs=1e-6)


def test_the_mean_of_a_truncated_gaussian_is_right():
    stats = pytest.importorskip("scipy.stats")
    ends = np.array([(-1.0, 1.0), (-np.inf, 0.3), (2.0, np.inf), (2.0, 2.001), (15.0, 16.0), (-50.0, -49.0)])
    got = diffusion.truncated_gaussian_mean(*ends.T)
    np.testing.assert_allclose(got[:5], [stats.truncnorm(*pair).mean() for pair in ends[:5]], atol=1e-6)
    assert -49.1 < got[5] < -49
    np.testing.assert_allclose(
        diffusion.truncated_gaussian_mean(np.full(1, -np.inf), np.full(1, np.inf)), 0, atol=1e-12
    )


@pytest.mark.parametrize("method", ["ancestral", "flow"])
def test_reverse_processes_continue_where_the_stream_ends(model, folder, golden, method):
    picture = np.load(folder / "anchor_sets.npz")["small"][3]
    data, costs = encode_with_costs(picture, model=model)
    prefix = data[: costs[2].file_bytes]
    denoised = psnr_db(picture, uqdm.decode(prefix, model=model))
    continued = uqdm.decode(prefix, model=model, reconstruction=method)
    # A draw has about twice the error of the mean; the flow's end is near the mean (official figures: 26.5 and 30.2 dB
    # beside 30.2).
    assert denoised - (5.0 if method == "ancestral" else 1.0) < psnr_db(picture, continued) < denoised + 0.3
    again = uqdm.decode(prefix, model=model, reconstruction=Ancestral(seed=1) if method == "ancestral" else Flow())
    assert (continued == again).all() == (method == "flow")
    way = Ancestral if method == "ancestral" else Flow
    one_step = uqdm.decode(prefix, model=model, reconstruction=way(remaining_steps=1))
    assert one_step.shape == picture.shape


def test_the_flow_is_the_published_one(raw, golden):
    """From the published z before step 2 to the picture."""
    gammas = raw.config.noise.gammas(4)
    model = raw.model("raw")
    state = model.new_state(64, 64, 0)
    differing = []
    for i in range(2):
        state.z = golden["s2_z_t"][i]
        shown = Flow().show(model, state, 2)
        differing.append(np.abs(shown.astype(int) - golden["flow_recon_from_s2"][i].astype(int)))
    assert len(gammas) == 5
    assert np.max(differing) <= 1
    assert np.mean(np.asarray(differing) > 0) < 1e-3


def test_draws_respect_what_is_known_already(tiny_model):
    """The cells that a cut stream determines contain the drawn ones."""
    picture = make_picture(24, 16)
    data = uqdm.encode(picture, model=tiny_model)
    receiver = receiver_of(data[: len(data) // 3], model=tiny_model)
    while receiver.receive():
        pass
    members, cells = receiver.state.known
    branch = receiver.state.branch()
    from channel_sim.entropy import Sampler

    tiny_model.expect([branch], receiver.step)
    branch.draw(Sampler(np.random.default_rng(0)), receiver.step)
    drawn, known = branch.midpoint[members] / 2, cells.sign != 0
    inside = (cells.low <= cells.sign * drawn) & (cells.sign * drawn < cells.high)
    assert known.any()
    assert inside[known].all()


def test_a_checkpoint_is_imported_from_the_command_line(folder, tmp_path, capsys):
    from uqdm.cli import main

    out, arguments = tmp_path / "tiny.npz", [str(folder / "checkpoint.pt"), str(folder / "config.json")]
    assert main(["import-checkpoint", *arguments, str(out)]) == 0
    assert uqdm.load_model(out).noise.gamma_min == pytest.approx(-11.966, abs=1e-3)
    assert main(["import-checkpoint", *arguments, str(out)]) == 2
    assert main(["import-checkpoint", *arguments[:1], arguments[0], str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert said.endswith("are no published UQDM model: the latter is no text\n")  # and shows none of the file
    assert main(["import-checkpoint", "none.pt", arguments[1], str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err == "uqdm import-checkpoint: cannot read none.pt: No such file or directory\n"
    wider = json.loads((folder / "config.json").read_text())
    wider["model"]["embedding_dim"] *= 2
    (tmp_path / "wider.json").write_text(json.dumps(wider))
    assert main(["import-checkpoint", arguments[0], str(tmp_path / "wider.json"), str(tmp_path / "x.npz")]) == 2
    assert not (tmp_path / "x.npz").exists()


def test_the_gaussian_process_is_sent_by_simulating_gaussian_channels(tmp_path):
    """DiffC: any prefix decodes, and the last state has the forward process's law."""
    config = unet.UNetConfig(width=8, levels=2, norm_groups=4, learned_scale=False)
    noise = diffusion.NoiseSchedule(gamma_min=-9.0, gamma_max=6.0)
    parameters = unet.init(config, jax.random.key(0))
    record = DiffusionConfig(process=GaussianProcess(), noise=noise, steps=4, network=config)
    model = DiffusionModel.from_training(record, parameters)
    picture = make_picture(24, 16)
    data, costs = encode_with_costs(picture, model=model)
    quality = [psnr_db(picture, p.picture) for p in uqdm.previews(data, model=model)]
    assert quality[-1] > 41
    for cost in costs:
        assert cost.file_bytes <= 1.003 * cost.ideal_bits / 8 + 24
    cut = uqdm.decode(data[: (costs[2].file_bytes + costs[3].file_bytes) // 2], model=model)
    assert psnr_db(picture, cut) == pytest.approx(quality[2])
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    gamma = model.gammas[-1]
    noise = (receiver.state.z - diffusion.alpha(gamma) * values_of(picture)) / diffusion.sigma(gamma)
    assert abs(float(noise.mean())) < 4 / noise.size**0.5
    assert float(noise.std()) == pytest.approx(1.0, abs=4 / (2 * noise.size) ** 0.5)
    wrong = DiffusionModel.from_training(replace(record, network=unet.UNetConfig(width=8)), {})
    with pytest.raises(ValueError, match="no-learned-scale"):
        uqdm.encode(picture, model=wrong)
