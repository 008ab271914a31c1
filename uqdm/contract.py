"""What the loop of Algorithm 1 asks of a process: the contract between codec, model and state.

The loop (uqdm.codec.api, uqdm.codec.loop) knows no process. For each step it lets the model say what it expects
(`refer`), and the state either send what the source says or receive it; both then know the same. A model has a process,
and makes states of its kind.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from channel_sim.entropy import Reader, Sampler, Writer

__all__ = ["Pixels", "Model", "State", "Residual", "steps_until"]


@runtime_checkable
class State(Protocol):
    """What sender and receiver both know of one picture; the sender's knows the source as well."""

    @property
    def check_bytes(self) -> np.ndarray:
        """Two bytes that depend on everything sent so far."""
        ...

    @property
    def begun(self) -> bool:
        """Whether a part of the next step is known."""
        ...

    def send(self, writer: Writer, step: int) -> None:
        """Sends a step, its references taken, and updates the state."""
        ...

    def receive(self, reader: "Reader | Sampler", step: int) -> bool:
        """Mirror image of `send`; False if the bytes determine a part of the step only, which the state then keeps.

        Raises:
          OverflowError: what was received means nothing, the message must be damaged.
        """
        ...

    def picture(self, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
        ...

    methods: tuple[str, ...]
    """Ways to reconstruct, "denoise" first."""

    def reconstruct(self, step: int, method: str, remaining_steps: int | None, seed: int) -> np.ndarray:
        """What is known after so many steps, continued: uint8 (H, W, 3).

        Args:
          step: complete steps.
          method: one of `methods`; "denoise" is `picture`.
          remaining_steps: how many more steps of the reverse process to take; None leaves it to the process.
          seed: of private randomness.
        """
        ...

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the state can be that of a picture."""
        ...


@runtime_checkable
class Model(Protocol):
    """What a sender and a receiver share."""

    @property
    def name(self) -> str:
        """For people; has no meaning."""
        ...

    @property
    def id(self) -> bytes:
        """SHA-256 of the contents, 32 bytes."""
        ...

    @property
    def steps(self) -> int: ...

    def begin(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> Any:
        """The `State` before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        ...

    def refer(self, states: Sequence[Any], step: int) -> None:
        """Asks the network what to expect of a step, for states of pictures of one size."""
        ...


@runtime_checkable
class Pixels(Protocol):
    """What both sides know of pixels in a lossless residual; a class of pixels is a step."""

    known: np.ndarray
    """uint8 (H, W, 3), the pixels sent so far."""
    determined: np.ndarray
    """bool (H, W, 3), where `known` holds."""

    @property
    def check_bytes(self) -> np.ndarray:
        """Two bytes that depend on everything sent so far."""
        ...

    def send(self, writer: Writer, picture: np.ndarray, index: int) -> None:
        """Sends the pixels of a class."""
        ...

    def receive(self, reader: Reader, index: int) -> bool:
        """Mirror image of `send`; False if the bytes do not determine all pixels of the class.

        Raises:
          OverflowError: what was received means nothing, the message must be damaged.
        """
        ...


@runtime_checkable
class Residual(Protocol):
    """A way to send what is left of a picture after the steps of Algorithm 1 (review, after Algorithm 1)."""

    @property
    def id(self) -> bytes:
        """Names the residual in streams; at least 4 bytes."""
        ...

    def steps(self, model: Any) -> int:
        """After how many steps of a model the residual begins by default."""
        ...

    def begin(self, state: Any, step: int, height: int, width: int) -> Pixels:
        """Before the first class: `step` steps of a picture of this size are known."""
        ...


def steps_until(tau: float, steps: int) -> int:
    """How many of all steps Algorithm 1 sends when transmission ends at time `tau` in [0, 1]."""
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must lie in [0, 1] (1 sends nothing, 0 sends every step), got {tau}")
    return math.floor((1 - tau) * steps + 1e-9)
