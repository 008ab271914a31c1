"""How the colour of a pixel is told from those around it, by decisions in three stages.

Pictures that were drawn repeat colours exactly, and shapes. With c_0, ..., c_15 the colours of the neighbours
(uqdm.drawn.passes, Eq. 2) as numbers 2^16 R + 2^8 G + B, decisions (uqdm.drawn.decisions) are made in six contexts.

*Whose colour.* Two memories keep, in the slots of hashes of all 16 neighbours and of the first 9, the colour of the
last pixel that fell there and how many in a row, n, had the same. The candidates are what the two remember, r_0 and
r_1, and c_0, ..., c_5; one after the other, unless it is unknown or was asked about already, it is decided whether
the pixel has its colour v. With t_0 and t_1 the numbers n + 1, or 0 where nothing is remembered, q how many
candidates were asked about before, m the sum of 2^i for the candidates i that have the colour v, and l_i the first
neighbour that has the colour of neighbour i, the contexts are

    m, t_0, t_1, q      m, l_1, ..., l_5      v, c_0, ..., c_5      m mod 4, v, c_0, ..., c_3
    m, q, v, c_0, c_1   m, l_1, ..., l_15                                                                   (1)

*Which known colour.* Colours that were new once have numbers from 1 on in the order in which they came, up to 1023.
Whether a colour has one is decided first, in the contexts

    activity      c_0      c_0, c_1      c_0, ..., c_3      a - b, c + d - a - b (as in Eq. 4, of green)      t_0, t_1;

then the number follows as ten bits, the highest first; a bit that can be but one is not sent. With k the bits so far
behind a 1, the contexts are

    k      k, c_0      k, c_1      k, c_0, c_1      k, c_0, ..., c_3      k, c_0, ..., c_5.                (2)

*Which new colour.* Then green, red and blue come as differences, modulo 256 from -128 to 127, from the mean m of the
two nearest neighbours, floor((a + b + 1) / 2),

    g - m_G,     r - m_R - (g - m_G),     b - m_B - (g - m_G):                                              (3)

whether it is not 0, whether it is negative, how many bits its magnitude has, one after the other, and these bits but
the first, the highest first. With k the number of what is decided, j the colour in this order, d_1 and d_2 the
differences of the colour before and of the one before that, limited to +-15, and a, b, c, d the values of the colour
in the first four neighbours, the contexts are

    k, j, activity      k, j, d_1, d_2      k, j, a, b      k, j, c_0, c_1
    k, j, a - b (limited to +-15), c + d - a - b (to +-31)      k, j, activity, d_1 (to +-3)                (4)

The activity is 0 if the first four neighbours do not differ at all, else the number of bits of the largest difference
of a colour, at most 7.

The sender says which of three *modes* holds: in mode 0 the 256 values of a difference are equally probable, since
noise has nothing to learn; in modes 0 and 1 colours have no numbers, which are of no use where they change smoothly.
Decisions about a row are made under what was known before it; where pixels of a row share a place of a memory, the
last one counts. Of the first row of all nothing is known: its values are sent as they are.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Sampler, Writer
from uqdm.drawn.decisions import Decisions, Exchange, hashed

__all__ = ["MODES", "Colours"]

MODES = 3
_NEAR = 6
"""Neighbours whose colours are candidates."""
_CANDIDATES = 2 + _NEAR
_CONTEXTS = 6
_HASHED = (16, 9)
"""Neighbours of the two memories."""
_SURE = 7
_NUMBER_BITS = 10
_NUMBERED = 2**_NUMBER_BITS - 1
_MOST_SLOTS_LOG2 = 18
_NODES = 10
"""Sets of weights for what is decided about a difference."""
_FLAT = ProbabilityTable(np.full((1, 256), 2 ** (PRECISION - 8)))


class _Row(NamedTuple):
    """What is known of a row of pixels before it."""

    packed: np.ndarray
    """c_0, ..., c_15, int64 (16, n)."""
    values: np.ndarray
    """The same as red, green and blue, int64 (16, n, 3)."""
    places: np.ndarray
    """In both memories, (2, n)."""
    remembered: np.ndarray
    """r_0 and r_1, -1 where nothing is remembered, (2, n)."""
    sure: np.ndarray
    """t_0 and t_1, (2, n)."""

    def of(self, chosen: np.ndarray) -> "_Row":
        """Some of its pixels."""
        return _Row(*(part[:, chosen] for part in self))


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
        self.mode = mode
        slots_log2 = min(_MOST_SLOTS_LOG2, (4 * pixels).bit_length())
        self._whose = Decisions(_CONTEXTS, 16, slots_log2)
        self._numbers = Decisions(_CONTEXTS, _NUMBER_BITS + 1, slots_log2)
        self._differences = Decisions(_CONTEXTS, 3 * _NODES, slots_log2)
        self._numbered = np.zeros(1, np.int64)
        self._shift = np.uint64(64 - slots_log2)
        self._colours = np.full((2, 2**slots_log2), -1, np.int32)
        self._sure = np.zeros((2, 2**slots_log2), np.int8)

    def copy(self) -> "Colours":
        """A copy that can go its own way."""
        other = copy.copy(self)
        for name in ("_whose", "_numbers", "_differences", "_numbered", "_colours", "_sure"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def send(self, writer: Writer, colours: np.ndarray, neighbours: np.ndarray | None) -> None:
        """Sends the colours of a row of pixels.

        Args:
          writer: takes them.
          colours: int64 (n, 3).
          neighbours: colours of their neighbours, int64 (16, n, 3); None in the first row of the first pass.
        """

        def exchange(table: ProbabilityTable, rows: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
            assert symbols is not None
            writer.encode(table, rows, symbols)
            return symbols

        self._exchange(exchange, len(colours), neighbours, colours)

    def receive(self, reader: Reader | Sampler, count: int, neighbours: np.ndarray | None) -> np.ndarray | None:
        """Mirror image of `send`; None if the bytes do not determine all colours, and then nothing else is of use."""

        def exchange(table: ProbabilityTable, rows: np.ndarray, _: np.ndarray | None) -> np.ndarray:
            symbols = reader.decode(table, rows).astype(np.int64)
            if len(symbols) < len(rows):
                raise EOFError
            return symbols

        try:
            return self._exchange(exchange, count, neighbours, None)
        except EOFError:
            return None

    def _exchange(
        self, exchange: Exchange, count: int, neighbours: np.ndarray | None, colours: np.ndarray | None
    ) -> np.ndarray:
        """Both sides of a row; the receiver does not know the colours."""
        if neighbours is None:
            given = None if colours is None else colours.reshape(-1)
            return exchange(_FLAT, np.zeros(3 * count, np.int64), given).reshape(count, 3)
        row = self._known_of(neighbours)
        packed = self._candidates(exchange, row, None if colours is None else _packed(colours))
        new = np.flatnonzero(packed < 0)
        if self.mode == 2 and len(new) and len(self._numbered) > 1:
            wanted = None if colours is None else self._numbers_of(_packed(colours[new]))
            has_number = self._has_number(exchange, row.of(new), wanted) == 1
            own = new[has_number]
            if len(own):
                numbers = self._number(exchange, row.packed[:, own], None if wanted is None else wanted[has_number])
                packed[own] = self._numbered[numbers]
            new = new[~has_number]
        found = _unpacked(packed)
        if len(new):
            found[new] = self._new_colours(exchange, row.of(new), None if colours is None else colours[new])
        self._learn(row, _packed(found), new)
        return found

    def _known_of(self, neighbours: np.ndarray) -> _Row:
        packed = _packed(neighbours)
        places = np.stack([(hashed(0, *packed[:count]) >> self._shift).astype(np.int64) for count in _HASHED])
        remembered = np.stack([colours[own] for colours, own in zip(self._colours, places, strict=True)])
        sure = np.stack([sure[own] for sure, own in zip(self._sure, places, strict=True)])
        return _Row(packed, neighbours, places, remembered.astype(np.int64), np.where(remembered < 0, 0, sure + 1))

    def _candidates(self, exchange: Exchange, row: _Row, colours: np.ndarray | None) -> np.ndarray:
        """The first stage: colours (n,), -1 where it is none of the candidates'."""
        near = row.packed
        candidates = np.concatenate([row.remembered, near[:_NEAR]])
        equal = candidates[:, None] == candidates
        masks = (equal << np.arange(_CANDIDATES)[:, None]).sum(1)
        asked = (equal.argmax(1) == np.arange(_CANDIDATES)[:, None]) & (candidates >= 0)
        before = np.cumsum(asked, 0) - asked
        labels = (near[:, None] == near).argmax(1)
        sets = 2 * (row.sure[0] > 0) + (row.sure[1] > 0)
        shape, whole_shape = hashed(0, *labels[1:_NEAR]), hashed(0, *labels[1:])
        two = hashed(0, *near[:2])
        four = hashed(two, *near[2:4])
        six = hashed(four, *near[4:_NEAR])
        all_contexts = np.stack(
            [
                hashed(0, masks, *row.sure, before),
                hashed(shape, masks),
                hashed(six, candidates),
                hashed(four, masks & 3, candidates),
                hashed(two, masks, before, candidates),
                hashed(whole_shape, masks),
            ],
            axis=1,
        )
        found, sets = np.full(near.shape[1], -1), sets + 4 * np.minimum(before, 3)
        for candidate, contexts, may, chosen in zip(candidates, all_contexts, asked, sets, strict=True):
            own = np.flatnonzero(may & (found < 0))
            if len(own):
                v = candidate[own]
                bits = None if colours is None else (colours[own] == v).astype(np.int64)
                bits = self._whose.make(exchange, contexts[:, own], chosen[own], bits)
                found[own[bits == 1]] = v[bits == 1]
        return found

    def _has_number(self, exchange: Exchange, row: _Row, numbers: np.ndarray | None) -> np.ndarray:
        """Whether colours have a number, which the second stage begins with."""
        near, nearest = row.packed, row.values[:4]
        two = hashed(0, *near[:2])
        contexts = [
            hashed(0, _activity(nearest)),
            hashed(0, near[0]),
            two,
            hashed(two, *near[2:4]),
            hashed(0, *_slopes(nearest[..., 1])),
            hashed(0, *row.sure),
        ]
        bits = None if numbers is None else (numbers > 0).astype(np.int64)
        sets = np.full(near.shape[1], _NUMBER_BITS)
        return self._numbers.make(exchange, np.stack(contexts), sets, bits)

    def _number(self, exchange: Exchange, near: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
        """Numbers (n,) of colours that have one."""
        count, known = near.shape[1], len(self._numbered)
        one, other = hashed(0, near[0]), hashed(0, near[1])
        two = hashed(one, near[1])
        four = hashed(two, *near[2:4])
        starts = np.stack([np.zeros(count, np.uint64), one, other, two, four, hashed(four, *near[4:_NEAR])])
        node = np.ones(count, np.int64)
        for bit in reversed(range(_NUMBER_BITS)):
            decided = np.zeros(count, np.int64)
            least = ((2 * node + 1) << bit) - 2**_NUMBER_BITS
            last = node == 2**_NUMBER_BITS // 2  # not 0: the lowest bit is 1
            decided[last] = 1
            own = np.flatnonzero((least < known) & ~last)
            if len(own):
                contexts = hashed(starts[:, own], node[own])
                given = None if numbers is None else numbers[own] >> bit & 1
                decided[own] = self._numbers.make(exchange, contexts, np.full(len(own), bit), given)
            node = 2 * node + decided
        return node - 2**_NUMBER_BITS

    def _new_colours(self, exchange: Exchange, row: _Row, colours: np.ndarray | None) -> np.ndarray:
        """The last stage: colours (n, 3)."""
        nearest = row.values[:4]
        mean, activity = (nearest[0] + nearest[1] + 1) >> 1, _activity(nearest)
        pair = hashed(0, *row.packed[:2])
        found, green = np.zeros(mean.shape, np.int64), np.zeros(len(mean), np.int64)
        last = before_last = green
        for place, colour in enumerate((1, 0, 2)):
            origin = mean[:, colour] + green
            given = None if colours is None else (colours[:, colour] - origin) % 256
            if self.mode:
                a, b = nearest[:2, :, colour]
                starts = [
                    hashed(0, activity),
                    hashed(0, last, before_last),
                    hashed(0, a, b),
                    pair,
                    hashed(0, *_slopes(nearest[..., colour])),
                    hashed(0, activity, np.clip(last, -3, 3)),
                ]
                starts = hashed(np.stack(starts), place)
                difference = self._difference(exchange, starts, place, None if given is None else _signed(given))
            else:
                difference = _signed(exchange(_FLAT, np.zeros(len(mean), np.int64), given))
            found[:, colour] = (origin + difference) % 256
            green = difference if place == 0 else green
            last, before_last = np.clip(difference, -15, 15), last
        return found

    def _difference(
        self, exchange: Exchange, starts: np.ndarray, place: int, differences: np.ndarray | None
    ) -> np.ndarray:
        """Of one colour, from -128 to 127, (n,)."""

        def decide(own: np.ndarray, node: np.ndarray | int, rank: int, bit: Callable[[np.ndarray], np.ndarray]):
            contexts = hashed(starts[:, own], node)
            given = None if differences is None else bit(differences[own]).astype(np.int64)
            sets = np.full(len(own), _NODES * place + min(rank, _NODES - 1))
            return self._differences.make(exchange, contexts, sets, given)

        count = starts.shape[1]
        own = np.flatnonzero(decide(np.arange(count), 0, 0, lambda d: d != 0))
        magnitude, bits, negative = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
        if len(own):
            negative[own] = decide(own, 1, 1, lambda d: d < 0)
        bits[own] = 1
        for length in range(1, 8):
            if not len(own):
                break
            own = own[decide(own, 1 + length, 1 + length, lambda d, least=length: np.abs(d) >> least > 0) == 1]
            bits[own] += 1
        magnitude[bits > 0] = 1
        for length in range(2, 9):
            own = np.flatnonzero(bits == length)
            for left in reversed(range(length - 1)) if len(own) else ():
                node = 256 * length + magnitude[own]
                magnitude[own] = 2 * magnitude[own] + decide(own, node, 9, lambda d, at=left: np.abs(d) >> at & 1)
        return np.where(negative == 1, -magnitude, magnitude)

    def _learn(self, row: _Row, packed: np.ndarray, new: np.ndarray) -> None:
        """After a row; where pixels share a place, the last one counts."""
        for decisions in (self._whose, self._numbers, self._differences):
            decisions.learn()
        for colours, sure, own in zip(self._colours, self._sure, row.places, strict=True):
            again = colours[own] == packed
            sure[own] = np.where(again, np.minimum(sure[own] + 1, _SURE), 0)
            colours[own] = packed
        if self.mode == 2 and len(new):
            fresh = packed[new]
            fresh = fresh[~np.isin(fresh, self._numbered[1:])]  # a sender that says otherwise is no honest one
            _, first = np.unique(fresh, return_index=True)
            fresh = fresh[np.sort(first)][: 1 + _NUMBERED - len(self._numbered)]
            self._numbered = np.concatenate([self._numbered, fresh])

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


def _packed(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) as numbers."""
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def _unpacked(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], -1)


def _signed(difference: np.ndarray) -> np.ndarray:
    """Modulo 256, from -128 to 127."""
    return (difference + 128) % 256 - 128


def _slopes(nearest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a colour of four neighbours a, b, c and d (4, n): a - b, and how far c and d are above a and b."""
    a, b, c, d = nearest
    return np.clip(a - b, -15, 15), np.clip(c + d - a - b, -31, 31)


def _activity(nearest: np.ndarray) -> np.ndarray:
    """Of four neighbours (4, n, 3)."""
    spread = (nearest.max(0) - nearest.min(0)).max(1)
    return np.searchsorted(np.array([1, 2, 4, 8, 16, 32, 64]), spread, side="right")
