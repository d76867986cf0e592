"""Whether an object store is whole: `kesikaran data verify DATA`."""

import argparse
import sys
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core.errors import printable


def main() -> None:
    """The command line. Exit codes: 0 all is well, 1 something is wrong, 130 Ctrl-C, 143 SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Check every object of DATA/images against its name and its decoder, and DATA/label.csv against "
        "the objects. What was right before and has the same size and modification time is not read again."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with images/ and label.csv")
    parser.add_argument("--all", action="store_true", help="read every object again")
    words = parser.parse_args()
    with door.opened("Stopped. What was verified is kept: the same command goes on from there."):
        from kesikaran.data import verify

        result = verify.verify(words.data, words.all)
    for path, reason in result.wrong:
        print(f"{printable(path)}: {reason}")
    counts = f"{result.checked} objects read, {result.skipped} unchanged since they were verified"
    print(f"{words.data}: {len(result.wrong)} wrong; {counts}." if result.wrong else f"All is well: {counts}.")
    sys.exit(1 if result.wrong else 0)
