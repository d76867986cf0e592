"""A folder of the cache is whole or not there, whoever makes it and however that ends."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kesikaran.core import files
from kesikaran.core.errors import InputError


def build(folder: Path) -> None:
    folder.mkdir()
    (folder / "proof").write_text("ours")


def test_it_is_made_once(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "thing"
    assert files.build_once(target, "proof", build) == target
    assert files.build_once(target, "proof", lambda _: pytest.fail("made a second time")) == target
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


def test_a_concurrent_winner_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "thing"

    def overtaken(folder: Path) -> None:
        build(folder)
        target.mkdir()
        (target / "proof").write_text("theirs")

    files.build_once(target, "proof", overtaken)
    assert (target / "proof").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_killed_process_leaves_no_half_folder(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from kesikaran.core import files
def build(folder):
    folder.mkdir()
    (folder / "proof").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
files.build_once(Path(sys.argv[1]), "proof", build)
"""
    target = tmp_path / "thing"
    killed = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    files.build_once(target, "proof", build)
    assert (target / "proof").read_text() == "ours"


def test_a_failing_build_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        folder.mkdir()
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        files.build_once(tmp_path / "thing", "proof", fails)
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_place_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"thing has no proof and is in the way .*: delete it"):
        files.build_once(tmp_path / "thing", "proof", build)
    assert os.listdir(tmp_path / "thing") == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"the feature cache .*file/x is not writable .*: do this"):
        files.writable(tmp_path / "file" / "x", "feature cache", "do this")


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: io.FileIO("/dev/full", "w"))
    with pytest.raises(InputError, match=r"is not writable \(No space left on device\): do this"):
        files.writable(tmp_path, "feature cache", "do this")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device")]), "No space left on device"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "database or disk is full"),
    ],
    ids=["disk", "quota", "copytree", "SQLite"],
)
def test_no_room_is_one_line_whoever_says_it(raised: Exception, words: str) -> None:
    with (
        pytest.raises(InputError) as caught,
        files.disk_space("the cache", "or do this"),
        files.disk_space("a place in it", "or"),
    ):
        raise raised
    assert str(caught.value) == f"a place in it has no room left ({words}): free some space, or"


@pytest.mark.parametrize("code", [0, errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_a_second_name_or_a_copy(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system, no more links, and a file of somebody else of which no link may be made."""

    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"bytes")
    if code:
        monkeypatch.setattr(os, "link", refused)
    files.link_or_copy(source, target)
    assert target.read_bytes() == b"bytes"
    assert target.samefile(source) == (code == 0)


def test_another_failure_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), files.disk_space("the cache", "or do this"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_no_room_for_a_folder_of_the_cache(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        build(folder)
        Path("/dev/full").write_bytes(b"0")

    with pytest.raises(InputError, match=r"the cache folder .* has no room left .* set KESIKARAN_CACHE to another"):
        files.build_once(tmp_path / "thing", "proof", fails)
    assert list(tmp_path.iterdir()) == []
