"""The surroundings of a run: the sweep that it belongs to, the settings that the sweep varies, the version of the code.

Environment variables tell a job its sweep, because they reach the jobs under every launcher.
"""

import os
import subprocess
import uuid
from functools import cache

from kesikaran import __version__
from kesikaran.core import paths

SWEEP_TAG = "sweep_id"
OVERRIDES_TAG = "overrides"  # JSON: a job's values, by name, of the settings that its sweep varies

NUMBER_TAG = "job_number"  # a job's place among the jobs of its sweep, from 0
COMMAND_TAG = "command"  # of all runs that one command of a sweep opens, in all its processes

SWEEP_ENV = "KESIKARAN_SWEEP_ID"
VARIED_ENV = "KESIKARAN_SWEEP_VARIES"
COMMAND_ENV = "KESIKARAN_SWEEP_COMMAND"


def enter_sweep(sweep_id: str, varied: list[str]) -> None:
    """From now on runs of this process and of its children are jobs of the sweep. varied: names of the settings that
    the sweep varies."""
    os.environ[SWEEP_ENV] = sweep_id
    os.environ[VARIED_ENV] = " ".join(varied)
    os.environ[COMMAND_ENV] = uuid.uuid4().hex


def leave_sweep() -> None:
    """From now on runs of this process and of its children belong to no sweep."""
    os.environ.pop(SWEEP_ENV, None)
    os.environ.pop(VARIED_ENV, None)
    os.environ.pop(COMMAND_ENV, None)


def open_sweep_id() -> str | None:
    """The id of the sweep's parent run; None outside a sweep."""
    return os.environ.get(SWEEP_ENV)


def command() -> str | None:
    """A name for the command that has opened the sweep or joined it, the same in its workers; None outside a sweep."""
    return os.environ.get(COMMAND_ENV)


def job_overrides(words: list[str]) -> dict[str, str]:
    """Those of a job's overrides (`key=value`) that its sweep varies, by name. Empty outside a sweep."""
    varied = os.environ.get(VARIED_ENV, "").split()
    return {key: value for key, _, value in (word.partition("=") for word in words) if key in varied}


@cache  # the code of a process does not change
def code_version() -> dict[str, str]:
    """Tags for the version of the code: the package's version, the commit, and whether the working tree is dirty.
    Without git the last two are "unknown", or the commit is `$KESIKARAN_GIT_COMMIT`."""
    commit, dirty = os.environ.get("KESIKARAN_GIT_COMMIT", "unknown"), "unknown"
    root = paths.checkout()
    if root and (root / ".git").exists():
        try:
            git = ["git", "-C", str(root)]
            commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
            status = subprocess.check_output([*git, "status", "--porcelain"], text=True, stderr=subprocess.DEVNULL)
            dirty = str(bool(status.strip())).lower()
        except (OSError, subprocess.CalledProcessError):
            pass  # no git, or no commit yet
    return {"kesikaran_version": __version__, "git_commit": commit, "git_dirty": dirty}
