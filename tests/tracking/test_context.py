"""What a run's tags say of its surroundings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kesikaran import __version__
from kesikaran.core import paths
from kesikaran.tracking import context


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (context.SWEEP_ENV, context.VARIED_ENV, "KESIKARAN_GIT_COMMIT"):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)


def test_a_sweep_is_known_to_this_process_and_its_children_until_it_is_left() -> None:
    words = ["seed=1", "optimizer.lr=0.1", "tracking.run_name=a=b"]
    assert (context.open_sweep_id(), context.job_overrides(words)) == (None, {})
    context.enter_sweep("f" * 32, ["seed", "tracking.run_name"])
    assert context.open_sweep_id() == "f" * 32
    assert context.job_overrides(words) == {"seed": "1", "tracking.run_name": "a=b"}
    code = "from kesikaran.tracking import context; print(context.open_sweep_id(), context.job_overrides(['seed=2']))"
    child = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert child.stdout == f"{'f' * 32} {{'seed': '2'}}\n"
    context.leave_sweep()
    assert (context.open_sweep_id(), context.job_overrides(words)) == (None, {})


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(
        ["git", "-C", folder, *who, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_code_is_named_by_its_commit_and_by_what_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"kesikaran_version": __version__, "git_commit": "unknown", "git_dirty": "unknown"}
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert context.code_version.__wrapped__() == unknown
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    assert context.code_version.__wrapped__() == unknown
    git(tmp_path, "init")
    assert context.code_version.__wrapped__() == unknown  # no commit yet
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    here = unknown | {"git_commit": git(tmp_path, "rev-parse", "HEAD")}
    assert context.code_version.__wrapped__() == here | {"git_dirty": "false"}
    (tmp_path / "new.py").touch()
    assert context.code_version.__wrapped__() == here | {"git_dirty": "true"}


def test_an_image_of_a_container_tells_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "checkout", lambda: None)
    monkeypatch.setenv("KESIKARAN_GIT_COMMIT", "abc")
    assert (context.code_version.__wrapped__()["git_commit"], context.code_version.__wrapped__()["git_dirty"]) == (
        "abc",
        "unknown",
    )
