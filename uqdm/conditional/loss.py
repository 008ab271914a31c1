"""The loss of conditional flows and diffusions, on states that are drawn as prefixes would leave them.

A state after a random step, its preview y and a start x_0 take one evaluation of the nested network, no coding. With
x' the prediction at a time t, and c the root mean square of y's error after the step, the loss of a picture is

    |x' - x_1|^2 / (c^2 q(t)^2 pixels)                                                       (1)

q what a point has of its start (uqdm.conditional.paths): for the flow it is the squared error of Eq. 2 of
`uqdm.conditional.flow` in units that are alike for all steps, for the diffusion that of its v (Salimans and Ho 2022);
t is 0 for a share of the pictures, since the first evaluation is the one that everybody sees. For another share of the
flow's the target is not x_1 but where two steps of half the length lead that the averaged network takes
(uqdm.conditional.flow, Eq. 4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from uqdm.conditional.errors import Errors, kinds
from uqdm.conditional.network import Condition
from uqdm.conditional.paths import PATHS, point
from uqdm.nested.loss import Known, NestedLoss
from uqdm.nested.network import Inputs, Outputs
from uqdm.nested.process import LOGISTIC_SCALE
from uqdm.transforms.wavelet import analysis, synthesis

__all__ = ["Ends", "Prefixes", "path_loss"]

_LEAST = 0.05
"""Errors count as at this q where it is less."""


class Ends(NamedTuple):
    """Both ends of the way, and what leads: pictures (n, H, W, 3)."""

    start: Array
    preview: Array
    picture: Array


class Estimates(NamedTuple):
    """Of coefficients after some steps, each (n, h, w, C) in pixel values."""

    coefficients: Array
    known: Known
    estimate: Array
    log_scale: Array
    """Natural logarithms of the scales of references."""


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Draws states of pictures, as prefixes of their streams leave them.

    Attributes:
      terms: of the nested process.
      network: the nested network, from `Inputs` to `Outputs`.
    """

    terms: NestedLoss
    network: Callable[[Inputs], Outputs]

    @property
    def block(self) -> int:
        """Side of the blocks in pixels."""
        return self.terms.schedule.block

    def estimates(self, pictures: Float[Array, "n H W 3"], step: Int[Array, " n"], key: PRNGKeyArray) -> "Estimates":
        """What is known and thought of pictures after so many steps."""
        coefficients = analysis(pictures, self.block)
        known = self.terms.known(coefficients, step, key)
        outputs = self.network(known.inputs)
        log_scale = outputs.log2_scale * np.log(2) + jnp.log(LOGISTIC_SCALE * known.prior.std)
        return Estimates(coefficients, known, known.estimate(outputs), log_scale)

    def ends(
        self, pictures: Float[Array, "n H W 3"], step: Int[Array, " n"], errors: Errors, key: PRNGKeyArray
    ) -> Ends:
        """Starts and ends of the flow for pictures of which a number of steps were sent."""
        shifts, noise = jax.random.split(key)
        coefficients, known, estimate, log_scale = self.estimates(pictures, step, shifts)
        offset, slope = (jnp.asarray(table)[step][:, None, None, kinds(self.block)] for table in errors[:2])
        spread = jnp.exp(offset + slope * log_scale)
        start = known.moved(estimate + spread * jax.random.normal(noise, coefficients.shape))
        return Ends(synthesis(start, self.block), synthesis(estimate, self.block), pictures)

    def diffused(
        self, pictures: Float[Array, "n H W 3"], step: Int[Array, " n"], errors: Errors, key: PRNGKeyArray
    ) -> Ends:
        """The same for the diffusion: starts are previews with white noise."""
        shifts, noise = jax.random.split(key)
        preview = synthesis(self.estimates(pictures, step, shifts).estimate, self.block)
        scale = jnp.asarray(errors.of_pixels)[step][:, None, None, None]
        return Ends(preview + scale * jax.random.normal(noise, preview.shape), preview, pictures)

    def shown(
        self, pictures: Float[Array, "n H W 3"], step: Int[Array, " n"], key: PRNGKeyArray
    ) -> Float[Array, "n H W 3"]:
        """What prefixes show of pictures of which a number of steps were sent, within 0 ... 255."""
        return jnp.clip(synthesis(self.estimates(pictures, step, key).estimate, self.block), 0, 255)

    def errors(self, pictures: Float[Array, "n H W 3"], step: Int[Array, " n"], key: PRNGKeyArray) -> tuple[Array, ...]:
        """Errors of estimates, logarithms of scales, and mean squared errors of pixels (n,)."""
        coefficients, _, estimate, log_scale = self.estimates(pictures, step, key)
        shown = jnp.clip(synthesis(estimate, self.block), 0, 255)
        return estimate - coefficients, log_scale, jnp.mean(jnp.square(shown - pictures), axis=(1, 2, 3))


def path_loss(
    predict: Callable[[Array, Array, Condition], Array],
    path: str,
    ends: Ends,
    given: Condition,
    target: Array | None = None,
) -> Float[Array, " n"]:
    """Eq. 1, per picture, at the time that is `given`; `target` in place of the picture."""
    x = point(path, ends.start, ends.preview, ends.picture, given.t)
    wanted = ends.picture if target is None else target
    squared = jnp.mean(jnp.square(predict(x, ends.preview, given) - wanted), axis=(1, 2, 3))
    return squared / jnp.square(given.error * jnp.maximum(PATHS[path](given.t)[1], _LEAST))
