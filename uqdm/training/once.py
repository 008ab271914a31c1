"""Functions that run once, such as those that draw fresh parameters."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["once"]

T = TypeVar("T")

_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def once(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What a function gives, compiled as a whole and with little optimisation.

    That takes a fraction of the time of compiling it well, or its operations one by one.

    Args:
      function: of arrays.
      arguments: arrays.
      options: of `jax.jit`, such as out_shardings.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
        return function(*arguments)
    quickly = _QUICKLY if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=quickly, **options)(*arguments)
