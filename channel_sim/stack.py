"""A stack of symbols: entropy coding in which what is pushed last is popped first (bits-back coding needs it).

The coder is `constriction`'s ANS coder (Duda 2013; 64-bit state, 32-bit words), with the integer tables of
`channel_sim.entropy`. Popping symbols from bits that mean something else *draws* them, with probabilities that are the
table's, and pushing them again under the same table gives the same bits back: the stack is a bijection, so a symbol
that is popped costs the bits that it takes away negatively.

That takes bits to begin with. A stack that is made for pushing `borrow`s them where a pop would find it empty: words of
common randomness, put below everything else. Whoever pops and pushes everything back finds exactly these words, which
also shows that nothing was damaged on the way.
"""

import constriction
import numpy as np

from channel_sim import checks
from channel_sim.entropy import MODEL, ProbabilityTable
from channel_sim.randomness import SharedRandomness

__all__ = ["Stack"]

_BEYOND = 64
"""Bits that stay on the stack after every pop, so that its state is a full one and every pop can be undone."""
_FEWEST = 3
"""Words that a stack always has: more than `_BEYOND` bits."""
_BLOCK = 2**10
"""Words that are borrowed at a time, at most."""


class Stack:
    """Symbols with integer probabilities.

    Attributes:
      borrowed_words: how many words of common randomness lie below everything.
      ideal_bits: sum of -log2 of the probabilities of all symbols pushed, less that of all popped.
    """

    def __init__(self, borrow: SharedRandomness):
        """An empty stack.

        Args:
          borrow: where words come from when there are not enough.
        """
        checks.source(borrow)
        self._borrow: SharedRandomness | None = borrow
        self.borrowed_words, self.ideal_bits = _FEWEST, 0.0
        self._coder = constriction.stream.stack.AnsCoder(borrowed(borrow, _FEWEST))

    @classmethod
    def of_words(cls, words: np.ndarray) -> "Stack":
        """The stack that `words` came from; it borrows nothing.

        Raises:
          ValueError: no stack has such words.
        """
        words = np.asarray(words, np.uint32)
        if len(words) < _FEWEST or not words[-1]:
            raise ValueError(f"a stack has at least {_FEWEST} words, and its last one is not zero")
        stack = cls.__new__(cls)
        stack._borrow, stack.borrowed_words, stack.ideal_bits = None, 0, 0.0
        stack._coder = constriction.stream.stack.AnsCoder(words)
        return stack

    @property
    def words(self) -> np.ndarray:
        """Everything on the stack, uint32, the bottom first."""
        return np.asarray(self._coder.get_compressed())

    @property
    def bits(self) -> int:
        """Length of everything on the stack."""
        return int(self._coder.num_valid_bits())

    def push(self, table: ProbabilityTable, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Pushes symbols, the last one first, so that `pop` with the same rows gives them in the same order.

        Args:
          table: has the probabilities.
          rows: of the table, one per symbol.
          symbols: integers.

        Raises:
          ValueError: a symbol is not in the table.
        """
        if len(symbols):
            last = table.frequencies.shape[1] - 1
            if np.min(symbols) < 0 or np.max(symbols) > last:
                raise ValueError(f"symbols must be in [0, {last}], got {np.min(symbols)} to {np.max(symbols)}")
            self._coder.encode_reverse(np.asarray(symbols, np.int32), MODEL, table.weights(rows))
            self.ideal_bits += float(table.bits[rows, symbols].sum())

    def pop(self, table: ProbabilityTable, rows: np.ndarray) -> np.ndarray:
        """Pops one symbol per row, int32.

        Raises:
          EOFError: there are not enough bits, and none to borrow.
        """
        if not len(rows):
            return np.zeros(0, np.int32)
        weights = table.weights(rows)
        while True:
            before = self._coder.clone()
            symbols = np.asarray(self._coder.decode(MODEL, weights))
            if self._coder.num_valid_bits() > _BEYOND:
                break
            self._coder = before
            self._take_more(min(_BLOCK, 1 + len(rows) // 8))
        self.ideal_bits -= float(table.bits[rows, symbols].sum())
        return symbols

    def scramble(self, shared: SharedRandomness, count: int) -> None:
        """Adds common randomness, bit by bit, to the `count` words below the state; done again, it is undone.

        What was pushed under a model that is not quite right are not quite random bits, and what is popped from them
        is not quite a draw. After this it is one.

        Raises:
          EOFError: there are not so many words, and none to borrow.
        """
        if len(self.words) < count + _FEWEST:
            self._take_more(count + _FEWEST - len(self.words))
        words = self.words
        words[-_FEWEST - count + 1 : len(words) - _FEWEST + 1] ^= shared.words(count)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def _take_more(self, count: int) -> None:
        """Puts so many words below everything."""
        if self._borrow is None:
            raise EOFError("the stack is empty")
        below = borrowed(self._borrow, self.borrowed_words + count)[:count]
        self._coder = constriction.stream.stack.AnsCoder(np.concatenate([below, self.words]))
        self.borrowed_words += count

    def is_borrowed(self, borrow: SharedRandomness, count: int) -> bool:
        """Whether the stack holds so many borrowed words and nothing else."""
        words = self.words
        return len(words) == count and bool((words == borrowed(borrow, count)).all())


def borrowed(borrow: SharedRandomness, count: int) -> np.ndarray:
    """The words that are borrowed, uint32 (count,): more of them lie below the same ones."""
    words = borrow.words(count)[::-1].copy()
    words[-1:] |= 1
    return words
