"""Pretrained models of Hugging Face diffusers as predictors of noise (uqdm.diffusion.predictor).

A pipeline folder holds a network, a scheduler and, for latent models, an autoencoder. Each trained noise level t has

    gamma(t) = log((1 - abar_t) / abar_t),    abar_t = `scheduler.alphas_cumprod`,                         (1)

so that diffusers' z_t = sqrt(abar) x + sqrt(1 - abar) eps is the process of uqdm.diffusion.process; between two levels
t is interpolated. What networks predict becomes eps_hat by

    epsilon        eps_hat
    v              eps_hat = alpha v + sigma z                      (Salimans and Ho 2022)
    sample         eps_hat = (z - alpha x_hat) / sigma
    flow           y = (1 - s) x + s eps with s = sigmoid(gamma / 2), which is z / (alpha + sigma), at time 1000 s;
                   v = eps - x, hence eps_hat = y + (1 - s) v       (rectified flow: Liu et al., Lipman et al. 2023)

Text models are asked with the empty prompt. Networks known to work: `UNet2DModel`, `UNet2DConditionModel` and
`SD3Transformer2DModel`, with `AutoencoderKL` or without.

Steps go through the levels of `uqdm_gammas.json` in the folder, a list of falling numbers (uqdm.diffusion.noise_levels
chooses them for a model and a kind of picture), or else through 64 equal steps of gamma. Files of the folder and levels
make the id. PyTorch is evaluated in float32 on one device; streams decode where its results are the same to the last
bit, which is the same machine with the same versions and number of threads, and not more (uqdm.diffusion.predictor).
Nothing is ever downloaded.
"""

import hashlib
import inspect
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jax.typing import ArrayLike

from channel_sim.split_tables import SplitTables
from uqdm import archive
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.predictor import PredictorModel
from uqdm.diffusion.source import Source
from uqdm.latent.model import LatentModel
from uqdm.latent.prediction import Prediction
from uqdm.transforms.latents import Latents
from uqdm.transforms.pixels import Pixels

__all__ = [
    "GAMMAS_FILE",
    "Kind",
    "flow_coordinates",
    "identity_of",
    "latents_of",
    "load_autoencoder",
    "load_latent_model",
    "load_pipeline",
    "noise_of",
    "pipeline_index",
    "read_folder",
]

Kind = Literal["epsilon", "v_prediction", "sample", "flow"]
"""What a network predicts."""
GAMMAS_FILE = "uqdm_gammas.json"
_STEPS = 64
_WIDEST = 9.0
"""Levels beyond +-9 are left out: they carry next to nothing, or noise below a 50th of a grey level."""
_ROUNDING = 2**10
"""Levels are multiples of its inverse, so that they do not depend on rounding."""


def load_pipeline(folder: str | Path, *, device: str = "cpu") -> PredictorModel:
    """Reads a pipeline folder.

    Args:
      folder: as `DiffusionPipeline.save_pretrained` writes it, on this machine.
      device: of PyTorch.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder has no pipeline, or one that needs what an empty prompt does not give.
    """
    folder = Path(folder)
    torch, pipeline = read_folder(folder, device)
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if network is None:
        raise ValueError(f"the pipeline in {folder} has neither a unet nor a transformer")
    predictor = _Predictor(torch, pipeline, network, device)
    return PredictorModel(
        predict=predictor,
        gammas=_gammas(folder, predictor.gammas),
        identity=identity_of(folder),
        source=_source(torch, pipeline, network, device),
        name=folder.name,
    )


def read_folder(folder: Path, device: str) -> tuple[Any, Any]:
    """PyTorch, and the pipeline of a folder as its own class.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder has no pipeline.
    """
    index = pipeline_index(folder)
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from diffusers import DiffusionPipeline  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        what = f"diffusers pipelines need PyTorch and diffusers ({error}): pip install 'uqdm[diffusers]'"
        raise ImportError(what) from error
    try:
        # What a pipeline was saved without, such as a third text encoder, must be named.
        absent = {name: None for name, classes in index.items() if classes == [None, None]}
        pipeline: Any = DiffusionPipeline.from_pretrained(
            str(folder), local_files_only=True, torch_dtype=torch.float32, **absent
        )
    except (OSError, RuntimeError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot read the pipeline in {folder}: {error}") from error
    return torch, pipeline.to(device)


def pipeline_index(folder: Path) -> dict[str, Any]:
    """What the parts of a pipeline are.

    Raises:
      ValueError: the folder has no pipeline.
    """
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    try:
        index = json.loads((folder / "model_index.json").read_text())
    except ValueError as error:
        raise ValueError(f"cannot read the pipeline in {folder}: model_index.json: {error}") from None
    if not isinstance(index, dict):
        raise ValueError(f"cannot read the pipeline in {folder}: model_index.json holds no object")
    return index


def flow_coordinates(z: np.ndarray, gamma: float) -> tuple[np.ndarray, float]:
    """y and s of a flow, for z_t."""
    alpha, sigma = _scales(gamma)
    return z / (alpha + sigma), sigma / (alpha + sigma)


def noise_of(said: np.ndarray, kind: Kind, z: np.ndarray, gamma: float) -> np.ndarray:
    """eps_hat of what a network says of z_t."""
    alpha, sigma = _scales(gamma)
    match kind:
        case "epsilon":
            return said
        case "v_prediction":
            return alpha * said + sigma * z
        case "sample":
            return (z - alpha * said) / sigma
        case "flow":
            y, s = flow_coordinates(z, gamma)
            return y + (1 - s) * said


def _scales(gamma: float) -> tuple[float, float]:
    return float(diffusion.alpha(gamma)), float(diffusion.sigma(gamma))


class _Predictor:
    """eps_hat of z (h, w, c), by a network whose arrays have channels first.

    Attributes:
      gammas: of the trained levels, rising, (T,); of a flow, the ends that are used.
    """

    def __init__(self, torch, pipeline, network, device: str):
        self._torch, self._network, self._device = torch, network, device
        self._kind: Kind = _kind(pipeline.scheduler)
        self._times = pipeline.scheduler.config.num_train_timesteps
        if self._kind == "flow":
            self.gammas = np.array([-_WIDEST, _WIDEST])
        else:
            kept = np.asarray(pipeline.scheduler.alphas_cumprod, np.float64)
            self.gammas = np.log1p(-kept) - np.log(np.maximum(kept, 1e-12))
        with torch.inference_mode():
            self._condition = _empty_prompt(pipeline, network, device)

    def __call__(self, z: np.ndarray, gamma: float) -> np.ndarray:
        if self._kind == "flow":
            given, s = flow_coordinates(z, gamma)
            level = self._times * s
        else:
            given, level = z, np.interp(gamma, self.gammas, np.arange(len(self.gammas)))
        torch = self._torch
        first = torch.from_numpy(np.ascontiguousarray(given.transpose(2, 0, 1), np.float32))[None].to(self._device)
        time = torch.full((1,), float(level), dtype=torch.float32, device=self._device)
        with torch.inference_mode():
            out = self._network(first, timestep=time, **self._condition, return_dict=False)[0]
        # Networks with a learned variance have it behind the prediction.
        said = out[0, : z.shape[2]].cpu().numpy().transpose(1, 2, 0)
        return noise_of(said, self._kind, z, gamma)


def _kind(scheduler: Any) -> Kind:
    """What networks of this scheduler predict."""
    if "FlowMatch" in type(scheduler).__name__:
        return "flow"
    kind: Any = getattr(scheduler.config, "prediction_type", "epsilon")
    if not hasattr(scheduler, "alphas_cumprod") or kind not in get_args(Kind):
        raise ValueError(f"what {type(scheduler).__name__} makes of predictions ({kind}) is not supported")
    return kind


def _empty_prompt(pipeline, network, device: str) -> dict[str, Any]:
    """What the network wants to be given beside z and the time."""
    takes, name = inspect.signature(network.forward).parameters, type(network).__name__
    if getattr(network.config, "addition_embed_type", None) or "img_ids" in takes:
        raise ValueError(f"this {name} needs more than the embedding of a prompt, which is not supported")
    if "pooled_projections" in takes:
        embedding, _, pooled, _ = pipeline.encode_prompt("", "", "", device=device, do_classifier_free_guidance=False)
        return {"encoder_hidden_states": embedding, "pooled_projections": pooled}
    if "encoder_hidden_states" in takes:
        return {"encoder_hidden_states": pipeline.encode_prompt("", device, 1, False)[0]}
    return {}


def _source(torch, pipeline, network, device: str) -> Source:
    """The latent of the autoencoder, or pixels."""
    config = network.config
    stride = getattr(config, "patch_size", None) or 2 ** (len(config.block_out_channels) - 1)
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    return Pixels(stride=stride) if vae is None else latents_of(torch, vae, device, stride)


def latents_of(torch, vae, device: str, stride: int) -> Latents:
    """Latents of AutoencoderKL or AutoencoderTiny, at the scale that networks are trained with."""
    config = vae.config
    tiny = type(vae).__name__ == "AutoencoderTiny"
    if not hasattr(config, "scaling_factor") or not hasattr(config, "latent_channels"):
        raise ValueError(
            f"the autoencoder {type(vae).__name__} is not supported, AutoencoderKL and AutoencoderTiny are"
        )
    scale, shift = config.scaling_factor, getattr(config, "shift_factor", None) or 0.0

    def encode(picture: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / 127.5 - 1, np.float32)
        with torch.inference_mode():
            encoded = vae.encode(torch.from_numpy(values).to(device))
        latent = encoded.latents if tiny else encoded.latent_dist.mode()
        return (latent[0].cpu().numpy().transpose(1, 2, 0) - shift) * scale

    def decode(x: np.ndarray) -> np.ndarray:
        latent = np.ascontiguousarray((x / scale + shift).transpose(2, 0, 1)[None], np.float32)
        with torch.inference_mode():
            values = vae.decode(torch.from_numpy(latent).to(device), return_dict=False)[0]
        shown = (values[0].cpu().numpy().transpose(1, 2, 0) + 1) * 127.5
        return np.clip(np.round(shown), 0, 255).astype(np.uint8)

    widths = config.encoder_block_out_channels if tiny else config.block_out_channels
    return Latents(
        encode=encode, decode=decode, channels=config.latent_channels, factor=2 ** (len(widths) - 1), stride=stride
    )


def load_autoencoder(folder: str | Path, *, device: str = "cpu") -> Latents:
    """Reads an autoencoder alone, AutoencoderKL or AutoencoderTiny.

    Args:
      folder: as its `save_pretrained` writes it, or the folder `vae` of a pipeline, on this machine.
      device: of PyTorch.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder holds neither.
    """
    folder = Path(folder)
    try:
        name = json.loads((folder / "config.json").read_text()).get("_class_name")
    except (OSError, ValueError, AttributeError):
        name = None
    if name not in ("AutoencoderKL", "AutoencoderTiny"):
        what = f"its class is {name}" if name else "it has no config.json that names a class"
        raise ValueError(f"{folder} is no AutoencoderKL or AutoencoderTiny of diffusers: {what}")
    try:
        import diffusers  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        what = f"autoencoders of diffusers need PyTorch and diffusers ({error}): pip install 'uqdm[diffusers]'"
        raise ImportError(what) from error
    try:
        vae: Any = getattr(diffusers, name).from_pretrained(
            str(folder), local_files_only=True, torch_dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"cannot read the autoencoder in {folder}: {error}") from error
    return latents_of(torch, vae.to(device).eval(), device, 1)


def load_latent_model(
    folder: str | Path, *, width: float, dithered: bool, prediction: Prediction, device: str = "cpu"
) -> LatentModel:
    """The codec of Relic et al. (uqdm.latent.model) on a latent diffusion pipeline.

    The network takes noise from latents of unit scale, as it was trained to; the times are those whose noise has the
    variance of what quantization leaves (uqdm.latent.denoising, Eq. 1).

    Args:
      folder: of a pipeline (`load_pipeline`) with an autoencoder.
      width: of quantization, in units of scaled latents.
      dithered: whether it is dithered.
      prediction: fitted to scaled latents of pictures (uqdm.latent.prediction.fitted).
      device: of PyTorch.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder has no such pipeline, or the prediction is for other latents.
    """
    pipeline = load_pipeline(folder, device=device)
    if not isinstance(pipeline.source, Latents):
        raise ValueError(f"the pipeline in {folder} works on pixels: only latent diffusion models have latents")
    if pipeline.source.channels != len(prediction.order):
        raise ValueError(
            f"the prediction is for {len(prediction.order)} channels, latents have {pipeline.source.channels}"
        )
    arrays = {f"prediction/{name}": array for name, array in prediction.to_arrays().items()}
    tables = SplitTables.logistic()
    arrays |= {f"tables/{name}": array for name, array in tables.to_arrays().items()}
    config = {"process": "latent", "width": float(width), "dithered": dithered, "pipeline": pipeline.identity.hex()}
    return LatentModel(
        latents=pipeline.source,
        width=width,
        dithered=dithered,
        prediction=prediction,
        tables=tables,
        predictor=_OfPipeline(pipeline),
        id=archive.digest({"config": archive.pack_config(config), **arrays}),
        name=Path(folder).name,
    )


class _OfPipeline:
    """Its network as a predictor of noise (uqdm.latent.denoising): scaled latents have unit variance."""

    scale = 1.0

    def __init__(self, pipeline: PredictorModel):
        self._pipeline = pipeline

    def predict(self, z: np.ndarray, gamma: float) -> ArrayLike:
        return self._pipeline.predict(z, gamma)


def _gammas(folder: Path, trained: np.ndarray) -> list[float]:
    """The folder's list, or equal steps from the noisiest level to the clearest."""
    if (folder / GAMMAS_FILE).is_file():
        try:
            return list(diffusion.step_gammas(json.loads((folder / GAMMAS_FILE).read_text())))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{folder / GAMMAS_FILE}: {error}") from None
    noisiest, clearest = min(float(trained.max()), _WIDEST), max(float(trained.min()), -_WIDEST)
    return (np.round(np.linspace(noisiest, clearest, _STEPS + 1) * _ROUNDING) / _ROUNDING).tolist()


def identity_of(folder: Path, without: Collection[str] = (GAMMAS_FILE,)) -> bytes:
    """SHA-256 over names and contents of the files of weights and configurations.

    Args:
      folder: of the pipeline.
      without: files and folders in it that decoders do not need, or whose contents are in the model's id.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".bin", ".txt")):
        if path.relative_to(folder).parts[0] not in without:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + digest)
    return total.digest()
