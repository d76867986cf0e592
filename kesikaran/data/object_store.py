"""The object store: a folder of images, each named by the SHA-1 of its bytes."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from kesikaran.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# The SHA-1 in hex and an extension: no separator, no "..", so a name cannot leave its folder.
OBJECT_ID = re.compile(r"[0-9a-fA-F]{40}(\.[A-Za-z0-9]+)*")
_IMAGE = re.compile(r"\.(jpe?g|jpe|jfif|png)$", re.IGNORECASE)


def objects(folder: Path) -> dict[str, Path]:
    """File name -> path of everything in an object store but hidden entries.

    Two layouts are read, also mixed: flat, `folder/ab12....jpg`, and nested, `folder/ab/ab12....jpg`. Where a name is
    in both, the flat one counts. Folders are listed and no file is opened, so it is quick.
    """
    found: dict[str, Path] = {}
    nested: dict[str, Path] = {}
    for entry in os.scandir(folder):
        if re.fullmatch("[0-9a-fA-F]{2}", entry.name) and entry.is_dir():
            inside = (name for name in os.listdir(entry) if name.startswith(entry.name))
            nested.update((name, folder / entry.name / name) for name in inside)
        elif not entry.name.startswith("."):
            found[entry.name] = folder / entry.name
    return nested | found


def find(there: dict[str, Path], object_ids: Iterable[str]) -> dict[str, Path]:
    """Object id -> its file, for those that have one: the file of that very name, else one of the same SHA-1.

    An image is its SHA-1, so a label file may write it without an extension, in capitals, or with another extension.
    Of several files with one SHA-1 an image file goes before others, then the first by name.

    Args:
        there: as `objects` gives it.
    """
    found: dict[str, Path] = {}
    elsewhere = []
    for name in object_ids:
        if name in there:
            found[name] = there[name]
        else:
            elsewhere.append(name)
    if elsewhere:
        by_sha1: dict[str, str] = {}
        for name in sorted(filter(is_object_id, there), key=lambda name: (not _IMAGE.search(name), name)):
            by_sha1.setdefault(sha1_of(name), name)
        found |= {name: there[by_sha1[sha1_of(name)]] for name in elsewhere if sha1_of(name) in by_sha1}
    return found


def is_object_id(name: str) -> bool:
    """Whether a file name is 40 hex digits and an extension."""
    return OBJECT_ID.fullmatch(name) is not None


def sha1_of(object_id: str) -> str:
    """The SHA-1 in an object's file name, in lower case."""
    return object_id.split(".", 1)[0].lower()


def sha1s(object_ids: "pd.Series") -> "pd.Series":
    """`sha1_of` each object id, str [n]. An order of images that decides something is the order of these."""
    return object_ids.str.slice(0, 40).str.lower()


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the one lock on the folder of a data set: `label.csv` and the object store `images`.

    Raises:
        InputError: another process holds it, or the folder is not writable.
    """
    lock = filelock.FileLock(data / ".ingest.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"another ingest, verify or relabel is at work in {data}") from None
    except OSError as error:
        raise InputError(f"{data} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
