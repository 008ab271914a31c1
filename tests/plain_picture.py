"""The pictures of whole streams, written from docs/format.md alone; sections are those of the document."""

import copy
import json

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
    network_of,
    read_header,
    take_check,
    trunk,
)
from plain_residual import COLOURS, DOUBLE_NUMBERS, LOW_NUMBERS, SINGLE_NUMBERS, synthesize

LIMIT = 2**15 - 1


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
    number = min(step, len(state.steps) - 1)
    model, row, blocks, channels = network_of(state.model, state.config, state.steps, state.channels, number)
    row, kinds, seen = row + step - number, channels.kind, len(channels.kind)
    inputs = state.inputs.reshape(state.shape)[:, :, :seen]
    magnitudes, values = band_pictures(np.minimum(abs(inputs), 64)), band_pictures(limit(inputs, 96))
    d = head(model, row, kinds, trunk(model, row, blocks, inputs))
    near = [context(model, row, band, magnitudes, values) for band in range(len(values))]
    local = [local_network(model, row, band, magnitudes, values)[0] for band in range(len(values))]
    d, logarithm = (
        d + gather_bands([a for a, _, _ in near]) + gather_bands(local),
        gather_bands([c for _, _, c in near]),
    )
    sign = model["weight/sign_weights"].astype(np.float64)[row]
    by_sign, by_logarithm = np.rint(sign[1] * 64), np.rint(0.1 * sign[2] * 4096)
    by_sign, by_logarithm = (limit(table, 32767).astype(np.int64)[kinds] for table in (by_sign, by_logarithm))
    d = limit(d + np.sign(inputs) * (by_sign + ((logarithm * by_logarithm + (1 << 15)) >> 16)), 2048)
    d = np.pad(d, ((0, 0), (0, 0), (0, state.shape[2] - seen))).reshape(-1)
    left = state.left()
    levels = np.where(left, state.other_levels, state.zero_levels)
    width = np.where(levels < state.unseen, cell_width(levels), 1 << 30)
    zero = state.midpoints == 0
    middle = (state.midpoints >> 1) + state.shifts
    guess = np.where(zero, 0, middle) + ((d * state.model["level/std"][levels, state.channel] + (1 << 15)) >> 16)
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


def chunks_of(chunks: bytes) -> list[tuple[int, bytes]]:
    """Section 1: kinds and contents."""
    found, position = [], 0
    while position < len(chunks):
        kind, position, length, place = chunks[position], position + 1, 0, 0
        while True:
            length |= (chunks[position] & 127) << place
            place, position = place + 7, position + 1
            if chunks[position - 1] < 128:
                break
        found.append((kind, chunks[position : position + length]))
        position += length
    return found


def held_steps(chunks: bytes) -> set[int]:
    """Section 1 and 9.2: the steps after which a picture is that of an earlier one."""
    for kind, contents in chunks_of(chunks):
        if kind == 6:
            return {8 * i + bit for i, byte in enumerate(contents) for bit in range(8) if byte >> bit & 1} - {0}
    return set()


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


def fold(x: np.ndarray) -> np.ndarray:
    """2 x 2 positions as one."""
    return np.concatenate([x[row::2, column::2] for row in range(2) for column in range(2)], axis=-1)


def unfold(x: np.ndarray) -> np.ndarray:
    result = np.zeros((2 * x.shape[0], 2 * x.shape[1], x.shape[2] // 4), np.int64)
    for place, part in enumerate(np.split(x, 4, axis=-1)):
        result[place // 2 :: 2, place % 2 :: 2] = part
    return result


def filtered(model: Model, exact: np.ndarray, step: int) -> np.ndarray:
    """Section 9.4: Q of P, (H, W, 3)."""
    arrays = {name.removeprefix("preview/postfilter/"): model[name] for name in model if "postfilter" in name}
    network = json.loads(arrays["config"].tobytes())["network"]

    def rescaled(name: str, x: np.ndarray) -> np.ndarray:
        m, b, s = (
            (table if table.ndim == 1 else table[step]).astype(np.int64)
            for table in (arrays[f"{name}/{part}"] for part in ("multiplier", "offset", "shift"))
        )
        return (x * m + b) >> s

    def conv(name: str, x: np.ndarray) -> np.ndarray:
        kernel = arrays[f"{name}/kernel"].astype(np.int64)
        margin, (height, width) = len(kernel) // 2, x.shape[:2]
        padded = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
        places = [(row, column) for row in range(len(kernel)) for column in range(len(kernel))]
        return rescaled(name, sum(padded[r : r + height, c : c + width] @ kernel[r, c] for r, c in places))

    def active(name: str, x: np.ndarray) -> np.ndarray:
        return np.clip(rescaled(f"{name}/activation", x), 0, 255)

    def block(name: str, x: np.ndarray) -> np.ndarray:
        inside = np.clip(conv(f"{name}_first", active(f"{name}_first", x)), 0, 255)
        return limit(x + conv(f"{name}_second", inside), LIMIT)

    x, kept, levels = limit(conv("entry", fold(((exact + 128) >> 8) - 128)), LIMIT), [], len(network["widths"])
    for level in range(levels):
        if level:
            x = limit(conv(f"down_{level}", fold(active(f"down_{level}", x))), LIMIT)
        for i in range(network["blocks_in"][level]):
            x = block(f"in_{level}_{i}", x)
        kept.append(x)
    for level in reversed(range(levels)):
        if level < levels - 1:
            x = limit(kept[level] + unfold(conv(f"up_{level}", active(f"up_{level}", x))), LIMIT)
        for i in range(network["blocks_out"][level]):
            x = block(f"out_{level}_{i}", x)
    return np.clip(exact + unfold(limit(conv("head", active("head", x)), LIMIT)), 0, 65280)


def split(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Section 9.4, along an axis."""
    x = np.moveaxis(x, axis, 0)
    low, detail = x[0::2], x[1::2]
    for first, second in ((103949, 3472), (-57862, -29066)):
        detail = detail - ((first * (low + np.concatenate([low[1:], low[-1:]])) + 2**15) >> 16)
        low = low - ((second * (detail + np.concatenate([detail[:1], detail[:-1]])) + 2**15) >> 16)
    low, detail = (75340 * low + 2**15) >> 16, (57007 * detail + 2**15) >> 16
    return np.moveaxis(low, 0, axis), np.moveaxis(detail, 0, axis)


def analyse(pixels: np.ndarray, state: Decoder) -> np.ndarray:
    """Section 9.4: coefficients in ticks, flat."""
    bands, width = [], state.config["finest_width"]

    def ticks(band: np.ndarray, number: int) -> np.ndarray:
        f = int(np.floor(number * width + 0.5))
        return (2**20 * band + f) // (2 * f)

    low = ((pixels - 32640) @ COLOURS.T + 2**11) >> 12
    octaves = state.config["block"].bit_length() - 1
    for single, double in zip(SINGLE_NUMBERS[:octaves], DOUBLE_NUMBERS, strict=False):
        (low_rows, detail_rows) = split(low, 0)
        (low, o1), (o0, o2) = split(low_rows, 1), split(detail_rows, 1)
        bands.append(np.stack([ticks(o0, single), ticks(o1, single), ticks(o2, double)], axis=2))
    bands.append(ticks(low, LOW_NUMBERS[octaves - 1])[:, :, None])
    return gather_bands(bands[::-1]).reshape(-1)


def cells(state: Decoder) -> tuple[np.ndarray, np.ndarray]:
    """The ends of all cells, in ticks."""
    levels = np.where(state.left(), state.other_levels, state.zero_levels)
    width = np.where(levels < state.unseen, cell_width(levels), 1 << 40)
    middle = (state.midpoints >> 1) + state.shifts
    reach = np.where(state.midpoints == 0, width, width // 2)
    return middle - reach, middle + reach


def show(data: bytes, model: Model) -> np.ndarray:
    """Section 9: the picture of a whole stream, uint8 (H, W, 3)."""
    header = read_header(data)
    state, decoder, words, before = Decoder(model, header), RangeDecoder(header.payload), 0, None
    held, may = held_steps(header.chunks), 7 not in dict(chunks_of(header.chunks))
    seen = 0, copy.deepcopy(state), before
    for step in range(header.steps):
        before = copy.deepcopy(state)
        state.take_step(step, decoder)
        if step + 1 not in held:
            seen = step + 1, copy.deepcopy(state), before
        if step + 1 == header.steps or decoder.words >= words + 256:
            take_check(decoder, state.crc, f"step {step + 1}")
            words = decoder.words
    shown = after(*seen)
    if may and model.get("preview/postfilter/filtered", np.zeros(header.steps + 1))[seen[0]]:
        better = filtered(model, synthesize(state, 2 * shown), seen[0])
        shown = np.clip(analyse(better, state), *cells(state))
    picture = (synthesize(state, 2 * shown) + 128) >> 8
    return picture[: header.height, : header.width].astype(np.uint8)
