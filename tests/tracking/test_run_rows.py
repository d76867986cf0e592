"""The rows of a run are those that MLflow writes."""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag

from kesikaran.tracking import run_rows, run_store, runs

pytestmark = pytest.mark.tensorflow
TABLES = dict.fromkeys(["params", "tags", "metrics", "latest_metrics"], "run_uuid") | {"logged_model_metrics": "run_id"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = mlflow.get_tracking_uri()
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_store.open_experiment("made")
    yield tmp_path / "mlflow.db"
    mlflow.set_tracking_uri(before)


def rows(store: Path, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Of each table the run's rows, without the ids of the run and of its model."""
    found = {}
    with sqlite3.connect(store) as read:
        for table, key in TABLES.items():
            columns = [row[1] for row in read.execute(f"PRAGMA table_info({table})") if row[1] not in (key, "model_id")]
            query = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} = ? ORDER BY 1, 2"
            found[table] = read.execute(query, (run_id,)).fetchall()
    return found


def created(client: Any, experiment_id: str) -> tuple[str, str]:
    """(a run, a model of it)."""
    run_id = client.create_run(experiment_id, run_name="a run").info.run_id
    return run_id, client.create_logged_model(experiment_id, source_run_id=run_id).model_id


@pytest.mark.parametrize(
    "batches",
    [
        [[("loss", 0.5, 7, 0), ("loss", 0.25, 8, 1), ("auc", 1, 8, 1)]],
        [[("auc", math.nan, 7, 0), ("loss", math.inf, 7, 0), ("rate", -math.inf, 7, 0)]],
        [[("loss", 0.5, 7, 0)] * 2, [("loss", 0.5, 7, 0), ("loss", 0.4, 7, 0)]],
        [[("loss", 0.5, 9, 3)], [("loss", 0.4, 8, 2)], [("loss", 0.3, 8, 3)]],
        [[("loss", 0.5, 9, 3)], [("loss", 0.3, 9, 3)], [("loss", 0.6, 9, 3)]],
        [[("loss", 0.5, 9, 3)], [("loss", math.nan, 9, 4)]],
        [[(f"metric/{number}", number / 3, 5, 0) for number in range(1500)]],
    ],
    ids=["epochs", "not finite", "again", "an earlier step", "ties", "NaN last", "many"],
)
@pytest.mark.parametrize("of_model", [False, True], ids=["run", "model"])
def test_the_rows_are_mlflows(batches: list[list[tuple[str, float, int, int]]], of_model: bool, store: Path) -> None:
    client, experiment_id = mlflow.MlflowClient(), run_store.open_experiment("made")
    (ours, our_model), (theirs, their_model) = created(client, experiment_id), created(client, experiment_id)
    models = (our_model, their_model) if of_model and len(batches) == 1 else (None, None)
    for batch in batches:
        assert run_rows.write(store, ours, experiment_id, [Metric(*one, model_id=models[0]) for one in batch], {}, {})
        client.log_batch(theirs, [Metric(*one, model_id=models[1]) for one in batch])
    assert rows(store, ours) == rows(store, theirs)
    assert client.get_run(ours).data.metrics.keys() == client.get_run(theirs).data.metrics.keys()


def test_params_and_tags(store: Path) -> None:
    client, experiment_id = mlflow.MlflowClient(), run_store.open_experiment("made")
    ours, theirs = (client.create_run(experiment_id, run_name="a run").info.run_id for _ in range(2))
    params = {"optimizer.lr": "0.001", "data.name": "画像", "head.hidden_units": "[]", "none": ""}
    assert run_rows.write(store, ours, experiment_id, [], params, {})
    client.log_batch(theirs, params=[Param(*one) for one in params.items()])
    for tags in ({"device": "CPU", "gate": "none"}, {"gate": "passed", "gate_judged": "true"}):
        assert run_rows.write(store, ours, experiment_id, [], {}, tags)
        client.log_batch(theirs, tags=[RunTag(*one) for one in tags.items()])
    assert rows(store, ours) == rows(store, theirs)
    assert client.get_run(ours).data.params == params


LEFT: dict[str, dict[str, Any]] = {
    "deleted": {},
    "a new column": {},
    "locked": {},
    "a param again": {"params": {"before": "2"}},
    "a long param": {"params": {"long": "x" * 7000}},
    "a long tag": {"tags": {"long": "x" * 9000}},
    "a name": {"tags": {"mlflow.runName": "other"}},
}


@pytest.mark.parametrize("broken", LEFT)
def test_what_is_left_to_mlflow(broken: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, experiment_id = mlflow.MlflowClient(), run_store.open_experiment("made")
    run_id, model_id = created(client, experiment_id)
    client.log_param(run_id, "before", "1")
    before = rows(store, run_id)
    monkeypatch.setattr(run_rows, "_WAIT_SECONDS", 0.1)
    with sqlite3.connect(store, isolation_level=None) as other:
        if broken == "deleted":
            client.delete_run(run_id)
        elif broken == "a new column":
            other.execute("ALTER TABLE logged_model_metrics ADD COLUMN unit VARCHAR(9)")
        elif broken == "locked":
            other.execute("BEGIN IMMEDIATE")
        metrics = [Metric("loss", 0.5, 7, 0, model_id)]
        assert not run_rows.write(
            store, run_id, experiment_id, metrics, **{"params": {"a": "1"}, "tags": {"b": "2"}, **LEFT[broken]}
        )
    for table, found in rows(store, run_id).items():
        assert [row[:2] for row in found] == [row[:2] for row in before[table]]


def test_a_store_that_is_gone_is_not_made(tmp_path: Path) -> None:
    gone = tmp_path / "a folder?mode=memory" / "mlflow.db"
    gone.parent.mkdir()
    assert not run_rows.write(gone, "0" * 32, "1", [], {"a": "1"}, {})
    assert not gone.exists()


def test_a_run_writes_by_it_and_mlflow_takes_what_it_leaves(
    store: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(self: Any, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        batches.append(len(metrics))
        log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    with runs.run("made", None, {"a": "1"}) as run:
        run.metrics({"auc": 0.9})
        run.tags({"b": "2"})
    assert not batches
    monkeypatch.setattr(run_rows, "write", lambda *_: False)
    with runs.run("made", None, {"a": "1"}) as again:
        again.metrics({"auc": 0.9})
    assert sum(batches) == 1
    for run_id in (run.run_id, again.run_id):
        assert mlflow.MlflowClient().get_run(run_id).data.metrics == {"auc": 0.9}
