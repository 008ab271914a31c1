"""Checkpoints of the published UQDM code, read without PyTorch.

The checkpoint's 'model' are the raw weights by the names of the published network, and 'ema' holds the moving averages
of the same tensors in the same order, with one tensor more: that of gamma's width w = gamma_max - gamma_min, which the
published code learns, but neither saves with the weights nor restores. With it gamma_min is what training made of it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uqdm.diffusion.kinds import DiffusionConfig, UniformProcess
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.network import UNetConfig
from uqdm.diffusion.process import NoiseSchedule
from uqdm.pretrained.checkpoint import read_checkpoint

__all__ = ["Published", "read_published"]


class Published(NamedTuple):
    """A published model."""

    config: DiffusionConfig
    """With the learned schedule, where the checkpoint tells it."""
    parameters: dict[str, Any]
    """Of `uqdm.diffusion.network`."""

    def model(self, name: str) -> DiffusionModel:
        """The same as a model that encodes and decodes."""
        return DiffusionModel.from_training(self.config, self.parameters, name=name)


def _config(settings: dict[str, Any], gamma_width: float | None) -> DiffusionConfig:
    """The record of a published configuration."""
    model = settings["model"]
    if model["n_channels"] != 3 or model["vocab_size"] != 256:
        raise ValueError("only models of 8-bit pictures with three channels can be imported")
    if model["prior_type"] not in ("logistic", "gaussian", "normal"):
        raise ValueError(f"prior_type {model['prior_type']!r} is unknown here")
    low, high = model["gamma_min"], model["gamma_max"]
    return DiffusionConfig(
        process=UniformProcess(
            logistic=model["prior_type"] == "logistic",
            forward_kernel_scale=model.get("base_prior_scale", "forward_kernel") == "forward_kernel",
        ),
        noise=NoiseSchedule(gamma_min=low if gamma_width is None else high - gamma_width, gamma_max=high),
        steps=model["n_timesteps"],
        network=UNetConfig(
            width=model["embedding_dim"],
            blocks=model["n_blocks"],
            norm_groups=model["norm_groups"],
            heads=model["n_attention_heads"],
            attention_everywhere=model["attention_everywhere"],
            fourier=(5, 6) if model["use_fourier_features"] else (),
            gamma_range=(low, high),
            learned_scale=bool(model.get("learned_prior_scale")),
        ),
    )


def read_published(checkpoint: str | Path, config: str | Path, *, average: bool = True) -> Published:
    """A published checkpoint and its configuration.

    Args:
      checkpoint: the `.pt` file.
      config: the `config.json` beside it.
      average: whether to take the moving averages, the learned gamma among them; else the raw weights, and the
        configuration's gamma, which is what the published programme does.

    Raises:
      ValueError: a file is not what it should be.
    """
    contents = read_checkpoint(checkpoint)
    try:
        settings = json.loads(Path(config).read_text())
        weights = dict(contents["model"])
        width = None
        if average:
            shadow = list(contents["ema"]["shadow_params"])
            if len(shadow) > len(weights):
                width = abs(float(shadow[len(weights)]))
            weights = dict(zip(weights, shadow, strict=False))
        record = _config(settings, width)
        return Published(record, _parameters(weights, record.network))
    except UnicodeDecodeError:  # which would show all of the file
        raise ValueError(f"{checkpoint} and {config} are no published UQDM model: the latter is no text") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{checkpoint} and {config} are no published UQDM model: {error!r}") from None


def _names(network: UNetConfig) -> dict[str, str]:
    """Our modules by the published names of theirs."""

    def residual(theirs: str, ours: str, skip: bool) -> dict[str, str]:
        names = {
            f"{theirs}.net1.0": f"{ours}_first_norm",
            f"{theirs}.net1.2": f"{ours}_first",
            f"{theirs}.cond_proj": f"{ours}_condition",
            f"{theirs}.net2.0": f"{ours}_second_norm",
            f"{theirs}.net2.2": f"{ours}_second",
        }
        return names | ({f"{theirs}.skip_conv": f"{ours}_skip"} if skip else {})

    def attention(theirs: str, ours: str) -> dict[str, str]:
        return {f"{theirs}.layers.{i}": f"{ours}_{part}" for i, part in ((0, "norm"), (1, "in"), (3, "out"))}

    names = {
        "embed_conditioning.0": "time_first",
        "embed_conditioning.2": "time_second",
        "conv_in": "entry",
        "conv_out.0": "head_norm",
        "conv_out.2": "head",
    }
    for theirs, ours, count in (("down", "in", network.blocks), ("up", "out", network.blocks + 1)):
        for i in range(count):
            names |= residual(f"{theirs}_blocks.{i}.resnet_block", f"{ours}_0_{i}", theirs == "up")
            if network.attention_everywhere:
                names |= attention(f"{theirs}_blocks.{i}.attention_block", f"{ours}_0_{i}_attention")
    for i in range(2):
        names |= residual(f"mid_resnet_block_{i + 1}", f"middle_{i}", False)
    return names | attention("mid_attn_block", "middle_attention")


def _parameters(weights: dict[str, np.ndarray], network: UNetConfig) -> dict:
    parameters: dict[str, dict[str, np.ndarray]] = {}
    names = _names(network)
    for name, array in weights.items():
        theirs, _, part = name.rpartition(".")
        ours, array = names[theirs], np.asarray(array, np.float32)
        if part == "bias":
            leaf = "bias"
        elif array.ndim == 1:
            leaf = "scale"
        else:
            leaf, array = "kernel", array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        parameters.setdefault(ours, {})[leaf] = np.ascontiguousarray(array)
    missing = set(names.values()) - set(parameters)
    if missing:
        raise KeyError(f"no weights for {sorted(missing)}")
    return parameters
