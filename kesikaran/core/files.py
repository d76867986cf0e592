"""Files and folders on disk: written whole or not at all, and a full disk as one line."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from kesikaran.core import scratch
from kesikaran.core.errors import InputError

# Each library has its own exception for a full disk or a spent quota. All of them quote the system's words or SQLite's.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
_PROOF_BYTES = 2**16


def writable(folder: Path, what: str, remedy: str) -> Path:
    """Make `folder` and prove that a small file can be written there.

    Raises:
        InputError: it cannot be written there; names the folder, what it is for (`what`) and what to do (`remedy`).
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
    """A block that writes to `place`.

    Raises:
        InputError: no disk space is left; whatever else the block raises comes out as it is.
    """
    try:
        yield
    except InputError:  # of an inner block, which names the more exact place
        raise
    except Exception as error:
        words = [words for words in _FULL if words in str(error)]
        if not words:
            raise
        raise InputError(f"{place} has no room left ({words[0]}): free some space, {remedy}") from None


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file under a temporary name and rename it, so that under `path` there is never half a file.

    Several processes may write one file: the last wins. A killed process can leave its temporary file beside `path`: a
    hidden one that ends in `.tmp`.

    Args:
        content: text is written as UTF-8 with the line ends that it has.
        durable: the file survives a power cut. Without it the write is quicker, for a file that has a checksum.

    Raises:
        OSError: the file cannot be written; a file that was there before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Give the file `source` a second name, `target`. Where the file system cannot, because both lie on different disks
    or because it has no or no more links, `target` becomes a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def remove_temporaries(path: Path) -> None:
    """Remove what killed processes have left of `write_whole(path, ...)`. Only the one process that may write `path`
    calls this."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_damaged(target: Path, whole: Callable[[Path], bool], what: str) -> None:
    """Remove what is in the place of `target` unless it is `whole`, so that `build_once` makes it anew.

    Args:
        what: the subject of the line that says so.
    """
    if os.path.lexists(target) and not whole(target):
        with filelock.FileLock(f"{target}.lock"):  # another process may have built it meanwhile
            if os.path.lexists(target) and not whole(target):
                print(f"{what} in the cache is damaged: building it again.")
                remove(target)


def build_once(target: Path, proof: str, build: Callable[[Path], None]) -> Path:
    """The folder `target`, made by `build(fresh folder)` unless its file `proof` is there already.

    The folder appears by one rename, so it is whole once it exists; a killed process leaves nothing under its name, and
    what it leaves beside it goes with the next build. Several processes may build it at once: the first to finish wins.

    Args:
        proof: name of a file of the folder.
        build: makes the folder that it is given, which does not exist yet.

    Raises:
        InputError: its parent is not writable or full, or `target` exists without `proof`.
    """
    if (target / proof).is_file():
        return target
    writable(target.parent, "cache folder", "set KESIKARAN_CACHE to a folder that you may write to")
    # Built one level below the temporary folder: only its owner may read that one, and the cache may be shared.
    with scratch.held_folder(target.parent, ".building-") as building:
        fresh = building / target.name
        with disk_space(f"the cache folder {target.parent}", "or set KESIKARAN_CACHE to another folder"):
            build(fresh)
        try:
            os.rename(fresh, target)
        except OSError as error:
            if not (target / proof).is_file():
                raise InputError(f"{target} has no {proof} and is in the way ({error.strerror}): delete it") from error
    return target
