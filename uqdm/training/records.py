"""Tables that grow while a training runs."""

import csv
from pathlib import Path

__all__ = ["append_rows"]


def append_rows(path: Path, rows: list[dict]) -> None:
    """Appends rows to a CSV file; the first ones write the header, from their keys."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        if new:
            writer.writeheader()
        writer.writerows(rows)
