"""Whether an object store is whole: `kesikaran data verify DATA`."""

import argparse
import re
import sys
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core.errors import printable


def main() -> None:
    """The command line. Exit codes: 0 all is well, 1 something is wrong, 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Check every object of DATA/images against its name and its decoder, and DATA/label.csv against "
        "the objects. What was right before and has the same size and modification time is not read again."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with images/ and label.csv")
    door.add_max_megapixels(parser)
    parser.add_argument("--all", action="store_true", help="read every object again")
    words = door.words(parser)
    with door.opened("Stopped. What was verified is kept: the same command goes on from there."):
        from kesikaran.data import original_names, verify

        result = verify.verify(words.data, door.max_megapixels(words), words.all)
    object_ids = {path: re.split(r"[/ ]", path)[-1] for path, _ in result.wrong}
    known_as = original_names.of(words.data / "images", object_ids.values())
    for path, reason in result.wrong:
        object_id = object_ids[path]
        came_from = "" if known_as[object_id] == object_id else f" (from {known_as[object_id]})"
        print(f"{printable(path)}{came_from}: {reason}")
    if result.remarks:
        path, words_of_libjpeg = result.remarks[0]
        print(
            f"libjpeg complains of {len(result.remarks)} objects that are whole: {printable(path)}: {words_of_libjpeg}"
            + "".join(f"; {printable(Path(path).name)}" for path, _ in result.remarks[1:5])
            + ("; ..." if len(result.remarks) > 5 else "")
        )
    counts = f"{result.checked} objects read, {result.skipped} unchanged since they were verified"
    print(f"{words.data}: {len(result.wrong)} wrong; {counts}." if result.wrong else f"All is well: {counts}.")
    sys.exit(1 if result.wrong else 0)
