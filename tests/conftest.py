"""Strict JAX for all tests, the shared data where it is, and a small untrained model."""

import os
from pathlib import Path

import jax
import pytest
import type_checks

type_checks.install()

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

os.environ.setdefault("MPLBACKEND", "agg")

# Programmes are kept apart from the user's.
os.environ.setdefault("UQDM_CACHE", str(Path(__file__).resolve().parents[1] / "build" / "programmes"))

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
    """An untrained model of the nested process, of small blocks."""
    import model_cases

    return model_cases.tiny_model()


@pytest.fixture(scope="session")
def opened_model():
    """The same with an opening."""
    import model_cases

    return model_cases.opened_model()


@pytest.fixture(scope="module")
def compiled_quickly():
    """Programmes are compiled with little optimisation: right for those that are large and run a few times."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
