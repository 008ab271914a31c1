"""A stream with a lossless residual: steps of a model and four classes of pixels, composed into one model.

After the steps of Algorithm 1 both sides know a state; a `Residual` (uqdm.contract) then sends the pixels themselves,
class by class, given that state and the classes before. To the loop a class is a step like any other.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from channel_sim.entropy import Reader, Writer
from uqdm.contract import Model, PixelState, PreparedModel, Reconstruction, Residual

__all__ = ["ExactWhereKnown", "ResidualState", "WithResidual"]


class ResidualState:
    """What is known of one picture (uqdm.contract.State).

    Attributes:
      before: the state of the model's steps.
      pixels: what is known of pixels, once the first class is expected.
    """

    def __init__(self, before: Any, steps_before: int, picture: np.ndarray | None):
        self.before, self.pixels = before, None
        self._steps_before, self._picture = steps_before, picture
        self._class_begun = False

    pixels: PixelState | None

    @property
    def held(self) -> frozenset[int] | None:
        """Of the state before (uqdm.contract.HoldingState)."""
        return self.before.held

    @held.setter
    def held(self, steps: frozenset[int] | None) -> None:
        self.before.held = steps

    @property
    def filtered(self) -> bool:
        """Of the state before (likewise)."""
        return self.before.filtered

    @filtered.setter
    def filtered(self, filtered: bool) -> None:
        self.before.filtered = filtered

    @property
    def check_bytes(self) -> np.ndarray:
        """Those of the pixels, which depend on the state before them, or of that state."""
        return (self.pixels or self.before).check_bytes

    @property
    def partly_known(self) -> bool:
        """Whether a part of the next step is known."""
        return self.before.partly_known or self._class_begun

    def send(self, writer: Writer, step: int) -> None:
        """Sends a step or a class of pixels."""
        if self.pixels is None:
            self.before.send(writer, step)
        else:
            assert self._picture is not None, "only a state that was begun with a picture can send"
            self.pixels.send(writer, self._picture, step - self._steps_before)

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        if self.pixels is None:
            return self.before.receive(reader, step)
        complete = self.pixels.receive(reader, step - self._steps_before)
        self._class_begun = not complete
        return complete

    def branch(self) -> "ResidualState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.before, branch.pixels = self.before.branch(), self.pixels and self.pixels.branch()
        return branch

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the state before and all pixels that are known are those of a picture."""
        pixels = self.pixels
        if pixels is not None and (pixels.known != picture)[pixels.determined].any():
            return False
        return self.before.agrees_with(picture, min(step, self._steps_before))


@dataclass(frozen=True, kw_only=True, eq=False)
class WithResidual:
    """A model whose streams go on until the picture is exact (uqdm.contract.Model).

    Attributes:
      model: what sends the steps.
      residual: what sends the pixels.
      steps_before: how many steps of the model are sent.
      steps: those and the classes of the residual.
    """

    model: Model
    residual: Residual
    steps_before: int
    steps: int

    @property
    def family(self) -> str:
        return self.model.family

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def id(self) -> bytes:
        return self.model.id

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> ResidualState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3)."""
        return ResidualState(self.model.new_state(height, width, seed, picture), self.steps_before, picture)

    def prepare(self, height: int, width: int, *, shown: bool, compiled: bool) -> None:
        """Begins to make ready what the model's steps take (uqdm.contract.PreparedModel)."""
        if isinstance(self.model, PreparedModel):
            self.model.prepare(height, width, shown=shown, compiled=compiled)

    def expect(self, states: Sequence[ResidualState], step: int) -> None:
        """Tells states of pictures of one size what to expect of a step; pixels ask their own networks."""
        if step < self.steps_before:
            self.model.expect([state.before for state in states], step)
            return
        for state in states:
            if state.pixels is None:
                state.pixels = self.residual.start(self.model, state.before, self.steps_before)

    def picture(self, state: ResidualState, step: int) -> np.ndarray:
        """Pixels that are known exactly, the others denoised: uint8 (H, W, 3)."""
        return self.exact_where_known(state, step, self.model.picture)

    def exact_where_known(self, state: ResidualState, step: int, show: Any) -> np.ndarray:
        """Pixels that are known exactly, the others as `show(state before, steps)` has them: uint8 (H, W, 3)."""
        pixels, steps = state.pixels, min(step, self.steps_before)
        if pixels is None:
            return show(state.before, steps)
        if pixels.determined.all():
            return np.array(pixels.known)
        return np.where(pixels.determined, pixels.known, show(state.before, steps))


@dataclass(frozen=True)
class ExactWhereKnown:
    """A reconstruction of the state before a residual, under the pixels that are known exactly.

    Attributes:
      way: the reconstruction.
    """

    way: Reconstruction

    @property
    def name(self) -> str:
        return self.way.name

    def show(self, model: WithResidual, state: ResidualState, step: int) -> np.ndarray:
        return model.exact_where_known(state, step, lambda before, steps: self.way.show(model.model, before, steps))
