"""A folder that a process is using is not removed."""

import subprocess
import sys
from pathlib import Path

from kesikaran.core import folder_lock

USER = """
import sys
from pathlib import Path
from kesikaran.core import folder_lock
with folder_lock.in_use(lambda: Path(sys.argv[1])):
    print("in use", flush=True)
    sys.stdin.read()
"""


def test_two_processes_use_it_and_the_last_one_frees_it_even_killed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    command = [sys.executable, "-c", USER, folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:  # type: ignore[call-overload]
        for process in (first, second):
            assert process.stdout.readline() == b"in use\n"
        assert not folder_lock.remove_unused(folder)
        first.stdin.close()
        first.wait(20)
        assert not folder_lock.remove_unused(folder)
        assert (folder / "inner").is_dir()
        second.kill()
        second.wait(20)
    assert folder_lock.remove_unused(folder)
    assert not folder.exists()


def test_a_folder_that_is_removed_while_it_is_locked_is_made_again(tmp_path: Path) -> None:
    folder, made = tmp_path / "folder", []

    def make() -> Path:
        folder.mkdir(exist_ok=True)
        made.append(folder.stat().st_ino)
        if len(made) == 1:  # another process comes between making and opening
            assert folder_lock.remove_unused(folder)
        return folder

    with folder_lock.in_use(make) as used:
        assert used.is_dir()
        assert len(made) == 2
        assert not folder_lock.remove_unused(folder)


def test_a_folder_that_is_replaced_before_the_lock_is_not_taken_for_it(tmp_path: Path, monkeypatch: object) -> None:
    import fcntl
    import os

    folder = tmp_path / "folder"
    flock = fcntl.flock
    locked: list[int] = []

    def late(descriptor: int, operation: int) -> None:
        if not locked:
            folder.rename(tmp_path / "removed")
            folder.mkdir()
        locked.append(os.fstat(descriptor).st_ino)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)  # type: ignore[attr-defined]
    folder.mkdir()
    with folder_lock.in_use(lambda: folder):
        assert locked[-1] == folder.stat().st_ino
        assert len(locked) == 2
