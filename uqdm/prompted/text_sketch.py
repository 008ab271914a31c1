"""Text+Sketch as a model: a caption and an edge map, from which a model with a ControlNet draws the picture.

Lei, Uyar, Hassani and Bidokhti ("Text + Sketch: image compression at ultra low rates", 2023). Steps are: the caption
(uqdm.prompted.caption), and three edge maps from coarse to fine (uqdm.prompted.edges). Behind the finest one stands
the number of the candidate that is nearest to the picture, among as many as are drawn from the shared seed; log2 of
them in bits. What is sent is sent exactly, in integers; the sender's drawing must be the receiver's, else the number
means nothing.

A prefix shows a picture of the caption, then one that keeps to thick lines, then to thinner ones; all are the first
candidate, until the number is known. The sketch has a scale: of how many pixels along a side one of its pixels is.
"""

import copy
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from channel_sim.entropy import PRECISION, ProbabilityTable, Reader, Writer
from uqdm.prompted.canny import canny, reduced
from uqdm.prompted.caption import as_line, read_caption, write_caption
from uqdm.prompted.edges import LEVELS, coarse_map, pyramid, read_map, sides_of, write_map
from uqdm.prompted.perco import NOTHING, Captioner

__all__ = ["SCALES", "TextSketchModel", "TextSketchState"]

SCALES = (1, 2, 4, 8)
"""Of sketches."""


def _uniform(count: int) -> ProbabilityTable:
    """What is left over goes to the first."""
    frequencies = np.full((1, count), 2**PRECISION // count, np.int64)
    frequencies[0, 0] += 2**PRECISION % count
    return ProbabilityTable(frequencies)


_SCALE_TABLE, _ONE = _uniform(len(SCALES)), np.zeros(1, np.int64)


class _Source(NamedTuple):
    """What the sender knows."""

    caption: str
    scale: int
    edges: np.ndarray
    choose: Callable[["TextSketchState"], int]


class TextSketchState:
    """What is known of one picture (uqdm.contract.State).

    Attributes:
      size: height and width of the picture.
      seed: of what is drawn.
      caption: of it; empty before it is known.
      scale: of the sketch.
      edges: the finest map that is known, bool (h, w); None before the first.
      levels: how many maps are known.
      chosen: number of the candidate.
    """

    edges: np.ndarray | None

    def __init__(
        self,
        size: tuple[int, int],
        seed: int,
        candidates: int,
        sketch_of: Callable[[np.ndarray], np.ndarray],
        source: _Source | None,
    ):
        self.size, self.seed, self.caption, self.scale, self.edges = size, seed, "", 1, None
        self.levels, self.chosen = 0, 0
        self._candidates, self._sketch_of, self._source, self._crc = candidates, sketch_of, source, 0

    def send(self, writer: Writer, step: int) -> None:
        """Sends the caption, or a map and what belongs to it."""
        assert self._source is not None, "only a state that was begun with a picture can send"
        source = self._source
        if step == 0:
            write_caption(writer, source.caption)
            self._complete_caption(source.caption)
            return
        if step == 1:
            writer.encode(_SCALE_TABLE, _ONE, np.array([SCALES.index(source.scale)]))
        edges = pyramid(source.edges)[step - 1]
        write_map(writer, edges, self.edges)
        self._complete_map(source.scale, edges)
        if step == LEVELS and self._candidates > 1:
            chosen = source.choose(self)
            writer.encode(_uniform(self._candidates), _ONE, np.array([chosen]))
            self._complete_choice(chosen)

    def receive(self, reader: Reader, step: int) -> bool:
        """Mirror image of `send`."""
        if step == 0:
            caption = read_caption(reader)
            if caption is not None:
                self._complete_caption(caption)
            return caption is not None
        scale, chosen = self.scale, _ONE
        if step == 1:
            decoded = reader.decode(_SCALE_TABLE, _ONE)
            if not len(decoded):
                return False
            scale = SCALES[decoded[0]]
        edges = read_map(reader, sides_of(step - 1, *_sketch_sides(self.size, scale)), self.edges)
        choosing = step == LEVELS and self._candidates > 1
        if choosing:
            chosen = reader.decode(_uniform(self._candidates), _ONE)
        if edges is None or not len(chosen):
            return False
        self._complete_map(scale, edges)
        if choosing:
            self._complete_choice(int(chosen[0]))
        return True

    def _complete_caption(self, caption: str) -> None:
        self.caption, self._crc = caption, zlib.crc32(caption.encode() + b"\n")

    def _complete_map(self, scale: int, edges: np.ndarray) -> None:
        self.scale, self.edges, self.levels = scale, edges, self.levels + 1
        self._crc = zlib.crc32(bytes([scale]) + np.packbits(edges).tobytes(), self._crc)

    def _complete_choice(self, chosen: int) -> None:
        self.chosen, self._crc = chosen, zlib.crc32(bytes([chosen]), self._crc)

    @property
    def sketch(self) -> Bool[np.ndarray, "H W"]:
        """The finest map that is known, as large as the picture; empty before the first."""
        if self.edges is None:
            return np.zeros(self.size, bool)
        pixels = self.scale << (LEVELS - self.levels)
        height, width = self.size
        return self.edges.repeat(pixels, 0).repeat(pixels, 1)[:height, :width]

    @property
    def check_bytes(self) -> np.ndarray:
        """16 bits of the CRC-32 of all that was sent."""
        return np.array([self._crc >> 8 & 255, self._crc & 255])

    @property
    def partly_known(self) -> bool:
        """Steps are known as a whole or not at all."""
        return False

    def branch(self) -> "TextSketchState":
        """A copy that can go its own way; nothing in it is changed in place."""
        return copy.copy(self)

    def agrees_with(self, picture: np.ndarray, step: int) -> bool:
        """Whether the maps are those of the sender's sketch of a picture; captions are no functions of it."""
        if not self.levels or self.edges is None:
            return True
        edges = pyramid(self._sketch_of(picture))[self.levels - 1]
        return edges.shape == self.edges.shape and bool((edges == self.edges).all())


def _sketch_sides(size: tuple[int, int], scale: int) -> tuple[int, int]:
    height, width = size
    return -(-height // scale), -(-width // scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSketchModel:
    """What sender and receiver share (uqdm.contract.Model), and what the sender chooses: caption, sketch and its scale.

    Attributes:
      draw: the picture, uint8 (H, W, 3), of a sketch, bool (H, W), a caption, a seed and the number of a candidate, the
        same at every call.
      candidates: how many are tried, 1 to 256.
      id: names all of that, 32 bytes.
      distance: between the picture and a candidate; the sender's affair.
      name: for people.
      caption: what the sender says, or who says it of a picture.
      edges: the sketch of the sender, bool, as large as the picture, or who finds it in a picture that was reduced.
      scale: of the sketch, one of `SCALES`.
    """

    draw: Callable[[np.ndarray, str, int, int], np.ndarray]
    candidates: int
    id: bytes
    distance: Callable[[np.ndarray, np.ndarray], float]
    name: str = ""
    caption: str | Captioner = ""
    edges: np.ndarray | Callable[[np.ndarray], np.ndarray] = canny
    scale: int = 4

    def __post_init__(self):
        if not 1 <= self.candidates <= 256:
            raise ValueError(f"1 to 256 candidates can be tried, got {self.candidates}")
        if self.scale not in SCALES:
            raise ValueError(f"the scale of a sketch is one of {', '.join(map(str, SCALES))}, got {self.scale}")

    @property
    def family(self) -> str:
        return "Text+Sketch"

    @property
    def steps(self) -> int:
        """The caption and the maps."""
        return LEVELS + 1

    def sketch_of(self, picture: np.ndarray) -> Bool[np.ndarray, "h w"]:
        """The sender's sketch of a picture, at its scale.

        Raises:
          ValueError: the sketch that was given is not as large as the picture.
        """
        if not isinstance(self.edges, np.ndarray):
            return self.edges(reduced(picture, self.scale))
        if self.edges.shape != picture.shape[:2]:
            sides = " x ".join(map(str, self.edges.shape[::-1]))
            raise ValueError(f"the sketch has {sides} pixels, the picture {picture.shape[1]} x {picture.shape[0]}")
        edges = self.edges
        for _ in range(SCALES.index(self.scale)):
            edges = coarse_map(edges)
        return edges

    def new_state(self, height: int, width: int, seed: int, picture: np.ndarray | None = None) -> TextSketchState:
        """The state before the first step; the sender gives the picture, uint8 (H, W, 3).

        Raises:
          ValueError: the caption is too long, or the sketch of another size.
        """
        source = None
        if picture is not None:
            text = self.caption if isinstance(self.caption, str) else self.caption(picture)

            def choose(state: TextSketchState) -> int:
                distances = [self.distance(picture, self._candidate(state, i)) for i in range(self.candidates)]
                return int(np.argmin(distances))

            source = _Source(as_line(text), self.scale, self.sketch_of(picture), choose)
        return TextSketchState((height, width), seed, self.candidates, self.sketch_of, source)

    def expect(self, states: Sequence[TextSketchState], step: int) -> None:
        """States expect what their own counts say."""

    def _candidate(self, state: TextSketchState, number: int) -> np.ndarray:
        return self.draw(state.sketch, state.caption, state.seed, number)

    def picture(self, state: TextSketchState, step: int) -> np.ndarray:
        """What is drawn of the sketch and the caption: uint8 (H, W, 3)."""
        if not step:
            return np.full((*state.size, 3), NOTHING, np.uint8)
        return self._candidate(state, state.chosen)
