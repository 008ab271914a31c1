"""What an optimisation carries from step to step, and a copy of it that is small enough for a repository.

The moving average of the weights theta, which is what is exported, is

    a_{n+1} = d_n a_n + (1 - d_n) theta_{n+1},      d_n = min(ema, (1 + n) / (10 + n)),                   (1)

so that after few steps it forgets the beginning as quickly as it must.

A copy in half precision (`write_half`, `read_half`) is an `.npz` file of all leaves by their names, such as
`parameters/entry/kernel`:

    parameters, average   float16: 11 bits of a weight, to within 3e-8
    optimizer             the upper halves of float32 (bfloat16), as uint16: moments of gradients keep their range, down
                          to 1e-38, which matters more than their digits
    single numbers        as they are: counters, learned scalars

That is 8 bytes per weight, half of a checkpoint, before compression. A training that goes on from it has nearly the
loss that it had.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["TrainState", "first_state", "next_state", "read_half", "write_half"]


class TrainState(NamedTuple):
    """What a checkpoint holds."""

    parameters: Any
    average: Any
    """Of the parameters, by Eq. 1."""
    optimizer: Any
    """The optimizer's state."""
    step: Any
    """Steps taken, int32."""


def first_state(parameters: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step; the average has buffers of its own, since a step gives them away."""
    average = jax.tree.map(jnp.array, parameters)
    return TrainState(parameters, average, optimizer.init(parameters), jnp.zeros((), jnp.int32))


def next_state(state: TrainState, gradients: Any, optimizer: optax.GradientTransformation, ema: float) -> TrainState:
    """The state after one step of the optimizer.

    Args:
      state: before.
      gradients: of the loss, a tree like the parameters.
      optimizer: as given to `first_state`.
      ema: largest decay of the average (Eq. 1).
    """
    updates, moments = optimizer.update(gradients, state.optimizer, state.parameters)
    parameters = optax.apply_updates(state.parameters, updates)
    taken = state.step.astype(jnp.float32)
    decay = jnp.minimum(ema, (1.0 + taken) / (10.0 + taken))
    average = optax.incremental_update(parameters, state.average, 1.0 - decay)
    return TrainState(parameters, average, moments, state.step + 1)


def write_half(state: TrainState, path: Path) -> None:
    """Writes a copy in half precision; a file that is there is replaced as a whole."""
    arrays = {}
    for name, leaf in _named(jax.device_get(state)).items():
        if leaf.dtype != np.float32 or leaf.size == 1:
            arrays[name] = leaf
        elif name.startswith("optimizer/"):
            arrays[name] = leaf.astype(jnp.bfloat16).view(np.uint16)
        else:
            arrays[name] = leaf.astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    partial.replace(path)


def read_half(path: Path, like: TrainState) -> TrainState:
    """Mirror image of `write_half`.

    Args:
      path: the file.
      like: a state of the same training, whose shapes, types and devices are taken.

    Raises:
      ValueError: the file holds no state of that form.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise ValueError(f"{path} is no state of a training: {error}") from error
    expected = _named(like)
    for name in sorted(expected.keys() | arrays.keys()):
        stored, wanted = (leaves[name].shape if name in leaves else "nothing" for leaves in (arrays, expected))
        if stored != wanted:
            raise ValueError(
                f"{path} is of another training: {name} is {stored} there and {wanted} here: give it the recipe it had"
            )
    leaves = [_placed(arrays[name], leaf) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(state: TrainState) -> dict[str, Any]:
    """Leaves by name, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _placed(array: np.ndarray, like: jax.Array) -> jax.Array:
    """An array of a file with another's type, where that is."""
    if array.dtype == np.uint16:
        array = array.view(jnp.bfloat16)
    array = array.astype(like.dtype)
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index])
