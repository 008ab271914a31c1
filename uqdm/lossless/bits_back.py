"""Lossless coding by bits back: the review's other road from a diffusion model to bits (footnote 5).

A Gaussian diffusion model is a latent variable model whose latents are the noisy states from z_1 to z_0, and its
negative ELBO is what bits-back coding spends (Townsend, Bird and Barber 2019; Kingma, Salimans, Poole and Ho,
"Variational diffusion models", 2021). With a stack of bits (channel_sim.stack) the sender of a picture x

    pops    z_1 ~ q(z_1 | x), and z_s ~ q(z_s | z_t, x) step by step until z_0,
    pushes  x under p(x | z_0), z_s under p(z_s | z_t) step by step back, and z_1 under p(z_1),             (1)

and the receiver does the opposite, in the opposite order: it pops states and picture, and pushes the states back under
q, which it now can, since it knows x. What the sender got for popping is given back. So one picture costs

    log2 q(z_1 | x) / p(z_1) + sum_s log2 q(z_s | z_t, x) / p(z_s | z_t) - log2 p(x | z_0),                 (2)

whose mean is the negative ELBO, whatever the number of coordinates: where channel simulation pays a chunk's overhead a
thousand times (channel_sim.gaussian), bits-back pays next to nothing. In return it needs bits to begin with (T + 1
times the entropy of a state, borrowed from common randomness and spread over all pictures of an archive), its pictures
come in one stack, the last one first, and nothing of them is known before everything is read: no prefix is a preview.
Bits that were pushed under p are not quite random, as p is not quite the law of what was pushed, and states popped from
them would be worse than draws from q (by 3 % of the bits in a test): between pictures the stack is scrambled.

Both q and p of a step are Gaussians of one standard deviation s (uqdm.diffusion.process, Eq. 2; q(z_1 | x) and p(z_1)
have that of z_1 given x), so states live on grids of s / 4 and their probabilities are integer tables
(channel_sim.gaussian_bins). Means come from the model's floating point arithmetic: an archive unpacks where it was
made, on the same kind of machine with the same versions. Whoever unpacks ends with the borrowed bits and nothing else,
or else the archive is damaged or the machine computes something else; both are reported.

The file: 8F 55 42, version, model id (4 bytes), seed, words borrowed, words of the stack, number of runs (4 bytes each,
most significant first); for every run of pictures of one size their number, height and width (4 bytes each); CRC-32 of
all this; the words, the bottom of the stack first.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from channel_sim.entropy import ProbabilityTable, quantize_probabilities
from channel_sim.gaussian_bins import BINS_PER_STD, phases_of, pop_gaussian, push_gaussian
from channel_sim.randomness import SharedRandomness
from channel_sim.stack import Stack
from uqdm.contract import Model
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.process import Moments
from uqdm.diffusion.state import ReverseProcess
from uqdm.diffusion.step_channel import GaussianStep
from uqdm.errors import FormatError, ModelMismatchError, StreamError
from uqdm.transforms.pixels import Pixels

__all__ = ["Costs", "archive_info", "negative_elbo_bits", "pack", "rest_bits", "unpack"]

_MAGIC, _VERSION = b"\x8fUB", 1
_HEAD, _RUN = struct.Struct(">3sB4sIIII"), struct.Struct(">III")
_MOST_RUNS, _MOST_PIXELS = 2**20, 2**26
_ENTROPY = math.log2(BINS_PER_STD * math.sqrt(2 * math.pi * math.e))
"""Of a Gaussian on its grid, in bits."""
_LARGEST = 64.0
"""No state of the forward process, which has about unit variance, comes near this."""
_PART = 2**14
"""Values whose tables are made at a time."""


class Costs(NamedTuple):
    """What an archive is made of, in bits."""

    pictures: tuple[float, ...]
    """What every picture added to the stack, Eq. 2: by the probabilities, in the order of packing."""
    borrowed: int
    """What lay on the stack at first."""


def pack(pictures: Sequence[np.ndarray], model: Model[Any], *, seed: int = 0) -> tuple[bytes, Costs]:
    """Packs pictures into one archive.

    Args:
      pictures: uint8 (H, W, 3), of any sizes.
      model: of the Gaussian process, in pixels: a `DiffusionModel` or a `PredictorModel`.
      seed: of the bits to begin with.

    Returns:
      The archive, and what it cost.

    Raises:
      ValueError: the model is another one, there is a picture without pixels or of more than 2^26, or there are more
        than 2^20 pictures.
    """
    if len(pictures) > _MOST_RUNS:
        raise ValueError(f"an archive has at most {_MOST_RUNS} pictures, got {len(pictures)}")
    chain, stack, costs = _Chain(model), Stack(SharedRandomness(seed)), []
    for number, picture in enumerate(pictures):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise ValueError(f"pictures must be uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        if picture[..., 0].size > _MOST_PIXELS:
            raise ValueError(
                f"pictures have at most {_MOST_PIXELS} pixels, got {picture.shape[1]} x {picture.shape[0]}"
            )
        stack.scramble(SharedRandomness(seed, 1 + number), chain.words(*picture.shape[:2]))
        before = stack.ideal_bits
        chain.push(stack, picture)
        costs.append(stack.ideal_bits - before)
    words = stack.words
    runs = [(len(list(run)), *size) for size, run in groupby(picture.shape[:2] for picture in pictures)]
    head = _HEAD.pack(_MAGIC, _VERSION, model.id[:4], seed, stack.borrowed_words, len(words), len(runs))
    head += b"".join(_RUN.pack(*run) for run in runs)
    data = head + struct.pack(">I", zlib.crc32(head)) + words.astype(">u4").tobytes()
    return data, Costs(tuple(costs), 32 * stack.borrowed_words)


def unpack(data: bytes, model: Model[Any]) -> list[np.ndarray]:
    """Mirror image of `pack`: uint8 (H, W, 3) each.

    Raises:
      FormatError: it is no archive, or was cut.
      ModelMismatchError: it was made with another model.
      StreamError: it is damaged, or this machine computes something else than the one that made it.
      ValueError: the model is none that archives are made with.
    """
    head = _read_head(data)
    if head.model_id != model.id[:4]:
        raise ModelMismatchError(
            f"the archive was made with model {head.model_id.hex()}, this one is {model.id[:4].hex()}: "
            "give the one it was made with"
        )
    chain, pictures = _Chain(model), []
    wrong = StreamError("the archive is damaged, or was made where the model computes something else: unpack it there")
    try:
        stack = Stack.of_words(head.words)
        for number, (height, width) in reversed(list(enumerate(head.sizes))):
            if chain.words(height, width) > len(head.words):
                raise wrong  # a head that names what cannot be here
            pictures.append(chain.pop(stack, height, width))
            stack.scramble(SharedRandomness(head.seed, 1 + number), chain.words(height, width))
    except (EOFError, OverflowError, ValueError):
        raise wrong from None
    if not stack.is_borrowed(SharedRandomness(head.seed), head.borrowed_words):
        raise wrong
    return pictures[::-1]


def archive_info(data: bytes) -> dict[str, Any]:
    """What the head of an archive says, without a model.

    Returns:
      model_id (hex), seed, sizes (height and width of every picture), borrowed_bits, file_bytes.

    Raises:
      FormatError: it is no archive, or was cut.
    """
    head = _read_head(data)
    return {
        "model_id": head.model_id.hex(),
        "seed": head.seed,
        "sizes": head.sizes,
        "borrowed_bits": 32 * head.borrowed_words,
        "file_bytes": len(data),
    }


def negative_elbo_bits(model: Model[Any], picture: UInt8[np.ndarray, "H W 3"], generator: np.random.Generator) -> float:
    """The negative ELBO of a picture with continuous states, in bits, estimated from one draw of them.

    Divergences of steps, by their closed form, and -log2 p(x | z_0): the review's Eqs. 29 and 30.
    """
    chain = _Chain(model)
    x = chain.source.values(picture).astype(np.float64)
    first = chain.first(x)
    total = float(diffusion.gaussian_kl_bits(first, Moments(np.zeros_like(x), first.std)).sum())
    z = generator.normal(first.mean, first.std)
    for step in range(chain.steps):
        target, reference = chain.target(step, z, x), chain.reference(step, z)
        total += float(diffusion.gaussian_kl_bits(target, reference).sum())
        z = generator.normal(target.mean, target.std)
    return total + chain.rest_bits(z, picture)


def rest_bits(model: Model[Any], picture: UInt8[np.ndarray, "H W 3"], z: np.ndarray) -> float:
    """-log2 p(x | z_0), what is left of a picture after all steps; z of the source's shape."""
    return _Chain(model).rest_bits(z, picture)


class _Head(NamedTuple):
    model_id: bytes
    seed: int
    borrowed_words: int
    sizes: list[tuple[int, int]]
    words: np.ndarray


def _read_head(data: bytes) -> _Head:
    if data[:3] != _MAGIC:
        raise FormatError("not an archive of pictures (it does not begin with 8F 55 42)")
    if len(data) > 3 and data[3] != _VERSION:
        raise FormatError(f"version {data[3]} of archives is unknown here (this program reads version {_VERSION})")
    cut = FormatError(f"the archive was cut to {len(data)} bytes: nothing of it can be read without the rest")
    if len(data) < _HEAD.size:
        raise cut
    _, _, model_id, seed, borrowed_words, count, runs = _HEAD.unpack_from(data)
    end = _HEAD.size + _RUN.size * runs
    if len(data) < end + 4:
        raise cut
    if zlib.crc32(data[:end]) != struct.unpack_from(">I", data, end)[0]:
        raise FormatError("the head of the archive is damaged (its checksum does not match)")
    if len(data) - end - 4 != 4 * count:
        raise cut if len(data) - end - 4 < 4 * count else FormatError("something follows the archive")
    sizes: list[tuple[int, int]] = []
    for number, height, width in _RUN.iter_unpack(data[_HEAD.size : end]):
        if not number or not height or not width or height * width > _MOST_PIXELS or len(sizes) + number > _MOST_RUNS:
            raise FormatError("the head of the archive names pictures that no archive has")
        sizes += [(height, width)] * number
    words = np.frombuffer(data, ">u4", count, end + 4).astype(np.uint32)
    return _Head(model_id, seed, borrowed_words, sizes, words)


class _Chain:
    """The densities of Eq. 1 for one model, and what is done with them."""

    def __init__(self, model: Model[Any]):
        course = getattr(model, "course", None)
        if course is None or not isinstance(course.channel, GaussianStep) or not isinstance(course.source, Pixels):
            raise ValueError(
                f"bits-back coding needs a model of the Gaussian process in pixels, this one is {model.family}"
            )
        if hasattr(model, "process"):
            model.process.require_channel(model.network)
        self._model: ReverseProcess = model
        self.gammas, self.source, self.steps = course.gammas, course.source, len(course.gammas) - 1
        zero, one = np.zeros((), np.float32), np.ones((), np.float32)
        self._steps = []
        for gamma_t, gamma_s in zip(self.gammas, self.gammas[1:], strict=False):
            parts = (diffusion.posterior(*pair, gamma_t, gamma_s).mean for pair in ((one, zero), (zero, one)))
            self._steps.append((*map(float, parts), np.asarray(diffusion.posterior_std(gamma_t, gamma_s))))

    def first(self, x: np.ndarray) -> Moments:
        """q(z_1 | x)."""
        alpha, sigma = (np.asarray(part(self.gammas[0]), np.float64) for part in (diffusion.alpha, diffusion.sigma))
        return Moments(alpha * x, sigma)

    def target(self, step: int, z: np.ndarray, x: np.ndarray) -> Moments:
        """q of the state after a step."""
        a, b, std = self._steps[step]
        return Moments(a * z + b * x, std)

    def reference(self, step: int, z: np.ndarray) -> Moments:
        """p of the state after a step."""
        said = self._model.expectation(z.astype(np.float32), self.gammas[step], self.gammas[step + 1])
        return self.target(step, z, said.denoised.astype(np.float64))

    def pixels(
        self, z: np.ndarray, height: int, width: int, picture: np.ndarray | None = None
    ) -> Iterator[tuple[ProbabilityTable, np.ndarray]]:
        """p(x | z_0), a part of the values after the other: tables with a row per value, and values of a picture."""
        at = np.ascontiguousarray(z[:height, :width], np.float32).reshape(-1)
        values = np.zeros(at.size, np.uint8) if picture is None else picture.reshape(-1)
        for start in range(0, at.size, _PART):
            part = slice(start, start + _PART)
            log_p = np.asarray(diffusion.log_p_of_x(jnp.asarray(at[part]), self.gammas[-1]), np.float64)
            yield ProbabilityTable(quantize_probabilities(np.exp(log_p))), values[part]

    def rest_bits(self, z: np.ndarray, picture: np.ndarray) -> float:
        """-log2 p(x | z_0)."""
        parts = self.pixels(z, picture.shape[0], picture.shape[1], picture)
        return sum(float(table.bits[np.arange(len(values)), values].sum()) for table, values in parts)

    def words(self, height: int, width: int) -> int:
        """What popping the states of a picture takes, nearly, in words of 32 bits."""
        return math.ceil(math.prod(self.source.shape(height, width)) * (self.steps + 1) * _ENTROPY / 32)

    def push(self, stack: Stack, picture: np.ndarray) -> None:
        """The sender's part of Eq. 1."""
        x = self.source.values(picture).astype(np.float64)
        moments = self.first(x)
        numbers = [pop_gaussian(stack, _phases(moments))]
        z, references = _states(numbers[0], moments.std, x.shape), [Moments(np.zeros_like(x), moments.std)]
        for step in range(self.steps):
            references.append(self.reference(step, z))
            moments = self.target(step, z, x)
            numbers.append(pop_gaussian(stack, _phases(moments)))
            z = _states(numbers[-1], moments.std, x.shape)
        for table, values in reversed(list(self.pixels(z, picture.shape[0], picture.shape[1], picture))):
            stack.push(table, np.arange(len(values)), values)
        for reference, own in zip(reversed(references), reversed(numbers), strict=True):
            push_gaussian(stack, _phases(reference), own)

    def pop(self, stack: Stack, height: int, width: int) -> np.ndarray:
        """The receiver's part.

        Raises:
          EOFError: the stack is empty.
          OverflowError: what it holds means nothing.
        """
        shape = self.source.shape(height, width)
        moments = self.first(np.zeros(shape))
        numbers, states = [], []
        for step in range(self.steps + 1):
            numbers.append(pop_gaussian(stack, _phases(moments)))
            states.append(_states(numbers[-1], moments.std, shape))
            if step < self.steps:
                moments = self.reference(step, states[-1])
        parts = [stack.pop(table, np.arange(len(values))) for table, values in self.pixels(states[-1], height, width)]
        picture = np.concatenate(parts).astype(np.uint8).reshape(height, width, 3)
        x = self.source.values(picture).astype(np.float64)
        targets = [self.first(x), *(self.target(step, states[step], x) for step in range(self.steps))]
        for target, own in zip(reversed(targets), reversed(numbers), strict=True):
            push_gaussian(stack, _phases(target), own)
        return picture


def _phases(moments: Moments) -> np.ndarray:
    """Means in bins."""
    return phases_of(np.asarray(moments.mean, np.float64).reshape(-1) * (BINS_PER_STD / float(moments.std)))


def _states(numbers: np.ndarray, std: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values of numbers on the grid, float64."""
    z = numbers.reshape(shape) * (float(std) / BINS_PER_STD)
    if np.abs(z).max() > _LARGEST:
        raise OverflowError("a state is larger than any picture's")
    return z
