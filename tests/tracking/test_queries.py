"""Finished runs are found by id and name, or refused in one line; the jobs of a sweep are all of them."""

import time
from pathlib import Path

import mlflow
import pytest
from conftest import refused

from kesikaran.tracking import context, queries, run_store, runs, sweeps

pytestmark = pytest.mark.tensorflow


def made(name: str) -> str:
    """A finished run; its id."""
    with runs.run("records", name, {"optimizer.lr": "0.1"}) as run:
        run.metrics({"test/accuracy": 1.0})
        run.tags({"split_fingerprint": "f"})
    return run.run_id


def failed(name: str) -> str:
    with pytest.raises(ZeroDivisionError), runs.run("records", name, {}) as run:
        raise ZeroDivisionError
    return run.run_id


@pytest.mark.parametrize("name", ["plain", "it's", 'it\'s a "name"', "head.hidden_units=[64] seed=1", "deadbeef"])
def test_a_run_is_found_by_id_by_its_beginning_and_by_name(name: str) -> None:
    name = f"{name} {time.time_ns()}" if name != "deadbeef" else name  # a name goes before the beginning of an id
    run_id = made(name)
    found = queries.find(name)
    assert found == queries.find(run_id) == queries.find(run_id[:12])
    assert (found.run_id, found.name, found.status, found.experiment) == (run_id, name, "FINISHED", "records")
    assert found.params == {"optimizer.lr": "0.1"}
    assert found.metrics == {"test/accuracy": 1.0}
    assert found.tags["split_fingerprint"] == "f"
    assert not found.is_sweep


def test_what_is_not_one_run_is_refused() -> None:
    ids = [made("twice"), failed("twice")]
    refused(f"2 runs are called twice; give an id, the latest first: {ids[1]} (FAILED, 20",
            queries.find, "twice")  # fmt: skip
    assert queries.finished("twice").run_id == ids[0], (
        "where a finished run is wanted, the others of its name do not count"
    )
    for _ in range(10):
        made("often")
    made("often")
    refused("and 1 more", queries.find, "often")
    for word in ("nobody", "", "%", "abcdef", "x' OR '1'='1", "a'\"b", "two\nlines", "\x1b[31m", "0" * 40, "é" * 40):
        refused("there is no run", queries.find, word)
    refused("cannot be read from sqlite:", queries.find, "0" * 32)
    refused(f"run {ids[1]} (twice) is FAILED, not FINISHED", queries.finished, ids[1])
    mlflow.MlflowClient().delete_run(ids[0])
    refused(f"is deleted; mlflow runs restore --run-id {ids[0]} brings it back", queries.find, ids[0])
    assert queries.find("twice").run_id == ids[1]


def test_the_jobs_of_a_sweep_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweeps.open_sweep("records", "sweep")
    monkeypatch.setenv(context.SWEEP_ENV, sweep)
    ids = [made("first"), failed("second"), made("third")]
    monkeypatch.delenv(context.SWEEP_ENV)
    made("of no sweep")
    assert [(job.run_id, job.name) for job in queries.jobs(sweep)] == list(
        zip(ids, ("first", "second", "third"), strict=True)
    )
    assert list(queries.sweep_jobs(sweep)["status"]) == ["FINISHED", "FAILED", "FINISHED"]
    assert queries.jobs(ids[0]) == []


def test_finished_runs_of_a_split_are_counted() -> None:
    name = f"counted {time.time_ns()}"
    for count in range(12):
        assert queries.finished_count(name) == count
        with runs.run("records" if count % 2 else "others", "counted", {}) as run:
            run.tags({"split_fingerprint": name})
            assert queries.finished_count(name) == count, "it is not finished yet"
    mlflow.MlflowClient().set_tag(failed("counted"), "split_fingerprint", name)
    assert queries.finished_count(name) == 12
    assert queries.finished_count("0" * 32) == 0


def test_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'none.db'}")
    refused("there is no store of runs at", queries.find, "x")
    refused("there is no store of runs at", queries.jobs, "x")
    assert not (tmp_path / "none.db").exists()
