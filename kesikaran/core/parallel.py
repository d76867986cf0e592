"""Work on all cores, on a bounded number of items at a time and within a bounded amount of memory."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from kesikaran.core import terminal

Item = TypeVar("Item")
Result = TypeVar("Result")

_GRACE_SECONDS = 5.0  # for the items at work when the consumer closes; a decoding takes at most one or two


def ordered(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[tuple[Item, Result], None, None]:
    """(item, work(item)) in the order of `items`, on one thread a core, at most `ahead` items before the consumer.

    Threads suffice: reading, hashing and decoding images all release the interpreter's lock. What `work` raises is
    raised here. Closing the iterator drops the items that nobody works on, and waits for the others, at most five
    seconds: a thread in a system call that does not return, such as a read from a network folder that hangs, would be
    waited for without end. Such a thread does not keep the process from ending. That is why the threads are daemons:
    the interpreter would join those of a ThreadPoolExecutor.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    tasks: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
    threads: list[threading.Thread] = []
    try:
        for item in items:
            waiting.append((item, Future()))
            tasks.put(waiting[-1])
            if len(threads) < (os.cpu_count() or 1):
                with terminal.sheltered():  # interrupted while it starts, a thread would not be in the list
                    threads.append(threading.Thread(target=_work, args=(work, tasks), daemon=True))
                    threads[-1].start()
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
        for _ in threads:
            tasks.put(None)
        end = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))


def _work(work: Callable[[Item], Result], tasks: "SimpleQueue[tuple[Item, Future[Result]] | None]") -> None:
    while (task := tasks.get()) is not None:
        item, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)
        del task, item, future  # else the last result would be held until the next task


class Budget:
    """An amount, of memory for instance, of which threads take a part each while they need it."""

    def __init__(self, total: float) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: float) -> Iterator[None]:
        """A block that waits until `amount` is free. More than the total counts as the total: it then goes alone."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
