"""How the colour of a pixel is told from those around it, in three stages of adaptive symbols.

*Whose colour.* Pictures that were drawn repeat colours exactly, and shapes. The first symbol is the number of the first
of the six nearest neighbours (uqdm.drawn.passes, Eq. 2) that has the pixel's colour; or 6 if it has the colour that the
last pixel had whose neighbours looked the same; or 7. What looked the same is found by two hashes of colours, of all 16
neighbours and of the first 9: a slot keeps the colour of the last pixel that fell into it, and how many in a row had
the same. The longer hash is asked first, the shorter one where that knows nothing. With v the colours, 2^16 R + 2^8 G +
B, of the neighbours one after the other, beginning with h = 0,

    h <- (h + v + 1) 9E3779B97F4A7C15 (hexadecimal) modulo 2^64,      slot = floor(h / 2^(64 - s)),          (1)

s being the number of bits of twice the number of pixels, at most 18.

The context of the symbol is, where a slot knows something, 7 (8 i + n) + k: i = 0 for the longer and 1 for the shorter
hash, n how often in a row it was right, at most 7, and k the first of the six neighbours that has its colour (6 if none
has). Elsewhere it is the pattern of which neighbours are equal among themselves: with l_i the first j with the colour
of neighbour i,

    112 + sum_i l_i i!,     i = 0, ..., 5,   < 832.                                                         (2)

A pattern that is met for the first time begins with what is known of its coarser pattern, l_0 + l_1 + 2 l_2.

*Which known colour.* Colours that were new once have numbers from 1 on in the order in which they came, up to 1023. The
number of a colour follows a 7, or 0 if it has none.

*Which new colour.* Then green, red and blue come as differences, modulo 256, from the mean m of the two nearest
neighbours, floor((a + b + 1) / 2),

    g - m_G,     r - m_R - (g - m_G),     b - m_B - (g - m_G),                                              (3)

in contexts of how much the first four neighbours differ: 0 if not at all, else the number of bits of the largest
difference of a colour, at most 7.

The sender says which of three *modes* holds: 0 neither numbers colours nor learns differences (noise has nothing to
learn), 1 learns differences, 2 does both. The symbols of a row are coded stage by stage, under what was known before
it, and then counted; where pixels of a row share a slot, the last one counts.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import ProbabilityTable, Reader, Sampler, Writer
from uqdm.drawn.counts import Counts

__all__ = ["MODES", "Colours"]

MODES = 3
_NEAR = 6
"""Neighbours whose colours have symbols."""
_REMEMBERED, _NEW = 6, 7
_FACTORIALS = (1, 1, 2, 6, 24, 120)
_PATTERNS, _COARSE, _SURE = 720, 6, 7
_OF_SLOTS = 2 * (_SURE + 1) * (_NEAR + 1)
_ACTIVITIES = 8
_UNKNOWN = 128
"""What is expected of the first pixels."""
_HASHED = (16, 9)
"""Neighbours of the two hashes."""
_NUMBERED = 1023
_MOST_SLOTS_LOG2 = 18
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

_Exchange = Callable[[ProbabilityTable, np.ndarray, np.ndarray | None], np.ndarray]
"""Of a table, the rows of symbols, and the symbols, which a receiver does not know: gives the symbols.

Raises EOFError where the bytes do not determine them all."""


class _Expected(NamedTuple):
    """What is expected of a row of pixels."""

    contexts: np.ndarray
    remembered: np.ndarray
    """Packed colours, -1 where nothing is remembered."""
    slots: np.ndarray
    """Of both hashes, (2, n)."""
    near: np.ndarray
    """Packed colours of the six neighbours, (6, n)."""


class Colours:
    """What has been learned of a picture's colours so far.

    Attributes:
      mode: 0, 1 or 2.
    """

    def __init__(self, mode: int, pixels: int):
        """Nothing.

        Args:
          mode: what is learned.
          pixels: of the picture.
        """
        self.mode, self._slots_log2 = mode, min(_MOST_SLOTS_LOG2, (2 * pixels).bit_length())
        whose = np.zeros((_OF_SLOTS + _PATTERNS, _NEW + 1), np.int64)
        whose[:_OF_SLOTS] = 1
        for context in range(_OF_SLOTS):
            whose[context, context % (_NEAR + 1)] = 8 << context // (_NEAR + 1) % (_SURE + 1)
        coarse = np.tile(np.array([24, 8, 4, 2, 2, 2, 1, 6]), (_COARSE, 1))
        self._whose = Counts(whose, step=32, limit=2**20)
        self._coarse = Counts(coarse, step=4, limit=2**9)
        distance = np.minimum(np.arange(256), 256 - np.arange(256))
        shapes = [1 + (64 >> (distance >> max(0, level - 2)).clip(0, 7)) for level in range(_ACTIVITIES)]
        flat = np.ones((3 * _ACTIVITIES, 256), np.int64)
        self._differences = Counts(np.tile(shapes, (3, 1)) if mode else flat, step=64, limit=2**19)
        self._numbers = Counts(np.array([[64] + [0] * _NUMBERED]), step=32, limit=2**16)
        self._numbered = np.zeros(1, np.int64)
        self._colours = np.full((2, 2**self._slots_log2), -1, np.int32)
        self._sure = np.zeros((2, 2**self._slots_log2), np.int8)

    def copy(self) -> "Colours":
        """A copy that can go its own way."""
        other = copy.copy(self)
        for name in ("_whose", "_coarse", "_differences", "_numbers", "_numbered", "_colours", "_sure"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def send(self, writer: Writer, colours: np.ndarray, neighbours: np.ndarray | None) -> None:
        """Sends the colours of a row of pixels.

        Args:
          writer: takes them.
          colours: int64 (n, 3).
          neighbours: colours of their neighbours, int64 (16, n, 3); None in the first pass.
        """

        def exchange(table: ProbabilityTable, rows: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
            assert symbols is not None
            writer.encode(table, rows, symbols)
            return symbols

        self._row(exchange, len(colours), neighbours, colours)

    def receive(self, reader: Reader | Sampler, count: int, neighbours: np.ndarray | None) -> np.ndarray | None:
        """Mirror image of `send`; None if the bytes do not determine all colours, and then nothing else is of use."""

        def exchange(table: ProbabilityTable, rows: np.ndarray, _: np.ndarray | None) -> np.ndarray:
            symbols = reader.decode(table, rows).astype(np.int64)
            if len(symbols) < len(rows):
                raise EOFError
            return symbols

        try:
            return self._row(exchange, count, neighbours, None)
        except EOFError:
            return None

    def _row(
        self, exchange: _Exchange, count: int, neighbours: np.ndarray | None, colours: np.ndarray | None
    ) -> np.ndarray:
        """Both sides of a row; the receiver does not know the colours."""
        if neighbours is None:
            return self._new_colours(exchange, np.full((count, 3), _UNKNOWN), np.zeros(count, np.int64), colours)
        expected, packed = self._expect(neighbours), None if colours is None else _packed(colours)
        known = np.concatenate([expected.near, [expected.remembered]])
        whose = None if packed is None else _first(known == packed, _NEW)
        symbols = exchange(*self._whose.table(expected.contexts), whose)
        new = np.flatnonzero(symbols == _NEW)
        found = _unpacked(known[np.minimum(symbols, _REMEMBERED), np.arange(count)])
        numbers = np.zeros(len(new), np.int64)
        if len(self._numbered) > 1 and len(new):
            numbers = exchange(*self._number_table(len(new)), None if packed is None else self._numbers_of(packed[new]))
        found[new] = _unpacked(self._numbered[numbers])
        unnumbered = new[numbers == 0]
        if len(unnumbered):
            mean, activity = _around(neighbours[:, unnumbered])
            given = None if colours is None else colours[unnumbered]
            found[unnumbered] = self._new_colours(exchange, mean, activity, given)
        packed = _packed(found)
        self._learn_numbers(numbers, packed[new])
        self._learn(expected, symbols, packed)
        return found

    def _new_colours(
        self, exchange: _Exchange, mean: np.ndarray, activity: np.ndarray, colours: np.ndarray | None
    ) -> np.ndarray:
        """The last stage."""
        values, green = np.zeros(mean.shape, np.int64), np.zeros(len(mean), np.int64)
        for number, colour in enumerate((1, 0, 2)):
            contexts, origin = number * _ACTIVITIES + activity, mean[:, colour] + green
            given = None if colours is None else (colours[:, colour] - origin) % 256
            difference = exchange(*self._differences.table(contexts), given)
            if self.mode:
                self._differences.add(contexts, difference)
            values[:, colour] = (origin + difference) % 256
            green = difference if number == 0 else green
        return values

    def _expect(self, neighbours: np.ndarray) -> _Expected:
        packed = _packed(neighbours)
        near = packed[:_NEAR]
        labels = [(near[: i + 1] == near[i]).argmax(0) for i in range(_NEAR)]
        patterns = _OF_SLOTS + sum(label * factor for label, factor in zip(labels, _FACTORIALS, strict=True))
        self._begin(np.unique(patterns))
        slots = np.stack([_hashed(packed[:count], self._slots_log2) for count in _HASHED])
        colours = np.stack([self._colours[i][slots[i]] for i in range(2)])
        first = np.where(colours[0] >= 0, 0, 1)
        remembered = np.where(first == 0, colours[0], colours[1]).astype(np.int64)
        sure = np.where(first == 0, self._sure[0][slots[0]], self._sure[1][slots[1]])
        whose = _first(near == remembered, _NEAR)
        of_slots = (first * (_SURE + 1) + sure) * (_NEAR + 1) + whose
        return _Expected(np.where(remembered >= 0, of_slots, patterns), remembered, slots, near)

    def _begin(self, patterns: np.ndarray) -> None:
        """Gives patterns that are new what their coarser ones know."""
        for context in patterns[self._whose.counts[patterns, 0] == 0]:
            pattern = int(context) - _OF_SLOTS
            known = self._coarse.counts[pattern % _COARSE]
            possible = [pattern // factor % (i + 1) == i for i, factor in enumerate(_FACTORIALS)] + [False, True]
            self._whose.counts[context] = 1 + np.where(possible, 32 * known // known.sum(), 0)

    def _learn(self, expected: _Expected, symbols: np.ndarray, packed: np.ndarray) -> None:
        """After a row; where pixels share a slot, the last one counts."""
        self._whose.add(expected.contexts, symbols)
        by_pattern = np.flatnonzero(expected.contexts >= _OF_SLOTS)
        self._coarse.add((expected.contexts[by_pattern] - _OF_SLOTS) % _COARSE, symbols[by_pattern])
        for i, slots in enumerate(expected.slots):
            again = self._colours[i][slots] == packed
            self._sure[i][slots] = np.where(again, np.minimum(self._sure[i][slots] + 1, _SURE), 0)
            self._colours[i][slots] = packed

    def _number_table(self, count: int) -> tuple[ProbabilityTable, np.ndarray]:
        """Of the numbers that there are, and the row of each of so many symbols."""
        known = len(self._numbered)
        return Counts(self._numbers.counts[:, :known], step=1, limit=1).table(np.zeros(count, np.int64))

    def _numbers_of(self, packed: np.ndarray) -> np.ndarray:
        """Of packed colours; 0 for those that have none."""
        order = np.argsort(self._numbered[1:], kind="stable")
        ordered = self._numbered[1:][order]
        at = np.searchsorted(ordered, packed)
        found = at < len(ordered)
        found[found] = ordered[at[found]] == packed[found]
        numbers = np.zeros(len(packed), np.int64)
        numbers[found] = order[at[found]] + 1
        return numbers

    def _learn_numbers(self, numbers: np.ndarray, packed: np.ndarray) -> None:
        if self.mode < 2 or not len(numbers):
            return
        if len(self._numbered) > 1:
            self._numbers.add(np.zeros(len(numbers), np.int64), numbers)
        fresh = packed[numbers == 0]
        _, first = np.unique(fresh, return_index=True)
        fresh = fresh[np.sort(first)][: 1 + _NUMBERED - len(self._numbered)]
        start = len(self._numbered)
        self._numbered = np.concatenate([self._numbered, fresh])
        self._numbers.counts[0, start : start + len(fresh)] = 32


def _first(holds: np.ndarray, otherwise: int) -> np.ndarray:
    """In every column the first row that holds, or another number."""
    return np.where(holds.any(0), holds.argmax(0), otherwise)


def _packed(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) as numbers."""
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def _unpacked(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], -1)


def _hashed(packed: np.ndarray, slots_log2: int) -> np.ndarray:
    """Eq. 1 of the columns."""
    total = np.zeros(packed.shape[1], np.uint64)
    for colours in packed.astype(np.uint64):
        total = (total + colours + np.uint64(1)) * _FACTOR
    return (total >> np.uint64(64 - slots_log2)).astype(np.int64)


def _around(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m of Eq. 3, int64 (n, 3), and the activities (n,), of neighbours (16, n, 3)."""
    nearest = neighbours[:4]
    spread = (nearest.max(0) - nearest.min(0)).max(1)
    bits = np.searchsorted(np.array([1, 2, 4, 8, 16, 32, 64]), spread, side="right")
    return (nearest[0] + nearest[1] + 1) >> 1, bits
