"""The parent run of a sweep ends as its jobs did."""

from contextlib import nullcontext
from typing import Any

import pytest

from kesikaran.tracking import context, queries, runs, sweeps

pytestmark = pytest.mark.tensorflow


def job(fails: bool) -> None:
    with pytest.raises(ValueError, match="x") if fails else nullcontext(), runs.run("sweeps", "job", {}):
        if fails:
            raise ValueError("x")


@pytest.mark.parametrize(
    ("fails", "given", "raised", "status"),
    [
        (False, "FINISHED", False, "FINISHED"),
        (True, "FINISHED", False, "FAILED"),
        (False, "FINISHED", True, "FAILED"),
        (True, "KILLED", False, "KILLED"),
    ],
    ids=["all well", "a job failed", "the end failed", "killed"],
)
def test_the_parent_ends_as_its_jobs_did(
    fails: bool, given: str, raised: bool, status: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweeps.open_sweep("sweeps", "a sweep")
    assert client.get_run(sweep).info.status == "RUNNING"
    with monkeypatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, sweep)
        job(fails=False)
        job(fails)
    end = pytest.raises(ZeroDivisionError) if raised else nullcontext()
    with end, sweeps.closing_sweep(sweep, given) as (run, jobs):
        assert list(jobs["status"]) == ["FINISHED", "FAILED" if fails else "FINISHED"]
        run.metrics({"best": 1.0})
        if raised:
            raise ZeroDivisionError
    found = queries.find(sweep)
    assert (found.status, found.is_sweep, found.metrics) == (status, True, {"best": 1.0})
    assert found.tags["git_commit"] == context.code_version()["git_commit"]


def test_a_job_whose_worker_was_killed_does_not_stay_running(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweeps.open_sweep("sweeps", "a sweep")
    with monkeypatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, sweep)
        patch.setenv(context.COMMAND_ENV, "ours")
        job(fails=False)
        opened = runs.run("sweeps", "job", {})  # kept, or the end of the name would end the block
        left = opened.__enter__().run_id
    with sweeps.closing_sweep(sweep, "FINISHED", "ours") as (_, jobs):
        assert sorted(jobs["status"]) == ["FINISHED", "KILLED"]
    assert [client.get_run(run_id).info.status for run_id in (left, sweep)] == ["KILLED", "FAILED"]


@pytest.mark.parametrize(("planned", "status"), [(1, "FINISHED"), (2, "FAILED"), (None, "FINISHED")])
def test_a_sweep_whose_jobs_have_not_all_begun_has_not_finished(
    planned: int | None, status: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweeps.open_sweep("sweeps", "a sweep", planned=planned)
    with monkeypatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, sweep)
        job(fails=False)
    with sweeps.closing_sweep(sweep, "FINISHED"):
        pass
    assert client.get_run(sweep).info.status == status


def test_a_sweep_of_the_same_fingerprint_goes_on(client: Any) -> None:
    first = sweeps.open_sweep("sweeps", "a sweep", "f" * 32, planned=3)
    client.set_terminated(first, "KILLED")
    client.set_tag(first, "process", "another")
    assert sweeps.open_sweep("sweeps", "a sweep", "f" * 32, planned=4) == first
    found = client.get_run(first)
    assert found.info.status == "RUNNING"
    assert (found.data.tags["planned_jobs"], found.data.tags["process"][:4]) == ("4", "pid=")
    others = [sweeps.open_sweep("sweeps", "a sweep", fingerprint) for fingerprint in ("e" * 32, None, None)]
    assert len({first, *others}) == 4
    client.delete_run(first)
    assert sweeps.open_sweep("sweeps", "a sweep", "f" * 32) not in (first, *others)
