"""The files of a module, which is a SavedModel folder: what they may be, how large, and their digest."""

import hashlib
from pathlib import Path

from kesikaran.core.errors import InputError

# The limits of a module, wherever it comes from. EfficientNet-B7 has 260 MB in a few files.
LARGEST_DOWNLOAD_BYTES = 2 * 10**9  # of the compressed archive
LARGEST_MODULE_BYTES = 4 * 10**9  # of its files together
LARGEST_GRAPH_BYTES = 5 * 10**8  # of saved_model.pb, which is read into memory whole
MOST_FILES = 10_000  # folders count
GRAPH = "saved_model.pb"


class DamagedModule(InputError):
    """The files of a module cannot be loaded. A copy in the cache may be damaged, and then another can be got."""


def digest(folder: Path) -> str:
    """32 hex digits over the names and bytes of a SavedModel's files, whatever handle led to it.

    Raises:
        InputError: the folder holds what is no part of a module, is larger than one may be, or cannot be read.
    """
    total = hashlib.sha256()
    try:
        for path in _files(folder):
            total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None
    return total.hexdigest()[:32]


def _files(folder: Path) -> list[Path]:
    """The files of the folder, those of its folders included, sorted.

    A link to a file is a file, as in the caches of some download tools. A link to a folder is refused: what lies behind
    it would not be in the digest.
    """
    found, size_bytes = [], 0
    for number, path in enumerate(folder.rglob("*")):
        if number >= MOST_FILES:
            raise InputError(f"{folder} holds more than {MOST_FILES} files: it is no SavedModel folder")
        if path.is_symlink() and path.is_dir():
            raise InputError(f"{path} is a link to a folder: copy what it leads to into the SavedModel folder")
        if path.is_dir():
            continue
        if not path.is_file():
            raise InputError(f"{path} is no regular file: a SavedModel folder holds files and folders only")
        size_bytes += path.stat().st_size
        if size_bytes > LARGEST_MODULE_BYTES:
            raise InputError(
                f"{folder} holds more than {LARGEST_MODULE_BYTES / 1e9:.0f} GB, the most that a module may have"
            )
        found.append(path)
    return sorted(found)
