"""Nothing that is finished is trained again, and a sweep goes on where it was left."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import HOST, ROOT, Done, Made

from kesikaran.sweeps import others
from kesikaran.tracking import context, liveness, queries

pytestmark = pytest.mark.tensorflow

LAUNCHERS = pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])


@pytest.fixture
def sweep(train: Callable[..., Done], made: Made) -> Callable[..., Done]:
    """`train -m WORDS` on the made images, without models."""
    return lambda *words: train("-m", *made.words, "tracking.log_model=false", "fit.epochs=2", *words)


def parents(runs: list[Any]) -> list[Any]:
    return [run for run in runs if run.data.tags.get("sweep_id") == run.info.run_id]


def table(parent: Any) -> list[tuple[str, str, bool]]:
    jobs = queries.sweep_jobs(parent.info.run_id)
    return list(zip(jobs["name"], jobs["status"], jobs["reused"], strict=True))


@LAUNCHERS
def test_a_finished_sweep_trains_nothing_again(
    launcher: str, sweep: Callable[..., Done], runs: Callable[[], list[Any]], together: list[int]
) -> None:
    assert sweep("seed=0,1", f"hydra/launcher={launcher}").code == 0
    before = {run.info.run_id for run in runs()}
    together.clear()
    done = sweep("seed=0,1", f"hydra/launcher={launcher}")
    assert (done.code, together) == (0, [])
    assert {run.info.run_id for run in runs()} == before, "the parent goes on, and nothing is copied"
    assert (
        len(re.findall(r"^Job \d  seed=\d  accuracy 0\.\d+ \[.*\]  finished before \(run \w{8}\)  ", done.out, re.M))
        == 2
    )
    assert "2 of 2 jobs finished\n" in done.out
    (parent,) = parents(runs())
    assert (parent.info.status, parent.data.tags["planned_jobs"]) == ("FINISHED", "2")
    assert table(parent) == [("seed=0", "FINISHED", False), ("seed=1", "FINISHED", False)]


@LAUNCHERS
def test_another_sweep_counts_what_was_finished_before(
    launcher: str, sweep: Callable[..., Done], train: Callable[..., Done], runs: Callable[[], list[Any]],
    together: list[int],
) -> None:  # fmt: skip
    sweep("seed=0,1")
    together.clear()
    done = sweep("seed=1,2", f"hydra/launcher={launcher}")
    assert (done.code, sum(together)) == (0, 1)
    assert "2 of 2 jobs finished, 1 of them reused from before\n" in done.out
    first, second = parents(runs())
    by_name = {run.info.run_name: run for run in runs()}
    assert by_name["seed=1"].data.tags["sweep_id"] == first.info.run_id
    assert table(second) == [("seed=1", "FINISHED", True), ("seed=2", "FINISHED", False)]
    jobs = queries.sweep_jobs(second.info.run_id)
    assert jobs["run_id"][0] == by_name["seed=1"].info.run_id
    assert list(jobs["overrides.seed"]) == ["1", "2"]
    assert "2 seeds of one setting" in done.out, "it counts for every statistic"


def test_a_single_run_with_the_settings_of_a_job_is_that_job(
    sweep: Callable[..., Done], train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    words = [*made.words, "tracking.log_model=false", "fit.epochs=2"]
    assert train(*words, "seed=5", "tracking.run_name=mine").code == 0
    assert train(*words, "seed=5").code == 0, "a single run is trained whatever there is"
    sweep("seed=5,6")
    assert len([run for run in runs() if run.data.params.get("seed") == "5"]) == 2
    parent = parents(runs())[0]
    assert table(parent)[0] == ("seed=5", "FINISHED", True), "called by what differs in this sweep"
    taken = queries.sweep_jobs(parent.info.run_id)["run_id"][0]
    assert taken in {run.info.run_id for run in runs() if run.data.params.get("seed") == "5"}


def test_what_failed_is_trained_again_and_the_sweep_goes_on(
    sweep: Callable[..., Done], runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.core.errors import InputError
    from kesikaran.reports import run_report

    unpatched, calls = run_report.log_predictions, []

    def fails_first(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise InputError("a full disk")
        return unpatched(*given)

    monkeypatch.setattr(run_report, "log_predictions", fails_first)
    assert sweep("seed=0,1").code == 1
    (parent,) = parents(runs())
    assert parent.info.status == "FAILED"
    assert table(parent) == [("seed=0", "FAILED", False), ("seed=1", "FINISHED", False)]
    assert sweep("seed=0,1").code == 0
    assert len(calls) == 3
    (parent,) = parents(runs())
    assert parent.info.status == "FINISHED"
    assert table(parent) == [("seed=0", "FINISHED", False), ("seed=1", "FINISHED", False)], "in the order of the sweep"


def test_a_deleted_job_is_trained_again(
    sweep: Callable[..., Done], runs: Callable[[], list[Any]], client: Any, together: list[int]
) -> None:
    sweep("seed=0,1")
    client.delete_run(next(run.info.run_id for run in runs() if run.info.run_name == "seed=0"))
    together.clear()
    assert sweep("seed=0,1").code == 0
    assert together == [1]
    assert [status for _, status, _ in table(parents(runs())[0])] == ["FINISHED", "FINISHED"]


def test_without_resuming_all_are_trained(
    sweep: Callable[..., Done], runs: Callable[[], list[Any]], together: list[int]
) -> None:
    sweep("seed=0,1")
    assert sweep("seed=0,1", "sweep.resume=false").code == 0
    assert together == [1, 1, 1, 1]
    assert len(parents(runs())) == 2


@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_after_too_many_failures_no_further_job_begins(
    launcher: str, sweep: Callable[..., Done], runs: Callable[[], list[Any]]
) -> None:
    words = ["head.dropout=2,3,4,0.1,0.2", "sweep.max_failures=2", f"hydra/launcher={launcher}"]
    done = sweep(*words)
    assert done.code == 1
    says = "error: 2 jobs have failed, so no further one begins (sweep.max_failures=2): see what they have in common"
    assert done.err.count(says) == 1
    assert "0 of 5 jobs finished, 2 failed, 3 never began; the same command goes on\n" in done.out
    assert len(runs()) == 3
    assert sweep(*words[:1], "sweep.max_failures=4").code == 1
    assert "2 of 5 jobs finished, 3 failed\n" in sweep(*words[:1]).out, "each command counts its own failures"


@pytest.mark.parametrize(("words", "says"), [
    (["sweep.resume=false"], "sweep.resume=false does nothing in a single run"),
    (["sweep.max_failures=3"], "sweep.max_failures=3 does nothing in a single run"),
])  # fmt: skip
def test_a_setting_of_sweeps_is_refused_in_a_single_run(
    words: list[str], says: str, train: Callable[..., Done], made: Made
) -> None:
    done = train(*made.words, *words)
    assert done.code == 1
    assert f"error: {says}" in done.err


def at_work_elsewhere(client: Any, run: Any) -> None:
    client.set_terminated(run.info.run_id, "RUNNING")
    for tag, value in {**liveness.tags(), "host": "elsewhere", context.COMMAND_TAG: "theirs"}.items():
        client.set_tag(run.info.run_id, tag, value)


@LAUNCHERS
def test_a_job_that_another_command_is_at_work_on_is_waited_for(
    launcher: str, sweep: Callable[..., Done], runs: Callable[[], list[Any]], client: Any, together: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sweep("seed=0,1")
    theirs = next(run for run in runs() if run.info.run_name == "seed=0")
    client.delete_run(next(run.info.run_id for run in runs() if run.info.run_name == "seed=1"))
    at_work_elsewhere(client, theirs)
    together.clear()
    monkeypatch.setattr(others, "pause", lambda: client.set_terminated(theirs.info.run_id, "FINISHED"))
    done = sweep("seed=0,1", f"hydra/launcher={launcher}")
    assert (done.code, together) == (0, [1])
    assert "Waiting for 1 job that is at work on elsewhere." in done.out
    (parent,) = parents(runs())
    assert table(parent) == [("seed=0", "FINISHED", False), ("seed=1", "FINISHED", False)]
    assert parent.info.status == "FINISHED"


def test_a_job_whose_process_elsewhere_has_died_is_trained_here(
    sweep: Callable[..., Done], runs: Callable[[], list[Any]], client: Any, together: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sweep("seed=0,1")
    theirs = next(run for run in runs() if run.info.run_name == "seed=0")
    at_work_elsewhere(client, theirs)
    together.clear()
    monkeypatch.setattr(liveness, "SILENT_BEATS", 0)
    monkeypatch.setattr(others, "_PAUSE_SECONDS", 0.01)
    done = sweep("seed=0,1")
    assert (done.code, together) == (0, [1])
    assert f"Run {theirs.info.run_id} on elsewhere gives no sign of life any more: closed as KILLED" in done.err
    assert [status for _, status, _ in table(parents(runs())[0])] == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_a_killed_sweep_goes_on(launcher: str, made: Made, tmp_path: Path) -> None:
    """By SIGKILL, which no process can answer."""
    database = tmp_path / "mlflow.db"
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    words = ["-m", f"hydra/launcher={launcher}", *made.words, "fit.epochs=2", "tracking.log_model=false", "seed=0,1,2"]
    command = [sys.executable, "-m", "kesikaran.train", *words]

    def asked(query: str) -> list[Any]:
        if not database.exists():
            return []
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            try:
                return db.execute(query).fetchall()
            except sqlite3.Error:  # it is being made
                return []

    statuses = "SELECT name, status FROM runs WHERE lifecycle_stage = 'active'"
    enough = 1 if launcher == "basic" else 0
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=where, cwd=ROOT
    )
    deadline = time.monotonic() + 300
    while not (len(found := asked(statuses)) >= 3 and [s for _, s in found].count("FINISHED") >= enough):
        assert time.monotonic() < deadline, "it never began"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    before = dict(asked("SELECT run_uuid, status FROM runs"))
    assert "RUNNING" in before.values()
    again = subprocess.run(command, capture_output=True, text=True, env=where, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert "Closed as KILLED, " in again.stderr
    assert "3 of 3 jobs finished\n" in again.stdout
    after = dict(asked("SELECT run_uuid, status FROM runs"))
    assert set(after.values()) == {"FINISHED", "KILLED"}
    assert all(after[run] == "FINISHED" for run, status in before.items() if status == "FINISHED")
    finished = [name for name, status in asked(statuses) if status == "FINISHED"]
    assert sorted(finished)[:3] == ["seed=0", "seed=1", "seed=2"]
    assert len(finished) == 4, "one parent, and each job once"


def test_two_commands_at_the_same_moment_share_a_sweep(made: Made, tmp_path: Path) -> None:
    """On two hosts, as far as the runs know."""
    database = tmp_path / "mlflow.db"
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    words = ["-m", *made.words, "fit.epochs=2", "tracking.log_model=false", "seed=range(0,6)"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, host, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=where,
            cwd=ROOT,
        )
        for host in ("one", "two")
    ]
    said = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert all("6 of 6 jobs finished\n" in out for out, _ in said)
    with closing(sqlite3.connect(database)) as db:
        ended = db.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY name").fetchall()
        hosts = db.execute("SELECT DISTINCT value FROM tags WHERE key = 'host'").fetchall()
    assert ended == [*((f"seed={seed}", "FINISHED") for seed in range(6)), ("sweep: seed=range(0,6)", "FINISHED")]
    assert len(hosts) == 2, "both have trained"
