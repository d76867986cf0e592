"""A run whose process is dead does not stay RUNNING, and one whose process lives is left alone."""

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kesikaran.tracking import context, liveness, queries, runs, sweeps

pytestmark = pytest.mark.tensorflow


def sign(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")


def changed(**parts: str) -> dict[str, str]:
    """The tags of this process with other parts of its name."""
    given = liveness.tags()
    words = dict(word.split("=", 1) for word in given["process"].split()) | parts
    return {**given, "process": " ".join(f"{name}={value}" for name, value in words.items())}


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_this_process_lives() -> None:
    assert liveness.lives(liveness.tags())
    assert liveness.tags()["process"].startswith(f"pid={os.getpid()} start=")


def test_a_process_that_has_ended_does_not(gone: int) -> None:
    assert not liveness.lives(changed(pid=str(gone)))


@pytest.mark.parametrize(
    ("parts", "hours", "lives"),
    [
        ({"start": "1"}, 0, False),
        ({"boot": "another"}, 0, False),
        ({"boot": "another", "space": "pid:[1]"}, 0, False),
        ({"pid": "none"}, 0, False),
        ({"space": "pid:[1]"}, 1, True),
        ({"space": "pid:[1]"}, 2.1, False),
        ({"machine": "another"}, 1.9, True),
        ({"machine": "another"}, -1, True),
        ({"machine": "another"}, 2.1, False),
    ],
    ids=["the number is another process's now", "the machine was started anew", "with its containers", "damaged",
         "a container", "a silent container", "another machine, or a clock an hour off", "a clock that is ahead",
         "a silent machine"],
)  # fmt: skip
def test_what_a_run_says_of_its_process(parts: dict[str, str], hours: float, lives: bool) -> None:
    assert liveness.lives({**changed(**parts), "last_sign_of_life": sign(hours)}) is lives


@pytest.mark.parametrize("hours", [1, 2.1])
def test_another_host(hours: float) -> None:
    assert liveness.lives({**liveness.tags(), "host": "elsewhere", "last_sign_of_life": sign(hours)}) is (hours < 2)


@pytest.mark.parametrize("given", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_sign_that_cannot_be_read_closes_no_run(given: str) -> None:
    assert liveness.lives({**liveness.tags(), "host": "elsewhere", "last_sign_of_life": given})


def test_a_run_of_an_older_version_is_left_alone() -> None:
    assert liveness.lives({})


def dead(client: Any, name: str, gone: int, **tags: str) -> str:
    experiment = client.get_experiment_by_name("liveness")
    found = experiment.experiment_id if experiment else client.create_experiment("liveness")
    of_dead = {**changed(pid=str(gone)), **tags}
    return str(client.create_run(found, tags=of_dead, run_name=name).info.run_id)


def status(client: Any, *run_ids: str) -> list[str]:
    return [client.get_run(run_id).info.status for run_id in run_ids]


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What closing says, as at the start of a command."""

    def call() -> str:
        monkeypatch.setattr(liveness, "_looked", False)
        liveness.close_dead()
        return capsys.readouterr().err

    return call


def test_runs_of_dead_processes_are_closed_and_it_is_said(client: Any, gone: int, close: Callable[[], str]) -> None:
    with runs.run("liveness", "of a living process", {}) as run:
        left = [dead(client, "a", gone), dead(client, "b", gone)]
        said = close()
        assert said.startswith("Closed as KILLED, 2 runs whose processes are gone: ")
        assert all(run_id[:8] in said for run_id in left)
        assert status(client, *left, run.run_id) == ["KILLED", "KILLED", "RUNNING"]
        assert close() == ""


def test_it_looks_once_in_a_process(client: Any, gone: int) -> None:
    liveness.close_dead()
    left = dead(client, "a", gone)
    liveness.close_dead()
    assert status(client, left) == ["RUNNING"]
    client.set_terminated(left, "KILLED")


def test_the_parent_of_a_sweep_lives_as_long_as_a_job_of_it(
    client: Any, gone: int, close: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = dead(client, "sweep", gone)
    client.set_tag(parent, context.SWEEP_TAG, parent)
    monkeypatch.setenv(context.SWEEP_ENV, parent)
    with runs.run("liveness", "its job, of another command", {}):
        assert close() == ""
        assert status(client, parent) == ["RUNNING"]
    assert "Closed as KILLED, 1 run whose process is gone: " in close()


def test_what_the_saving_of_a_model_has_left_is_removed(client: Any, gone: int, close: Callable[[], str]) -> None:
    left = dead(client, "a", gone)
    experiment_id = client.get_run(left).info.experiment_id
    half, whole = (client.create_logged_model(experiment_id, name, source_run_id=left) for name in ("half", "whole"))
    folders = [Path(model.artifact_location.removeprefix("file://")) for model in (half, whole)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "variables.data").write_bytes(b"x" * 1000)
        (folder.parent / "tmp123").mkdir()  # in which it was made
    client.finalize_logged_model(whole.model_id, "READY")
    close()
    assert [folder.parent.exists() for folder in folders] == [False, True]
    assert client.get_logged_model(half.model_id).status == "FAILED"


def test_a_store_that_cannot_be_written_is_read_all_the_same(
    client: Any, gone: int, close: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    left = dead(client, "a", gone)

    def broken(*_: Any) -> None:
        raise OSError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_terminated", broken)
        assert close() == ""
    close()
    assert status(client, left) == ["KILLED"]


def test_an_open_run_gives_signs_of_life(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.05)
    threads = threading.active_count()
    with runs.run("liveness", "beats", {}) as run:
        client.set_tag(run.run_id, "last_sign_of_life", "none yet")
        deadline = time.monotonic() + 20
        while client.get_run(run.run_id).data.tags["last_sign_of_life"] == "none yet":
            assert time.monotonic() < deadline, "no sign of life"
            time.sleep(0.05)
    client.set_tag(run.run_id, "last_sign_of_life", "ended")
    time.sleep(0.3)
    assert client.get_run(run.run_id).data.tags["last_sign_of_life"] == "ended"
    assert threading.active_count() == threads


def test_a_store_that_is_away_for_a_while_ends_no_signs(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.05)
    unpatched, calls = mlflow.MlflowClient.set_tag, []

    def away(*given: Any) -> None:
        calls.append(given)
        if len(calls) < 3:
            raise OSError("away")
        unpatched(*given)

    with runs.run("liveness", "beats", {}):
        monkeypatch.setattr(mlflow.MlflowClient, "set_tag", away)
        deadline = time.monotonic() + 20
        while len(calls) < 4:
            assert time.monotonic() < deadline, "no further sign of life"
            time.sleep(0.05)


def test_a_silent_run_is_closed_by_the_watchers_own_clock(
    client: Any, gone: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent, beating = (dead(client, name, gone, host="elsewhere", last_sign_of_life=sign(-9)) for name in "ab")
    now_seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_seconds[0])
    watch = liveness.Watch()
    for _ in range(5):
        client.set_tag(beating, "last_sign_of_life", str(now_seconds[0]))
        watch.close_silent([queries.get(client, run_id) for run_id in (silent, beating)])
        assert status(client, silent, beating) == ["RUNNING", "RUNNING"]
        now_seconds[0] += 37.5
    client.set_tag(beating, "last_sign_of_life", "again")
    watch.close_silent([queries.get(client, run_id) for run_id in (silent, beating)])
    assert status(client, silent, beating) == ["KILLED", "RUNNING"]
    assert f"Run {silent} on elsewhere gives no sign of life any more: closed as KILLED" in capsys.readouterr().err
    client.set_terminated(beating, "KILLED")


def test_every_run_says_whose_it_is(client: Any) -> None:
    with runs.run("liveness", "a", {}) as run:
        pass
    parent = sweeps.open_sweep("liveness", "a sweep")
    for run_id in (run.run_id, parent):
        tags = client.get_run(run_id).data.tags
        assert tags["host"] == platform.node()
        assert tags["process"] == liveness.tags()["process"]
        assert datetime.fromisoformat(tags["last_sign_of_life"]).tzinfo is not None
    client.set_terminated(parent, "KILLED")
