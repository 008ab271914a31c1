"""For `python -m uqdm`."""

import sys

from uqdm.cli.__main__ import run

if __name__ == "__main__":
    sys.exit(run())
