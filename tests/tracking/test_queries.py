"""Finished runs are found by id and name, and read whole or refused in one line; from a file and from a server."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import one_line

from kesikaran.core.errors import InputError
from kesikaran.tracking import artifacts, context, queries, run_store, runs, sweeps

pytestmark = pytest.mark.tensorflow

ROWS = pd.DataFrame({"object_id": ["a", "b"], "split": "test", "label": [0, 1], "logit": [-1.0, 1.0]})
ROWS["probability"] = [0.27, 0.73]


def made(name: str, rows: pd.DataFrame | None = ROWS, file: str = artifacts.PREDICTIONS) -> str:
    """A finished run; its id."""
    with runs.run("records", name, {"optimizer.lr": "0.1"}) as run:
        run.metrics({"test/accuracy": 1.0})
        run.tags({"split_fingerprint": "f"})
        if rows is not None:
            run.parquet(rows, file)
    return run.run_id


def failed(name: str) -> str:
    with pytest.raises(ZeroDivisionError), runs.run("records", name, {}) as run:
        raise ZeroDivisionError
    return run.run_id


def refused(says: str, call: Any, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call(*words)
    assert says in str(caught.value)
    assert one_line(str(caught.value))


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
    refused(f"2 runs are called twice; give an id, the latest first: {ids[1]} (FAILED), {ids[0]} (FINISHED)",
            queries.find, "twice")  # fmt: skip
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


def test_predictions_come_back_or_are_refused(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(artifacts.predictions(made("a")), ROWS)
    refused("has no predictions.parquet; train again", artifacts.predictions, made("none", None))
    sweep = sweeps.open_sweep("records", "sweep")
    with sweeps.closing_sweep(sweep, "FINISHED"):
        pass
    assert queries.find(sweep).is_sweep
    refused(f"it is a sweep's parent, its jobs have: sweep:{sweep}", artifacts.predictions, sweep)
    refused("cannot be read from sqlite:", artifacts.predictions, "0" * 32)
    bad = {
        "no logit": ROWS.drop(columns="logit"),
        "a label of 2": ROWS.assign(label=[0, 2]),
        "no number": ROWS.assign(logit=[float("nan"), 0.0]),
        "text": ROWS.assign(logit=["a", "b"]),
        "no name": ROWS.assign(object_id=np.array(["a", None], object)),
        "empty": ROWS.head(0),
    }
    for rows in bad.values():
        refused(" is damaged: ", artifacts.predictions, made("bad", rows))
    cut = made("cut")
    (path,) = Path(mlflow.get_run(cut).info.artifact_uri.removeprefix("file://")).glob("*.parquet")
    for content in (path.read_bytes()[:-100], b"", b"PAR1"):
        path.write_bytes(content)
        refused(f"predictions.parquet of run {cut} is damaged: ", artifacts.predictions, cut)


def test_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'none.db'}")
    refused("there is no store of runs at", queries.find, "x")
    refused("there is no store of runs at", artifacts.predictions, "x")
    refused("there is no store of runs at", queries.jobs, "x")
    assert not (tmp_path / "none.db").exists()


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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback, with its own store; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--port", uri.rsplit(":")[-1], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    process = subprocess.Popen(
        [*command, "--artifacts-destination", str(tmp_path / "artifacts")], cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health")
                break
            except OSError:
                assert time.monotonic() < deadline, "mlflow server does not answer"
                time.sleep(0.3)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def test_a_server_as_the_store(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mlflow.get_tracking_uri()
    monkeypatch.setattr(run_store, "_uri_given", server)
    try:
        run_id = made("on a server")
        assert queries.finished("on a server") == queries.find(run_id[:8])
        pd.testing.assert_frame_equal(artifacts.predictions(run_id), ROWS)
        assert run_store.look_at(run_id).startswith(f"{server}/#/experiments/")
        refused("there is no run nobody", queries.find, "nobody")
        refused(f"cannot be read from {server}: ", artifacts.predictions, "0" * 32)
        refused("has no predictions.parquet", artifacts.predictions, made("none", None))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setattr(run_store, "_uri_given", "http://127.0.0.1:1")
        refused("run x cannot be read from http://127.0.0.1:1: ", queries.find, "x")
    finally:
        mlflow.set_tracking_uri(before)
