"""A decoder of lossless residuals written from docs/format.md alone; sections are those of the document."""

import zlib

import numpy as np
from plain_decoder import (
    Cells,
    Decoder,
    Model,
    activate,
    band_pictures,
    convolve,
    floor_log2,
    limit,
    model_id,
    read_header,
    refine,
    rescale,
    table_rows,
    take_check,
    take_steps,
)

POSITIONS = ((0, 0), (1, 1), (0, 1), (1, 0))
LOW_NUMBERS = (8534080, 8139522, 7973257, 7925198, 7912632, 7909446)
SINGLE_NUMBERS = (8294985, 8402000, 8020914, 7863599, 7818483, 7806714)
DOUBLE_NUMBERS = (8062589, 8672942, 8068855, 7802478, 7725455, 7705316)
COLOURS = np.array([[37837, 37837, 37837], [46341, 0, -46341], [26755, -53510, 26755]])


def merge(low: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """Section 9.3: merging along the first axis."""

    def product(constant: int, values: np.ndarray) -> np.ndarray:
        return (constant * values + (1 << 15)) >> 16

    low, detail = product(57007, low), product(75340, detail)
    for low_constant, detail_constant in ((29066, 57862), (-3472, -103949)):
        low = low - product(low_constant, detail + np.concatenate([detail[:1], detail[:-1]]))
        detail = detail - product(detail_constant, low + np.concatenate([low[1:], low[-1:]]))
    return np.stack([low, detail], axis=1).reshape(-1, *low.shape[1:])


def merge_columns(low: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """Section 9.3: merging along the second axis."""
    return merge(low.swapaxes(0, 1), detail.swapaxes(0, 1)).swapaxes(0, 1)


def predict(state: Decoder) -> np.ndarray:
    """Section 10.2: P of all pixels of the blocks."""
    return synthesize(state, np.where(state.midpoints != 0, state.midpoints + 2 * state.shifts, 0))


def synthesize(state: Decoder, values: np.ndarray) -> np.ndarray:
    """Section 9.3: P of coefficients of doubled values v."""
    bands = band_pictures(values.reshape(state.shape))

    def scaled(band: np.ndarray, number: int) -> np.ndarray:
        factor = int(np.floor(number * state.config["finest_width"] + 0.5))
        return limit((band * factor + (1 << 19)) >> 20, 1 << 28)

    octaves = len(bands) - 1
    picture = scaled(bands[0][:, :, 0], LOW_NUMBERS[octaves - 1])
    for n in range(1, octaves + 1):
        octave = octaves - n
        first, second = (scaled(bands[n][:, :, i], SINGLE_NUMBERS[octave]) for i in range(2))
        third = scaled(bands[n][:, :, 2], DOUBLE_NUMBERS[octave])
        picture = merge(merge_columns(picture, second), merge_columns(first, third))
    return np.clip(((picture @ COLOURS + (1 << 19)) >> 20) + 32640, 0, 65280)


def quads(picture: np.ndarray) -> np.ndarray:
    """Section 10.3: (row, column, class, colour) of a picture (y, x, colour)."""
    return np.stack([picture[y::2, x::2] for y, x in POSITIONS], axis=2)


def features(state: Decoder, prediction: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Section 10.3: X; `residuals` are 256 x - P of the pixels that are known, and 0 elsewhere."""
    padded = np.pad(prediction, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    known = limit((quads(residuals) + 32) >> 6, 127)
    bands = band_pictures(abs(state.inputs).reshape(state.shape))
    parents = bands[-2].repeat(2, 0).repeat(2, 1) if len(bands) > 2 else np.zeros_like(bands[-1])
    parts = [
        known,
        abs(known),
        limit(quads(4 * prediction - around) >> 9, 127),
        limit((quads(prediction).sum(2) >> 10) - 128, 127),
        bands[-1],
        parents,
    ]
    return np.concatenate([part.reshape(*known.shape[:2], -1) for part in parts], axis=2)


def network(residual: Model, k: int, given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Section 10.4: locations, scales and slopes of the pixel of class k of every quad."""
    own = {f"integer/{name}": array[k] for name, array in residual.items() if name != "config"}
    active = given
    for name in ("first", "second", "third"):
        active = activate(own, name, convolve(own, name, active))
    outputs = rescale(own, "head", convolve(own, "head", active))
    outputs = outputs + rescale(own, "direct", convolve(own, "direct", given))
    location, scale, slope = np.split(outputs, 3, axis=2)
    return limit(location, 1 << 14), np.clip(scale, 128, 896), limit(slope, 1024)


def ratio_class(error: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Section 10.5: t."""
    magnitude = abs(error) + 8
    place = floor_log2(magnitude)
    return limit(((place << 6) + ((magnitude << 6) >> place) - 64 - scale) >> 5, 8) + 8


def decode_picture(data: bytes, model: Model, residual: Model) -> np.ndarray:
    """Section 10: the picture of a whole lossless stream."""
    header = read_header(data)
    if header.residual_id != model_id(residual)[:4]:
        raise ValueError("the stream was made with another residual, or with none")
    state, decoder, complete, words = take_steps(header, model)
    if complete < header.steps:
        raise ValueError("the stream is cut")
    prediction = predict(state)
    picture = np.zeros((header.height, header.width, 3), np.int64)
    residuals = np.zeros_like(prediction)
    crc = state.crc
    for k, (y, x) in enumerate(POSITIONS):
        places = np.s_[y : header.height : 2, x : header.width : 2]
        shape = picture[places].shape[:2]
        location, scale, slope = (
            part[: shape[0], : shape[1]] for part in network(residual, k, features(state, prediction, residuals))
        )
        expected = prediction[places] + location
        scales = [scale[..., colour] for colour in range(3)]
        errors = {}
        for colour, earlier in ((1, ()), (0, ((1, 0),)), (2, ((1, 1), (0, 2)))):
            mean = expected[..., colour]
            for other, row in earlier:
                mean = mean + ((slope[..., row] * errors[other] + 128) >> 8)
                scales[colour] = scales[colour] + residual["table"][k, row][ratio_class(errors[other], scales[other])]
            clipped = np.clip(mean, 0, 65280)
            base = (clipped + 128) >> 8
            at, scale_class = (clipped - 256 * base + 128).ravel(), ((scales[colour] + 4) >> 3).ravel()
            none = np.zeros(at.size, np.int64)
            cells = refine(model, decoder, Cells(none, none, none), 256, at, scale_class)
            sign = cells.sign.copy()
            inside = np.flatnonzero(sign == 0)
            rows = model["table/half"][table_rows(at[inside], scale_class[inside], np.full(inside.size, 256))]
            sign[inside] = [2 * decoder.symbol(row) - 1 for row in rows.tolist()]
            j = cells.low >> 8
            values = base + np.where(sign > 0, j, -j - 1).reshape(shape)
            if ((values < 0) | (values > 255)).any():
                raise ValueError("a pixel is out of range")
            picture[(*places, colour)] = values
            errors[colour] = 256 * values - mean
            crc = zlib.crc32(values.astype(np.uint8).tobytes(), crc)
        residuals[places] = 256 * picture[places] - prediction[places]
        if k == 3 or decoder.words >= words + 256:
            take_check(decoder, crc, f"class {k}")
            words = decoder.words
    return picture
