"""From what a prefix tells to a picture that it may be of, by the conditional flow or diffusion.

The picture is made in pixels and then moved into the cells: nothing that was sent is contradicted.
"""

from collections.abc import Callable

import numpy as np

from uqdm.conditional.diffusion import denoise
from uqdm.conditional.errors import kinds
from uqdm.conditional.flow import follow, follow_with_noise
from uqdm.conditional.model import ConditionalModel
from uqdm.nested.model import NestedModel
from uqdm.nested.preview import mean_estimate
from uqdm.nested.process import TICKS
from uqdm.nested.state import NestedState
from uqdm.transforms.integer_wavelet import PIXEL_UNITS, synthesis
from uqdm.transforms.wavelet import analysis

__all__ = ["drawn", "refined"]


def drawn(
    model: NestedModel,
    flow: ConditionalModel,
    state: NestedState,
    step: int,
    *,
    evaluations: int,
    seed: int,
    churn: float = 0.0,
) -> np.ndarray:
    """A draw of the picture after so many steps and a part of the next, uint8 (H, W, 3).

    Args:
      model: of the state.
      flow: trained on prefixes of the model's streams; a diffusion is the same here.
      state: what is known.
      step: complete steps.
      evaluations: of the network; 1 takes the whole way at once (of a diffusion it is the mean).
      seed: of the private randomness.
      churn: c of uqdm.conditional.flow, Eq. 5, or of uqdm.conditional.diffusion, Eq. 2; with 0 no noise comes in.
    """

    def way(fresh: Callable[[], np.ndarray], preview: np.ndarray) -> np.ndarray:
        def predict(x: np.ndarray, t: float, s: float) -> np.ndarray:
            return flow.predict(x, preview, step, t, s)

        if flow.network.path == "diffusion":
            return denoise(lambda x, t: predict(x, t, t), fresh(), preview, fresh, evaluations, churn)
        if churn:
            return follow_with_noise(predict, fresh(), preview, fresh, evaluations, churn)
        return follow(predict, fresh(), evaluations, shortcuts=True)

    return _restored(model, flow, state, step, seed, way)


def refined(model: NestedModel, flow: ConditionalModel, state: NestedState, step: int) -> np.ndarray:
    """The mean of what the picture may be, as the flow's network estimates it at t = 0, uint8 (H, W, 3)."""
    return _restored(model, flow, state, step, 0, lambda fresh, preview: flow.predict(fresh(), preview, step, 0.0, 0.0))


def _restored(
    model: NestedModel,
    flow: ConditionalModel,
    state: NestedState,
    step: int,
    seed: int,
    way: Callable[[Callable[[], np.ndarray], np.ndarray], np.ndarray],
) -> np.ndarray:
    """Where a way leads from starts, drawn one after the other, and the preview, moved into the cells."""
    if step == model.steps:
        return model.picture(state, step)  # nothing is missing
    schedule, (height, width) = model.schedule, state.size
    tick = schedule.finest_width / TICKS
    low, high = (end.reshape(state.grid.shape) for end in state.bounds(step))
    estimate = mean_estimate(model, state, step)
    rng = np.random.default_rng(seed)

    def pixels(ticks: np.ndarray) -> np.ndarray:
        exact = synthesis(2 * ticks, model.block, schedule.finest_width)
        return exact.astype(np.float32) / np.float32(PIXEL_UNITS)

    preview = pixels(estimate)
    if flow.network.path == "diffusion":

        def fresh() -> np.ndarray:
            return preview + flow.errors.of_pixels[step] * rng.standard_normal(preview.shape, np.float32)
    else:
        offset, slope = (table[step][kinds(model.block)] for table in flow.errors[:2])
        log_spread = np.minimum(offset + slope * model.log_scales(state, step), np.float32(6))  # below 400 pixel values
        spread = np.exp(log_spread) / np.float32(tick)

        def fresh() -> np.ndarray:
            noise = rng.standard_normal(estimate.shape, np.float32) * spread
            return pixels(np.clip(estimate + np.rint(noise).astype(np.int64), low, high))

    shown = way(fresh, preview)
    ticks = np.rint(analysis(np.clip(shown, 0, 255)[None], model.block)[0] / np.float32(tick)).astype(np.int64)
    return model.pixels(np.clip(ticks, low, high).astype(np.int32))[:height, :width]
