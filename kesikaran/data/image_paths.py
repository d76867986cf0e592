"""The images that a person names: files, folders, lists, standard input; path after path, never all at once."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kesikaran.core.errors import InputError, printable
from kesikaran.data import csv_file

Named = tuple[Path, str]
"""A path, and why what is there is not read: empty where it is."""

_INPUT = "-"


def check(words: list[str]) -> None:
    """Raises InputError where a word names nothing, or a list has no column path."""
    for word in words:
        if word != _INPUT and not os.path.lexists(word):
            raise InputError(f"{printable(word)} does not exist: give files, folders, a CSV with a column path, or -")
        if _is_list(word):
            _listed(Path(word))


def count(words: list[str]) -> int | None:
    """How many there are to read, for a progress bar; None where that cannot be told beforehand."""
    if _INPUT in words:
        return None
    return sum(1 for _ in walk(words))


def walk(words: list[str]) -> Iterator[Named]:
    """Every file that the words name, in their order.

    A folder is read with its subfolders, in the order of names, without hidden files and folders. A link to a folder is
    named and not followed, so that no circle has no end. The paths in a CSV are relative to its folder, those of
    standard input to the current one.

    Args:
        words: paths, or `-` for standard input, a path a line.
    """
    for word in words:
        if word == _INPUT:
            yield from ((Path(line), "") for line in _input_lines() if line)
        elif _is_list(word):
            yield from ((path, "") for path in _listed(Path(word)))
        elif os.path.isdir(word):
            yield from _folder(Path(word))
        else:
            yield Path(word), ""


def _is_list(word: str) -> bool:
    return word.lower().endswith(".csv") and os.path.isfile(word)


def _input_lines() -> Iterator[str]:
    # As bytes, since the name of a file need not be text. The stream is None where it was closed at the start.
    lines = sys.stdin.buffer if sys.stdin else ()
    return (os.fsdecode(line.rstrip(b"\r\n")) for line in lines)


def _listed(path: Path) -> Iterable[Path]:
    try:
        given = csv_file.read(path, f"list {path}", ("path",))
    except OSError as error:
        raise InputError(f"list {path} cannot be read: {error.strerror or error}") from None
    for line, file in zip(given.lines, given.rows["path"], strict=True):
        if not file:
            raise InputError(f"list {path} line {line}: the path is empty")
    return (path.parent / file for file in given.rows["path"])


def _folder(folder: Path) -> Iterator[Named]:
    unreadable: list[Named] = []

    def note(error: OSError) -> None:
        unreadable.append((Path(error.filename), f"unreadable: {error.strerror}"))

    for here, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from ((path, "a link to a folder") for name in folders if (path := Path(here, name)).is_symlink())
        yield from ((Path(here, name), "") for name in sorted(names) if not name.startswith("."))
    yield from unreadable
