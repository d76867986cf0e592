"""Locks on the folders of the cache, so that no process removes what another one uses.

The lock is on the folder itself. It leaves no file, and the system takes it back when its process ends, however that
ends.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_use(make: Callable[[], Path]) -> Iterator[Path]:
    """The folder that `make` makes or finds. While the block lasts, `remove_unused` leaves the folder alone. Any number
    of processes may be in such a block."""
    while True:
        folder = make()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # removed at this moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Between opening and locking it may have been removed, and another folder may have got its name.
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                yield folder
                return
        finally:
            os.close(descriptor)


def remove_unused(folder: Path) -> bool:
    """Remove a folder that no process is using; whether it was removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
