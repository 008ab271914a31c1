"""The arrows of the design: which file may import which package and module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for package in ("channel_sim", "uqdm") for p in (ROOT / package).glob("*.py"))

MAY_IMPORT = {
    "channel_sim.randomness": set(),
    "channel_sim.entropy": set(),
    "channel_sim.split_tables": {"channel_sim.entropy"},
    "channel_sim.channel": {"channel_sim.randomness", "channel_sim.entropy"},
    "uqdm.errors": set(),
    "uqdm.container": {"uqdm.errors"},
    "uqdm.transform": set(),
    "uqdm.schedule": {"uqdm.transform"},
    "uqdm.metrics": set(),
    "uqdm.images": set(),
    "uqdm.data": set(),
    "uqdm.context": {"uqdm.transform"},
    "uqdm.convolution": set(),
    "uqdm.network": {"uqdm.context", "uqdm.convolution", "uqdm.transform"},
    "uqdm.integer": {"uqdm.context", "uqdm.convolution", "uqdm.network"},
    "uqdm.process": {"uqdm.network", "uqdm.schedule"},
    "uqdm.loss": {"uqdm.network", "uqdm.process", "uqdm.schedule"},
    "uqdm.pixel_network": {"uqdm.convolution", "uqdm.integer", "uqdm.network"},
    "uqdm.lossless": {
        "channel_sim.dither",
        "channel_sim.entropy",
        "uqdm.convolution",
        "uqdm.model",
        "uqdm.pixel_network",
        "uqdm.state",
        "uqdm.transform",
    },
    "uqdm.decoder": {
        "channel_sim.dither",
        "channel_sim.entropy",
        "uqdm.container",
        "uqdm.errors",
        "uqdm.lossless",
        "uqdm.model",
        "uqdm.process",
        "uqdm.state",
        "uqdm.transform",
    },
}
ONLY_IN = {"constriction": "channel_sim.entropy", "flax": "uqdm.network", "optax": "uqdm.train", "orbax": "uqdm.train"}


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_follow_the_arrows(file):
    name, names = name_of(file), imported(file)
    ours = {n for n in names if n.split(".")[0] in ("uqdm", "channel_sim")}
    if name.startswith("channel_sim"):
        assert not {n for n in ours if n.startswith("uqdm")}
    if name in MAY_IMPORT:
        allowed = MAY_IMPORT[name] | {"uqdm", "channel_sim"}
        assert not {n for n in ours if n not in allowed and n.rsplit(".", 1)[0] not in MAY_IMPORT[name]}
    assert "uqdm.cli" not in ours
    for library, owner in ONLY_IN.items():
        if any(n.split(".")[0] == library for n in names):
            assert name == owner, f"{name} imports {library}, which only {owner} may"


def test_the_container_needs_the_standard_library_only():
    assert imported(ROOT / "uqdm" / "container.py") <= {
        "binascii",
        "typing",
        "typing.NamedTuple",
        "uqdm.errors",
        "uqdm.errors.FormatError",
    }
