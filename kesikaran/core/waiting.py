"""Waiting for work that does not listen to signals."""

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def interruptibly(work: Callable[[], Result], limit_seconds: float | None = None) -> Result:
    """`work()`, done in another thread, so that a signal ends the wait for it and the process can end.

    Python handles a signal between two of its own instructions in the main thread. A call of TensorFlow that does not
    return would keep Ctrl-C and SIGTERM out for ever. Work that is given up goes on until the process ends.

    Raises:
        TimeoutError: the work was not done after `limit_seconds`. What `work` raises is raised here.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=attempt, daemon=True).start()
    if not done.wait(limit_seconds):
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]
