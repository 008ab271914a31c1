"""PerCo as a model: a caption and vector-quantized latents, from which a latent diffusion model draws the picture.

Careil, Muckley, Verbeek and Lathuiliere ("Towards image compression with perfect realism at ultra-low bitrates",
2024): a hyper-encoder makes a grid of codes of the latent of an autoencoder, and the network that takes noise from
latents is given the grid, enlarged to the latent, beside the noisy latent, and the caption. In the terms of Algorithm
1 channels are trivial: what is sent is sent exactly, first the caption (uqdm.prompted.caption), then the grid in
passes (uqdm.prompted.codes). All that decides what a byte means is integers; what is drawn is not.

A prefix that ends inside of the grid shows what a grid of lower resolution gives, each code standing for all places
around it. Before the first code nothing is drawn, since networks have never been trained without a grid.
"""

import copy
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import Reader, Writer
from uqdm.drawn.passes import PASSES, lattice
from uqdm.prompted.caption import as_line, read_caption, write_caption
from uqdm.prompted.codes import Codebook, CodeCounts, filled, read_pass, write_pass

__all__ = ["Captioner", "PerCoModel", "PerCoState"]

Captioner = Callable[[np.ndarray], str]
"""The caption of a picture, uint8 (H, W, 3)."""
NOTHING = 128
"""What is shown where nothing is drawn."""


class _Source(NamedTuple):
    """What the sender knows."""

    caption: str
    indices: np.ndarray


class PerCoState:
    """What is known of one picture (uqdm.contract.State).

    Attributes:
      size: height and width of the picture.
      seed: of what is drawn.
      caption: of it; empty before it is known.
      indices: int64 (h, w); those of complete passes hold.
      passes: how many are complete.
    """

    def __init__(
        self,
        size: tuple[int, int],
        seed: int,
        grid: tuple[int, int],
        codebook: Codebook,
        quantize: Callable[[np.ndarray], np.ndarray],
        source: _Source | None,
    ):
        self.size, self.seed, self.caption, self.passes = size, seed, "", 0
        self.indices = np.zeros(grid, np.int64)
        self._counts, self._crc, self._quantize, self._source = CodeCounts(codebook), 0, quantize, source

    def send(self, writer: Writer, step: int) -> None:
        """Sends the caption, or a pass."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        if step == 0:
            write_caption(writer, self._source.caption)
            self._complete_caption(self._source.caption)
            return
        write_pass(writer, step - 1, self._source.indices, self.indices, self._counts)
        self._complete_pass()

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        if step == 0:
            caption = read_caption(reader)
            if caption is not None:
                self._complete_caption(caption)
            return caption is not None
        indices, counts = self.indices.copy(), self._counts.copy()
        if not read_pass(reader, step - 1, indices, counts):
            return False
        self.indices, self._counts = indices, counts
        self._complete_pass()
        return True

    def _complete_caption(self, caption: str) -> None:
        self.caption, self._crc = caption, zlib.crc32(caption.encode() + b"\n")

    def _complete_pass(self) -> None:
        self.passes += 1
        rows, columns = lattice(self.passes)
        self._crc = zlib.crc32(self.indices[::rows, ::columns].astype("<u2").tobytes(), self._crc)

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of the caption and of the lattices after all passes."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    @property
    def partly_known(self) -> bool:
        """Steps are known as a whole or not at all."""
        return False

    def branch(self) -> "PerCoState":
        """A copy that can go its own way."""
        branch = copy.copy(self)
        branch.indices, branch._counts = self.indices.copy(), self._counts.copy()
        return branch

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the codes are those of a picture; captions are no functions of pictures."""
        if step < 2:
            return True
        rows, columns = lattice(step - 1)
        return bool((self.indices == self._quantize(picture))[::rows, ::columns].all())


@dataclass(frozen=True, kw_only=True, eq=False)
class PerCoModel:
    """What sender and receiver share (uqdm.contract.Model), and what the sender chooses: the caption.

    Attributes:
      codebook: of the hyper-encoder.
      grid: sides of the grid for pictures of a height and a width.
      quantize: the hyper-encoder: indices (h, w) of a picture, the same at every call.
      draw: the picture, uint8 (H, W, 3), of a grid (h, w), a caption, a height, a width and a seed, the same at
        every call.
      id: names all of that, 32 bytes.
      name: for people.
      caption: what the sender says, or who says it of a picture.
    """

    codebook: Codebook
    grid: Callable[[int, int], tuple[int, int]]
    quantize: Callable[[np.ndarray], np.ndarray]
    draw: Callable[[np.ndarray, str, int, int, int], np.ndarray]
    id: bytes
    name: str = ""
    caption: str | Captioner = ""

    @property
    def family(self) -> str:
        return "PerCo"

    @property
    def steps(self) -> int:
        """The caption and all passes."""
        return 1 + PASSES

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> PerCoState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3).

        Raises:
          ValueError: the caption is too long.
        """
        source = None
        if picture is not None:
            text = self.caption if isinstance(self.caption, str) else self.caption(picture)
            source = _Source(as_line(text), self.quantize(picture))
        return PerCoState((height, width), seed, self.grid(height, width), self.codebook, self.quantize, source)

    def expect(self, states: Sequence[PerCoState], step: int) -> None:
        """States expect what their own counts say."""

    def picture(self, state: PerCoState, step: int) -> np.ndarray:
        """What is drawn of a grid and the caption: uint8 (H, W, 3)."""
        if not state.passes:
            return np.full((*state.size, 3), NOTHING, np.uint8)
        return self.draw(filled(state.indices, state.passes), state.caption, *state.size, state.seed)
