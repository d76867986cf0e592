"""Images of many requests at once: decoded on all cores, and judged several in one forward pass.

Two stages, each with a queue. A thread that is free takes what waits there, up to a number: a lone image waits for no
other, and under load the groups grow by themselves. The number of images that wait is limited, and with it the memory.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from kesikaran.publish.predictor import Judged

Item = TypeVar("Item")

MOST_WAITING = 256  # images that were taken on and have no answer yet: two to three seconds of work on two cores
DECODED_TOGETHER, _JUDGED_TOGETHER = 8, 32  # `features.decoder.TOGETHER`; a larger batch is no quicker an image


class Judge(Protocol):
    """What decodes and judges, `predictor.Predictor` outside of tests. `decode` gives for each image what `judge`
    takes, or the reason why it is refused. Several threads call `decode` at once, and one `judge`."""

    def decode(self, contents: list[bytes]) -> list[Any]: ...
    def judge(self, images: list[Any]) -> Judged: ...


@dataclass(frozen=True)
class Answer:
    """The judgement of one image, in the numbers of Python. probability: of label 1."""

    label: int
    probability: float
    sure: bool
    log_odds: float


class Full(Exception):
    """As many images wait as may."""


class Queue:
    """Takes images on for `judge`, and answers each. Its threads are daemons: none keeps the process from ending."""

    def __init__(self, judge: Judge, cores: int):
        self._judge = judge
        self._forward = _Stage(self._judged, 1, _JUDGED_TOGETHER, Future.set_result)
        self._decode = _Stage(judge.decode, cores, DECODED_TOGETHER, self._decoded)
        self._lock = threading.Lock()
        self._waiting = self._answered = 0

    def submit(self, contents: list[bytes]) -> "list[Future[Answer | str]]":
        """A future for each image: its answer, or the reason why it is refused. All are taken on, or none.

        Raises:
            Full: so many more may not wait.
        """
        with self._lock:
            if self._waiting + len(contents) > MOST_WAITING:
                raise Full
            self._waiting += len(contents)
        futures: list[Future[Answer | str]] = [Future() for _ in contents]
        for future, content in zip(futures, contents, strict=True):
            future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, and its result can be set
            future.add_done_callback(self._done)
            self._decode.put(content, future)
        return futures

    @property
    def answered(self) -> int:
        """How many images have been judged or refused."""
        return self._answered

    @property
    def waiting(self) -> int:
        """How many images have no answer yet."""
        return self._waiting

    def close(self) -> None:
        """End the threads, once they have done what waits."""
        self._decode.close()
        self._forward.close()

    def _decoded(self, future: "Future[Answer | str]", image: Any) -> None:
        if isinstance(image, str):
            future.set_result(image)
        else:
            self._forward.put(image, future)

    def _judged(self, images: list[Any]) -> list[Answer]:
        found = self._judge.judge(images)
        columns = zip(found.label, found.probability, found.sure, found.log_odds, strict=True)
        # The shortest number that is the same float32: 0.847, where float() alone would give 0.8470000267028809.
        return [Answer(int(label), float(str(p)), bool(sure), float(str(odds))) for label, p, sure, odds in columns]

    def _done(self, _: "Future[Answer | str]") -> None:
        with self._lock:
            self._waiting -= 1
            self._answered += 1


class _Stage(Generic[Item]):
    """Threads that do `work` on what waits: list of items -> list of as many results.

    Args:
        most: items in one call. deliver: called with the future and the result of each.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Any]],
        threads: int,
        most: int,
        deliver: "Callable[[Future[Any], Any], None]",
    ):
        self._work, self._most, self._deliver = work, most, deliver
        self._items: deque[tuple[Item, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, item: Item, future: "Future[Any]") -> None:
        with self._changed:
            self._items.append((item, future))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while taken := self._take():
            try:
                results = self._work([item for item, _ in taken])
            except BaseException as error:
                for _, future in taken:
                    future.set_exception(error)
            else:
                for (_, future), result in zip(taken, results, strict=True):
                    self._deliver(future, result)
                del results
            taken.clear()  # else the last images would be held until the next

    def _take(self) -> "list[tuple[Item, Future[Any]]]":
        """What this thread does next: its share of what waits. Empty where the stage is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            count = min(self._most, -(-len(self._items) // len(self._threads)))
            return [self._items.popleft() for _ in range(count)]
