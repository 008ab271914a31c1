"""A decoder written from docs/format.md alone, slow and small; sections are those of the document."""

import binascii
import hashlib
import json
import zlib
from typing import NamedTuple

import numpy as np

Model = dict[str, np.ndarray]

ALL_CLASSES = frozenset(range(4))
PYRAMID = [frozenset({0}), frozenset({1}), frozenset({2, 3})]
REST = [frozenset({4, 5, 6, 7}), frozenset(range(8, 16))]
PHASES = {
    0: [],
    1: [ALL_CLASSES],
    2: [frozenset({0, 1}), frozenset({2, 3})],
    4: [frozenset({number}) for number in range(4)],
}


class EndOfStream(Exception):
    """The bytes at hand do not determine the next symbol."""


class Header(NamedTuple):
    model_id: bytes
    width: int
    height: int
    seed: int
    steps: int
    payload: bytes
    residual_id: bytes
    chunks: bytes = b""


def read_header(data: bytes) -> Header:
    """Section 1: the fields of the file's header, and what there is of its payload."""
    position = 8

    def read_byte() -> int:
        nonlocal position
        if position >= len(data):
            raise ValueError("the header is cut off")
        position += 1
        return data[position - 1]

    def read_integer(most_bytes: int) -> int:
        value = 0
        for number in range(most_bytes):
            byte = read_byte()
            value |= (byte & 127) << 7 * number
            if byte < 128:
                return value
        raise ValueError("a number in the header is too long")

    if data[:3] != b"\x8f\x55\x51":
        raise ValueError("not a stream of this format: wrong magic bytes")
    if data[3:4] not in (b"\x02", b"\x42", b"\x82", b"\xc2"):
        raise ValueError("not version 2 of the format")
    width, height, seed = read_integer(3), read_integer(3), read_integer(5)
    steps = read_byte()
    residual_id = bytes(read_byte() for _ in range(4)) if data[3] & 0x80 else b""
    length = written = read_integer(5)
    chunks = b""
    if data[3] & 0x40:
        skipped = read_integer(2)
        chunks = data[position : position + skipped]
        position += skipped
        written = read_integer(5)
        read_integer(4)
    checked = data[:position]
    if (read_byte() << 8 | read_byte()) != binascii.crc_hqx(checked, 0xFFFF):
        raise ValueError("the header's CRC is wrong")
    if not (1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= 1 << 26 and seed < 1 << 32):
        raise ValueError("a number in the header is out of range")
    if written > length:
        raise ValueError("more bytes were written than there are")
    return Header(data[4:8], width, height, seed, steps, data[position : position + written], residual_id, chunks)


def load_model(path: str) -> Model:
    """Section 2: the arrays of a model file."""
    with np.load(path) as arrays:
        return dict(arrays)


def model_id(model: Model) -> bytes:
    """Section 2: the id of a model."""
    digest = hashlib.sha256()
    for name, array in sorted(model.items()):
        if name.startswith("preview/"):
            continue
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode() + array.tobytes())
    return digest.digest()


class Channels(NamedTuple):
    """Section 3: of every channel its side, its row and column in the block, kind and colour; how many colours."""

    side: np.ndarray
    row: np.ndarray
    column: np.ndarray
    kind: np.ndarray
    colour: np.ndarray
    colours: int


def list_channels(block: int, colours: int) -> Channels:
    """Section 3: the channels of a block of block x block positions, in order."""
    channels = [(1, 0, 0, colour, colour) for colour in range(colours)]
    for octave in range(block.bit_length() - 1):
        side = 1 << octave
        for position in range(side * side):
            channels += [(side, position // side, position % side, 3 + 9 * octave + k, k % 3) for k in range(9)]
    return Channels(*np.array(channels).T, colours)


def parity_class(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Section 3: the class of a position."""
    return np.array([[0, 2], [3, 1]])[row % 2, column % 2]


def places(shape: tuple[int, ...]) -> np.ndarray:
    """Section 3: the places of all blocks of a grid."""
    row, column = np.indices(shape[:2])
    return 4 * parity_class(row, column) + parity_class(row // 2, column // 2)


def band_pictures(coefficients: np.ndarray, colours: int = 3) -> list[np.ndarray]:
    """Section 3: numbers (block row, block column, channel) as a picture (y, x, orientation, colour) for each band."""
    height, width, channels = coefficients.shape
    if colours != 3:
        return [coefficients[:, :, np.newaxis]]
    pictures = [coefficients[:, :, :3].reshape(height, width, 1, 3)]
    side = 1
    while 3 * side**2 < channels:
        octave = coefficients[:, :, 3 * side**2 : 12 * side**2].reshape(height, width, side, side, 3, 3)
        pictures.append(octave.swapaxes(1, 2).reshape(height * side, width * side, 3, 3))
        side *= 2
    return pictures


def gather_bands(pictures: list[np.ndarray]) -> np.ndarray:
    """Section 3: the inverse of band_pictures."""
    height, width = pictures[0].shape[:2]
    blocks = [pictures[0].reshape(height, width, -1)]
    for picture in pictures[1:]:
        side = len(picture) // height
        octave = picture.reshape(height, side, width, side, 3, 3).swapaxes(1, 2)
        blocks.append(octave.reshape(height, width, 9 * side**2))
    return np.concatenate(blocks, axis=2)


class Step(NamedTuple):
    """Section 4: a step; its members are the coefficients of its channels (a mask) in positions of its classes.

    The low-pass band of an opening has places of blocks in place of classes of positions.
    """

    level: int
    channels: np.ndarray
    classes: frozenset[int]
    splitting: bool
    by_place: bool = False


def list_steps(config: dict, prior_std: np.ndarray, channels: Channels) -> list[Step]:
    """Section 4: all steps of a model."""
    steps, side = [], channels.side
    fine = side >= config["block"] // 4 if config["block"] > 1 else np.arange(len(side)) >= len(side) // 4
    every, luma = np.ones_like(fine), channels.colour == 0
    low = np.arange(len(side)) < channels.colours
    seen = np.zeros_like(fine)
    levels, of_opening = len(config["phases"]), config.get("opening", {"levels": 0})["levels"]
    for level, (coarse_phases, fine_phases) in zip(reversed(range(levels)), config["phases"], strict=True):
        opening = level >= levels - of_opening
        taking_part = (prior_std > config["threshold"] * config["finest_width"] * 2**level) | (level == 0)
        groups = [(~fine, coarse_phases), (fine, fine_phases)] if fine_phases else [(every, coarse_phases)]
        if opening and not seen.any():
            steps += [Step(level, taking_part & low, places, True, True) for places in PYRAMID]
            for colours in (luma, ~luma):
                steps += [Step(level, taking_part & low & colours, places, True, True) for places in REST]
            groups = [(group & ~low, number) for group, number in groups]
        for group, number in groups:
            for colours in (luma, ~luma) if opening else (every,):
                if (members := taking_part & group & colours).any():
                    steps += [Step(level, members, classes, True) for classes in PHASES[number]]
        if coarse_phases:
            if seen.any():
                steps.append(Step(level, seen, ALL_CLASSES, False))
            seen = seen | taking_part
    return steps


def cell_width(level: np.ndarray | int) -> np.ndarray | int:
    """Section 4: the width of a level in ticks."""
    return 1 << (8 + level)


def threefry(key: tuple[int, int], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Section 5: Threefry-2x32 with 20 rounds."""
    mask = 0xFFFFFFFF
    schedule = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = x + schedule[0] & mask, y + schedule[1] & mask
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y & mask
            y = (y << rotation & mask | y >> 32 - rotation) ^ x
        x = x + schedule[(group + 1) % 3] & mask
        y = y + schedule[(group + 2) % 3] + group + 1 & mask
    return x, y


def shifts(seed: int, count: int) -> np.ndarray:
    """Section 5: the shifts of the first coefficients."""
    counter = np.arange(-(-count // 8))
    words = np.stack(threefry((seed, 0), counter & 0xFFFFFFFF, counter >> 32), axis=1)
    return words.astype("<u4").view(np.uint8).ravel()[:count].astype(np.int64) - 128


def floor_log2(values: np.ndarray) -> np.ndarray:
    """Section 6: the place of the highest set bit of positive integers below 2^53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def limit(values: np.ndarray, most: int) -> np.ndarray:
    """Section 6: lim."""
    return np.clip(values, -most, most)


def rescale(model: Model, name: str, values: np.ndarray, rows: tuple = (), offset_rows: tuple = ()) -> np.ndarray:
    """Section 6: a rescaling, with rows of all three tables, or of the offset alone."""
    multiplier, offset, shift = (model[f"integer/{name}/{part}"] for part in ("multiplier", "offset", "shift"))
    return (values * multiplier[rows] + offset[offset_rows or rows]) >> shift[rows]


def activate(model: Model, name: str, values: np.ndarray, rows: tuple = (), offset_rows: tuple = ()) -> np.ndarray:
    """Section 6: act."""
    return np.clip(rescale(model, name, values, rows, offset_rows), 0, 255)


def convolve(model: Model, name: str, values: np.ndarray) -> np.ndarray:
    """Section 6: name/kernel * values; as float64, but exact: all sums are integers far below 2^53."""
    kernel = model[f"integer/{name}/kernel"].astype(np.float64)
    height, width, margin = *values.shape[:2], len(kernel) // 2
    padded = np.pad(values.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)))
    sums = sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i, j in np.ndindex(kernel.shape[:2]))
    return sums.astype(np.int64)


class Network(NamedTuple):
    """Section 6: what is asked about a step."""

    model: Model
    """Arrays, named as those of models without an opening."""
    row: int
    """Of the step in its tables."""
    blocks: int
    channels: Channels
    """That it sees."""


def network_of(model: Model, config: dict, steps: list[Step], channels: Channels, step: int) -> Network:
    """Section 6: the network of a step."""
    if "opening" not in config:
        return Network(model, step, config["network"]["blocks"], channels)
    least = len(config["phases"]) - config["opening"]["levels"]
    of_opening = [one for one in steps if one.level >= least]
    if step >= len(of_opening):
        return Network(model, step - len(of_opening), config["network"]["blocks"], channels)
    block = 2 * max(channels.side[one.channels].max() for one in of_opening)
    arrays = {name.removeprefix("opening/"): array for name, array in model.items() if name.startswith("opening/")}
    return Network(arrays, step, config["opening"]["network"]["blocks"], list_channels(int(block), 3))


def trunk(model: Model, step: int, blocks: int, inputs: np.ndarray) -> np.ndarray:
    """Section 6: the last A of all blocks."""
    features = np.concatenate([inputs, np.minimum(abs(inputs), 48)], axis=2)
    classes = places(inputs.shape)
    if model["integer/entry/offset"].shape[1] == 4:
        classes = classes // 4
    residual = limit(rescale(model, "entry", convolve(model, "entry", features), (), (step, classes)), 32767)
    for i in range(blocks):
        active = activate(model, f"activation_{i}", residual, (step,))
        active = activate(model, f"first_{i}", convolve(model, f"first_{i}", active), (), (step,))
        residual = limit(residual + rescale(model, f"second_{i}", convolve(model, f"second_{i}", active)), 32767)
    return activate(model, "hidden", residual)


def neighbours(picture: np.ndarray, *offsets: tuple[int, int]) -> np.ndarray:
    """Section 6: the sum over the positions at these offsets (rows, columns), 0 outside."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return sum(padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in offsets)


def beside(picture: np.ndarray) -> np.ndarray:
    """Section 6: left + right."""
    return neighbours(picture, (0, -1), (0, 1))


def above_below(picture: np.ndarray) -> np.ndarray:
    """Section 6: above + below."""
    return neighbours(picture, (-1, 0), (1, 0))


def diagonal(picture: np.ndarray) -> np.ndarray:
    """Section 6: the sum over the 4 diagonal neighbours."""
    return neighbours(picture, (-1, -1), (-1, 1), (1, -1), (1, 1))


def window(picture: np.ndarray) -> np.ndarray:
    """Section 6: the 3 x 3 sums."""
    return picture + beside(picture) + above_below(picture) + diagonal(picture)


def others(picture: np.ndarray, axis: int) -> np.ndarray:
    """Section 6: the sum over the other orientations (axis 2) or colours (axis 3); channels of a latent have none."""
    return picture.sum(axis, keepdims=True) - picture if picture.shape[3] == 3 else np.zeros_like(picture)


def at_parent(parents: np.ndarray, band: int) -> np.ndarray:
    """Section 6: a picture of the band before, read at the parents of the coefficients of a band > 0."""
    return parents.repeat(3, 2) if band == 1 else parents.repeat(2, 0).repeat(2, 1)


def children(bands: list[np.ndarray], band: int) -> np.ndarray:
    """Section 6: the children of a band's coefficients, along a new first axis."""
    if band == 0:
        return np.moveaxis(bands[1], 2, 0)[:, :, :, np.newaxis]
    following = bands[band + 1]
    return np.stack([following[y::2, x::2] for y, x in np.ndindex(2, 2)])


def context(
    model: Model, step: int, band: int, magnitudes: list[np.ndarray], values: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Section 6: a1, b1 and L_0 of the coefficients of one band."""
    p, v = magnitudes[band], values[band]
    sums = window(p)
    none = np.zeros_like(p)
    terms = [
        p,
        beside(p),
        above_below(p),
        diagonal(p),
        window(sums) - sums,
        at_parent(magnitudes[band - 1], band) if band else none,
        at_parent(window(magnitudes[band - 1]), band) if band else none,
        others(p, 2),
        others(p, 3),
        children(magnitudes, band).sum(0) if band + 1 < len(magnitudes) else none,
    ]
    colours = p.shape[3]
    kinds = slice(9 * band - 6, 9 * band + 3) if band else slice(colours)

    def table(name: str, *rows: int | slice) -> np.ndarray:
        array = model[f"integer/context/{name}"][(step, *rows, kinds)].astype(np.int64)
        return array.reshape(*array.shape[:-1], -1, colours)

    product, logarithms = np.full_like(p, 1 << 13), []
    for i in range(2):
        weighted = table("bias", i) + sum(w * f for w, f in zip(table("weights", i, slice(None)), terms, strict=True))
        activity = np.clip(weighted, 0, (1 << 24) - 1 - 3277) + 3277
        exponent = floor_log2(activity)
        logarithms.append((exponent << 10) + (((activity << 10) >> exponent) - 1024) - (16 << 10))
        product += table("gain", i) * logarithms[i]
    weights = table("values", slice(None))
    estimate = weights[0] * beside(v) + weights[1] * above_below(v) + weights[2] * others(v, 3)
    return (estimate + (1 << 9)) >> 10, product >> 14, logarithms[0]


def local_network(
    model: Model, step: int, band: int, magnitudes: list[np.ndarray], values: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Section 6: a2 and b2 of the coefficients of one band."""
    i = band - max(1, len(values) - 2)
    if i < 0:
        return np.zeros_like(values[band]), np.zeros_like(values[band])
    features = [values[band], magnitudes[band], at_parent(magnitudes[band - 1], band)]
    if band + 1 < len(values):
        features.append(children(magnitudes, band).max(0))
    shape = values[band].shape
    active = np.concatenate([feature.reshape(*shape[:2], 9) for feature in features], axis=2)
    active = activate(model, f"local_first_{i}", convolve(model, f"local_first_{i}", active), (), (step,))
    active = activate(model, f"local_second_{i}", convolve(model, f"local_second_{i}", active), (), (step,))
    head = rescale(model, f"local_head_{i}", convolve(model, f"local_head_{i}", active), (step,))
    return head[:, :, :9].reshape(shape), head[:, :, 9:].reshape(shape)


def network(
    model: Model, step: int, blocks: int, channels: Channels, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Section 6: a and b of all coefficients (block row, block column, channel)."""
    magnitudes = band_pictures(np.minimum(abs(inputs), 64), channels.colours)
    values = band_pictures(limit(inputs, 96), channels.colours)
    active = trunk(model, step, blocks, inputs)
    a, b = np.split(rescale(model, "reference_head", convolve(model, "reference_head", active), (step,)), 2, axis=2)
    for part in (context, local_network):
        bands = [part(model, step, band, magnitudes, values)[:2] for band in range(len(values))]
        a_bands, b_bands = zip(*bands, strict=True)
        a, b = a + gather_bands(a_bands), b + gather_bands(b_bands)
    a = a + np.sign(inputs) * model["integer/sign"][step, channels.kind]
    b = b + (inputs == 0) * model["integer/zero_cell"][step, channels.kind]
    return limit(a, 1024), limit(b, 448)


def table_rows(locations: np.ndarray, scales: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Section 7: the rows of the tables for these locations, scale classes and units."""
    n = floor_log2(units)
    return 257 * (limit(scales - 8 * n, 32) + 32) + limit((locations + (1 << (n - 6))) >> (n - 5), 128) + 128


class RangeDecoder:
    """Section 8: the range coder; it knows the least and the greatest code word that the bytes at hand allow."""

    def __init__(self, payload: bytes):
        self.payload = payload
        self.position = 0
        self.range = (1 << 64) - 1
        self.words = 0
        self.least, self.greatest = self.read(8)

    def read(self, count: int) -> tuple[int, int]:
        """The next bytes as a number, missing ones filled by zero bits and by one bits."""
        part = self.payload[self.position : self.position + count]
        self.position += count
        return tuple(int.from_bytes(part.ljust(count, fill), "big") for fill in (b"\x00", b"\xff"))

    def symbol(self, frequencies: list[int], bits: int = 16) -> int:
        """The next symbol, of frequencies that sum to 2^16, or to another power of 2 up to 2^24."""
        step = self.range >> 24 << (24 - bits)
        start = 0
        for symbol, frequency in enumerate(frequencies):  # noqa: B007 - used after the loop
            size = step * frequency
            if self.least < start + size:
                break
            start += size
        else:
            raise ValueError("the payload is not a code word")
        if self.greatest >= start + size:
            raise EndOfStream
        self.least, self.greatest, self.range = self.least - start, self.greatest - start, size
        if self.range < 1 << 32:
            least, greatest = self.read(4)
            self.least, self.greatest = self.least << 32 | least, self.greatest << 32 | greatest
            self.range <<= 32
            self.words += 1
        return symbol


class Cells(NamedTuple):
    """Section 5: cells with a sign, low <= sign Y < low + width; zero cells have sign and low 0.

    A width of 0 stands for an infinite one: of what is unknown if the sign is 0, of an unbounded magnitude otherwise.
    """

    sign: np.ndarray
    low: np.ndarray
    width: np.ndarray


def refine(
    model: Model, decoder: RangeDecoder, cells: Cells, unit: int, locations: np.ndarray, scales: np.ndarray, f: int = 0
) -> Cells:
    """Section 8: the cells after the symbols of a step; f is here what is added to n."""
    sign, low, width = (array.copy() for array in cells)

    def decode(name: str, chosen: np.ndarray, location: np.ndarray, units: np.ndarray) -> np.ndarray:
        rows = model[f"table/{name}"][table_rows(location, scales[chosen], units)]
        return np.array([decoder.symbol(row) for row in rows.tolist()], dtype=np.int64)

    def refine_zero_cells() -> None:
        while (chosen := np.flatnonzero((sign == 0) & (width > unit))).size:
            half = width[chosen] // 2
            symbols = decode("zero", chosen, locations[chosen], half)
            sign[chosen] = symbols - 1
            low[chosen] = half * (symbols != 1)
            width[chosen] = half

    refine_zero_cells()
    chosen, first = np.flatnonzero((sign == 0) & (width == 0)), unit << f
    symbols = decode("first", chosen, locations[chosen], np.full_like(chosen, first))
    sign[chosen] = symbols - 1
    low[chosen] = first * (symbols != 1)
    width[chosen] = first * (symbols == 1)
    refine_zero_cells()

    while (chosen := np.flatnonzero(width == 0)).size:
        symbols = decode("outer", chosen, sign[chosen] * locations[chosen], low[chosen])
        width[chosen] = low[chosen] * (symbols == 0)
        low[chosen] <<= symbols
        if low.max() >= 1 << 30:
            raise ValueError("a magnitude is too large")

    while (chosen := np.flatnonzero(width > unit)).size:
        half = width[chosen] // 2
        symbols = decode("half", chosen, sign[chosen] * locations[chosen] - (low[chosen] + half), half)
        low[chosen] += half * symbols
        width[chosen] = half

    return Cells(sign, low, width)


class Decoder:
    """Sections 5 to 8: the state of all coefficients, and how steps change it. An unseen level is the number J."""

    def __init__(self, model: Model, header: Header):
        self.model = model
        self.config = json.loads(model["config"].tobytes())
        self.prior_std = model["prior_std"].astype(np.float64)
        block, side = self.config["block"], self.config["block"] * self.config.get("factor", 1)
        self.channels = list_channels(block, self.config["network"].get("colours", 3))
        self.steps = list_steps(self.config, self.prior_std, self.channels)
        self.shape = (-(-header.height // side), -(-header.width // side), len(self.channels.kind))
        self.unseen = len(self.config["phases"])
        count = int(np.prod(self.shape))
        self.channel = np.arange(count) % self.shape[2]
        self.shifts = shifts(header.seed, count)
        self.midpoints, self.inputs, self.locations, self.scales = np.zeros((4, count), np.int64)
        self.zero_levels, self.other_levels = np.full((2, count), self.unseen)
        self.crc = 0

    def left(self) -> np.ndarray:
        """Section 5: which coefficients have left."""
        return (self.other_levels < self.unseen) & (abs(self.midpoints) >= cell_width(self.other_levels + 1))

    def members(self, step: Step) -> np.ndarray:
        """Section 4: the flat indices of a step's members, in order."""
        block_classes = parity_class(*np.indices(self.shape[:2]))[:, :, np.newaxis]
        classes = np.where(
            self.channels.side == 1, block_classes, parity_class(self.channels.row, self.channels.column)
        )
        if step.by_place:
            classes = places(self.shape)[:, :, np.newaxis]
        member = (step.channels & np.isin(classes, list(step.classes))).ravel()
        by_channel = np.arange(member.size).reshape(-1, self.shape[2]).T
        ordered = by_channel[np.argsort(-self.prior_std, kind="stable")].ravel()
        return ordered[member[ordered]]

    def make_references(self, number: int, members: np.ndarray) -> None:
        """Section 7: the references of the members of a splitting step."""
        model, row, blocks, channels = network_of(self.model, self.config, self.steps, self.channels, number)
        seen = len(channels.side)
        inputs = self.inputs.reshape(self.shape)[:, :, :seen]
        outputs = network(model, row, blocks, channels, inputs)
        a, b = (array.reshape(-1, seen)[members // self.shape[2], members % self.shape[2]] for array in outputs)
        rows = self.zero_levels[members], self.channel[members]
        midpoints = self.midpoints[members]
        centres = np.where(midpoints != 0, midpoints >> 1, -self.shifts[members])
        self.locations[members] = centres + ((a * self.model["level/std"][rows] + (1 << 15)) >> 16)
        self.scales[members] = (b + self.model["level/log2_scale"][rows] + 4) >> 3

    def cells(self, chosen: np.ndarray) -> Cells:
        """Section 5: the cells of these coefficients."""
        zero_levels, midpoints = self.zero_levels[chosen], self.midpoints[chosen]
        levels = np.where(self.left()[chosen], self.other_levels[chosen], zero_levels)
        width = cell_width(levels) * (levels < self.unseen)
        return Cells(np.sign(midpoints), np.where(midpoints != 0, abs(midpoints) - width, 0) // 2, width)

    def by_slope(self, step: Step, chosen: np.ndarray) -> np.ndarray:
        """Section 8: zero cells and unknown coefficients in the order in which a splitting step sends them."""
        if step.by_place or "slope/zero" not in self.model:
            return chosen
        units = np.full(len(chosen), cell_width(step.level))
        rows = table_rows(self.locations[chosen], self.scales[chosen], units)
        unknown = self.zero_levels[chosen] == self.unseen
        slopes = np.where(unknown, self.model["slope/first"][rows], self.model["slope/zero"][rows]).astype(np.int64)
        return chosen[np.argsort(-slopes, kind="stable")]

    def take_step(self, number: int, decoder: RangeDecoder) -> None:
        """Section 8: decode a step; nothing but references has changed if its symbols are not determined."""
        step = self.steps[number]
        members = self.members(step)
        if step.splitting:
            self.make_references(number, members)
            chosen = self.by_slope(step, members[self.midpoints[members] == 0])
        else:
            chosen = members[self.left()[members]]
        cells = self.cells(chosen)
        unit = cell_width(step.level)
        cells = refine(self.model, decoder, cells, unit, self.locations[chosen], self.scales[chosen], 3 * step.by_place)

        midpoints = cells.sign * (2 * cells.low + cells.width)
        gains = self.model["level/input_gain"][step.level, self.channel[chosen]]
        sizes = (abs(midpoints + 2 * self.shifts[chosen]) * gains + (1 << 31)) >> 32
        self.inputs[chosen] = cells.sign * np.clip(sizes, 1, 127)
        self.midpoints[chosen] = midpoints
        self.crc = zlib.crc32(midpoints.astype("<i4").tobytes(), self.crc)
        if step.splitting:
            self.zero_levels[members] = step.level
            unseen = members[self.other_levels[members] == self.unseen]
            self.other_levels[unseen] = step.level
        else:
            self.other_levels[members] = step.level


def take_check(decoder: RangeDecoder, crc: int, where: str) -> None:
    """Section 8: a check value."""
    if [decoder.symbol([256] * 256) for _ in range(2)] != [crc >> 8 & 255, crc & 255]:
        raise ValueError(f"the check value after {where} is wrong")


def take_steps(header: Header, model: Model) -> tuple[Decoder, RangeDecoder, int, int]:
    """Section 8: state and range decoder after the last complete step, its number, and words at the last check value.

    A step is complete if all its symbols are determined; the check value after it may be missing.
    """
    if header.model_id != model_id(model)[:4]:
        raise ValueError("the stream was made with another model")
    state = Decoder(model, header)
    if header.steps > len(state.steps):
        raise ValueError("the stream has more steps than the model")
    decoder = RangeDecoder(header.payload)
    complete, words = 0, 0
    try:
        while complete < header.steps:
            state.take_step(complete, decoder)
            complete += 1
            if complete == header.steps or decoder.words >= words + 256:
                take_check(decoder, state.crc, f"step {complete}")
                words = decoder.words
    except EndOfStream:
        pass
    return state, decoder, complete, words


def decode_state(data: bytes, model: Model) -> tuple[np.ndarray, int]:
    """The doubled midpoints of all coefficients after the last complete step of a stream, and the step's number."""
    state, _, complete, _ = take_steps(read_header(data), model)
    return state.midpoints, complete
