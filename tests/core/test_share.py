"""Workers of one command take places of their own; what a place is, of cores and GPUs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from kesikaran.core import share

WORKER = """
import os, sys
from kesikaran.core.share import Share
mine = Share(2, gpus=sys.argv[2:], command=sys.argv[1])
mine.take()
mine.take()
print(os.environ.get("CUDA_VISIBLE_DEVICES"), sorted(os.sched_getaffinity(0)), flush=True)
input()
"""
CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture
def worker() -> Iterator[Callable[..., str]]:
    """Start a worker with these words and return what it says; it lives until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> str:
        command = [sys.executable, "-c", WORKER, *words]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None
        return stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_workers_take_different_gpus_and_cores(worker: Callable[..., str]) -> None:
    command = f"test-{os.getpid()}"
    said = [worker(command, "4", "7") for _ in range(2)]
    assert said == [f"4 {CORES[0::2]}", f"7 {CORES[1::2] or CORES[:1]}"]
    assert worker(f"another-{command}", "4", "7") == said[0], "another command's workers count anew"
    assert worker(command, "4", "7") in said, "one too many shares a place"


def test_the_place_of_a_worker_that_was_killed_is_free(worker: Callable[..., str]) -> None:
    command = f"killed-{os.getpid()}"
    first = subprocess.Popen(
        [sys.executable, "-c", WORKER, command, "a", "b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline().startswith("a ")
    first.kill()
    first.communicate()
    assert worker(command, "a", "b").startswith("a ")


def test_without_names_of_gpus_the_engine_has_chosen(worker: Callable[..., str]) -> None:
    set_before = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert worker(f"none-{os.getpid()}").startswith(f"{set_before} ")


@pytest.mark.parametrize(
    ("allowed", "expected"), [("", []), ("-1", []), ("2,5", ["2", "5"])], ids=["none", "switched off", "two of them"]
)
def test_gpus_that_this_process_may_use(allowed: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert share.gpus() == expected
    if expected:
        assert share.default_workers() == len(expected)
    else:
        assert share.default_workers() == min(share.cores(), 8)
