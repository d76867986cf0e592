"""Whether the process of a run still lives: what each run says of its process, and the closing of those of dead ones.

A process that is killed cannot close its run, which then stays RUNNING for ever. So each run carries the host, the
process and a last sign of life as tags, and the next command closes the runs of dead processes.
"""

import contextlib
import os
import platform
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from sqlalchemy.exc import SQLAlchemyError

from kesikaran.core import terminal
from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import store_client, store_file
from kesikaran.tracking.context import SWEEP_TAG

if TYPE_CHECKING:
    from kesikaran.tracking.queries import Record

HOST_TAG, PROCESS_TAG, SIGN_TAG = "host", "process", "last_sign_of_life"
BEAT_SECONDS = 30.0
SILENT_BEATS = 5  # after which a run that is watched counts as dead
# Of a process on another host, whose clock may be an hour off. Its runs are closed after this silence.
SILENCE_SECONDS = 2 * 3600.0
_UNKNOWN = "unknown"
_RUNNING = "attributes.status = 'RUNNING'"


def tags() -> dict[str, str]:
    """The tags of a run of this process."""
    return {HOST_TAG: platform.node(), PROCESS_TAG: _process(os.getpid()), SIGN_TAG: _now()}


def lives(run_tags: Mapping[str, str]) -> bool:
    """Whether the process of a RUNNING run can still be alive.

    Of a process of this machine it is known. A process elsewhere counts as alive until `SILENCE_SECONDS` after its last
    sign, and so does a run without these tags, which an older version or another program has opened.
    """
    given = dict(word.partition("=")[::2] for word in run_tags.get(PROCESS_TAG, "").split())
    if not given:
        return True
    here = _machine()
    if run_tags.get(HOST_TAG) == platform.node() and given.get("machine") == here["machine"] != _UNKNOWN:
        if given.get("boot") != here["boot"]:
            return False  # the machine was started anew
        if given.get("space") == here["space"]:
            pid = given.get("pid", "")
            return pid.isdecimal() and _process(int(pid)) == run_tags[PROCESS_TAG]
    return _age_seconds(run_tags.get(SIGN_TAG, "")) < SILENCE_SECONDS


def _process(pid: int) -> str:
    """A process by its number, by its start in the machine's clock ticks, and by the machine: a number alone is given
    to another process later."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The name of the program stands in brackets and may hold blanks and brackets. The start is field 22.
        start = stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = _UNKNOWN if _exists(pid) else "none"
    return " ".join(f"{name}={value}" for name, value in {"pid": pid, "start": start, **_machine()}.items())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


@cache
def _machine() -> dict[str, str]:
    """The machine's own number, that of its last start, and the space in which its numbers of processes hold, of which
    each container has one. On other systems than Linux the machine is known by its network address."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return {"machine": f"{uuid.getnode():x}", "boot": _UNKNOWN, "space": _UNKNOWN}
    try:
        machine = Path("/etc/machine-id").read_text().strip() or boot
    except OSError:
        machine = boot
    return {"machine": machine, "boot": boot, "space": space}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _age_seconds(sign: str) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(sign)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a time zone
        return 0.0


class _Heart:
    """The thread that writes a sign of life for every open run of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, int] = {}  # a sweep's parent may be entered twice
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, run_id: str) -> None:
        with self._lock:
            self._runs[run_id] = self._runs.get(run_id, 0) + 1
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._beat, args=[self._stop], daemon=True)
                self._thread.start()

    def remove(self, run_id: str) -> None:
        with self._lock:
            self._runs[run_id] -= 1
            if not self._runs[run_id]:
                del self._runs[run_id]
            thread = self._thread
            if self._runs or thread is None:
                return
            self._stop.set()
            self._thread = None
        thread.join(BEAT_SECONDS)  # it may be writing

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_SECONDS):
            with self._lock:
                open_runs = list(self._runs)
            for run_id in open_runs:
                if not stop.is_set():
                    # A store that is out of reach for a while is no reason to end: the next sign may come through.
                    with contextlib.suppress(MlflowException, SQLAlchemyError, OSError, InputError):
                        store_client.client().set_tag(run_id, SIGN_TAG, _now())


_heart = _Heart()


@contextlib.contextmanager
def beating(run_id: str) -> Iterator[None]:
    """A block in which an open run gives signs of life."""
    with terminal.sheltered():
        _heart.add(run_id)
    try:
        yield
    finally:
        with terminal.sheltered():
            _heart.remove(run_id)


_looked = False


def close_dead() -> None:
    """Close as KILLED, once in a process, the runs whose processes are dead, and say so in one line. What their saving
    of a model has left half done is removed.

    A store that cannot be written is left as it is: reading it needs no more.
    """
    global _looked
    if _looked:
        return
    _looked = True
    client = store_client.client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = _all_running(client, experiments)
    dead = [run for run in running if not lives(run.data.tags)]
    # The parent of a sweep lives as long as one of its jobs does: several commands may share it.
    alive = {run.data.tags.get(SWEEP_TAG) for run in running if run not in dead}
    dead = [run for run in dead if run.info.run_id not in alive]
    closed = []
    for run in dead:
        try:
            with terminal.sheltered():
                client.set_terminated(run.info.run_id, "KILLED")
                _remove_half_models(client, run)
        except (MlflowException, SQLAlchemyError, OSError, InputError):
            continue
        closed.append(run.info.run_id[:8])
    if closed:
        runs = "1 run whose process is" if len(closed) == 1 else f"{len(closed)} runs whose processes are"
        listed = ", ".join(closed[:5]) + (" ..." if len(closed) > 5 else "")
        print(f"Closed as KILLED, {runs} gone: {listed}", file=sys.stderr)


def _all_running(client: mlflow.MlflowClient, experiments: list[str]) -> list[Run]:
    found: list[Run] = []
    page: PagedList[Run] | None = None
    while page is None or page.token:
        page = client.search_runs(experiments, _RUNNING, page_token=page.token if page else None)
        found += page
    return found


def _remove_half_models(client: mlflow.MlflowClient, run: Run) -> None:
    """A model that was never finished is of no use, and may be large."""
    query = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], query):
        if model.status is LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
            if folder := store_file.path_of(model.artifact_location):
                # It is made beside its place, in the folder of its number.
                whole = folder.parent if folder.parent.name == model.model_id else folder
                shutil.rmtree(whole, ignore_errors=True)


class Watch:
    """Runs of other hosts, watched from here. By this machine's own clock, so that no clock has to be right."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}  # run id -> its last sign and when that was first seen here
        self._looked_seconds = time.monotonic()

    def close_silent(self, running: Sequence["Record"]) -> None:
        """Close as KILLED those of some RUNNING runs that have given no sign of life for five beats while watched."""
        now_seconds = time.monotonic()
        if now_seconds - self._looked_seconds > 2 * BEAT_SECONDS:  # the store was away, and so no sign came through
            self._seen.clear()
        self._looked_seconds = now_seconds
        for run in running:
            sign = run.tags.get(SIGN_TAG, "")
            known, since = self._seen.get(run.run_id, ("", now_seconds))
            if known != sign:
                since = now_seconds
            self._seen[run.run_id] = sign, since
            if now_seconds - since > SILENT_BEATS * BEAT_SECONDS:
                store_client.client().set_terminated(run.run_id, "KILLED")
                print(f"Run {run.run_id} on {printable(run.tags.get(HOST_TAG, 'another host'))} gives no sign of life "
                      "any more: closed as KILLED", file=sys.stderr)  # fmt: skip
