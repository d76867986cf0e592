"""Folders that are there for a while: gone with their process, however it ended, and no earlier."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kesikaran.core import files, scratch

HOLDS = """
import os, sys, tempfile, time
from pathlib import Path
from kesikaran.core import scratch
folder = scratch.use()
Path(tempfile.mkdtemp(), "half a model").write_bytes(bytes(1000))
print(folder, flush=True)
{then}
"""


def started(folder: Path, then: str) -> tuple[subprocess.Popen[str], Path]:
    """(a process that holds a folder with something in it, that folder)."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS.format(then=then)],
        env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_has_left_goes_and_what_is_held_stays(tmp_path: Path) -> None:
    (tmp_path / "another program's").mkdir()
    killed, left = started(tmp_path, "time.sleep(600)")
    alive, held = started(tmp_path, "time.sleep(600)")
    try:
        killed.kill()
        killed.communicate()
        assert list(left.glob("*/half a model"))
        done, gone = started(tmp_path, "")
        done.communicate(timeout=60)
        assert done.returncode == 0
        assert not left.exists()
        assert not gone.exists()
        assert list(held.glob("*/half a model"))
        assert sorted(tmp_path.iterdir()) == sorted([held, tmp_path / "another program's"])
    finally:
        alive.kill()
        alive.communicate()


def test_a_forked_child_leaves_its_parents_folder(tmp_path: Path) -> None:
    process, folder = started(tmp_path, "child = os.fork()\nif child: os.wait(); print(folder.exists(), flush=True)")
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["True"]
    assert not folder.exists()


def test_a_folder_is_for_its_owner_and_ends_with_its_block(tmp_path: Path) -> None:
    with scratch.held_folder(tmp_path, "x-") as folder:
        assert folder.stat().st_mode & 0o077 == 0
        with scratch.held_folder(tmp_path, "x-") as other:
            assert folder.exists()
        assert not other.exists()
    with pytest.raises(KeyError), scratch.held_folder(tmp_path, "x-"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_killed_before_its_lock_goes_an_hour_later(tmp_path: Path) -> None:
    with scratch.held_folder(tmp_path, "x-") as folder:
        young, old = (Path(f"{folder}{end}") for end in ("young", "old"))
        young.mkdir()
        old.mkdir()
        os.utime(old, (time.time() - 7200,) * 2)
    with scratch.held_folder(tmp_path, "x-"):
        assert young.exists()
        assert not old.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".held").touch()
    with scratch.held_folder(tmp_path, "x-") as folder:
        Path(f"{folder}link").symlink_to(tmp_path / "mine")
    with scratch.held_folder(tmp_path, "x-"):
        assert (tmp_path / "mine" / ".held").exists()


def test_a_build_that_was_killed_goes_with_the_next(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from kesikaran.core import files
def build(folder):
    folder.mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
files.build_once(Path(sys.argv[1]) / "thing", "proof", build)
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert [path.name.startswith(".building-") for path in tmp_path.iterdir()] == [True]

    def build(folder: Path) -> None:
        folder.mkdir()
        (folder / "proof").touch()

    files.build_once(tmp_path / "thing", "proof", build)
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
