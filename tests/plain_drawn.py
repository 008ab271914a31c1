"""A decoder of pictures that were drawn, written from section 11 of docs/format.md alone: one pixel after the other."""

import math
import zlib

import numpy as np
from plain_decoder import RangeDecoder, read_header, take_check

BY_ROWS = [(-1, 0), (1, 0), (-1, -2), (-1, 2), (1, -2), (1, 2), (-2, 0), (-2, -2), (-2, 2)]
BY_ROWS += [(-1, -4), (-1, 4), (1, -4), (1, 4), (-3, 0), (3, 0), (-4, 0)]
BY_COLUMNS = [(0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (-1, -2), (-1, 2)]
BY_COLUMNS += [(0, -3), (0, 3), (1, -3), (1, 3), (-1, -3), (-1, 3), (-2, 0)]

Colour = tuple[int, int, int]


class Context:
    """Section 11.2."""

    def __init__(self, counts: list[int], step: int, limit: int):
        self.counts, self.step, self.limit = counts, step, limit

    def frequencies(self) -> list[int]:
        total, symbols = sum(self.counts), len(self.counts)
        found = [1 + c * (2**24 - symbols) // total for c in self.counts]
        found[self.counts.index(max(self.counts))] += 2**24 - sum(found)
        return found

    def halve(self) -> None:
        while sum(self.counts) > self.limit:
            self.counts = [(c + 1) >> 1 for c in self.counts]


def whose_at_first(context: int) -> Context | None:
    if context >= 112:
        return None
    counts = [1] * 8
    counts[context % 7] = 8 << context // 7 % 8
    return Context(counts, 32, 2**20)


def difference_at_first(mode: int, activity: int) -> Context:
    distances = [min(d, 256 - d) for d in range(256)]
    spread = max(0, activity - 2)
    counts = [1 + (64 >> min(7, e >> spread)) for e in distances] if mode else [1] * 256
    return Context(counts, 64, 2**19)


class Drawing:
    """What is known of a picture, and what was counted."""

    def __init__(self, decoder: RangeDecoder, height: int, width: int):
        self.decoder, self.height, self.width = decoder, height, width
        self.pixels: dict[tuple[int, int], Colour] = {}
        self.mode = decoder.symbol([5592406, 5592405, 5592405], 24)
        self.whose = {context: whose_at_first(context) for context in range(832)}
        self.coarse = [Context([24, 8, 4, 2, 2, 2, 1, 6], 4, 2**9) for _ in range(6)]
        self.numbers, self.numbered = Context([64], 32, 2**16), [(0, 0, 0)]
        self.differences = [[difference_at_first(self.mode, a) for a in range(8)] for _ in range(3)]
        self.bits = min(18, (2 * height * width).bit_length())
        self.slots: list[dict[int, tuple[Colour, int]]] = [{}, {}]

    def code(self, contexts: list[Context], counted: bool = True) -> list[int]:
        """Symbols under the counts before, which then count."""
        symbols = [self.decoder.symbol(context.frequencies(), 24) for context in contexts]
        if counted:
            count(contexts, symbols)
        return symbols

    def new_colours(self, means: list[Colour], activities: list[int]) -> list[Colour]:
        """Stage 3."""
        values, green = [[0, 0, 0] for _ in means], [0] * len(means)
        for colour in (1, 0, 2):
            contexts = [self.differences[colour][a] for a in activities]
            found = self.code(contexts, self.mode > 0)
            for own, mean, g, d in zip(values, means, green, found, strict=True):
                own[colour] = (mean[colour] + g + d) % 256
            green = found if colour == 1 else green
        return [(r, g, b) for r, g, b in values]

    def row(self, places: list[tuple[int, int]], around: list[tuple[int, int]], h: int) -> None:
        """Section 11.3."""
        neighbours = [self.neighbours(place, around, h) for place in places]
        chosen = [self.context(own) for own in neighbours]
        contexts = [self.whose[context] for context, _ in chosen]
        symbols = self.code(contexts, counted=False)
        colours = [
            own[s] if s < 6 else remembered for own, s, (_, remembered) in zip(neighbours, symbols, chosen, strict=True)
        ]
        new = [i for i, s in enumerate(symbols) if s == 7]
        numbers = [0] * len(new)
        if self.mode == 2 and len(self.numbered) > 1:
            numbers = self.code([self.numbers] * len(new))
        for i, number in zip(new, numbers, strict=True):
            colours[i] = self.numbered[number]
        fresh = [i for i, number in zip(new, numbers, strict=True) if number == 0]
        means = [tuple((a + b + 1) >> 1 for a, b in zip(*neighbours[i][:2], strict=True)) for i in fresh]
        for i, colour in zip(fresh, self.new_colours(means, [activity(neighbours[i]) for i in fresh]), strict=True):
            colours[i] = colour
        if self.mode == 2:
            for i in fresh:
                if colours[i] not in self.numbered[1:] and len(self.numbered) < 1024:
                    self.numbered.append(colours[i])
                    self.numbers.counts.append(32)
        count(contexts, symbols)
        by_pattern = [(self.coarse[(c - 112) % 6], s) for (c, _), s in zip(chosen, symbols, strict=True) if c >= 112]
        count([context for context, _ in by_pattern], [symbol for _, symbol in by_pattern])
        for table, amount in ((0, 16), (1, 9)):
            before = dict(self.slots[table])
            for own, colour in zip(neighbours, colours, strict=True):
                slot = self.slot(own[:amount])
                known, sure = before.get(slot, (None, 0))
                self.slots[table][slot] = colour, min(sure + 1, 7) if known == colour else 0
        self.pixels |= dict(zip(places, colours, strict=True))

    def neighbours(self, place: tuple[int, int], around: list[tuple[int, int]], h: int) -> list[Colour]:
        found = [(place[0] + h * down, place[1] + h * right) for down, right in around]
        inside = [(0 <= y < self.height and 0 <= x < self.width) for y, x in found]
        return [self.pixels[own if is_inside else found[0]] for own, is_inside in zip(found, inside, strict=True)]

    def slot(self, colours: list[Colour]) -> int:
        h = 0
        for red, green, blue in colours:
            h = (h + (red << 16 | green << 8 | blue) + 1) * 0x9E3779B97F4A7C15 % 2**64
        return h >> (64 - self.bits)

    def context(self, own: list[Colour]) -> tuple[int, Colour | None]:
        first = [own.index(colour) for colour in own[:6]]
        pattern = sum(label * math.factorial(j) for j, label in enumerate(first))
        if self.whose[112 + pattern] is None:
            coarse = self.coarse[pattern % 6].counts
            possible = [label == j for j, label in enumerate(first)] + [False, True]
            counts = [1 + (32 * c // sum(coarse) if may else 0) for c, may in zip(coarse, possible, strict=True)]
            self.whose[112 + pattern] = Context(counts, 32, 2**20)
        for table, amount in ((0, 16), (1, 9)):
            known = self.slots[table].get(self.slot(own[:amount]))
            if known:
                colour, sure = known
                k = own[:6].index(colour) if colour in own[:6] else 6
                return 7 * (8 * table + sure) + k, colour
        return 112 + pattern, None


def count(contexts: list[Context], symbols: list[int]) -> None:
    for context, symbol in zip(contexts, symbols, strict=True):
        context.counts[symbol] += context.step
    for context in contexts:
        context.halve()


def activity(own: list[Colour]) -> int:
    spread = max(max(values) - min(values) for values in zip(*own[:4], strict=True))
    return min(7, spread.bit_length())


def decode_drawn(data: bytes) -> np.ndarray:
    """The picture of a whole stream."""
    header = read_header(data)
    if header.model_id.hex() != "56ed53f5" or header.steps != 13:
        raise ValueError("not a whole stream of this kind")
    height, width = header.height, header.width
    decoder, crc, words = RangeDecoder(header.payload), 0, 0
    drawing = Drawing(decoder, height, width)
    for step in range(13):
        if step == 0:
            spacing = 64, 64
            for y in range(0, height, 64):
                places = [(y, x) for x in range(0, width, 64)]
                colours = drawing.new_colours([(128, 128, 128)] * len(places), [0] * len(places))
                drawing.pixels |= dict(zip(places, colours, strict=True))
        else:
            h = 32 >> (step - 1) // 2
            by_rows = step % 2 == 1
            spacing = (h, 2 * h) if by_rows else (h, h)
            for y in range(h, height, 2 * h) if by_rows else range(0, height, h):
                places = [(y, x) for x in range(0 if by_rows else h, width, 2 * h)]
                if places:
                    drawing.row(places, BY_ROWS if by_rows else BY_COLUMNS, h)
        lattice = [drawing.pixels[y, x] for y in range(0, height, spacing[0]) for x in range(0, width, spacing[1])]
        crc = zlib.crc32(bytes(value for pixel in lattice for value in pixel), crc)
        if step == 12 or decoder.words >= words + 256:
            take_check(decoder, crc, f"step {step}")
            words = decoder.words
    picture = [drawing.pixels[y, x] for y in range(height) for x in range(width)]
    return np.array(picture, np.uint8).reshape(height, width, 3)
