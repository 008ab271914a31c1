"""The arrows of the design: which file may import which package and module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for package in ("channel_sim", "uqdm") for p in (ROOT / package).rglob("*.py"))

# What one algorithm may import: no other algorithm. Only the Gaussian channel chooses between algorithms.
SAMPLING = {
    "channel_sim.candidates",
    "channel_sim.channel",
    "channel_sim.checks",
    "channel_sim.entropy",
    "channel_sim.index_code",
    "channel_sim.quantile",
    "channel_sim.randomness",
}
MAY_IMPORT = {
    "channel_sim.checks": set(),
    "channel_sim.randomness": {"channel_sim.checks"},
    "channel_sim.entropy": {"channel_sim.checks"},
    "channel_sim.split_tables": {"channel_sim.channel", "channel_sim.entropy"},
    "channel_sim.quantile": {"channel_sim.randomness"},
    "channel_sim.rotation": {"channel_sim.checks", "channel_sim.randomness"},
    "channel_sim.index_code": {"channel_sim.checks", "channel_sim.entropy"},
    "channel_sim.bounds": {"channel_sim.checks", "channel_sim.index_code"},
    "channel_sim.channel": {"channel_sim.checks", "channel_sim.entropy", "channel_sim.randomness"},
    "channel_sim.candidates": {
        "channel_sim.channel",
        "channel_sim.checks",
        "channel_sim.entropy",
        "channel_sim.quantile",
        "channel_sim.randomness",
    },
    "channel_sim.refinement": {
        "channel_sim.channel",
        "channel_sim.checks",
        "channel_sim.entropy",
        "channel_sim.split_tables",
    },
    "channel_sim.dither": {
        "channel_sim.channel",
        "channel_sim.checks",
        "channel_sim.entropy",
        "channel_sim.randomness",
        "channel_sim.refinement",
    },
    "channel_sim.poisson": SAMPLING,
    "channel_sim.ordered": SAMPLING,
    "channel_sim.rejection": SAMPLING,
    "channel_sim.layered": SAMPLING - {"channel_sim.candidates", "channel_sim.index_code"}
    | {"channel_sim.refinement", "channel_sim.split_tables"},
    "channel_sim.gaussian": SAMPLING | {"channel_sim.bounds", "channel_sim.layered", "channel_sim.rotation"},
    "uqdm.errors": set(),
    "uqdm.records": set(),
    "uqdm.container": {"uqdm.errors"},
    "uqdm.transform": set(),
    "uqdm.schedule": {"uqdm.transform"},
    "uqdm.images": {"uqdm.errors"},
    "uqdm.data": set(),
    "uqdm.context": {"uqdm.transform"},
    "uqdm.convolution": set(),
    "uqdm.network": {"uqdm.context", "uqdm.convolution", "uqdm.transform"},
    "uqdm.integer": {"uqdm.context", "uqdm.convolution", "uqdm.network"},
    "uqdm.process": {"uqdm.network", "uqdm.schedule"},
    "uqdm.loss": {"uqdm.network", "uqdm.process", "uqdm.schedule"},
    "uqdm.state": {"channel_sim.entropy"},
    "uqdm.pixel_network": {"uqdm.convolution", "uqdm.integer", "uqdm.network"},
    "uqdm.lossless": {
        "channel_sim.entropy",
        "channel_sim.refinement",
        "uqdm.archive",
        "uqdm.convolution",
        "uqdm.model",
        "uqdm.nested_state",
        "uqdm.pixel_network",
        "uqdm.transform",
    },
    "uqdm.direct_tail": {
        "channel_sim.channel",
        "channel_sim.entropy",
        "uqdm.diffusion_model",
        "uqdm.diffusion_state",
        "uqdm.step_channel",
    },
    "uqdm.nested_state": {
        "channel_sim.entropy",
        "channel_sim.randomness",
        "channel_sim.refinement",
        "uqdm.model",
        "uqdm.process",
        "uqdm.schedule",
        "uqdm.transform",
    },
    "uqdm.diffusion": set(),
    "uqdm.source": {"uqdm.diffusion", "uqdm.transform"},
    "uqdm.step_channel": {
        "channel_sim.channel",
        "channel_sim.dither",
        "channel_sim.entropy",
        "channel_sim.gaussian",
        "channel_sim.randomness",
        "uqdm.diffusion",
    },
    "uqdm.diffusion_state": {
        "channel_sim.entropy",
        "channel_sim.quantile",
        "channel_sim.randomness",
        "uqdm.diffusion",
        "uqdm.source",
        "uqdm.step_channel",
    },
    "uqdm.diffc": {
        "channel_sim.gaussian",
        "uqdm.archive",
        "uqdm.diffusion",
        "uqdm.diffusion_state",
        "uqdm.source",
        "uqdm.step_channel",
    },
    "uqdm.pipeline": {"uqdm.diffc", "uqdm.diffusion", "uqdm.source"},
    "uqdm.sweet_spot": {
        "channel_sim.gaussian",
        "channel_sim.index_code",
        "uqdm.diffusion",
        "uqdm.diffusion_state",
    },
    "uqdm.unet": {"uqdm.diffusion"},
    "uqdm.published": {"uqdm.diffusion", "uqdm.diffusion_model", "uqdm.unet"},
    "uqdm.archive": set(),
    "uqdm.decoder": {
        "channel_sim.entropy",
        "uqdm.container",
        "uqdm.errors",
        "uqdm.library",
        "uqdm.state",
    },
    "uqdm.codec": {
        "channel_sim.entropy",
        "uqdm.container",
        "uqdm.decoder",
        "uqdm.library",
        "uqdm.state",
    },
}
EVALUATION = {
    "uqdm.codec",
    "uqdm.container",
    "uqdm.dataset",
    "uqdm.decoder",
    "uqdm.metrics",
    "uqdm.state",
}
MAY_IMPORT |= {
    "uqdm.allocation": {"channel_sim.entropy", "uqdm.model"},
    "uqdm.evaluation.points": EVALUATION - {"uqdm.dataset"},
    "uqdm.evaluation.rivals": {"uqdm.evaluation", "uqdm.evaluation.points"},
    "uqdm.evaluation.ledger": {"uqdm.evaluation", "uqdm.evaluation.points"},
    "uqdm.evaluation.run": EVALUATION
    | {f"uqdm.evaluation{module}" for module in ("", ".ledger", ".points", ".rivals")},
    "uqdm.evaluation.summary": {"uqdm.metrics"} | {f"uqdm.evaluation{module}" for module in ("", ".ledger", ".points")},
}
ONLY_IN = {
    "diffusers": {"uqdm.pipeline"},
    "torch": {"uqdm.pipeline"},
    "constriction": {"channel_sim.entropy"},
    "flax": {"uqdm.network", "uqdm.unet"},
    "optax": {"uqdm.train", "uqdm.train_diffusion"},
    "orbax": {"uqdm.train", "uqdm.train_diffusion"},
}


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_follow_the_arrows(file):
    name, names = name_of(file), imported(file)
    ours = {n for n in names if n.split(".")[0] in ("uqdm", "channel_sim")}
    if name.startswith("channel_sim"):
        assert not {n for n in ours if n.startswith("uqdm")}
    if name in MAY_IMPORT:
        allowed = MAY_IMPORT[name] | {"uqdm", "channel_sim"}
        assert not {n for n in ours if n not in allowed and n.rsplit(".", 1)[0] not in MAY_IMPORT[name]}
    if not name.startswith("uqdm.cli"):
        assert not {n for n in ours if n.startswith("uqdm.cli")}
    if name.startswith("uqdm.metrics"):
        assert not {n for n in ours if not n.startswith("uqdm.metrics")}
    for library, owners in ONLY_IN.items():
        if any(n.split(".")[0] == library for n in names):
            assert name in owners, f"{name} imports {library}, which only {owners} may"


def test_the_container_needs_the_standard_library_only():
    assert imported(ROOT / "uqdm" / "container.py") <= {
        "binascii",
        "typing",
        "typing.NamedTuple",
        "uqdm.errors",
        "uqdm.errors.FormatError",
    }
