"""The documents say what is so: their examples run, their commands exist, their tables agree with the README's."""

import ast
import doctest
import re
import runpy
import shlex
from pathlib import Path

import law_table
import numpy as np
import pytest

import channel_sim
import uqdm
from uqdm.cli import parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULES = [
    file
    for package in ("channel_sim", "uqdm")
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text()
]


def run_examples(text: str, names: dict, where: str) -> None:
    """Runs the examples of a text, which see and change the names."""
    examples = doctest.DocTestParser().get_doctest(text, {}, where, None, None)
    examples.globs = names
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), []
    runner.run(examples, out=said.append, clear_globs=False)
    assert examples.examples
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, monkeypatch):
    """Blocks marked `python` are run, blocks marked `pycon` print what they show; others (`py`) are not tried."""
    monkeypatch.chdir(ROOT)
    text, names = page.read_text(), {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        kind, code = block.groups()
        line = text.count("\n", 0, block.start()) + 1
        if kind == "python":
            exec(compile("\n" * line + code, str(page), "exec"), names)
        else:
            run_examples(code, names, f"{page.name}, line {line}")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_the_examples_of_a_module_run(module):
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ">>> " in (ast.get_docstring(node) or ""):
            run_examples(ast.get_docstring(node), {}, f"{module.name}, {getattr(node, 'name', 'module')}")


def test_the_public_functions_have_examples():
    for function in (
        uqdm.encode,
        uqdm.decode,
        uqdm.previews,
        uqdm.info,
        channel_sim.encode,
        channel_sim.decode,
        channel_sim.kl_bits,
    ):
        assert ">>> " in (function.__doc__ or ""), f"{function.__name__} has no example"


def command_lines(page: Path) -> list[str]:
    """Lines of code blocks that call the command, without comments; continued lines are one."""
    text = page.read_text().replace("\\\n", " ")
    return [line.split(" #")[0] for line in re.findall(r"^(?: {4}|\$ )(uqdm .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_commands_are_as_the_command_wants_them(page):
    for line in command_lines(page):
        try:
            parser().parse_args(shlex.split(line)[1:])
        except SystemExit:
            pytest.fail(f"the command does not take {line!r}")


def test_commands_are_found_in_the_pages():
    assert len(command_lines(ROOT / "docs" / "tutorial.md")) >= 5


def test_the_page_of_the_command_has_every_option():
    page = (ROOT / "docs" / "api" / "command.md").read_text()
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    assert commands
    for name, command in dict(commands).items():
        assert f"**`uqdm {name} " in page or f"**`uqdm {name}`**" in page, f"the page lacks {name}"
        for action in command._actions:
            option = action.option_strings[-1] if action.option_strings else ""
            assert option in ("", "--help") or option in page, f"the page lacks {option} of {name}"


def tables(page: Path) -> dict[str, set[str]]:
    """Bodies of the tables of a page, by what stands before them and their first line."""
    found = re.finditer(r"\n([^\n|]+)\n\n(\|[^\n]*\|)\n\|[-|: ]+\|\n((?:\|[^\n]*\|\n?)+)", page.read_text())
    return {
        f"{title} {head}": set(body.strip().split("\n")) for title, head, body in (table.groups() for table in found)
    }


def test_the_results_are_those_of_the_readme():
    readme, results = tables(ROOT / "README.md"), tables(ROOT / "docs" / "results" / "index.md")
    shared = readme.keys() & results.keys()
    assert shared
    for title in shared:
        assert readme[title] == results[title], f"README.md and docs/results/index.md differ: {title}"


def test_a_second_fresh_dither_costs_what_the_theory_derives():
    """docs/theory/nested.md, Eq. 7: 1 / (4 ln 2) bits. 40,000 coordinates, 6 standard errors."""
    drawing = runpy.run_path(str(ROOT / "experiments" / "nested_quantization.py"))
    rng = np.random.default_rng(3)
    x = rng.normal(0, drawing["SOURCE_STD"], 40_000)
    once, twice = (drawing["independent_bits"](x, steps, rng) for steps in (1, 2))
    assert abs(twice - once - 1 / (4 * np.log(2))) < 0.02
    assert abs(drawing["nested_bits"](x, 1) - drawing["nested_bits"](x, 6)) < 0.001


def test_the_table_of_laws_is_that_of_the_tests():
    assert (ROOT / "docs" / "results" / "laws.md").read_text() == law_table.page(), "python tests/law_table.py makes it"
