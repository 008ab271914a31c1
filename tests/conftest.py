"""Strict JAX for all tests, the shared data where it is, and a small untrained model."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

os.environ.setdefault("MPLBACKEND", "agg")

# Programmes are compiled once: processes of one run share them, and so do runs of one checkout.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / "build" / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of pictures and golden values that lies beside the project where it is developed."""
    if not SHARED.is_dir():
        pytest.skip("the folder of shared data is not here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model():
    """An untrained model of small blocks: codecs must be right whatever the network says."""
    from uqdm.nested.model import NestedModel
    from uqdm.nested.network import NetworkConfig, init
    from uqdm.nested.schedule import Schedule
    from uqdm.transforms.wavelet import layout

    channels = layout(8)
    prior_std = tuple((400.0 / (1 + channels.band) / (1 + (channels.colour > 0))).tolist())
    schedule = Schedule(block=8, finest_width=4.0, phases=((4, 0), (2, 1), (2, 2), (1, 0)), prior_std=prior_std)
    network = NetworkConfig(block=8, steps=len(schedule.steps), width=16, blocks=1, local_width=8)
    parameters = init(network, jax.random.key(0))
    return NestedModel.from_training(schedule=schedule, network=network, parameters=parameters, name="tiny")
