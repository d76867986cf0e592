"""The matrix of features of one run, in memory or memory-mapped."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kesikaran.core.errors import InputError

if TYPE_CHECKING:
    pass

_IN_MEMORY_BYTES = 2**28  # a larger matrix lies in a file and is memory-mapped


def empty_matrix(images: int, width: int, store: Path) -> np.ndarray:
    """An empty float32 [images, width]; a large one in a file without a name, which goes with the process."""
    size_bytes, free_bytes = images * width * 4, shutil.disk_usage(store).free
    if size_bytes <= _IN_MEMORY_BYTES:
        return np.empty((images, width), np.float32)
    if size_bytes > free_bytes:  # a hole in the file that finds no room when it is written to kills the process
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
