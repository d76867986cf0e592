"""Images judged by a trained model: `kesikaran predict MODEL PATH ...`"""

import argparse
import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kesikaran.cli import door, model_of
from kesikaran.core import terminal
from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

_HELP = """\
Judges images with the model of a finished run, as they were judged in its training: each gets the probability of label
1, the label by the run's own decision, and whether the model is sure. An image that cannot be used gets the reason.

  kesikaran predict RUN photos/ --out predictions.parquet
  kesikaran predict models:/NAME@champion photos/ --out predictions.csv --copy-to sorted/
  find . -name '*.jpg' | kesikaran predict published/ -

A call that was stopped goes on when it is given again: what it computed is in the feature cache.
"""


def main() -> None:
    """The command line. Exit codes: 0 done; 1 an error, or no image could be used; 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        prog="kesikaran predict", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help=model_of.NAMES)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders with all that is in them, a CSV with "
                        "a column path, or - for paths on standard input")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help=".parquet or .csv; without it CSV is printed")
    parser.add_argument("--force", action="store_true", help="replace the file of --out")
    parser.add_argument("--copy-to", type=Path, metavar="FOLDER", help="copy each image into 0/, 1/ or not_sure/ there")
    parser.add_argument("--link", action="store_true", help="with --copy-to: symbolic links in place of copies")
    words = door.words(parser)
    with (
        door.opened("Stopped. What was computed is in the cache: the same command goes on from there."),
        contextlib.ExitStack() as printed,
    ):
        table = sys.stdout
        if not words.out:  # what else is said goes to stderr, so that the table alone is printed
            printed.enter_context(contextlib.redirect_stdout(sys.stderr))
        _predict(words, table)


def _predict(words: argparse.Namespace, printed: TextIO) -> None:
    from kesikaran.data import image_paths
    from kesikaran.publish import prediction_file
    from kesikaran.publish.sorted_copies import SortedCopies

    if words.link and not words.copy_to:
        raise InputError("--link is not allowed without --copy-to FOLDER, which it is for")
    if words.force and not words.out:
        raise InputError("--force is not allowed without --out FILE, which it is for")
    if words.out:
        prediction_file.check(words.out, words.force)
    copies = SortedCopies(words.copy_to, words.link) if words.copy_to else None
    if copies:
        _need_apart(words.copy_to, words.paths)
        copies.check()
    image_paths.check(words.paths)
    predictor = model_of.find(words.model)
    total = image_paths.count(words.paths)
    if total == 0:
        raise InputError(f"there is no file in {' '.join(words.paths)}")
    with terminal.quiet_start():
        from kesikaran.data import preprocess  # noqa: F401  it loads TensorFlow
        from kesikaran.publish import predict
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with (
        terminal.progress(None, "predict", "image", total) as bar,
        prediction_file.opened(words.out or printed) as write,
        contextlib.closing(predict.predict(predictor, image_paths.walk(words.paths), bar)) as tables,
    ):
        for rows in tables:
            write(rows)
            if copies:
                copies.add(rows)
            _count(rows, counts, reasons)
        if not counts.total() and not reasons.total():
            raise InputError("standard input held no path")
    printed.flush()
    if not words.out and getattr(printed, "is_cut", False):
        raise InputError("the table that was printed is not whole: make room, or give --out FILE elsewhere")
    if words.out or copies:
        _tell(words, counts, reasons, copies.lost if copies else 0)
    if not counts.total():
        raise InputError(f"no image could be used ({_listed(reasons)})")


def _need_apart(copies: Path, words: list[str]) -> None:
    """Raises InputError where the copies would lie among the images that are read, and be judged as well."""
    for word in words:
        if os.path.isdir(word) and copies.resolve().is_relative_to(Path(word).resolve()):
            given = f"--copy-to {printable(str(copies))}"
            raise InputError(f"{given} lies in {printable(word)}, whose images are read; give a folder elsewhere")


def _count(rows: "pd.DataFrame", counts: Counter[str], reasons: Counter[str]) -> None:
    """Add the rows to the counts: label, or `not sure` -> images, and kind of reason -> refused files."""
    used = rows[rows["refused"] == ""]
    counts.update(str(label) if sure else "not sure" for label, sure in zip(used["label"], used["sure"], strict=True))
    reasons.update(reason.split(":")[0] for reason in rows["refused"] if reason)


def _tell(words: argparse.Namespace, counts: Counter[str], reasons: Counter[str], lost: int) -> None:
    sure = f"{counts['1']:,} surely 1, {counts['0']:,} surely 0"
    print(f"{counts.total():,} images: {sure}, {counts['not sure']:,} not sure.")
    if reasons:
        print(f"Refused, {reasons.total():,}: {_listed(reasons)}.")
    if words.out:
        print(f"Written to {words.out}")
    if words.copy_to:
        more = f"; {lost:,} were gone or unreadable by then" if lost else ""
        print(f"{'Linked' if words.link else 'Copied'} into {words.copy_to}{more}")


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
