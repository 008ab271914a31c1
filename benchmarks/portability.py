"""Encode here, decode there: do streams survive every change of configuration?

    python benchmarks/portability.py SHARED [--count 1000] [--out benchmarks/results/portability.md]

SHARED is the folder with `data/`. A thousand 64 x 64 pictures (val64, and crops of photos_val) are encoded in every
configuration, each in a process of its own, and decoded in every other: the streams of the first configuration in all
of them, and streams of a configuration that differ from those in it and in the first. (They may differ, since what is
sent is a picture transformed in floating point; what it means may not.) States and pictures are compared to the bit.
The same for the float twin, the same network evaluated in floating point and rounded at its outputs, as learned codecs
do it: its streams of the first configuration are decoded in every other. A stream counts as broken if the state differs
or the receiver reports damage.
"""

import argparse
import functools
import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from uqdm.codec.api import receiver_of
from uqdm.codec.loop import expect_together
from uqdm.errors import StreamError
from uqdm.library import load_model
from uqdm.nested import network as networks
from uqdm.nested.model import NestedModel
from uqdm.nested.schedule import block_classes
from uqdm.training.dataset import load_pictures

XLA = "XLA_FLAGS"
CONFIGURATIONS: dict[str, dict[str, str]] = {
    "batches of 8": {},
    "one at a time": {"BATCH": "1"},
    "one thread": {"CORES": "1"},
    "without jit": {"JAX_DISABLE_JIT": "1", "SHARE": "4"},
    "SSE4.2": {XLA: "--xla_cpu_max_isa=SSE4_2"},
    "AVX2": {XLA: "--xla_cpu_max_isa=AVX2"},
    "AVX512": {XLA: "--xla_cpu_max_isa=AVX512"},
    "fast-math": {XLA: "--xla_cpu_enable_fast_math=true"},
    "Eigen on one thread": {XLA: "--xla_cpu_multi_thread_eigen=false"},
    "no optimisation": {XLA: "--xla_backend_optimization_level=0"},
    "products in bfloat16": {"CONVOLUTION": "bfloat16"},
    "products in float32": {"CONVOLUTION": "float32"},
    "products in int32": {"CONVOLUTION": "int32", "SHARE": "16"},
    "GPU": {"JAX_PLATFORMS": "cuda"},
    "tests/plain_decoder.py": {"PLAIN": "1"},
}
"""Settings of the environment; one with SHARE n is so slow that it gets one nth of the pictures."""


class FloatTwin(NestedModel):
    """The network as it was trained, in floating point; only its outputs are rounded."""

    def reference(self, units, step):
        stored = self.network_of(step)
        config, own = stored.config, step - stored.section.range.start
        inputs, classes = jnp.asarray(units[..., : config.channels]), jnp.asarray(block_classes(*units.shape[1:3]))
        location, log2_scale = _outputs(config, jax.device_put(stored.parameters), inputs, classes, jnp.int32(own))
        first, last = config.channel_range(stored.bands[own])
        return np.asarray(location)[..., first:last], np.asarray(log2_scale)[..., first:last], first


@functools.partial(jax.jit, static_argnums=0)
def _outputs(config, parameters, units, classes, step):
    state = networks.Inputs(units.astype(jnp.float32), classes, jnp.broadcast_to(step, units.shape[:1]))
    outputs = networks.apply(config, parameters, state, quantized=False)
    return tuple(jnp.round(64 * x).astype(jnp.int16) for x in (outputs.location, outputs.log2_scale))


def pictures(shared: Path, count: int) -> list[np.ndarray]:
    """val64, then crops of photos_val."""
    chosen = load_pictures(shared / "data" / "val64.npz", count=count)
    photographs, rng = load_pictures(shared / "data" / "photos_val"), np.random.default_rng(0)
    while len(chosen) < count:
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (int(rng.integers(side - 63)) for side in photograph.shape[:2])
        chosen.append(photograph[top : top + 64, left : left + 64])
    return chosen


def digest(midpoint: np.ndarray, picture: np.ndarray) -> str:
    """Of a state and of what it shows."""
    return hashlib.sha256(midpoint.astype("<i4").tobytes() + picture.tobytes()).hexdigest()


def states_of(streams: list[bytes], model: NestedModel, batch: int) -> list[str]:
    """Digest of the state and the picture that each stream decodes to, or what was wrong."""
    digests = []
    for start in range(0, len(streams), batch):
        receivers = [receiver_of(data, model=model) for data in streams[start : start + batch]]
        results = [""] * len(receivers)
        while going := [i for i, result in enumerate(results) if not result]:
            expect_together([receivers[i] for i in going if not receivers[i].ended])
            for i in going:
                try:
                    if not receivers[i].receive():
                        results[i] = digest(receivers[i].state.midpoint, receivers[i].picture())
                except StreamError:
                    results[i] = "damaged"
        digests += results
    return digests


def plain_states_of(streams: list[bytes], model: NestedModel) -> list[str]:
    """The same from the receiver that was written from docs/format.md."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    decode_state = importlib.import_module("plain_decoder").decode_state
    show, arrays = importlib.import_module("plain_picture").show, dict(model.arrays)
    return [digest(decode_state(data, arrays)[0], show(data, arrays)) for data in streams]


def work(job: str, folder: Path, target: Path) -> None:
    """In a process of one configuration: encodes the pictures, or decodes the streams, found in `folder`."""
    from uqdm.codec.api import encode_batch

    batch, convolution = int(os.environ.get("BATCH", "8")), os.environ.get("CONVOLUTION")
    share = int(os.environ.get("SHARE", "1"))
    kind = FloatTwin if job.startswith("twin") else NestedModel
    model = kind(arrays=load_model().arrays, convolution=convolution)
    if job.endswith("encode"):
        chosen = np.load(folder / "pictures.npy")
        chosen = chosen[: len(chosen) // share]
        groups = (chosen[start : start + batch] for start in range(0, len(chosen), batch))
        result = [data for group in groups for data in encode_batch(list(group), model=model)]
        target.write_bytes(b"".join(len(data).to_bytes(4, "big") + data for data in result))
    else:
        streams, data = [], (folder / f"{job.removesuffix('decode')}streams").read_bytes()
        while data:
            size = int.from_bytes(data[:4], "big")
            streams.append(data[4 : 4 + size])
            data = data[4 + size :]
        streams = streams[: len(streams) // share] if not job.startswith("own") else streams
        plain = os.environ.get("PLAIN")
        target.write_text("\n".join(plain_states_of(streams, model) if plain else states_of(streams, model, batch)))


def run(job: str, name: str, folder: Path) -> tuple[bytes, float] | None:
    """What a configuration makes of a job, and its seconds; None where it cannot be had here."""
    target = folder / "result"
    target.unlink(missing_ok=True)
    settings = dict(CONFIGURATIONS[name])
    command = [sys.executable, __file__, str(folder), "--job", job, "--out", str(target)]
    if cores := settings.pop("CORES", None):
        command = ["taskset", "--cpu-list", f"0-{int(cores) - 1}", *command]
    began = time.perf_counter()
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, check=False)
    if done.returncode:
        print(f"{name}: not to be had here ({done.stderr.decode().strip().splitlines()[-1][:100]})", file=sys.stderr)
        return None
    return target.read_bytes(), time.perf_counter() - began


def equal_states(result: tuple[bytes, float], expected: list[str]) -> int:
    """How many states and pictures are as expected."""
    return sum(a == b != "damaged" for a, b in zip(result[0].decode().split("\n"), expected, strict=False))


def compare(name: str, first: str, folder: Path, expected: dict[str, list[str]]) -> str | None:
    """A configuration's row of the table; None where it cannot be had."""
    settings = CONFIGURATIONS[name]
    count = len(expected[""]) // int(settings.get("SHARE", "1"))
    decoded = run("decode", name, folder)
    if decoded is None:
        return None
    good, seconds = equal_states(decoded, expected[""]), f"{decoded[1]:.0f}"
    if "PLAIN" in settings:
        return f"| {name} | {count} | only decodes | | {good} | | {seconds} |"
    encoded, twin = run("encode", name, folder), run("twin-decode", name, folder)
    if encoded is None or twin is None:
        return None
    same, elsewhere = "equal", count
    if not (folder / "streams").read_bytes().startswith(encoded[0]):
        (folder / "own-streams").write_bytes(encoded[0])
        here, there = run("own-decode", name, folder), run("own-decode", first, folder)
        same, elsewhere = "differ", equal_states(there, here[0].decode().split("\n")) if here and there else 0
    broken = count - equal_states(twin, expected["twin-"])
    return f"| {name} | {count} | {same} | {elsewhere} | {good} | {broken} | {encoded[1]:.0f}, {seconds} |"


def main() -> None:
    """Prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "portability.md")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        work(options.job, options.shared, options.out)
        return
    lines = [
        f"64 x 64 pictures; {os.cpu_count()} cores, jax {jax.__version__}, numpy {np.__version__}\n",
        "| configuration | pictures | its streams | decoded elsewhere | decodes others | float twin broken | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "pictures.npy", np.stack(pictures(options.shared, options.count)))
        first, expected = options.only[0], {}
        for kind in ("", "twin-"):
            if made := run(f"{kind}encode", first, folder):
                (folder / f"{kind}streams").write_bytes(made[0])
            if (states := run(f"{kind}decode", first, folder)) is None:
                parser.error(f"the first configuration, {first}, cannot be had here")
            expected[kind] = states[0].decode().split("\n")
        for name in options.only:
            row = compare(name, first, folder, expected)
            if row:
                lines.append(row)
                print(row, flush=True)
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
