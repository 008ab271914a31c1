"""The programme: `uqdm`, `python -m uqdm` or `python -m uqdm.cli`."""

import sys

from uqdm.cli import main
from uqdm.cli.interruption import exit_on_signals

__all__ = ["run"]


def run() -> int:
    """Runs the command of this process, which a signal ends at once."""
    exit_on_signals("uqdm")
    return main()


if __name__ == "__main__":
    sys.exit(run())
