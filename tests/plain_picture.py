"""The pictures of whole streams, written from docs/format.md alone; sections are those of the document."""

import copy

import numpy as np
from plain_decoder import (
    Decoder,
    Model,
    RangeDecoder,
    band_pictures,
    cell_width,
    context,
    gather_bands,
    limit,
    local_network,
    read_header,
    take_check,
    trunk,
)
from plain_residual import synthesize


def head(model: Model, step: int, kinds: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Section 9.1: d0."""
    kernel = model["weight/estimate_head/kernel"].astype(np.int64)[0, 0]
    gain, bias = (model[f"weight/estimate_{name}"].astype(np.float64)[step, kinds] for name in ("gain", "bias"))
    ceiling = float(model["weight/ceilings"][-1])
    r = model["scale/estimate_head/kernel"].astype(np.float64).reshape(-1) * gain * (ceiling / 255 * 64)
    need = abs(r) * (abs(kernel).sum(0) * 255) + abs(bias * 64)
    mantissa, exponent = np.frexp(1.01 * (need + 0.5))
    shift = np.clip(31 - exponent + (mantissa == 0.5), 4, 30).astype(np.int64)
    multiplier = np.rint(r * 2.0**shift).astype(np.int64)
    offset = np.rint(bias * 64 * 2.0**shift + 2.0 ** (shift - 1)).astype(np.int64)
    return ((active @ kernel) * multiplier + offset) >> shift


def estimate(state: Decoder, step: int) -> np.ndarray:
    """Section 9.1: E of all coefficients, in ticks, after so many steps."""
    model, inputs, kinds = state.model, state.inputs.reshape(state.shape), state.channels.kind
    magnitudes, values = band_pictures(np.minimum(abs(inputs), 64)), band_pictures(limit(inputs, 96))
    d = head(model, step, kinds, trunk(model, step, state.config["network"]["blocks"], inputs))
    near = [context(model, step, band, magnitudes, values) for band in range(len(values))]
    local = [local_network(model, step, band, magnitudes, values)[0] for band in range(len(values))]
    d, logarithm = (
        d + gather_bands([a for a, _, _ in near]) + gather_bands(local),
        gather_bands([c for _, _, c in near]),
    )
    sign = model["weight/sign_weights"].astype(np.float64)[step]
    by_sign, by_logarithm = np.rint(sign[1] * 64), np.rint(0.1 * sign[2] * 4096)
    by_sign, by_logarithm = (limit(table, 32767).astype(np.int64)[kinds] for table in (by_sign, by_logarithm))
    d = limit(d + np.sign(inputs) * (by_sign + ((logarithm * by_logarithm + (1 << 15)) >> 16)), 2048).reshape(-1)
    left = state.left()
    levels = np.where(left, state.other_levels, state.zero_levels)
    width = np.where(levels < state.unseen, cell_width(levels), 1 << 30)
    zero = state.midpoints == 0
    middle = (state.midpoints >> 1) + state.shifts
    guess = np.where(zero, 0, middle) + ((d * model["level/std"][levels, state.channel] + (1 << 15)) >> 16)
    reach = np.where(zero, width, width // 2)
    return np.clip(guess, middle - reach, middle + reach)


def moved(values: np.ndarray, state: Decoder, chosen: np.ndarray, width: int) -> np.ndarray:
    """Section 9.2: estimates of before a step in the cells, of this width, that the step has given."""
    midpoints, shifts, values = state.midpoints[chosen], state.shifts[chosen], values.copy()
    zero, sign, middle = midpoints == 0, np.sign(midpoints), abs(midpoints) // 2
    low, high = middle - width // 2 + width // 5, middle + width // 2 - width // 5
    below = np.where(zero, -width, np.where(sign > 0, low, -high))
    above = np.where(zero, width, np.where(sign > 0, high, -low))
    values[chosen] = np.clip(values[chosen], below + shifts, above + shifts)
    return values


def held_steps(chunks: bytes) -> set[int]:
    """Section 1 and 9.2: the steps after which a picture is that of an earlier one."""
    held, position = set(), 0
    while position < len(chunks):
        kind, position, length, place = chunks[position], position + 1, 0, 0
        while True:
            length |= (chunks[position] & 127) << place
            place, position = place + 7, position + 1
            if chunks[position - 1] < 128:
                break
        if kind == 6:
            held = {8 * i + bit for i in range(length) for bit in range(8) if chunks[position + i] >> bit & 1}
        position += length
    return held - {0}


def after(steps: int, state: Decoder, before: Decoder | None) -> np.ndarray:
    """Section 9.2: what is shown after steps that are not held, in ticks; `before` was the state before the last."""
    shown = estimate(state, steps)
    if before is None:
        return shown
    weights = state.model.get("preview/trust", np.ones(steps + 1, np.float32))
    weight = round(2**15 * float(weights[steps]))
    step = state.steps[steps - 1]
    members = state.members(step)
    chosen = members[before.midpoints[members] == 0 if step.splitting else before.left()[members]]
    earlier = moved(estimate(before, steps - 1), state, chosen, cell_width(step.level))
    return earlier + (((shown - earlier) * weight + (1 << 14)) >> 15) if weight < 2**15 else shown


def show(data: bytes, model: Model) -> np.ndarray:
    """Section 9: the picture of a whole stream, uint8 (H, W, 3)."""
    header = read_header(data)
    state, decoder, words, before = Decoder(model, header), RangeDecoder(header.payload), 0, None
    held = held_steps(header.chunks)
    seen = 0, copy.deepcopy(state), before
    for step in range(header.steps):
        before = copy.deepcopy(state)
        state.take_step(step, decoder)
        if step + 1 not in held:
            seen = step + 1, copy.deepcopy(state), before
        if step + 1 == header.steps or decoder.words >= words + 256:
            take_check(decoder, state.crc, f"step {step + 1}")
            words = decoder.words
    picture = (synthesize(state, 2 * after(*seen)) + 128) >> 8
    return picture[: header.height, : header.width].astype(np.uint8)
