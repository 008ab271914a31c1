"""PerCo on Stable Diffusion, from a folder as its open implementation saves it (uqdm.prompted.perco has the codec).

    model_index.json     of diffusers
    vae/ text_encoder/ tokenizer/ scheduler/     as in any pipeline of Stable Diffusion
    hyper_enc/           config.json and weights of the hyper-encoder; the config says the rate: `cfg_ss`, the places of
                         the grid along 512 pixels, and `cfg_cs`, the number of codes
    unet/                whose first layer, `conv_in_extended`, or `conv_in`, takes the latent and the grid's vectors

The hyper-encoder is the one of those files: a convolution between channel norms, residual blocks around a shortcut, a
strided convolution for every halving, a linear map, and a codebook behind a linear map to few dimensions, compared by
distance, or by angle where the config says `use_cosine_sim`. The sender's latent is the mean of the autoencoder's
distribution, scaled.

Drawing starts from noise of the shared seed and takes as many evaluations as the settings say (20, or 5 where the
nominal rate log2(cfg_cs) cfg_ss^2 / 512^2 is above 0.05 bits per pixel), with classifier-free guidance against the
empty caption. Settings do not change what a stream says, so the id leaves them out; autoencoder, scale, rate and
weights are in it. Only the first tokens of a long caption, 77 of CLIP's, are looked at.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from uqdm.pretrained.diffusers import identity_of, latents_of, pipeline_index
from uqdm.pretrained.prompting import SENDERS_OWN, caption_by, settings_of, shared_noise
from uqdm.prompted.codes import Codebook
from uqdm.prompted.perco import Captioner, PerCoModel

__all__ = ["load_perco"]

_PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "hyper_enc", "unet")
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FINEST, _SIDE = 64, 512
"""Places of the latent along a side of 512 pixels."""


def load_perco(folder: str | Path, *, caption: str | Captioner | None = None, device: str = "cpu") -> PerCoModel:
    """Reads a folder.

    Args:
      folder: of these parts, on this machine.
      caption: what the sender says of pictures, or who says it; by default the captioning model of the folder, or
        nothing.
      device: of PyTorch.

    Raises:
      ImportError: PyTorch or diffusers are not installed.
      ValueError: the folder is no PerCo, or parts do not fit each other.
    """
    folder = Path(folder)
    index = pipeline_index(folder)
    missing = [part for part in _PARTS if part not in index or not (folder / part).is_dir()]
    if missing:
        raise ValueError(f"{folder} is no PerCo pipeline: it has no {', '.join(missing)}")
    try:
        import diffusers  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        what = f"PerCo needs PyTorch, diffusers and transformers ({error}): pip install 'uqdm[diffusers]'"
        raise ImportError(what) from error
    try:
        hyper_encoder = _HyperEncoder(torch, folder / "hyper_enc", device)
        scheduler_class = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
        local: dict[str, Any] = {"local_files_only": True}
        pipeline: Any = diffusers.StableDiffusionPipeline(
            vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, **local),
            text_encoder=transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", **local).float(),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", **local),
            unet=_network(diffusers, folder / "unet", hyper_encoder.channels),
            scheduler=getattr(diffusers, scheduler_class).from_pretrained(folder / "scheduler", **local),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).to(device)
    except (OSError, RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot read the PerCo pipeline in {folder}: {error}") from error
    # Sides that both the network and the hyper-encoder halve without a rest.
    stride = max(2 ** (len(pipeline.unet.config.block_out_channels) - 1), hyper_encoder.factor)
    latents = latents_of(torch, pipeline.vae.eval(), device, stride)
    settings = settings_of(folder, {"evaluations": 5 if hyper_encoder.bpp > 0.05 else 20, "guidance": 3.0})

    def grid(height: int, width: int) -> tuple[int, int]:
        rows, columns, _ = latents.shape(height, width)
        return rows // hyper_encoder.factor, columns // hyper_encoder.factor

    def draw(indices: np.ndarray, text: str, height: int, width: int, seed: int) -> np.ndarray:
        features = hyper_encoder.features(indices)
        z = shared_noise(seed, 0, (1, latents.channels, *latents.shape(height, width)[:2]))
        z = torch.from_numpy(z).to(device)
        with torch.inference_mode():
            latent = _denoised(torch, pipeline, z, features, text, int(settings["evaluations"]), settings["guidance"])
        return latents.picture(latent[0].cpu().numpy().transpose(1, 2, 0), height, width)

    scale = pipeline.vae.config.scaling_factor
    rate = f"{hyper_encoder.places} places along {_SIDE} pixels, {len(hyper_encoder.codebook.codes)} codes"
    return PerCoModel(
        codebook=hyper_encoder.codebook,
        grid=grid,
        quantize=lambda picture: hyper_encoder.indices(latents.values(picture)),
        draw=draw,
        id=hashlib.sha256(b"PerCo 1" + identity_of(folder, SENDERS_OWN)).digest(),
        name=f"{folder.name}: {rate}, latents times {scale:g}",
        caption=caption if caption is not None else caption_by(folder, device) or "",
    )


def _denoised(torch, pipeline, z, features, text: str, evaluations: int, guidance: float):
    """What the reverse process makes of noise, given features of the hyper-encoder and a caption."""
    guided = guidance > 1
    said, unsaid = pipeline.encode_prompt(text, z.device, 1, guided, "" if guided else None)
    prompts = torch.cat([unsaid, said]) if guided else said
    beside = torch.nn.functional.interpolate(features, size=z.shape[2:], mode="nearest")
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(evaluations, device=z.device)
    z = z * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        given = torch.cat([scheduler.scale_model_input(z, time), beside], 1).repeat(len(prompts), 1, 1, 1)
        out = pipeline.unet(given, time, encoder_hidden_states=prompts, return_dict=False)[0]
        if guided:
            without, with_text = out.chunk(2)
            out = without + guidance * (with_text - without)
        z = scheduler.step(out, time, z, return_dict=False)[0]
    return z


def _network(diffusers, folder: Path, channels: int):
    """The U-Net; the extended first layer takes the place of the one that it was made from."""
    from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

    weights, config = load_file(folder / _WEIGHTS), json.loads((folder / "config.json").read_text())
    extended = {name: array for name, array in weights.items() if name.startswith("conv_in_extended.")}
    weights |= {name.replace("conv_in_extended.", "conv_in."): array for name, array in extended.items()}
    weights = {name: array for name, array in weights.items() if name not in extended}
    taken = weights["conv_in.weight"].shape[1]
    if taken != config["out_channels"] + channels:
        raise ValueError(
            f"the network takes {taken} channels, not the {config['out_channels']} of latents and {channels} of the "
            "hyper-encoder: they are of different models"
        )
    network = diffusers.UNet2DConditionModel.from_config(config | {"in_channels": taken})
    network.load_state_dict(weights)
    return network.float().eval()


class _HyperEncoder:
    """The hyper-encoder.

    Attributes:
      places: of the grid along 512 pixels.
      factor: latent elements per place along a side.
      channels: of its features.
      bpp: nominal rate.
      codebook: of it.
    """

    def __init__(self, torch, folder: Path, device: str):
        from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

        config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / _WEIGHTS)
        self._torch, self._device, self.places = torch, device, int(config["cfg_ss"])
        self.factor, self.channels = _FINEST // self.places, int(config["num_filters_out"])
        if self.places * self.factor != _FINEST or self.factor & (self.factor - 1):
            raise ValueError(f"cfg_ss must be 64, 32, 16, 8, 4, 2 or 1, got {self.places}")
        self._layers = _layers(torch, config, int(math.log2(self.factor)))
        names = {f"{part}.{name}" for part, layer in self._layers.items() for name in layer.state_dict()}
        for part, layer in self._layers.items():
            kept = {name.removeprefix(f"{part}."): array for name, array in weights.items() if name in names}
            layer.load_state_dict({name: kept[name] for name in layer.state_dict()})
            layer.to(device).float().eval()
        self._quantizer = {name: array.float().to(device) for name, array in weights.items() if "quantizer" in name}
        codes = weights["quantizer._codebook.embed"].float().numpy()
        codes, expected = codes.reshape(codes.shape[-2:]), (int(config["cfg_cs"]), int(config["codebook_dim"]))
        if codes.shape != expected:
            raise ValueError(f"the hyper-encoder's codebook is {codes.shape}, its config says {expected}")
        self._cosine = bool(config.get("use_cosine_sim", False))
        self.codebook = Codebook(codes=codes, cosine=self._cosine)
        self.bpp = math.log2(len(codes)) * self.places**2 / _SIDE**2

    def indices(self, latent: np.ndarray) -> np.ndarray:
        """Of a scaled latent (h, w, c)."""
        torch, layers = self._torch, self._layers
        x = torch.from_numpy(np.ascontiguousarray(latent.transpose(2, 0, 1)[None], np.float32)).to(self._device)
        with torch.inference_mode():
            x = layers["proj_in"](x)
            x = layers["proj_out"](layers["down_blocks"](x + layers["resid_blocks"](x)))
            vectors = self._linear("project_in", x.permute(0, 2, 3, 1))
            if self._cosine:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return self.codebook.nearest(vectors[0].cpu().numpy())

    def features(self, indices: np.ndarray):
        """Vectors of codes (h, w), (1, channels, h, w)."""
        codes = self._torch.from_numpy(self.codebook.codes[indices]).to(self._device)
        with self._torch.inference_mode():
            return self._linear("project_out", codes[None]).permute(0, 3, 1, 2)

    def _linear(self, name: str, x):
        weight = self._quantizer.get(f"quantizer.{name}.weight")
        if weight is None:  # codes have as many dimensions as features
            return x
        return self._torch.nn.functional.linear(x, weight, self._quantizer[f"quantizer.{name}.bias"])


def _layers(torch, config: dict[str, Any], halvings: int) -> dict[str, Any]:
    """Layers of the hyper-encoder, with the names of its weights."""
    nn = torch.nn

    class ChannelNorm(nn.Module):
        """Zero mean and unit variance over the channels of every place, then a linear map of each channel."""

        def __init__(self, channels: int):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
            self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

        def forward(self, x):
            centred = x - x.mean(1, keepdim=True)
            return self.gamma * centred * torch.rsqrt(x.var(1, keepdim=True) + 1e-3) + self.beta

    class Residual(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
            self.sequence = nn.Sequential(first, ChannelNorm(width), nn.ReLU(), second, ChannelNorm(width))

        def forward(self, x):
            return x + self.sequence(x)

    taken, width, down = config["in_channels"], config["num_filters_base"], []
    for i in range(halvings):
        wider = 2 * width if i == 0 else 2 * down[-1][0].out_channels
        before = width if i == 0 else down[-1][0].out_channels
        padding = max(0, (before - 3) % 2)
        layer = nn.Conv2d(before, wider, 3, stride=2, padding=padding)
        down.append(nn.Sequential(layer, ChannelNorm(wider), nn.ReLU()))
    return {
        "proj_in": nn.Sequential(ChannelNorm(taken), nn.Conv2d(taken, width, 3, padding=1), ChannelNorm(width)),
        "resid_blocks": nn.Sequential(*(Residual(width) for _ in range(config["num_residual_blocks"]))),
        "down_blocks": nn.Sequential(*down),
        "proj_out": nn.Sequential(nn.Conv2d(width << halvings, config["num_filters_out"], 1)),
    }
