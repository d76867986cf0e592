"""Files and folders on disk: written whole or not at all, folders that are built once, disks that are full."""

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kesikaran.core.errors import InputError

# Each library has an exception of its own for a full disk or a spent quota; all quote the system's words, or SQLite's.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
_PROOF_BYTES = 2**16


def writable(folder: Path, what: str, remedy: str) -> Path:
    """Make `folder` and prove that a small file can be written there.

    Raises:
        InputError: naming the folder, its part (`what`) and the way out (`remedy`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROOF_BYTES))
    except OSError as error:
        raise InputError(f"the {what} {folder} is not writable ({error.strerror or error}): {remedy}") from None
    return folder


@contextmanager
def disk_space(place: str, remedy: str) -> Iterator[None]:
    """What writes to `place` goes into this block.

    Raises:
        InputError: there is no room left.
    """
    try:
        yield
    except InputError:  # of a block within, which knows more
        raise
    except Exception as error:
        words = [words for words in _FULL if words in str(error)]
        if not words:
            raise
        raise InputError(f"{place} has no room left ({words[0]}): free some space, {remedy}") from None


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file aside and rename it, so that it is always whole. Several processes may write one file: the last
    wins. What a killed process leaves aside is hidden and ends in `.tmp`.

    Args:
        content: text is written as UTF-8 with the line ends that it has.
        durable: the file survives a power cut. A file with a checksum needs no such promise and is written quicker.

    Raises:
        OSError: the file cannot be written; what stood there stands there still.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def build_once(target: Path, proof: str, build: Callable[[Path], None]) -> Path:
    """The folder `target`, made by `build(fresh folder)` unless its file `proof` is there already.

    It appears by one rename, so a folder that exists is whole; what a killed process leaves is never
    mistaken for it. Several processes may ask at once: the first to finish wins.

    Raises:
        InputError: its parent is not writable or full, or something else stands there.
    """
    if (target / proof).is_file():
        return target
    writable(target.parent, "cache folder", "set KESIKARAN_CACHE to a folder that you may write to")
    # Made one level below the temporary folder, which only its owner may read: the cache may be shared.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as building:
        fresh = Path(building) / target.name
        with disk_space(f"the cache folder {target.parent}", "or set KESIKARAN_CACHE to another folder"):
            build(fresh)
        try:
            os.rename(fresh, target)
        except OSError as error:
            if not (target / proof).is_file():
                raise InputError(f"{target} has no {proof} and is in the way ({error.strerror}): delete it") from error
    return target
