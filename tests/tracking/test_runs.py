"""The store: opened by many at once, found by a bare `mlflow ui`, refused in one line where it is out of reach."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest

from kesikaran.core.errors import InputError
from kesikaran.tracking import run_store, runs

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store that is not there yet."""
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(run_store, "_uri_given", uri)
    yield uri
    mlflow.set_tracking_uri(before)


def test_four_processes_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    code = "from kesikaran.tracking import runs\nwith runs.run('x', None, {'a': '1'}) as run:\n    print(run.run_id)"
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, env=where, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    found = mlflow.MlflowClient(where["MLFLOW_TRACKING_URI"]).search_runs(["1"])
    assert [run.info.status for run in found] == ["FINISHED"] * 4


def test_a_bare_mlflow_ui_shows_the_run_and_its_artifacts(tmp_path: Path) -> None:
    code = """
from kesikaran.tracking import runs
with runs.run("made", "a name", {"a": "1"}) as run:
    run.text("hello", "hello.txt")
    print(run.run_id)
"""
    where = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    # A folder that is no checkout, as for an installed wheel: the package is found, its store is here.
    where["PYTHONPATH"] = str(tmp_path / "site")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "kesikaran").symlink_to(Path(runs.__file__).parents[1])
    code = code.replace("from kesikaran.tracking import runs", """
from pathlib import Path
from kesikaran.core import paths
from kesikaran.tracking import runs
paths.checkout = lambda: None
""")  # fmt: skip
    run_id = subprocess.run(
        [sys.executable, "-c", code], env=where, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = subprocess.Popen(
        [Path(sys.executable).with_name("mlflow"), "ui", "--port", str(port)],
        env=where, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        found = _ask(port, "api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]})
        assert [run["info"]["run_name"] for run in found["runs"]] == ["a name"]
        url = f"http://127.0.0.1:{port}/get-artifact?path=hello.txt&run_uuid={run_id}"
        assert urllib.request.urlopen(url).read() == b"hello"
    finally:
        os.killpg(ui.pid, 15)
        ui.wait()


def _ask(port: int, path: str, body: dict[str, Any]) -> Any:
    """POST to the server, once it answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 90
    while True:
        try:
            return json.load(urllib.request.urlopen(request))
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "mlflow ui does not answer"
            time.sleep(0.5)


def test_an_experiment_of_a_server_is_refused(fresh: str) -> None:
    mlflow.MlflowClient(fresh).create_experiment("made", artifact_location="mlflow-artifacts:/1")
    with pytest.raises(InputError, match=r"set MLFLOW_TRACKING_URI to it, or give another data.name="):
        run_store.open_experiment("made")


def test_a_deleted_experiment_is_refused(fresh: str) -> None:
    experiment = run_store.open_experiment("made")
    mlflow.MlflowClient(fresh).delete_experiment(experiment)
    with pytest.raises(InputError, match=f"restore it .*--experiment-id {experiment}.* or give another data.name="):
        run_store.open_experiment("made")


def test_a_store_that_cannot_be_read(fresh: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(InputError, match=r"the store .* cannot be opened") as caught:
        run_store.open_experiment("made")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "status"),
    [(None, "FINISHED"), (ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
    ids=["done", "exception", "Ctrl-C", "SIGTERM"],
)
def test_no_run_stays_running_and_no_epoch_is_lost(
    raised: BaseException | None, status: str, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_PAUSE_SECONDS", 3600)
    with pytest.raises(type(raised)) if raised else nullcontext(), runs.run("made", None, {"a": "1"}) as run:
        for epoch in range(600):  # more metrics than MLflow takes at once
            run.epoch(epoch, {"train/loss": 1 / (epoch + 1), "validation/loss": 0.5})
        if raised:
            raise raised
    client = mlflow.MlflowClient(fresh)
    found = client.get_run(run.run_id)
    assert found.info.status == status
    assert found.data.params == {"a": "1"}
    history = client.get_metric_history(run.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(n, 1 / (n + 1)) for n in range(600)]


def test_a_kill_while_the_model_is_saved_leaves_the_numbers(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "_PAUSE_SECONDS", 3600)
    there: list[dict[str, float]] = []

    def load(template: Path) -> Any:
        there.append(client.get_run(run.run_id).data.metrics)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Model, "load", load)
    with suppress(KeyboardInterrupt), runs.run("made", None, {}) as run:
        run.metrics({"test/n": 1})
        run.metrics({"test/accuracy": 0.5})
        run.model(tmp_path, lambda folder: None)
    assert there == [{"test/n": 1.0, "test/accuracy": 0.5}]


def test_metrics_share_a_write_when_they_are_quick(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with runs.run("made", None, {}) as run:
        for pause_seconds, epoch, expected in [(3600, 0, 1), (3600, 1, 1), (3600, 2, 1), (0, 3, 4), (0, 4, 5)]:
            monkeypatch.setattr(runs, "_PAUSE_SECONDS", pause_seconds)
            run.epoch(epoch, {"train/loss": 1.0})
            assert len(client.get_metric_history(run.run_id, "train/loss")) == expected, epoch
        monkeypatch.setattr(runs, "_PAUSE_SECONDS", 3600)
        run.epoch(5, {"train/loss": 1.0})
        run.metrics({"test/n": 1})
        run.metrics({"test/accuracy": 0.5})
        assert len(client.get_metric_history(run.run_id, "train/loss")) == 5
    assert len(client.get_metric_history(run.run_id, "train/loss")) == 6
    assert client.get_run(run.run_id).data.metrics == {"train/loss": 1.0, "test/n": 1.0, "test/accuracy": 0.5}
