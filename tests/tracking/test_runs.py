"""A run ends with its block, whatever ends that, and keeps its numbers; metrics share a write when they are quick."""

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pandas as pd
import pytest

from kesikaran.core.errors import InputError
from kesikaran.tracking import context, models, open_run, run_rows, run_store, runs, sweeps
from kesikaran.tracking.open_run import Run

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store that is not there yet."""
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(run_store, "_uri_given", uri)
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("raised", "status"),
    [(None, "FINISHED"), (ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
    ids=["done", "exception", "Ctrl-C", "SIGTERM"],
)
def test_no_run_stays_running_and_no_epoch_is_lost(
    raised: BaseException | None, status: str, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_run, "_PAUSE_SECONDS", 3600)
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
    monkeypatch.setattr(open_run, "_PAUSE_SECONDS", 3600)
    there: list[dict[str, float]] = []

    def load(template: Path) -> Any:
        there.append(client.get_run(run.run_id).data.metrics)
        raise KeyboardInterrupt

    monkeypatch.setattr(models.Model, "load", load)
    with suppress(KeyboardInterrupt), runs.run("made", None, {}) as run:
        run.metrics({"test/n": 1})
        run.metrics({"test/accuracy": 0.5})
        run.model(tmp_path, lambda folder: None)
    assert there == [{"workings/test/n": 1.0, "test/accuracy": 0.5}]


def test_of_two_jobs_that_log_one_data_set_at_a_time_both_have_it(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    """MLflow looks for the rows of a data set, and then writes those that it has not found: here another run's come
    between."""
    from mlflow.store.tracking import sqlalchemy_store

    rows = {"train": (pd.DataFrame({"label": [0, 1]}), uuid.uuid4().hex)}
    made: list[uuid.UUID] = []

    def between() -> uuid.UUID:
        made.append(uuid.uuid4())
        if len(made) == 1:
            other.inputs(rows, "images", Path("https://host/labels.csv"))
        return made[-1]

    with runs.run("made", None, {}) as run, runs.run("made", None, {}) as other:
        monkeypatch.setattr(sqlalchemy_store, "uuid", SimpleNamespace(uuid4=between))
        run.inputs(rows, "images", Path("https://host/labels.csv"))
        monkeypatch.undo()
    assert made
    for each in (run, other):
        inputs = client.get_run(each.run_id).inputs.dataset_inputs
        assert [found.dataset.digest for found in inputs] == [rows["train"][1]]


def test_metrics_share_a_write_when_they_are_quick(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_written_seconds", -math.inf)
    with runs.run("made", None, {}) as run:
        for pause_seconds, epoch, expected in [(3600, 0, 1), (3600, 1, 1), (3600, 2, 1), (0, 3, 4), (0, 4, 5)]:
            monkeypatch.setattr(open_run, "_PAUSE_SECONDS", pause_seconds)
            run.epoch(epoch, {"train/loss": 1.0})
            assert len(client.get_metric_history(run.run_id, "train/loss")) == expected, epoch
        monkeypatch.setattr(open_run, "_PAUSE_SECONDS", 3600)
        run.epoch(5, {"train/loss": 1.0})
        run.metrics({"test/n": 1})
        run.metrics({"test/accuracy": 0.5})
        assert len(client.get_metric_history(run.run_id, "train/loss")) == 5
    assert len(client.get_metric_history(run.run_id, "train/loss")) == 6
    assert client.get_run(run.run_id).data.metrics == {"train/loss": 1.0, "workings/test/n": 1.0, "test/accuracy": 0.5}


def test_runs_that_are_open_together_share_the_pause_between_writes(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the runs of a sweep that are trained together would spend a training on writing."""
    monkeypatch.setattr(open_run, "_PAUSE_SECONDS", 3600)
    monkeypatch.setattr(Run, "_written_seconds", -math.inf)
    with runs.run("made", None, {}) as first, runs.run("made", None, {}) as second:
        for run in (first, second):
            run.epoch(0, {"train/loss": 1.0})
        written = [len(client.get_metric_history(run.run_id, "train/loss")) for run in (first, second)]
        assert written == [1, 0]
    assert len(client.get_metric_history(second.run_id, "train/loss")) == 1


def test_rows_are_written_together_and_what_a_run_is_at_its_start(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed in its training has its params, its tags and its inputs. Transactions are counted, because
    they are most of what a short run costs."""
    batches: list[tuple[int, int, int]] = []
    write = run_rows.write

    def counted(*place: Any) -> bool:
        *_, metrics, params, tags = place
        batches.append((len(params), len(tags), len(metrics)))
        return write(*place)

    monkeypatch.setattr(run_rows, "write", counted)
    monkeypatch.setattr(open_run, "_PAUSE_SECONDS", 3600)
    sides = {side: (pd.DataFrame({"label": [0, place]}), str(place)) for place, side in enumerate(("train", "test"))}
    with runs.run("made", None, {"a": "1", "b": "2"}) as run:
        run.tags({"device": "CPU"})
        run.tags({"digest": "d"})
        run.inputs(sides, "images", Path("https://host/labels.csv"))
        assert batches == [(2, 0, 0), (0, 2, 0)]
        there = client.get_run(run.run_id)
        assert there.data.params == {"a": "1", "b": "2"}
        assert {"device": "CPU", "digest": "d"}.items() <= there.data.tags.items()
        found = {(each.tags[0].value, each.dataset.digest) for each in there.inputs.dataset_inputs}
        assert found == {("train", "0"), ("test", "1")}
        for name in ("test/n", "test/accuracy"):
            run.metrics({name: 1.0})
        run.tags({"gate": "passed"})
    assert batches[2:] == [(0, 1, 2)]
    ended = client.get_run(run.run_id)
    assert ended.data.tags["gate"] == "passed"
    assert ended.data.metrics == {"workings/test/n": 1.0, "test/accuracy": 1.0}


def test_no_secret_reaches_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever holds an address: params, tags, names, texts, tables of inputs, tracebacks."""
    address = "https://user:hunter2@host/m?token=hunter2&x=1"
    shown = "https://user:***@host/m?token=***&x=1"
    monkeypatch.setenv("KESIKARAN_GIT_COMMIT", address)
    monkeypatch.setattr(context.paths, "checkout", lambda: None)
    written = []

    def fails() -> None:
        with runs.run("secrets", address, {"backbone.handle": address}, {"backbone.handle": address}) as run:
            written.append(run.run_id)
            run.tags({"mlflow.note.content": f"**{address}**", "other": address})
            run.json({"a": [address], address: 1}, "a.json")
            run.text(f"handle: '{address}'\n", "config.yaml")
            run.inputs({"train": (pd.DataFrame({"label": [0]}), "digest")}, "d", Path(address))
            raise RuntimeError(address)

    with pytest.raises(RuntimeError):
        fails()
    found = mlflow.get_run(written[0])
    assert "hunter2" not in str(found.to_dictionary())
    assert found.data.params["backbone.handle"] == found.info.run_name == shown
    assert json.loads(found.data.tags["overrides"]) == {"backbone.handle": shown}
    folder = Path(found.info.artifact_uri.removeprefix("file://"))
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "config.yaml", "traceback.txt"]
    for path in folder.iterdir():
        assert "hunter2" not in path.read_text()
    sweep = sweeps.open_sweep("secrets", address)
    with sweeps.closing_sweep(sweep, "FINISHED"):
        pass
    assert "hunter2" not in str(mlflow.get_run(sweep).to_dictionary())


def test_a_run_that_is_deleted_while_it_is_at_work_says_so(client: Any) -> None:
    def work() -> None:
        with runs.run("runs", "deleted", {}) as run:
            client.delete_run(run.run_id)
            run.tags({"a": "b"})

    with pytest.raises(InputError, match="was deleted while it was at work: start it again"):
        work()


def test_a_run_that_fails_later_keeps_its_pictures(client: Any) -> None:
    def work() -> None:
        with runs.run("runs", "fails", {}) as run:
            run.picture(lambda: b"a picture", "a.png")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    (found,) = client.search_runs(
        [client.get_experiment_by_name("runs").experiment_id], "attributes.run_name = 'fails'", max_results=1
    )
    assert found.info.status == "FAILED"
    assert {file.path for file in client.list_artifacts(found.info.run_id)} == {"a.png", "traceback.txt"}
