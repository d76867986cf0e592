"""Pictures that are drawn in a process beside the work are those that would have been drawn in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from conftest import ROOT

from kesikaran.core import share
from kesikaran.metrics.binary import Confusion
from kesikaran.reports import drawing, figures


def pid() -> bytes:
    return str(os.getpid()).encode()


def fails() -> bytes:
    raise ZeroDivisionError("a defect")


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process is there."""
    monkeypatch.setattr(share, "cores", lambda: 2)
    drawing.start()
    yield
    drawing.stop()


def test_it_draws_the_same_elsewhere(beside: None) -> None:
    counts = Confusion(tn=30, fp=4, fn=5, tp=31)
    assert int(drawing.picture(pid).png()) != os.getpid()
    drawn = drawing.picture(figures.confusion_matrix, counts, "test").png()
    assert drawn == figures.confusion_matrix(counts, "test")
    assert drawn.startswith(b"\x89PNG")


def test_what_drawing_raises_is_raised_where_the_picture_is_asked_for(beside: None) -> None:
    picture = drawing.picture(fails)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        picture.png()
    assert drawing.picture(pid).png(), "and the next one is drawn"


def test_where_the_process_was_killed_this_one_draws(beside: None) -> None:
    os.kill(int(drawing.picture(pid).png()), signal.SIGKILL)
    for _ in range(3):
        assert int(drawing.picture(pid).png()) == os.getpid()
        time.sleep(0.1)  # meanwhile the pool learns of it


def test_where_the_process_does_not_go_on_this_one_draws(beside: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = int(drawing.picture(pid).png())
    os.kill(stopped, signal.SIGSTOP)
    try:
        monkeypatch.setattr(drawing, "_LONGEST_SECONDS", 0.2)
        pictures = [drawing.picture(pid) for _ in range(4)]
        assert [int(picture.png()) for picture in pictures] == [os.getpid()] * 4
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_with_one_core_this_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "cores", lambda: 1)
    drawing.start()
    assert int(drawing.picture(pid).png()) == os.getpid()


def test_the_process_ends_with_a_command_that_is_killed() -> None:
    code = """
import os, signal
from kesikaran.core import share
from kesikaran.reports import drawing
if __name__ == "__main__":
    share.cores = lambda: 2
    drawing.start()
    drawing._pool.submit(os.getpid).result()
    print(drawing._pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = int(done.stdout)
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{left}"):
        assert time.monotonic() < deadline, "it outlives its command"
        time.sleep(0.1)
