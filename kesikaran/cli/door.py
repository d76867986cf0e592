"""What every command has in common: how its process starts, and how an error or a stop is said."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.core import process, streams, terminal
from kesikaran.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def words(parser: argparse.ArgumentParser, intermixed: bool = False) -> argparse.Namespace:
    """What was typed. What the parser refuses goes through the one exit for what is printed, as all that follows.

    Args:
        intermixed: options may stand between the words of one argument.
    """
    streams.install()
    return parser.parse_intermixed_args() if intermixed else parser.parse_args()


@contextmanager
def opened(stopped: str = "") -> Iterator[None]:
    """The block in which a command does its work, after its words have been read.

    An InputError becomes one line on stderr and exit code 1. A signal ends the block with 130 (Ctrl-C), 143 (SIGTERM)
    or 129 (SIGHUP) after the sentence `stopped`, if there is one, which says what the stop has left. Every other exit
    code is the command's own.
    """
    process.start()
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except SystemExit:
        if stopped and terminal.stop_asked():
            print(stopped, file=sys.stderr)
        raise


def add_max_megapixels(parser: argparse.ArgumentParser) -> None:
    """The option `--max-megapixels`, the same in all commands that read images; its default is that of training."""
    from kesikaran.config.schema import DataConfig

    parser.add_argument("--max-megapixels", type=float, default=DataConfig().max_megapixels, metavar="N",
                        help="a larger image is refused, as in training by data.max_megapixels; default: "
                        "%(default)g, at most 178")  # fmt: skip


def max_megapixels(words: argparse.Namespace) -> float:
    """The value of the option.

    Raises:
        InputError: it is out of its range.
    """
    from kesikaran.data.image_file import MOST_MEGAPIXELS

    given: float = words.max_megapixels
    if not 0 < given <= MOST_MEGAPIXELS:
        raise InputError(f"--max-megapixels {given:g} is not allowed: above 0, at most {MOST_MEGAPIXELS:g}")
    return given


def write_table(table: "pd.DataFrame", out: Path) -> None:
    """Write a label file or a split to `out`, the value of the option `--out` or its default.

    Raises:
        InputError: it cannot be written there.
    """
    from kesikaran.data import label_file

    try:
        label_file.write(table, out)
    except InputError as error:
        raise InputError(f"{error}; give another place with --out") from None
