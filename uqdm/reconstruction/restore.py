"""What a network that was trained for that makes of a prefix (uqdm.conditional): its mean, and draws."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uqdm.conditional.model import ConditionalModel, flow_of
from uqdm.conditional.restoration import drawn, refined
from uqdm.nested.model import NestedModel
from uqdm.nested.state import NestedState

__all__ = ["Refine", "Restore"]


@dataclass(frozen=True, kw_only=True)
class Refine:
    """The mean of what is drawn: by the network of the flow, in floating point.

    Attributes:
      flow: whose network it is, or the path of its file; by default the one that the package has for the model.
    """

    flow: ConditionalModel | str | Path | None = None

    @property
    def name(self) -> str:
        return "refine"

    def show(self, model: NestedModel, state: NestedState, step: int) -> np.ndarray:
        return refined(model, _flow(self.flow, model), state, step)


@dataclass(frozen=True, kw_only=True)
class Restore:
    """A picture with the detail that pictures have, drawn; what was sent is never contradicted.

    Attributes:
      seed: of the private randomness: the same draw on one machine.
      evaluations: of the network. One takes a flow's whole way at once, and more are no better by any measure of ours;
        of a diffusion one is the mean, and draws take some 8.
      flow: the flow, or diffusion, or the path of its file; by default the one that the package has for the model.
      churn: noise that comes in on the way (uqdm.conditional.flow, Eq. 5, uqdm.conditional.diffusion, Eq. 2), for many
        evaluations; 0 adds none.

    Raises:
      ValueError: evaluations is below 1, or churn is no finite number or negative.
    """

    seed: int = 0
    evaluations: int = 1
    flow: ConditionalModel | str | Path | None = None
    churn: float = 0.0

    def __post_init__(self):
        if self.evaluations < 1:
            raise ValueError(f"the number of evaluations must be at least 1, got {self.evaluations}")
        if not 0 <= self.churn < float("inf"):
            raise ValueError(f"churn must be a number that is not negative, got {self.churn}")

    @property
    def name(self) -> str:
        return "restore"

    @property
    def mean(self) -> Refine:
        """Of what is drawn."""
        return Refine(flow=self.flow)

    def show(self, model: NestedModel, state: NestedState, step: int) -> np.ndarray:
        flow = _flow(self.flow, model)
        evaluations, seed, churn = self.evaluations, self.seed, self.churn
        return drawn(model, flow, state, step, evaluations=evaluations, seed=seed, churn=churn)


def _flow(given: ConditionalModel | str | Path | None, model: NestedModel) -> ConditionalModel:
    """The flow that is meant.

    Raises:
      ValueError: there is none for the model.
    """
    flow = flow_of(model) if given is None else given
    if isinstance(flow, str | Path):
        flow = ConditionalModel.from_bytes(Path(flow).read_bytes())
    if flow is None or not flow.restores(model):
        what = "the package has no flow for" if flow is None else "the flow was trained for another model than"
        raise ValueError(f"{what} the model {model.name!r}: choose another reconstruction, such as sample")
    return flow
