"""The person at the terminal: progress bars, a stop when asked, and none of TensorFlow's start-up lines."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_stop_signal: int | None = None
_shelters = 0  # how deep in `sheltered` blocks the main thread is
_waiting = False  # a signal came in one of them


def stop_on_signals() -> None:
    """From now on Ctrl-C and SIGTERM raise SystemExit with 130 and 143, as a shell would count them.

    Only a main thread can heed a signal: in another thread this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not _stop:
                signal.signal(signum, _stop)


def stop_asked() -> bool:
    """Whether one of the two signals has come."""
    return _stop_signal is not None


def stop_if_asked() -> None:
    """Raise the SystemExit of a signal that came before.

    TensorFlow, where it traces or calls back, can swallow an exception that comes out of a handler
    (measured: 5 of 250 signals in the first half second of a fit). So whoever loops, or is about to
    say that all is done, asks again.
    """
    if _stop_signal is not None:
        raise SystemExit(128 + _stop_signal)


@contextmanager
def sheltered() -> Iterator[None]:
    """A block, or as a decorator a function, that a signal does not break: its SystemExit comes at the end.

    For what an exception between two of its lines would leave in disorder: a transaction of the store of runs
    left open locks the store against the very write that says KILLED, a thread that was just started is in no
    pool's list and outlives it.
    """
    global _shelters, _waiting
    _shelters += 1
    try:
        yield
    finally:
        _shelters -= 1
        if _waiting and not _shelters:
            _waiting = False
            stop_if_asked()


def _stop(signum: int, frame: Any) -> None:
    global _stop_signal, _waiting
    if _stop_signal is None:  # a second one must not interrupt the closing of the run
        _stop_signal = signum
        if _shelters:
            _waiting = True
        else:
            stop_if_asked()


class _Bar(tqdm):
    def update(self, n: float | None = 1) -> bool | None:
        stop_if_asked()
        return super().update(n)


def progress(items: Iterable[Any] | None, what: str, unit: str, total: int | None = None) -> Any:
    """A tqdm bar on stderr, with `unit`s per second and the time left. Quiet for the first two seconds.
    A step of it is also where a signal to stop is heeded at the latest."""
    # In a log file each refresh is a line of its own.
    pause_seconds = 0.1 if sys.stderr.isatty() else 10
    return _Bar(items, what, total, unit=unit, delay=2, mininterval=pause_seconds, dynamic_ncols=True)


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
