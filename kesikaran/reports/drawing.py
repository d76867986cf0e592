"""Pictures drawn beside the work: those of a sweep's jobs, in a process on a core that has nothing else to do.

Drawing the five pictures of a job takes nearly a tenth of a second, as long as all the rest of a job that is trained
together with others. A single run draws its own: the process would take longer to start.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from kesikaran.core import share, terminal

Draw = Callable[..., bytes]

_LONGEST_SECONDS = 60.0  # of one picture; the process starts in the first of them

_pool: ProcessPoolExecutor | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that is being drawn."""

    draw: Draw
    given: tuple[Any, ...]
    drawn: "Future[bytes] | None"

    def png(self) -> bytes:
        """The bytes of its file, as soon as they are there. What drawing raises is raised here."""
        try:
            return self.drawn.result(_LONGEST_SECONDS) if self.drawn else self.draw(*self.given)
        except (BrokenProcessPool, CancelledError, TimeoutError):  # somebody has killed the process or stopped it
            stop()
            return self.draw(*self.given)


def start() -> None:
    """Start the process, where there is a core for it. It takes seconds, in which this one goes on."""
    global _pool
    if _pool is None and share.cores() > 1:
        with terminal.sheltered():  # a signal in between would leave the process without its pool
            context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
            _pool = ProcessPoolExecutor(1, context, _begin)
            _pool.submit(_load)


def stop() -> None:
    """End the process. What it has not drawn yet is not drawn."""
    global _pool
    if _pool:
        _pool.shutdown(wait=False, cancel_futures=True)
        _pool = None


def picture(draw: Draw, *given: Any) -> Picture:
    """A picture of `draw(*given)`, a function of a module, in the process that `start` has started, else in this one
    when it is asked for."""
    try:
        return Picture(draw, given, _pool.submit(draw, *given) if _pool else None)
    except BrokenProcessPool:
        stop()
        return Picture(draw, given, None)


def _begin() -> None:
    """In the process. It ends with the one that has started it, even where that one is killed. A Ctrl-C at the terminal
    is that one's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=[parent.sentinel], daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _load() -> None:
    from kesikaran.reports import figures  # noqa: F401  loads matplotlib while there is nothing to draw
