"""What a person sees while waiting: progress bars, and none of TensorFlow's start-up lines."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None, what: str, unit: str, total: int | None = None) -> Any:
    """A tqdm bar on stderr, with `unit`s per second and the time left. Quiet for the first two seconds."""
    # In a log file each refresh is a line of its own.
    pause_seconds = 0.1 if sys.stderr.isatty() else 30
    return tqdm(items, what, total, unit=unit, delay=2, mininterval=pause_seconds, dynamic_ncols=True)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep back what TensorFlow's libraries write to stderr when they are first loaded.

    Some of it comes before they read any log level, so the file descriptor itself is turned aside.
    Where loading fails, what was kept back is shown.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        stderr = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stderr, 2)
            aside.seek(0)
            sys.stderr.write(aside.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
