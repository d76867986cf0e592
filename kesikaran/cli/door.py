"""What every command has in common: how its process starts, and how an error or a stop is said."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kesikaran.core import process, terminal
from kesikaran.core.errors import InputError


@contextmanager
def opened(stopped: str = "") -> Iterator[None]:
    """The block in which a command does its work, after its words have been read.

    An InputError becomes one line on stderr and exit code 1. A signal ends the block with 130 (Ctrl-C) or 143
    (SIGTERM) after the sentence `stopped`, if there is one, which says what the stop has left. Every other exit code
    is the command's own.
    """
    process.start()
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except SystemExit:
        if stopped and terminal.stop_asked():
            print(stopped, file=sys.stderr)
        raise
