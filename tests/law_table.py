"""Which models the laws of test_models.py hold for, as the table of docs/results/laws.md.

python tests/law_table.py > docs/results/laws.md
"""

from collections.abc import Callable, Iterator

import test_models
from model_cases import CASES

__all__ = ["page"]

INTRODUCTION = """# Laws of models

Models of all families go through the same tests, `tests/test_models.py`: a new family gets all of them by one row
of `CASES` in `tests/model_cases.py`. A dot says that a law is tested of a model; there is none where it says nothing
of the model (a residual where there is none, the forward process's law where the state is no z_t). {wrong} models that
are wrong in one way each must be rejected, by a law that accepts the right model beside it. Golden streams
(`tests/test_golden.py`) keep what shipped models have sent. `python tests/law_table.py` makes this page.
"""


def laws() -> Iterator[tuple[str, set[str]]]:
    """Sentences, and the rows of CASES that they are tested on."""
    for name, test in vars(test_models).items():
        rows = _rows_of(test) if name.startswith("test_") else set()
        if rows:
            yield name.removeprefix("test_").replace("_", " "), rows


def _rows_of(test: Callable) -> set[str]:
    """The rows of CASES among the parameters of a test, by name or as they are."""
    names = {id(case): name for name, case in CASES.items()}
    values = [value for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize" for value in mark.args[1]]
    named = {value for value in values if isinstance(value, str) and value in CASES}
    return named | {names[id(value)] for value in values if id(value) in names}


def page() -> str:
    """The page as Markdown."""
    lines = [INTRODUCTION.format(wrong=len(test_models.WRONG)), "| law | " + " | ".join(CASES) + " |"]
    lines.append("|---|" + ":-:|" * len(CASES))
    for sentence, rows in laws():
        lines.append(f"| {sentence} | " + " | ".join("•" if name in rows else "" for name in CASES) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
