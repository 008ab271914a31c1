"""A decoder of pictures that were drawn, written from section 11 of docs/format.md alone: one pixel after the other."""

import math
import zlib

import numpy as np
from plain_decoder import RangeDecoder, read_header, take_check

AT_FIRST = [(-1, 0), (-1, -1), (-1, 1), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-3, 0)]
AT_FIRST += [(-2, -2), (-2, 2), (-1, -3), (-1, 3), (-3, -1), (-3, 1), (-4, 0)]
BY_ROWS = [(-1, 0), (1, 0), (-1, -2), (-1, 2), (1, -2), (1, 2), (-2, 0), (-2, -2), (-2, 2)]
BY_ROWS += [(-1, -4), (-1, 4), (1, -4), (1, 4), (-3, 0), (3, 0), (-4, 0)]
BY_COLUMNS = [(0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (-1, -2), (-1, 2)]
BY_COLUMNS += [(0, -3), (0, 3), (1, -3), (1, 3), (-1, -3), (-1, 3), (-2, 0)]

Colour = tuple[int, int, int]


LOGARITHMS = [((2 * n + 1) ** 256).bit_length() - 1 for n in range(4096)]
CANDIDATES = 8


def slot_of(values: list[int], bits: int) -> int:
    """Sections 11.2 and 11.3."""
    h = 0
    for v in values:
        h = (h + v + 1) * 0x9E3779B97F4A7C15 % 2**64
    return h >> (64 - bits)


def frequency_of_one(z: int) -> int:
    root = 1 << (256 * 40 + z)
    for _ in range(8):
        root = math.isqrt(root)
    return max(1, 2**24 * root // (root + 2**40))


def within(value: int, limit: int) -> int:
    return min(max(value, -limit), limit)


class Kind:
    """Decisions of one kind (section 11.2)."""

    def __init__(self, decoder: RangeDecoder, bits: int, sets: int):
        self.decoder, self.bits = decoder, bits
        self.counts: list[dict[int, list[int]]] = [{} for _ in range(6)]
        self.weights = [[11000] * 6 for _ in range(sets)]
        self.row: list[tuple[list[int], list[int], int, int, int]] = []

    def decide(self, contexts: list[list[int]], chosen: int) -> int:
        slots = [slot_of(values, self.bits) for values in contexts]
        counted = [table.setdefault(slot, [0, 0]) for table, slot in zip(self.counts, slots, strict=True)]
        s = [LOGARITHMS[ones] - LOGARITHMS[zeros] for zeros, ones in counted]
        z = within(sum(w * own for w, own in zip(self.weights[chosen], s, strict=True)) >> 16, 4095)
        ones = frequency_of_one(z)
        d = self.decoder.symbol([2**24 - ones, ones], 24)
        self.row.append((slots, s, chosen, d, (d << 16) - (ones >> 8)))
        return d

    def learn(self) -> None:
        for chosen, weights in enumerate(self.weights):
            own = [made for made in self.row if made[2] == chosen]
            for i in range(6):
                gradient = sum(error * s[i] for _, s, _, _, error in own)
                weights[i] = within(weights[i] + (gradient // max(1, len(own) // 4) >> 15), 2**18)
        for i, table in enumerate(self.counts):
            falls = {(slots[i], 1 - d) for slots, _, _, d, _ in self.row}
            for slot, outcome in falls:
                if table[slot][outcome] > 6:
                    table[slot][outcome] = (table[slot][outcome] + 6) >> 1
            for slots, _, _, d, _ in self.row:
                table[slots[i]][d] += 1
            for slot in {slots[i] for slots, *_ in self.row}:
                while sum(table[slot]) > 4095:
                    table[slot] = [n >> 1 for n in table[slot]]
        self.row = []


class Drawing:
    """What is known of a picture, and what was learned."""

    def __init__(self, decoder: RangeDecoder, height: int, width: int):
        self.decoder, self.height, self.width = decoder, height, width
        self.pixels: dict[tuple[int, int], Colour] = {}
        self.mode = decoder.symbol([5592406, 5592405, 5592405], 24)
        self.bits = min(18, (4 * height * width).bit_length())
        self.whose, self.numbers, self.differences = (Kind(decoder, self.bits, sets) for sets in (16, 11, 30))
        self.numbered = [-1]
        self.memories: list[dict[int, tuple[int, int]]] = [{}, {}]

    def row(self, places: list[tuple[int, int]], around: list[tuple[int, int]], h: int) -> None:
        """Section 11.3."""
        neighbours = [self.neighbours(place, around, h) for place in places]
        c = [[packed(colour) for colour in own] for own in neighbours]
        slots = [[slot_of(own[:amount], self.bits) for amount in (16, 9)] for own in c]
        known = [[memory.get(slot) for memory, slot in zip(self.memories, own, strict=True)] for own in slots]
        found = self.candidates(c, known)
        if self.mode == 2 and len(self.numbered) > 1:
            self.number(neighbours, c, known, found)
        new = [i for i, colour in enumerate(found) if colour is None]
        for i, colour in zip(new, self.new_colours([neighbours[i] for i in new]), strict=True):
            found[i] = packed(colour)
        for kind in (self.whose, self.numbers, self.differences):
            kind.learn()
        for i in new if self.mode == 2 else []:
            if found[i] not in self.numbered and len(self.numbered) < 1024:
                self.numbered.append(found[i])
        for table in (0, 1):
            before = dict(self.memories[table])
            for own, colour in zip(slots, found, strict=True):
                known, sure = before.get(own[table], (None, 0))
                self.memories[table][own[table]] = colour, min(sure + 1, 7) if known == colour else 0
        self.pixels |= {place: unpacked(colour) for place, colour in zip(places, found, strict=True)}

    def candidates(self, c: list[list[int]], known: list[list[tuple[int, int] | None]]) -> list[int | None]:
        """Stage 1."""
        found: list[int | None] = [None] * len(c)
        every = [[k[0] if k else None for k in own] + colours[:6] for own, colours in zip(known, c, strict=True)]
        for candidate in range(CANDIDATES):
            for i, own in enumerate(every):
                v = own[candidate]
                if found[i] is not None or v is None or v in own[:candidate]:
                    continue
                m = sum(1 << other for other, colour in enumerate(own) if colour == v)
                t = [k[1] + 1 if k else 0 for k in known[i]]
                q = len({colour for colour in own[:candidate] if colour is not None})
                labels = [c[i].index(colour) for colour in c[i]]
                contexts = [[m, *t, q], [*labels[1:6], m], [*c[i][:6], v], [*c[i][:4], m & 3, v]]
                contexts += [[*c[i][:2], m, q, v], [*labels[1:], m]]
                if self.whose.decide(contexts, 4 * min(q, 3) + 2 * (t[0] > 0) + (t[1] > 0)):
                    found[i] = v
        return found

    def number(self, neighbours: list[list[Colour]], c: list[list[int]], known, found: list[int | None]) -> None:
        """Stage 2."""
        nodes = {}
        for i in [i for i, colour in enumerate(found) if colour is None]:
            own = neighbours[i]
            t = [k[1] + 1 if k else 0 for k in known[i]]
            lists = [[activity(own)], c[i][:1], c[i][:2], c[i][:4], slopes([colour[1] for colour in own[:4]]), t]
            if self.numbers.decide(lists, 10):
                nodes[i] = 1
        for bit in reversed(range(10)):
            for i, k in nodes.items():
                d = int(k == 512)
                if ((2 * k + 1) << bit) - 1024 <= len(self.numbered) - 1 and k != 512:
                    lists = [[], c[i][:1], c[i][1:2], c[i][:2], c[i][:4], c[i][:6]]
                    d = self.numbers.decide([[*values, k] for values in lists], bit)
                nodes[i] = 2 * k + d
        for i, k in nodes.items():
            found[i] = self.numbered[k - 1024]

    def new_colours(self, neighbours: list[list[Colour]]) -> list[Colour]:
        """Stage 3."""
        values, told = [[0, 0, 0] for _ in neighbours], [[0, 0] for _ in neighbours]
        green = [0] * len(neighbours)
        for j, colour in enumerate((1, 0, 2)):
            starts = []
            for own, (last, before_last) in zip(neighbours, told, strict=True):
                nearest = [neighbour[colour] for neighbour in own[:4]]
                starts.append([[activity(own), j], [last, before_last, j], [*nearest[:2], j]])
                starts[-1] += [[*map(packed, own[:2]), j], [*slopes(nearest), j]]
                starts[-1].append([activity(own), within(last, 3), j])
            found = self.signed(starts, j)
            for own, value, g, d in zip(neighbours, values, green, found, strict=True):
                mean = (own[0][colour] + own[1][colour] + 1) >> 1
                value[colour] = (mean + g + d) % 256
            told = [[within(d, 15), last] for d, (last, _) in zip(found, told, strict=True)]
            green = found if j == 0 else green
        return [(r, g, b) for r, g, b in values]

    def signed(self, starts: list[list[list[int]]], j: int) -> list[int]:
        """Differences of one colour."""
        if not self.mode:
            symbols = [self.decoder.symbol([2**16] * 256, 24) for _ in starts]
            return [d - 256 if d > 127 else d for d in symbols]

        def decide(i: int, k: int, o: int) -> int:
            return self.differences.decide([[*values, k] for values in starts[i]], 10 * j + o)

        differ = [decide(i, 0, 0) for i in range(len(starts))]
        negative = [decide(i, 1, 1) if own else 0 for i, own in enumerate(differ)]
        lengths = list(differ)
        for y in range(1, 8):
            for i in [i for i, length in enumerate(lengths) if length == y]:
                lengths[i] += decide(i, 1 + y, 1 + y)
        magnitudes = list(differ)
        for length in range(2, 9):
            own = [i for i, other in enumerate(lengths) if other == length]
            for _ in range(length - 1):
                for i in own:
                    magnitudes[i] = 2 * magnitudes[i] + decide(i, 256 * length + magnitudes[i], 9)
        return [-m if minus else m for m, minus in zip(magnitudes, negative, strict=True)]

    def flat_colour(self) -> Colour:
        red, green, blue = (self.decoder.symbol([2**16] * 256, 24) for _ in range(3))
        return red, green, blue

    def neighbours(self, place: tuple[int, int], around: list[tuple[int, int]], h: int) -> list[Colour]:
        found = [(place[0] + h * down, place[1] + h * right) for down, right in around]
        inside = [(0 <= y < self.height and 0 <= x < self.width) for y, x in found]
        return [self.pixels[own if is_inside else found[0]] for own, is_inside in zip(found, inside, strict=True)]


def packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def unpacked(colour: int) -> Colour:
    return colour >> 16, colour >> 8 & 255, colour & 255


def slopes(nearest: list[int]) -> list[int]:
    a, b, c, d = nearest
    return [within(a - b, 15), within(c + d - a - b, 31)]


def activity(own: list[Colour]) -> int:
    spread = max(max(values) - min(values) for values in zip(*own[:4], strict=True))
    return min(7, spread.bit_length())


def decode_drawn(data: bytes) -> np.ndarray:
    """The picture of a whole stream."""
    header = read_header(data)
    if header.model_id.hex() != "27365cd8" or header.steps != 13:
        raise ValueError("not a whole stream of this kind")
    height, width = header.height, header.width
    decoder, crc, words = RangeDecoder(header.payload), 0, 0
    drawing = Drawing(decoder, height, width)
    for step in range(13):
        if step == 0:
            spacing = 64, 64
            for y in range(0, height, 64):
                places = [(y, x) for x in range(0, width, 64)]
                if y:
                    drawing.row(places, AT_FIRST, 64)
                else:
                    drawing.pixels |= {place: drawing.flat_colour() for place in places}
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
