"""The terminal: progress bars, a stop on Ctrl-C, SIGTERM and SIGHUP, and TensorFlow's start-up lines kept back."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOHUP = (signal.SIGHUP, signal.SIG_IGN)

_stop_signal: int | None = None
_shelters = 0  # the number of `sheltered` blocks that are open in each other
_waiting = False  # a signal came in one of them and has not been raised yet
_others_hook = sys.unraisablehook  # for what cannot be raised and is no signal


def stop_on_signals() -> None:
    """From now on Ctrl-C, SIGTERM and SIGHUP raise SystemExit with 130, 143 and 129, a shell's codes for these signals.

    A SIGHUP that is ignored stays ignored: the process was started with `nohup`, to outlive its terminal. SIGQUIT
    (Ctrl-\\) still ends a process at once, which no longer lets it close its run. Python runs signal handlers in the
    main thread only: in another thread this does nothing.
    """
    global _others_hook
    if threading.current_thread() is threading.main_thread():
        if sys.unraisablehook is not _unraisable:
            _others_hook, sys.unraisablehook = sys.unraisablehook, _unraisable
        for signum in STOPS:
            if signal.getsignal(signum) is not _stop and (signum, signal.getsignal(signum)) != _NOHUP:
                signal.signal(signum, _stop)


def stop_asked() -> bool:
    """Whether one of the signals has come."""
    return _stop_signal is not None


def stop_if_asked() -> None:
    """Raise the SystemExit of a signal that came before.

    TensorFlow, where it traces or calls back, can swallow an exception that a signal handler raises (measured: 5 of 250
    signals in the first half second of a fit). So each long loop calls this in each round, and each command before it
    reports success.
    """
    if _stop_signal is not None:
        raise SystemExit(128 + _stop_signal)


@contextmanager
def sheltered() -> Iterator[None]:
    """A block, or as a decorator a function, that a signal does not interrupt: the SystemExit is raised at its end.

    For code that an exception between two of its lines would leave in disorder. A transaction of the store of runs that
    is left open locks the store against the write of KILLED; a thread that has just been started is not yet in its
    pool's list and outlives the pool.
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
    if _stop_signal is None:  # a second signal must not interrupt the closing of the run
        _stop_signal = signum
        if _shelters:
            _waiting = True
        else:
            stop_if_asked()


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Not told is a signal that came in a destructor or a callback of a weak reference: it cannot be raised there, and
    the next `stop_if_asked` raises it."""
    if not (_stop_signal is not None and found.exc_type is SystemExit):
        _others_hook(found)


class _Bar(tqdm):
    def update(self, n: float | None = 1) -> bool | None:
        stop_if_asked()
        return super().update(n)


def progress(items: Iterable[Any] | None, what: str, unit: str, total: int | None = None) -> Any:
    """A tqdm bar on stderr with `unit`s per second and the time left, shown after two seconds. On a terminal it goes
    when it is done: what came of it is said in words.

    Each step of the bar raises the SystemExit of a signal that came before.
    """
    # Every 10 s where stderr is a log file: each refresh is a line there.
    is_log = not sys.stderr.isatty()
    pause_seconds = 10 if is_log else 0.1
    # miniters: tqdm would wait for as many steps as the quickest moment made, such as that of what was cached.
    return _Bar(
        items, what, total, leave=is_log, unit=unit, delay=2, mininterval=pause_seconds, miniters=1, dynamic_ncols=True
    )


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep back what TensorFlow's libraries write to stderr when they are first loaded.

    They write some of it before they read any log level, so the file descriptor itself is redirected. Where the block
    fails, what was kept back is written to stderr. A signal waits for the end of the block: a library that is half
    loaded would fail where the run is closed.
    """
    with sheltered(), _kept_back():
        yield


@contextmanager
def _kept_back() -> Iterator[None]:
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
