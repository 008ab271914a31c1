"""Is this machine fit to exchange streams with others? What `uqdm doctor` looks at.

Streams mean the same everywhere if integers are computed as integers (docs/format.md). These things are tried on the
default backend: convolutions against 64-bit integers, elementwise arithmetic against stored results, the network of
every shipped model on a stored state, and the decoding of a stored stream; then the same for the lossless residual.

What is optional is listed beside it: the extras of the package, and formats that Pillow may have been built without.
"""

import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata, resources
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import features

from uqdm.codec.api import decode, receiver_of
from uqdm.exact import convolution
from uqdm.library import SHIPPED, load_model
from uqdm.lossless import pixel_network
from uqdm.lossless.predicted import PredictedResidual, load_residual
from uqdm.nested import integer_network as integer
from uqdm.nested.model import NestedModel

__all__ = ["Finding", "examine", "facts", "optional"]


class Finding(NamedTuple):
    """Result of one trial."""

    what: str
    good: bool
    needed: bool
    """Whether streams are unsafe if this is not good."""
    detail: str


def facts() -> str:
    """The machine in one line."""
    device = jax.devices()[0]
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{system}, jax {jax.__version__}, numpy {np.__version__}; {device.platform}: {device.device_kind}"


def fingerprint(*arrays: np.ndarray) -> str:
    """First 16 hexadecimal digits of the SHA-256 of integers, as little-endian int64."""
    joined = b"".join(np.asarray(array).astype("<i8").tobytes() for array in arrays)
    return hashlib.sha256(joined).hexdigest()[:16]


def elementwise() -> str:
    """Digest of rescaled integers and logarithms (uqdm.exact.fixed_point, Eq. 1; uqdm.nested.network_integers)."""
    values = jnp.asarray((np.arange(-4096, 4096, dtype=np.int64) * 4093).astype(np.int32))
    rescaled = jax.jit(lambda x: (x * 61 + 12345) >> 13)(values)
    logarithms = jax.jit(integer.log2_of_sum)(jnp.abs(values))
    return fingerprint(np.asarray(rescaled), np.asarray(logarithms))


def network(model: NestedModel) -> str:
    """Digest of the outputs of a model's network for made-up states of 5 x 7 blocks before every fifth step."""
    rng = np.random.Generator(np.random.Philox(7))
    outputs = []
    for step, about in enumerate(model.schedule.steps):
        if not about.halving and step % 5 == 0:
            units = rng.integers(-127, 128, (1, 5, 7, model.network.channels)) >> rng.integers(0, 9)
            outputs += model.reference(units.astype(np.int8), step)[:2]
    return fingerprint(*outputs)


def stream(model: NestedModel, data: bytes) -> str:
    """Digest of the state that a stream decodes to."""
    receiver = receiver_of(data, model=model)
    while receiver.receive():
        pass
    return fingerprint(receiver.state.midpoint)


def residual_network(residual: PredictedResidual) -> str:
    """Digest of the outputs of a residual's networks for made-up features of 9 x 11 quads."""
    rng = np.random.Generator(np.random.Philox(8))
    outputs, inside = [], np.ones((9, 11), bool)
    for rows in residual.rows:
        features = (rng.integers(-127, 128, (1, 9, 11, 45)) >> rng.integers(0, 6)).astype(np.int8)
        outputs += pixel_network.evaluate(rows, features, inside, convolution=convolution.proven_convolution())
    return fingerprint(*(np.asarray(output) for output in outputs))


def pixels(data: bytes) -> str:
    """Digest of the picture that a lossless stream decodes to, prediction and all in integers."""
    return fingerprint(decode(data))


_FORMATS = {"avif": "AVIF", "webp": "WebP", "jpg_2000": "JPEG 2000"}
"""What Pillow calls formats that it may lack."""


def extras() -> dict[str, list[str]]:
    """Names of the packages that each extra of this one needs; none where it was not installed."""
    try:
        requirements = metadata.requires("uqdm") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([a-z]+)['\"]", requirement)
        if match:
            found.setdefault(match[2], []).append(match[1])
    return found


def optional() -> Iterator[Finding]:
    """Extras with the versions of their packages, or the command that installs them; then formats of pictures."""
    for extra, packages in extras().items():
        versions, missing = [], []
        for package in packages:
            try:
                versions.append(f"{package} {metadata.version(package)}")
            except metadata.PackageNotFoundError:
                missing.append(package)
        detail = ", ".join(versions)
        if missing:
            detail = f"missing: {', '.join(missing)}; pip install 'uqdm[{extra}]'"
        yield Finding(f"extra {extra}", not missing, False, detail)
    for name, shown in _FORMATS.items():
        version = features.version(name) if features.check(name) else None
        yield Finding(
            f"pictures in {shown}",
            version is not None,
            False,
            f"library {version}" if version else "not in this Pillow",
        )


def examine() -> Iterator[Finding]:
    """All trials, one after the other."""
    try:
        chosen = convolution.proven_convolution()
    except RuntimeError as error:
        yield Finding("sums of products", False, True, str(error).splitlines()[0])
        return
    for name in convolution.CONVOLUTIONS:
        good = convolution.probe(name)
        used = "used here" if name == chosen else "a slower way out" if good else "not used"
        yield Finding(
            f"sums of products: {name}", good, name == chosen, "exact, " + used if good else "not exact, " + used
        )
    folder = resources.files("uqdm") / "weights"

    def compared(what: str, find: Callable[[], str], expected: str) -> Finding:
        try:
            found = find()
        except Exception as error:  # whatever wrong integers lead to
            return Finding(what, False, True, f"{type(error).__name__}: {error}".splitlines()[0])
        equal = found == expected
        return Finding(what, equal, True, "as stored" if equal else f"got {found}, stored is {expected}")

    for name in SHIPPED:
        stored, model = json.loads((folder / f"{name}.json").read_text()), load_model(name)
        assert isinstance(model, NestedModel)
        if name == SHIPPED[0]:
            yield compared("elementwise integers", elementwise, stored["elementwise"])
        yield compared(f"model file {name}", model.id.hex, stored["model"])
        yield compared(f"network of {name}", partial(network, model), stored["network"])
        decoded = partial(stream, model, bytes.fromhex(stored["stream"]))
        yield compared(f"stored stream of {name}", decoded, stored["state"])
    stored = json.loads((folder / "residual.json").read_text())
    yield compared("residual file", load_residual().id.hex, stored["residual"])
    yield compared("residual's network", partial(residual_network, load_residual()), stored["network"])
    yield compared("stored lossless stream", partial(pixels, bytes.fromhex(stored["stream"])), stored["pixels"])
