"""The table of models that tests/test_models.py goes through: a new model gets all laws by a row of CASES.

Laws call the public functions only. What they need besides stands in the first section, so that a change of an internal
name is a change there.
"""

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from pictures import make_picture
from random_autoencoder import random_autoencoder, random_latent_file

import uqdm
from channel_sim import GaussianChannel
from uqdm.codec import container
from uqdm.codec.api import StepCost, check_against, encode_with_costs
from uqdm.codec.loop import Receiver
from uqdm.contract import Model
from uqdm.diffusion import network as unet
from uqdm.diffusion import process as diffusion
from uqdm.diffusion.kinds import DiffusionConfig, GaussianProcess, UniformProcess
from uqdm.diffusion.model import DiffusionModel
from uqdm.diffusion.predictor import PredictorModel
from uqdm.drawn.model import DrawnModel
from uqdm.prompted.codes import Codebook
from uqdm.prompted.perco import PerCoModel
from uqdm.prompted.text_sketch import TextSketchModel
from uqdm.reconstruction import NAMES, named
from uqdm.transforms.latents import Latents

# What is touched besides the public functions.


def reconstruct(
    data: bytes, model: Model, way: str, seed: int = 0, steps: int | None = None, realism: float | None = None
) -> np.ndarray:
    """What a prefix shows when the missing part is filled in by a named way."""
    given = {"seed": seed, "remaining_steps": steps} | ({} if steps is None else {"evaluations": steps})
    chosen: Any = named(way) if way in NAMES else way
    fields = getattr(chosen, "__dataclass_fields__", {})
    chosen = replace(chosen, **{name: value for name, value in given.items() if name in fields}) if fields else chosen
    return uqdm.decode(data, model=model, reconstruction=chosen, realism=realism)


def check(data: bytes, picture: np.ndarray, model: Model) -> None:
    """Raises DamagedStreamError where the state that a stream decodes to cannot be the picture's."""
    check_against(data, picture, model=model)


def exact_pixels(decoder: Receiver) -> tuple[np.ndarray, np.ndarray] | None:
    """Pixels that a lossless residual has sent, and where they hold; None before the residual."""
    pixels = getattr(decoder.state, "pixels", None)
    return pixels and (pixels.known, pixels.determined)


def check_value(decoder: Receiver) -> np.ndarray:
    """The two bytes that depend on all that has been received."""
    return decoder.state.check_bytes


def with_header(data: bytes, **changes: Any) -> bytes:
    """A stream whose header says something else."""
    header, start = container.unpack(data)
    return container.pack(header._replace(**changes)) + data[start:]


def forward_noise(decoder: Receiver, picture: np.ndarray) -> np.ndarray:
    """(z - alpha x) / sigma of a diffusion process, white noise of unit variance if all steps are complete."""
    model: Any = decoder.model
    gamma = model.gammas[-1]
    x = model.course.source.values(picture)
    return (decoder.state.z - np.asarray(diffusion.alpha(gamma)) * x) / np.asarray(diffusion.sigma(gamma))


@functools.cache
def page_model(state: type | None = None, **methods: Callable) -> Any:
    """The model of docs/howto/own_model.md, or one that differs from it.

    Args:
      state: what its states are.
      **methods: that the model has instead.
    """

    def new_state(self, height, width, seed, picture=None):
        return (state or page()["BlurState"])(height, width, seed, picture)

    return type("PageModel", (page()["BlurModel"],), {"new_state": new_state} | methods)()


def drawing(draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Any:
    """The page's model with draws, draw(picture, private randomness)."""

    def drawn(self, sampler, step):
        self.generator = sampler.generator

    def picture(self, state, step):
        shown = page()["BlurModel"].picture(self, state, step)
        return shown if state.generator is None else draw(shown, state.generator)

    state = type("Drawing", (page()["BlurState"],), {"generator": None, "draw": drawn})
    model = page_model(state, picture=picture)
    model.family = "nested"  # which has draws
    return model


LYING_PIXELS = "uqdm.lossless.direct.DirectPixels.determined"
"""Where the uniform process's residual says which pixels are known."""


# Models.

TESTS = Path(__file__).parent
VARIANCE = 1 / 16
"""Of the coordinates of x that `gaussian_predictor` is right for."""


@functools.cache
def tiny_model():
    """An untrained model of the nested process, of small blocks: codecs must be right whatever the network says."""
    from uqdm.nested.model import NestedModel
    from uqdm.nested.network import NetworkConfig, init
    from uqdm.nested.schedule import Schedule
    from uqdm.transforms.wavelet import layout

    channels = layout(8)
    prior_std = tuple((400.0 / (1 + channels.band) / (1 + (channels.colour > 0))).tolist())
    schedule = Schedule(block=8, finest_width=4.0, phases=((4, 0), (2, 1), (2, 2), (1, 0)), prior_std=prior_std)
    network = NetworkConfig(block=8, steps=len(schedule.steps), width=16, blocks=1, local_width=8)
    parameters = init(network, jax.random.key(0))
    return NestedModel.from_training(schedule=schedule, network=network, parameters=parameters, name="tiny")


@functools.cache
def opened_model():
    """The tiny model with an opening, untrained as well, of the first two of its levels."""
    from uqdm.nested.network import init
    from uqdm.nested.opening import RECIPE, trainer_of, with_opening

    network = trainer_of(replace(RECIPE, width=16, blocks=1, local_width=8), tiny_model(), 2).network
    return with_opening(tiny_model(), 2, network, init(network, jax.random.key(1)))


def postfilter_parameters(config, seed: int = 0):
    """Of a filter, as after a training: no table is what it was at first, corrections are some pixel values."""
    from uqdm.postfilter import network

    fresh = network.init(config, np.linspace(8, 2, config.steps + 1).astype(np.float32), jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def trained(path, leaf):
        name, values = path[0].key, np.asarray(leaf)
        if name == "head":
            return rng.normal(0, 0.05, values.shape).astype(np.float32)
        if name.endswith("_second"):
            return 5 * values
        return (values + rng.normal(0, 0.1, values.shape)).astype(np.float32) if values.ndim < 4 else values

    return jax.tree_util.tree_map_with_path(trained, fresh)


@functools.cache
def mean_autoencoder():
    """A tiny autoencoder whose latent has the mean colours of the quarters of 8 x 8 pixels, less a half.

    It shows their mean.
    """
    from uqdm.transforms.autoencoder import Autoencoder

    def kernel(taken: int, out: int, ones: Sequence[tuple], share: float = 1.0) -> np.ndarray:
        """Some entries (row, column, in, out) are a share."""
        weights = np.zeros((3, 3, taken, out), np.float32)
        weights[tuple(np.transpose(ones))] = share
        return weights

    nothing = {"kernel": np.zeros((3, 3, 64, 64)), "bias": np.zeros(64)}
    block = {f"conv_{number}/{name}": array for number in range(3) for name, array in nothing.items()}
    square, kept = [(1, 1), (1, 2), (2, 1), (2, 2)], [(1, 1, c, c) for c in range(3)]
    halved = {"kernel": kernel(64, 64, [(*tap, c, c) for c in range(3) for tap in square], 0.25)}
    quarters = {"kernel": kernel(64, 64, [(*tap, c, 3 * q + c) for c in range(3) for q, tap in enumerate(square)])}
    encoder = {0: {"kernel": kernel(3, 64, kept), "bias": np.zeros(64)}, 1: block}
    mean = [(1, 1, 3 * q + c, c) for c in range(3) for q in range(4)]
    decoder = {1: {"kernel": kernel(12, 64, mean, 0.25), "bias": np.full(64, 0.5)}}
    for first, layer in ((2, halved), (6, halved), (10, quarters)):
        encoder |= {first: layer, **{first + number: block for number in (1, 2, 3)}}
    for first in (3, 8, 13):
        same = {"kernel": kernel(64, 64, kept)}
        decoder |= {**{first + number: block for number in (0, 1, 2)}, first + 4: same}
    encoder[14] = {"kernel": kernel(64, 12, [(1, 1, c, c) for c in range(12)]), "bias": np.full(12, -0.5)}
    decoder |= {18: block, 19: {"kernel": kernel(64, 3, kept), "bias": np.zeros(3)}}
    both = ({f"{i}/{name}": a for i, layer in part.items() for name, a in layer.items()} for part in (encoder, decoder))
    return Autoencoder.from_parameters(*both, name="means")


@functools.cache
def latent_nested_model():
    """An untrained model of the nested process on the latents of `mean_autoencoder`."""
    from uqdm.nested.latent_model import coder_from_training, joined
    from uqdm.nested.model import NestedModel
    from uqdm.nested.network import NetworkConfig, init
    from uqdm.nested.schedule import Schedule

    std = tuple(np.linspace(300.0, 80.0, 12).tolist())
    phases = ((4, 0), (2, 2), (2, 0), (1, 0))
    schedule = Schedule(block=1, colours=12, finest_width=6.0, phases=phases, prior_std=std)
    network = NetworkConfig(block=1, colours=12, steps=len(schedule.steps), width=16, blocks=1, local_width=1)
    coder = NestedModel.from_training(
        schedule=schedule, network=network, parameters=init(network, jax.random.key(0)), name="latents"
    )
    matrix = 255 * 4 * np.eye(12) + 20.0 * np.eye(12, k=1)
    return joined(coder_from_training(coder, matrix, np.zeros(12), mean_autoencoder()), mean_autoencoder())


def mean_colours(picture: np.ndarray) -> np.ndarray:
    """What `mean_autoencoder` makes of a picture."""
    latents = mean_autoencoder().latents
    return latents.picture(latents.values(picture), *picture.shape[:2])


@functools.cache
def unet_model(process: str = "uniform", logistic: bool = True) -> DiffusionModel:
    """Random weights, two resolutions, attention in the middle for the uniform process; 1.4 pixel values of noise."""
    uniform = process == "uniform"
    config = unet.UNetConfig(width=8, levels=2, norm_groups=4, heads=int(uniform), learned_scale=uniform)
    noise = diffusion.NoiseSchedule(gamma_min=-9.0, gamma_max=6.0)
    parameters = unet.init(config, jax.random.key(0))
    kind = UniformProcess(logistic=logistic) if uniform else GaussianProcess()
    record = DiffusionConfig(process=kind, noise=noise, steps=4, network=config)
    return DiffusionModel.from_training(record, parameters, name=process)


def gaussian_predictor(z: np.ndarray, gamma: float) -> np.ndarray:
    """eps_hat where all coordinates of x are independent N(0, VARIANCE)."""
    alpha_squared, sigma_squared = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    return z * np.sqrt(sigma_squared) / (alpha_squared * VARIANCE + sigma_squared)


def mean_of_blocks(picture: np.ndarray) -> np.ndarray:
    """An autoencoder of 4 x 4 pixels: to x."""
    height, width = picture.shape[:2]
    return picture.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)) / 128 - 1


def flat_blocks(x: np.ndarray) -> np.ndarray:
    """And back."""
    return np.clip((x + 1) * 128, 0, 255).repeat(4, 0).repeat(4, 1).round().astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    """What the autoencoder makes of a picture, sides extended to multiples of 8."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    return flat_blocks(mean_of_blocks(padded))[:height, :width]


@functools.cache
def predictor_model() -> PredictorModel:
    """DiffC, ending with noise of 3.9 pixel values."""
    channel = GaussianChannel(chunk_bits=4.0, candidates_log2=10)
    gammas = tuple(np.linspace(5.0, -7.0, 7).tolist())
    return PredictorModel(predict=gaussian_predictor, gammas=gammas, identity=b"gaussian", channel=channel)


@functools.cache
def latent_model() -> PredictorModel:
    """DiffC of the means of blocks."""
    source = Latents(encode=mean_of_blocks, decode=flat_blocks, channels=3, factor=4, stride=2)
    return replace(predictor_model(), source=source)


def through_autoencoder(picture: np.ndarray) -> np.ndarray:
    """What the random autoencoder makes of a picture."""
    autoencoder = random_autoencoder(16)
    return autoencoder.decode(autoencoder.encode(picture), *picture.shape[:2])


@functools.cache
def latent_codec(width: float = 1 / 256, dithered: bool = True):
    """Dithered latents of a random autoencoder, under random predictions, with a random network."""
    return random_latent_file(width, dithered).model()


@functools.cache
def transform_model(universal: bool = False, diffusion: bool = False):
    """Transform coding with cosines for a linear transform, untrained networks, and widths of 4 pixel values."""
    from uqdm.transform_coding import denoiser, network
    from uqdm.transform_coding.config import DenoiserConfig, TransformConfig
    from uqdm.transform_coding.model import TransformModel

    rows, columns = np.mgrid[:8, :8]
    cosines = np.sqrt(np.where(rows == 0, 1, 2) / 8) * np.cos(np.pi * rows * (2 * columns + 1) / 16)
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    basis = np.einsum("ax,by,ij->abixyj", cosines, cosines, colours).reshape(192, 192)
    order = np.argsort(np.add.outer(rows + columns, 3 * np.arange(3)).reshape(-1), kind="stable")
    config = TransformConfig(
        spread=tuple((60.0 / (1 + np.arange(192.0) / 4)).tolist()),
        step=4.0,
        universal=universal,
        width=8,
        blocks=1,
        hyper_latents=4,
        hyper_width=8,
        denoiser=DenoiserConfig(widths=(4, 8, 8), condition=8) if diffusion else None,
    )
    parameters = network.init(config, basis[order].T.astype(np.float32), jax.random.key(0))
    if config.denoiser is not None:
        parameters["denoiser"] = denoiser.init(config.denoiser, config.width, jax.random.key(1))
    return TransformModel.from_training(network=config, parameters=parameters, name="transform")


@functools.cache
def perco_model(name: bytes = b"colours") -> PerCoModel:
    """PerCo whose codes are 256 colours, one for every pixel, and whose pictures are the codes."""
    levels = [np.linspace(16, 240, 8), np.linspace(16, 240, 8), np.linspace(32, 224, 4)]
    codes = np.stack(np.meshgrid(*levels, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    codebook = Codebook(codes=codes - 128)
    return PerCoModel(
        codebook=codebook,
        grid=lambda height, width: (height, width),
        quantize=lambda picture: codebook.nearest(picture - np.float32(128)),
        draw=lambda indices, caption, height, width, seed: codes[indices].astype(np.uint8),
        id=hashlib.sha256(name).digest(),
        caption="a gradient of colours",
    )


def nearest_colours(picture: np.ndarray) -> np.ndarray:
    """The best that `perco_model` can show."""
    model = perco_model()
    return model.draw(model.quantize(picture), "", *picture.shape[:2], 0)


def odd_pixels(picture: np.ndarray) -> np.ndarray:
    """Edges, of a kind: pixels of which one or three colours are bright."""
    return (picture >> 7).sum(-1) % 2 == 1


def black_and_white(edges: np.ndarray) -> np.ndarray:
    return np.where(edges, np.uint8(255), np.uint8(0))[..., None].repeat(3, 2)


@functools.cache
def text_sketch_model(name: bytes = b"sketches") -> TextSketchModel:
    """Text+Sketch that draws sketches, all but one of its candidates brightened."""

    def draw(edges: np.ndarray, caption: str, seed: int, number: int) -> np.ndarray:
        return black_and_white(edges) | np.uint8((number - 3 - seed) % 8)

    return TextSketchModel(
        draw=draw,
        candidates=8,
        id=hashlib.sha256(name).digest(),
        distance=lambda picture, candidate: float(candidate.mean()),
        caption="a sketch",
        edges=odd_pixels,
        scale=1,
    )


@functools.cache
def page(old: str = "", new: str = "") -> dict[str, Any]:
    """Names of the code of docs/howto/own_model.md, with a part of the text exchanged."""
    text = (TESTS.parent / "docs" / "howto" / "own_model.md").read_text()
    assert old in text
    names: dict[str, Any] = {"__name__": "own_model"}
    for code in re.findall(r"^```python\n(.*?)^```$", text.replace(old, new), re.MULTILINE | re.DOTALL):
        exec(code, names)
    return names


# The table.


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A model and what it is tested on.

    Attributes:
      make: gives the model, the same one every time.
      other: gives a model of its family that reads none of its streams.
      ways: names of its reconstructions, and whether they draw.
      psnr_db: of whole streams, at least.
      fall_db: by how much a prefix may be worse than a shorter one.
      shown: what a picture is compared with, for models that cannot show all pictures.
      stride: bytes between the prefixes of larger pictures that are tried.
      partial: whether bytes that end inside of a step tell something of it.
      size: height and width of its larger pictures.
      small: of a small one.
      grain: side of the squares that its "noise" is made of.
      residual: whether there is a lossless residual for it.
      lossless: whether streams end in it.
      forward: whether its state is z_t of a diffusion process.
      random: whether streams depend on the seed.
      closed: whether nothing is left to reconstruct where a whole stream is known.
    """

    make: Callable[[], Any]
    other: Callable[[], Any]
    ways: Mapping[str, bool]
    psnr_db: float
    fall_db: float
    shown: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
    stride: int = 1
    partial: bool = True
    size: tuple[int, int] = (23, 37)
    small: tuple[int, int] = (7, 5)
    grain: int = 1
    residual: bool = True
    lossless: bool = False
    forward: bool = False
    random: bool = True
    closed: bool = True

    @property
    def model(self) -> Any:
        return self.make()

    def encode(self, picture: np.ndarray, tau: float | None = None, seed: int = 0) -> bytes:
        return uqdm.encode(picture, tau, lossless=self.lossless, model=self.model, seed=seed)

    def decode(self, data: bytes) -> np.ndarray:
        return uqdm.decode(data, model=self.model)

    def picture(self, name: str) -> np.ndarray:
        """One of SMALL, LARGE or EXTREME."""
        height, width = self.size
        row, column = np.mgrid[:height, :width]
        rng, grain = np.random.default_rng(13), self.grain
        return {
            "pixel": lambda: np.array([[[255, 0, 128]]], np.uint8),
            "row": lambda: make_picture(1, 6),
            "small": lambda: make_picture(*self.small),
            "large": lambda: make_picture(height, width),
            "second": lambda: make_picture(height, width, seed=1),
            "noise": lambda: (
                rng.integers(0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8)
                .repeat(grain, 0)
                .repeat(grain, 1)[:height, :width]
            ),
            "black": lambda: np.zeros((height, width, 3), np.uint8),
            "white": lambda: np.full((height, width, 3), 255, np.uint8),
            "checks": lambda: (255 * ((row + column) % 2)).astype(np.uint8)[..., None].repeat(3, 2),
            "gradient": lambda: np.stack([(row + 4 * column) % 256, row, 255 - column], -1).astype(np.uint8),
            "two colours": lambda: np.where(rng.random((height, width, 1)) < 0.1, 255, 7).astype(np.uint8).repeat(3, 2),
        }[name]()


SMALL = ("pixel", "row", "small")
LARGE = ("large", "second")
EXTREME = ("noise", "black", "white", "checks", "gradient", "two colours")

_NESTED = Case(
    make=tiny_model,
    other=lambda: uqdm.load_model("small"),
    ways={"denoise": False, "sample": True},
    psnr_db=38.0,
    fall_db=0.1,
)
_UNIFORM = Case(
    make=unet_model,
    other=lambda: unet_model().with_gammas([6.0, 1.0, -3.0, -6.0, -9.0]),
    ways={"denoise": False, "ancestral": True, "flow": False},
    psnr_db=41.0,
    fall_db=3.0,
    stride=17,
    forward=True,
)
_GAUSSIAN_PSI = replace(_UNIFORM, make=lambda: unet_model(logistic=False), other=unet_model)
_DIFFC = Case(
    make=predictor_model,
    other=lambda: replace(predictor_model(), identity=b"another"),
    ways={"denoise": False, "ancestral": True, "flow": False},
    psnr_db=33.0,
    fall_db=0.1,
    stride=17,
    partial=False,
    residual=False,
    forward=True,
)
CASES = {
    "nested": _NESTED,
    "nested with an opening, lossless": replace(_NESTED, make=opened_model, other=tiny_model, lossless=True),
    "nested, shipped": replace(_NESTED, make=lambda: uqdm.load_model("small"), other=tiny_model, fall_db=0.2),
    "nested, latents": replace(
        _NESTED,
        make=latent_nested_model,
        other=tiny_model,
        shown=mean_colours,
        size=(75, 118),
        small=(15, 20),
        stride=41,
        grain=8,
        residual=False,
        psnr_db=38.0,
    ),
    "uniform": _UNIFORM,
    "uniform, lossless": replace(_UNIFORM, lossless=True),
    "uniform, Gaussian psi": _GAUSSIAN_PSI,
    "uniform, Gaussian psi, lossless": replace(_GAUSSIAN_PSI, lossless=True),
    "Gaussian": replace(
        _UNIFORM,
        make=lambda: unet_model("gaussian"),
        other=lambda: unet_model("gaussian").with_gammas([6.0, 1.0, -3.0, -6.0, -9.0]),
        fall_db=1.0,
        partial=False,
        residual=False,
    ),
    "DiffC": _DIFFC,
    "DiffC of latents": replace(
        _DIFFC, make=latent_model, other=predictor_model, shown=blurred, size=(75, 118), grain=4
    ),
    "latent": Case(
        make=latent_codec,
        other=lambda: latent_codec(1 / 128),
        ways={"denoise": False, "latent_flow": False},
        psnr_db=50.0,
        fall_db=4.0,
        stride=97,
        partial=False,
        shown=through_autoencoder,
        size=(75, 118),
        grain=8,
        residual=False,
        closed=False,
    ),
    "drawn": Case(
        make=DrawnModel,
        other=tiny_model,
        ways={"denoise": False},
        psnr_db=99.0,
        fall_db=6.0,
        residual=False,
        random=False,
    ),
    "PerCo": Case(
        make=perco_model,
        other=lambda: perco_model(b"other colours"),
        ways={"denoise": False},
        psnr_db=99.0,
        fall_db=6.0,
        stride=17,
        partial=False,
        shown=nearest_colours,
        size=(41, 75),
        residual=False,
        random=False,
    ),
    "Text+Sketch": Case(
        make=text_sketch_model,
        other=lambda: text_sketch_model(b"other sketches"),
        ways={"denoise": False},
        psnr_db=99.0,
        fall_db=4.0,
        partial=False,
        shown=lambda picture: black_and_white(odd_pixels(picture)),
        stride=97,
        size=(152, 232),
        small=(15, 20),
        grain=2,
        residual=False,
    ),
    "transform coding": Case(
        make=transform_model,
        other=lambda: transform_model(universal=True),
        ways={"denoise": False},
        psnr_db=44.0,
        fall_db=1.0,
        stride=5,
        residual=False,
        random=False,
    ),
    "conditional diffusion": Case(
        make=lambda: transform_model(universal=True, diffusion=True),
        other=transform_model,
        ways={"denoise": False, "diffuse": True},
        psnr_db=42.0,
        fall_db=1.0,
        stride=5,
        residual=False,
        closed=False,
    ),
    "on one page": Case(
        make=page_model,
        other=lambda: page("SCALES = [44.0", "SCALES = [43.0")["BlurModel"](),
        ways={"denoise": False},
        psnr_db=48.0,
        fall_db=0.1,
        residual=False,
    ),
}


class Sent(NamedTuple):
    """A picture and its stream."""

    picture: np.ndarray
    data: bytes
    costs: list[StepCost]
    start: int
    """Bytes of the header."""


@functools.cache
def sent(case: Case, name: str, seed: int = 0) -> Sent:
    """One of the case's pictures, encoded once."""
    picture = case.picture(name)
    data, costs = encode_with_costs(picture, lossless=case.lossless, model=case.model, seed=seed)
    return Sent(picture, data, costs, uqdm.info(data)["header_bytes"])


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


GOLDEN = [
    (folder, name)
    for folder in sorted(path for path in (TESTS / "golden").iterdir() if path.is_dir())
    for name in json.loads((folder / "states.json").read_text())
]
"""Streams of shipped models, and the states that they decode to: folders named by the model id."""
GOLDEN_LOSSLESS = sorted((TESTS / "golden_lossless").glob("*/*.uqdm"))
"""And of streams that decode to the pictures beside them: folders named by the ids of model and residual."""


# Models that are wrong, each in one way: the laws must reject them.

_State, _Model = page()["BlurState"], page()["BlurModel"]


class Drifts(_State):
    """The receiver moves what the sender leaves."""

    def receive(self, reader, step):
        complete = super().receive(reader, step)
        if complete:
            self.cells = self.known = self.cells._replace(sign=-self.cells.sign)
        return complete


class Blind(_State):
    """No damage is noticed."""

    @property
    def check_bytes(self):
        return np.zeros(2, np.int64)


class DriftsUnnoticed(Drifts, Blind):
    """Nor that the receiver moves things."""


class HalfBlind(_State):
    """Damage is noticed in the upper half of the picture."""

    @property
    def check_bytes(self):
        return self.cells.doubled_midpoint[: len(self.shift) // 2].sum() >> np.array([8, 0]) & 255


class Hasty(_State):
    """A part of a step is taken for the step."""

    def receive(self, reader, step):
        complete = super().receive(reader, step)
        self.cells = self.known
        return complete


class Slow(_State):
    """More bytes are wanted than determine the step."""

    waited = -1

    def receive(self, reader, step):
        before = self.cells
        complete = super().receive(reader, step)
        if complete and self.waited < step:
            self.cells, self.waited = before, step
            return False
        return complete


class Unseeded(_State):
    """The common randomness is always the same."""

    def __init__(self, height, width, seed, picture):
        super().__init__(height, width, 0, picture)


class Restless(_State):
    """It is never the same."""

    _made = itertools.count()

    def __init__(self, height, width, seed, picture):
        super().__init__(height, width, next(self._made), picture)


def fractional(self, state, step):
    """Pictures are no bytes."""
    return _Model.picture(self, state, step).astype(np.float32)


def flickering(self, state, step):
    """What is shown depends on what was shown."""
    state.shown = getattr(state, "shown", 0) + 1
    return _Model.picture(self, state, step) ^ np.uint8(state.shown > 1)


def dark(self, state, step):
    """A step that is known in part makes the picture worse."""
    return _Model.picture(self, state, step) // (2 if state.partly_known else 1)


class Fragile(_State):
    """Damage ends in an error that says nothing."""

    def receive(self, reader, step):
        complete = super().receive(reader, step)
        if (np.abs(self.ticks(self.known)) > 160 * page()["TICKS"]).any():
            raise IndexError
        return complete


def crowded(self, states, step):
    """What is expected depends on how many are asked about."""
    for state in states:
        _Model.expect(self, [state], step)
        if len(states) > 1:
            state.reference = replace(state.reference, location=state.reference.location + 9)


def _noisy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(picture + rng.integers(-3, 4, picture.shape), 0, 255).astype(np.uint8)


def wrong(state: type | None = None, methods: Mapping[str, Callable] | None = None, **changes: Any) -> Case:
    """The row of the model on one page, with other states or methods."""
    made = {"make": functools.partial(page_model, state, **(methods or {}))}
    return replace(CASES["on one page"], **(made | changes))


def drawing_case(draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Case:
    """With draws."""
    return wrong(ways={"denoise": False, "sample": True}, make=functools.cache(lambda: drawing(draw)))


def namesake() -> Any:
    """Another model of the same id."""
    other = CASES["on one page"].other()
    other.id = page_model().id
    return other


RIGHT_DRAWS = drawing_case(_noisy)
WRONG = {
    "the receiver updates otherwise": wrong(Drifts),
    "the receiver updates otherwise, unchecked": wrong(DriftsUnnoticed),
    "randomness is not common": wrong(Restless),
    "pictures are not bytes": wrong(methods={"picture": fractional}),
    "pictures are worse than stated": wrong(psnr_db=60.0),
    "a part of a step makes it worse": wrong(methods={"picture": dark}),
    "a part of a step is kept": wrong(Hasty),
    "more bytes are needed": wrong(Slow),
    "pictures change by being shown": wrong(methods={"picture": flickering}),
    "batches differ": wrong(methods={"expect": crowded}),
    "nothing is checked": wrong(Blind),
    "a half is checked": wrong(HalfBlind),
    "damage ends in a strange error": wrong(Fragile),
    "two models have one id": wrong(other=namesake),
    "seeds do nothing": wrong(Unseeded),
    "draws have no seed": drawing_case(lambda picture, _: _noisy(picture, np.random.default_rng())),
    "draws are always the same": drawing_case(lambda picture, _: _noisy(picture, np.random.default_rng(0))),
    "a draw is not announced": replace(RIGHT_DRAWS, ways={"denoise": False}),
}
