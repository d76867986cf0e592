"""Work on all cores: in order, bounded, and over when the consumer is."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import child

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


STUCK = """
import os, signal, sys
from contextlib import closing
from kesikaran.cli import door
from kesikaran.core import parallel
def read(path):  # behind the boundary that refuses a pipe: as a network folder that hangs
    os.write(1, b"reading\\n")  # whole, whatever the other threads write
    with open(path, "rb") as file:
        return file.read()
with door.opened("Stopped."):
    with closing(parallel.ordered(read, [sys.argv[1]] * 4, 8)) as results:
        for _ in results:
            pass
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_in_a_system_call_that_does_not_return_keeps_no_process_alive(
    signum: signal.Signals, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    words = [sys.executable, "-c", STUCK, str(tmp_path / "pipe")]
    with child(*words, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signum, "Stopped.\n")


def test_a_stuck_worker_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_GRACE_SECONDS", 0.1)
    free, begun = threading.Event(), threading.Event()
    late: list[int] = []

    def work(item: int) -> None:
        begun.set()
        if not free.wait(30):
            late.append(item)

    def items() -> Iterator[int]:
        yield from range(3)
        assert begun.wait(60)
        raise OSError("no more items")

    with pytest.raises(OSError, match="no more items"):
        list(parallel.ordered(work, items(), 8))
    assert late == []
    free.set()


def test_a_budget_is_shared_and_more_than_all_of_it_goes_alone() -> None:
    budget = parallel.Budget(10)
    order: list[str] = []

    def take(amount: float, name: str) -> None:
        with budget.taken(amount):
            order.append(name)

    with budget.taken(4):
        with budget.taken(6):
            waiting = threading.Thread(target=take, args=(1000, "all"))
            waiting.start()
        take(6, "six")
        assert order == ["six"]
    waiting.join(60)
    assert order == ["six", "all"]
    with pytest.raises(OSError, match="inside"), budget.taken(10):
        raise OSError("inside")
    take(10, "again")
