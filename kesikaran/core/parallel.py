"""Work on all cores, on a bounded number of items at a time."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from kesikaran.core import terminal

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[tuple[Item, Result], None, None]:
    """(item, work(item)) in the order of `items`, on one thread a core, at most `ahead` items before the consumer.

    Threads suffice: reading, hashing and decoding images all release the interpreter's lock. What `work` raises is
    raised here. Closing the iterator waits for the items that are being worked on and drops the others.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for item in items:
                with terminal.sheltered():  # interrupted while it starts a thread, the pool would not know the thread
                    waiting.append((item, pool.submit(work, item)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
