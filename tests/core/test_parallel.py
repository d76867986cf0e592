"""Work on all cores: in order, bounded, and over when the consumer is."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from kesikaran.core import parallel


def test_results_come_in_order_and_only_a_few_items_ahead() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        while drawn < 100:
            drawn += 1
            yield drawn

    for number, (item, result) in enumerate(parallel.ordered(lambda x: x * x, items(), ahead=5), start=1):
        assert (item, result) == (number, number * number)
        assert drawn <= number + 5
    assert drawn == 100


def test_a_thread_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    together = threading.Barrier(3, timeout=10)
    assert len(list(parallel.ordered(lambda _: together.wait(), range(6), ahead=6))) == 6


def test_an_error_comes_out_and_a_close_waits_and_drops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    done: list[int] = []
    before = set(threading.enumerate())

    def work(item: int) -> None:
        done.append(item)
        time.sleep(0.01)
        if item == 3:
            raise OSError("three")

    with (
        pytest.raises(OSError, match="three"),
        closing(parallel.ordered(work, range(300), ahead=200)) as results,
    ):
        for _ in results:
            pass
    assert set(threading.enumerate()) <= before
    assert len(done) < 100
