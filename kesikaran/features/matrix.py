"""The feature matrix of a run, in memory or memory-mapped."""

import os
import shutil
from pathlib import Path

import numpy as np

from kesikaran.core.errors import InputError

_IN_MEMORY_BYTES = 2**28  # a larger matrix is memory-mapped


def empty_matrix(images: int, width: int, store: Path) -> np.ndarray:
    """A new float32 [images, width] with no values yet. A large one is mapped to a file in `store` that is unlinked at
    once, so that it ends with the process.

    Raises:
        InputError: a large one finds no room in `store`.
    """
    size_bytes, free_bytes = images * width * 4, shutil.disk_usage(store).free
    if size_bytes <= _IN_MEMORY_BYTES:
        return np.empty((images, width), np.float32)
    if size_bytes > free_bytes:  # the file is sparse, and a write that finds no room would kill the process
        raise InputError(
            f"{store} has no room for the matrix of {images} images: it needs {size_bytes / 2**30:.1f} GiB while the "
            f"run lasts and {free_bytes / 2**30:.1f} GiB are free; free some space or set KESIKARAN_CACHE to another "
            "folder"
        )
    path = store / f"matrix.{os.getpid()}.tmp"
    try:
        matrix = np.lib.format.open_memmap(path, "w+", np.float32, (images, width))
    except OSError as error:
        raise InputError(f"{store} has no room for the matrix of {images} images ({error.strerror})") from None
    finally:
        path.unlink(missing_ok=True)
    return matrix
