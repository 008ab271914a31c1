"""What Algorithm 1 asks of a family, and what is asked of a way to reconstruct: the two boxes of the review's Figure 1.

*Transmit*, P(Y|X). The loop (uqdm.codec.loop) knows no process. For each step the `Model`, which is all that sender
and receiver share, says what to `expect` of it, from what both know; the sender's `State` then `send`s what the source
says, the receiver's `receive`s it, and both know the same again. A model asks its network, a state knows a picture:
states never ask the model back.

*Reconstruct*, P(X^|Y). A prefix of the stream leaves a state that is known in part. The model can always show its mean
(`Model.picture`); a `Reconstruction` (uqdm.reconstruction) may fill in what is missing otherwise.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from channel_sim.entropy import Reader, Writer

__all__ = [
    "HoldingState",
    "Model",
    "OptimizingState",
    "PixelState",
    "PreparedModel",
    "Reconstruction",
    "Residual",
    "State",
    "TimedModel",
    "steps_until",
    "times_of",
]


@runtime_checkable
class State(Protocol):
    """What sender and receiver both know of one picture; the sender's knows the source X as well."""

    @property
    def check_bytes(self) -> np.ndarray:
        """Two bytes, integers (2,), that depend on everything sent so far."""
        ...

    @property
    def partly_known(self) -> bool:
        """Whether a part of the next step is known."""
        ...

    def send(self, writer: Writer, step: int) -> None:
        """Sends a step that the model has said what to expect of, and updates the state."""
        ...

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`; False if the bytes determine a part of the step only, which the state then keeps.

        Raises:
          OverflowError: what was received means nothing, the message must be damaged.
        """
        ...

    def branch(self) -> "State":
        """A copy that can go its own way."""
        ...

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the state after so many steps can be that of a picture, uint8 (H, W, 3)."""
        ...


S = TypeVar("S", bound=State)


@runtime_checkable
class OptimizingState(Protocol):
    """A sender's state that can do better when it knows where the stream will end."""

    def optimizes_from(self, step: int) -> int:
        """The first step that it would send differently in a stream that ends in a step."""
        ...

    def optimized(self, last: int) -> "State":
        """A copy, before that step, that sends what is best for a stream that ends in step `last`."""
        ...


@runtime_checkable
class HoldingState(Protocol):
    """A state whose previews are what the sender, who sees the picture, says of them."""

    held: frozenset[int] | None
    """After which steps is shown what the last step showed that is not among them; None where nobody asks."""
    filtered: bool
    """Whether a model that filters previews may do so with these."""


@runtime_checkable
class Model(Protocol[S]):
    """What a sender and a receiver share: a process, its network, and states of its kind."""

    @property
    def family(self) -> str:
        """Names the row of `uqdm.library.FAMILIES` that says which residual and which reconstructions it has."""
        ...

    @property
    def name(self) -> str:
        """For people; has no meaning."""
        ...

    @property
    def id(self) -> bytes:
        """SHA-256 of the contents, 32 bytes."""
        ...

    @property
    def steps(self) -> int:
        """Steps of Algorithm 1, 1 to 255."""
        ...

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> S:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        ...

    def expect(self, states: Sequence[S], step: int) -> None:
        """Tells states of pictures of one size what to expect of a step: their references."""
        ...

    def picture(self, state: S, step: int) -> np.ndarray:
        """What is known after so many steps and a part of the next, denoised: uint8 (H, W, 3)."""
        ...


M_contra = TypeVar("M_contra", contravariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


@runtime_checkable
class Reconstruction(Protocol[M_contra, S_contra]):
    """A way to show what is known (review, Section IV-B): uqdm.reconstruction has those that are here."""

    @property
    def name(self) -> str:
        """What families call it that have it."""
        ...

    def show(self, model: M_contra, state: S_contra, step: int) -> np.ndarray:
        """The picture after so many steps, what is missing filled in: uint8 (H, W, 3).

        Raises:
          ValueError: the model's family has no such reconstruction.
        """
        ...


@runtime_checkable
class PixelState(Protocol):
    """What both sides know of pixels in a lossless residual; a class of pixels is a step."""

    known: np.ndarray
    """uint8 (H, W, 3), the pixels sent so far."""
    determined: np.ndarray
    """bool (H, W, 3), where `known` holds."""

    def branch(self) -> "PixelState":
        """A copy that can go its own way."""
        ...

    @property
    def check_bytes(self) -> np.ndarray:
        """Two bytes that depend on everything sent so far, the state before included."""
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
class Residual(Protocol[M_contra, S_contra]):
    """A way to send what is left of a picture after the steps of Algorithm 1 (review, after Algorithm 1)."""

    @property
    def id(self) -> bytes:
        """Names the residual in streams; at least 4 bytes."""
        ...

    def steps_before(self, model: M_contra) -> int:
        """After how many steps of a model the residual begins by default."""
        ...

    def start(self, model: M_contra, state: S_contra, step: int) -> PixelState:
        """Before the first class: `step` steps of a picture are known."""
        ...


@runtime_checkable
class TimedModel(Protocol):
    """A model whose steps do not share the time evenly."""

    @property
    def times(self) -> Sequence[float]:
        """t before the first step and after each, falling from 1 to 0: steps + 1 numbers."""
        ...


@runtime_checkable
class PreparedModel(Protocol):
    """A model whose programmes can be made ready while others already work."""

    def prepare(self, height: int, width: int, *, shown: bool, compiled: bool) -> None:
        """Begins to make ready what pictures of a size take, in the background.

        Args:
          height: of pictures, in pixels.
          width: likewise.
          shown: whether they will be shown, too.
          compiled: whether what was never compiled here is compiled, and not only what was is loaded.
        """
        ...


def times_of(model: Model) -> Sequence[float]:
    """t of Algorithm 1 before the first step of a model and after each."""
    if isinstance(model, TimedModel):
        return model.times
    return [1 - step / model.steps for step in range(model.steps + 1)]


def steps_until(tau: float, times: Sequence[float]) -> int:
    """How many steps Algorithm 1 sends when transmission ends at time `tau` in [0, 1]; `times` as of `times_of`."""
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must lie in [0, 1] (1 sends nothing, 0 sends every step), got {tau}")
    return sum(1 for time in times[1:] if time >= tau - 1e-9)
