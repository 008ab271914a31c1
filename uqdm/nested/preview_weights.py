"""How much to trust a fresh estimate: weights that make previews better on average and steadier for every picture.

After step s there are two estimates of the coefficients: a fresh one, x_s, from the network, which sees all that is
known, and the one from before the step, moved into the cells that the step sent, m(x_(s-1)). Fresh ones are better on
average, but not for every picture, and after a step about few coefficients hardly so: a picture may get worse by some
tenths of a decibel when the last byte of a step arrives. Errors of the two differ, so a mean of them is better:

    m(x_(s-1)) + w (x_s - m(x_(s-1))),        w = c_s + (1 - c_s) p                                          (1)

where p, the share of the next step that has arrived, fades the fresh estimate in, and c_s is the weight of the largest
mean PSNR over some pictures. Nothing that is transmitted depends on it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from channel_sim.entropy import Writer
from uqdm.nested.model import NestedModel
from uqdm.nested.preview import earlier_estimate, fresh_estimate

__all__ = ["fit_preview_weights"]

_WEIGHTS = np.linspace(0.0, 1.0, 21)
_ROUNDING = 1 / 12
"""Mean squared error of what is rounded to whole pixel values."""


def fit_preview_weights(model: NestedModel, pictures: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Float[np.ndarray, " t"]:
    """The weights c_0, ..., c_T of Eq. 1, float32 (steps + 1,); the first is 1.

    Args:
      model: of which `NestedModel.with_preview_weights` makes a model that uses them.
      pictures: to measure on; two hundred views of 64 x 64 pixels are enough.

    Raises:
      ValueError: there are no pictures.
    """
    errors = [_squared_errors(model, picture, seed) for seed, picture in enumerate(pictures)]
    if not errors:
        raise ValueError("there are no pictures to measure on")
    mean_log = np.log(np.add(errors, _ROUNDING)).mean(0)
    return np.concatenate([[1.0], _WEIGHTS[mean_log.argmin(1)]]).astype(np.float32)


def _squared_errors(model: NestedModel, picture: np.ndarray, seed: int) -> Sequence[np.ndarray]:
    """Mean squared error after every step, with every weight: (steps, weights)."""
    height, width = picture.shape[:2]
    state, source = model.new_state(height, width, seed, picture), model.source
    wanted, errors = source.comparable(picture), []
    for step in range(model.steps):
        model.expect([state], step)
        state.send(Writer(), step)
        both = earlier_estimate(model, state, step + 1), fresh_estimate(model, state, step + 1)
        earlier, fresh = (source.compared(one) for one in both)
        error, change = wanted - earlier, fresh - earlier
        # Squares of (error - w change), as a polynomial.
        of_error, mixed, of_change = (np.mean(a * b) for a, b in ((error, error), (error, change), (change, change)))
        errors.append(of_error - 2 * _WEIGHTS * mixed + _WEIGHTS**2 * of_change)
    return errors
