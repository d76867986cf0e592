"""Folders for what is there for a while, held by a lock: those that killed processes have left are removed.

A process that is killed removes nothing. The system takes back its locks, though, so a folder whose lock is free has no
owner any more.
"""

import atexit
import contextlib
import fcntl
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_LOCK = ".held"
_MAKING_SECONDS = 3600.0  # a folder of this age without a lock is not in the making any more


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh folder in `parent` for the block, which only its owner may read, and which is removed at the block's end.

    The folders of the same prefix whose processes are gone are removed first. Only folders of this user and this host
    are looked at: on a shared disk the locks of one host need not be known on another.
    """
    name = f"{prefix}{re.sub('[^A-Za-z0-9]', '_', platform.node())}-"
    _remove_abandoned(parent, name)
    folder = Path(tempfile.mkdtemp(prefix=name, dir=parent))
    owner = os.getpid()
    try:
        # The lock is taken under another name: under its own name it is never there without being held.
        making = folder / f"{_LOCK}-"
        with making.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            making.rename(folder / _LOCK)
            yield folder
    finally:
        if os.getpid() == owner:  # and not in a child that was forked meanwhile
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path, name: str) -> None:
    for folder in parent.glob(f"{name}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, held, or not ours
            found = folder.lstat()
            if found.st_uid != os.getuid() or folder.is_symlink():
                continue
            if not (folder / _LOCK).exists():
                if time.time() - found.st_mtime > _MAKING_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@cache
def use() -> Path:
    """From now on the temporary files of this process, those of its libraries too, go to a held folder in the system's
    temporary folder. Returns it.

    MLflow lays a model and every artifact down in a temporary folder first, so a killed run had left what it was saving
    for ever.
    """
    open_until_the_end = contextlib.ExitStack()
    folder = open_until_the_end.enter_context(held_folder(Path(tempfile.gettempdir()), "kesikaran-"))
    atexit.register(open_until_the_end.close)
    tempfile.tempdir = str(folder)
    return folder
