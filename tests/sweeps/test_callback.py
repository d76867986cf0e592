"""A sweep is a parent with its jobs, whatever becomes of them."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, Done, Made

from kesikaran.core import paths
from kesikaran.core.errors import InputError

WORKERS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def family(runs: list[Any]) -> tuple[Any, list[Any]]:
    """(parent, its children)"""
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run is not parents[0]]
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == child.data.tags["sweep_id"] == parents[0].info.run_id
    return parents[0], children


def table_of(parent: Any) -> pd.DataFrame:
    import mlflow

    return pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/sweep.csv")))


def test_a_signal_while_the_parent_opens(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.core import terminal
    from kesikaran.tracking import sweeps

    opened = sweeps.open_sweep

    def interrupted(*given: Any) -> str:
        sweep_id = opened(*given)
        signal.raise_signal(signal.SIGTERM)
        return sweep_id

    monkeypatch.setattr(sweeps, "open_sweep", interrupted)
    monkeypatch.setattr(terminal, "_stop_signal", None)  # put back afterwards
    done = train("-m", *made.words, "seed=0,1")
    assert done.code == 143
    assert [run.info.status for run in runs()] == ["KILLED"]


def test_four_jobs_under_one_parent(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    from kesikaran.models import hub

    hub.load_layer.cache_clear()
    words = [word for word in made.words if not word.startswith("optimizer.lr=")]
    done = train("-m", *words, "head.dropout=0.1,0.3", "optimizer.lr=1e-2,1e-1", "tracking.log_model=false")
    assert done.code == 0, done.err
    assert hub.load_layer.cache_info().misses <= 1, "the jobs share one loaded backbone"
    parent, children = family(runs())
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 5
    assert children[1].info.run_name == "head.dropout=0.1 optimizer.lr=0.1", "what the sweep varies, and no more"
    assert parent.info.run_name == "sweep: head.dropout=0.1,0.3 optimizer.lr=1e-2,1e-1"
    assert "KESIKARAN_SWEEP_VARIES" not in os.environ
    assert not (paths.cache_dir() / "hydra" / "multirun.yaml").exists()
    settings = {(c.data.params["head.dropout"], c.data.params["optimizer.lr"]) for c in children}
    assert settings == {("0.1", "0.01"), ("0.1", "0.1"), ("0.3", "0.01"), ("0.3", "0.1")}

    table = table_of(parent)
    assert list(table["run_id"]) == [child.info.run_id for child in children]
    differed = ["head.dropout", "optimizer.lr"]
    assert [c for c in table.columns if "." in c] == differed, "only what differed between the jobs"
    for child, row in zip(children, table.to_dict("records"), strict=True):
        for metric in ("validation/roc_auc", "test/roc_auc", "validation/log_loss", "test/accuracy"):
            assert row[metric] == pytest.approx(child.data.metrics[metric])
        assert child.info.run_id[:8] in done.out.split("Sweep ")[-1]


def test_a_failing_job_does_not_stop_the_others(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    done = train("-m", *made.words, "head.dropout=2,0.1,3", "tracking.log_model=false")
    assert done.code == 1
    assert "error: head.dropout=2.0 is not allowed" in done.err
    assert "error: head.dropout=3.0 is not allowed" in done.err
    assert "1 of 3 jobs finished, 2 failed\n" in done.out
    parent, children = family(runs())
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in children] == ["FAILED", "FINISHED", "FAILED"]
    for child in (children[0], children[2]):
        assert "InputError: head.dropout=" in mlflow.artifacts.load_text(f"{child.info.artifact_uri}/traceback.txt")
    assert list(table_of(parent)["status"]) == ["FAILED", "FINISHED", "FAILED"]


def test_a_defect_of_ours_keeps_its_traceback(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from kesikaran.reports import run_report

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(run_report, "log_predictions", broken)
    with pytest.raises(ZeroDivisionError):
        train("-m", *made.words, "seed=0,1")
    parent, children = family(runs())
    assert parent.info.status == "FAILED"
    for child in children:
        assert child.info.status == "FAILED"
        assert "ZeroDivisionError: a defect" in mlflow.artifacts.load_text(f"{child.info.artifact_uri}/traceback.txt")


def test_what_fails_before_a_sweep_can_be_summed_up_is_told(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("kesikaran.tracking.queries.sweep_jobs", broken)
    with pytest.raises(ZeroDivisionError):
        train("-m", *made.words, "seed=0,1", "tracking.log_model=false")
    parent, children = family(runs())
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in children] == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize(
    ("broken", "part", "varied", "others"),
    [
        ("analysis.ranking.compare", "comparison", "head.l2=0,0.1", ["being the best of 2 flatters it"]),
        ("analysis.selection.corrected", "optimism", "head.l2=0,0.1", ["Judged by accuracy", "sweep.png"]),
        ("reports.sweep_report.log_seed_spread", "seed spread", "seed=0,1", ["differ in their seed only"]),
        ("tracking.queries.finished_count", "remarks", "seed=0,1", ["differ in their seed only", "seeds.csv"]),
        ("tracking.artifacts.predictions", "comparison", "seed=0,1", ["2 seeds of one setting", "seeds.csv"]),
        ("reports.cross_validation_report.log_cross_validation", "cross-validation", "split.fold=0,1,2", []),
    ],
)
def test_a_part_of_a_summary_that_fails_takes_nothing_else_with_it(
    broken: str, part: str, varied: str, others: list[str],
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import mlflow

    def breaks(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(f"kesikaran.{broken}", breaks)
    folds = ["split=sha1_fold", "split.folds=3"] if "fold" in varied else []
    done = train("-m", *made.words, *folds, varied, "tracking.log_model=false")
    file = f"traceback_{part.replace(' ', '_')}.txt"
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: the {part} of this sweep could not be made: a defect ({file})"]
    assert done.code == 1
    parent, children = family(runs())
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * (len(children) + 1)
    assert "ZeroDivisionError: a defect" in mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/{file}")
    assert list(table_of(parent)["run_id"]) == [child.info.run_id for child in children]
    said = f"{len(children)} of {len(children)} jobs finished\n"
    assert said in done.out
    assert "Look at it:" in done.out.split(said)[1]
    left = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    for other in others:
        assert other in left or other in done.out, other


def test_jobs_that_keep_other_images_together_are_compared_on_the_groups_of_one(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """Of images in groups of one, the grouped split is the split without groups."""
    table = pd.read_csv(made.labels)
    labels = tmp_path / "label.csv"
    table.assign(cell=table["objectId"]).to_csv(labels, index=False)
    words = [word for word in made.words if not word.startswith("data.labels=")]
    done = train("-m", *words, f"data.labels={labels}", "split.group=null,cell", "tracking.log_model=false")
    assert done.code == 0, done.err
    assert family(runs())[0].info.status == "FINISHED"
    assert "Judged by accuracy on the" in done.out


def test_predictions_that_are_gone_at_the_end_of_a_sweep_are_one_line(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise InputError("predictions.parquet of run x is damaged")

    monkeypatch.setattr("kesikaran.reports.sweep_report.print_summary", gone)
    done = train("-m", *made.words, "seed=0,1", "tracking.log_model=false")
    assert (done.code, done.err.splitlines()[-1]) == (1, "error: predictions.parquet of run x is damaged")
    assert family(runs())[0].info.status == "FAILED"


def test_a_sweep_over_data_sets_finds_its_jobs(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    words = [word for word in made.words if not word.startswith("data.name=")]
    done = train("-m", *words, "data.name=made,made2", "tracking.log_model=false")
    assert done.code == 0, done.err
    assert "2 of 2 jobs finished\n" in done.out


@pytest.mark.parametrize(
    ("sent", "code", "words", "expected"),
    [
        (signal.SIGINT, 130, ["-m", "seed=0,1,2"], 2),
        (signal.SIGTERM, 143, ["-m", "hydra/launcher=vectorized", "seed=0,1,2"], 4),
        (signal.SIGHUP, 129, [], 1),
        (signal.SIGTERM, 143, ["-m", *WORKERS, "seed=0,1,2"], 3),
    ],
    ids=["Ctrl-C of a sweep", "SIGTERM of a vectorized sweep", "SIGHUP of a run", "SIGTERM of a sweep with workers"],
)
def test_a_signal_leaves_no_run_running(
    sent: signal.Signals, code: int, words: list[str], expected: int, made: Made, tmp_path: Path
) -> None:
    """In a store of its own: reading the suite's large one again and again would keep the process from writing."""
    import mlflow

    database = tmp_path / "mlflow.db"
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "kesikaran.train", *words, *made.words, "fit.epochs=100000", "fit.patience=null"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where)
    deadline = time.monotonic() + 300  # workers load TensorFlow each, side by side
    while not has_trained(database):
        assert time.monotonic() < deadline, "it never began to train"
        assert process.poll() is None, process.communicate()
        time.sleep(0.3)
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("Stopped. Features computed so far are kept")
    runs = list(mlflow.MlflowClient(where["MLFLOW_TRACKING_URI"]).search_runs(["1"]))
    assert {run.info.status for run in runs} == {"KILLED"}
    # The second worker of two may not have begun when the signal comes.
    assert len(runs) in (expected, expected - (WORKERS[0] in words))
    if words:
        parent, children = family(runs)
        assert list(table_of(parent)["status"]) == ["KILLED"] * len(children)


def has_trained(database: Path) -> bool:
    """Whether some run of the store has logged an epoch."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(database)) as store:
        try:
            return bool(store.execute("select 1 from metrics where key = 'validation/loss' limit 1").fetchall())
        except sqlite3.OperationalError:  # its tables are not there yet, or it is being written
            return False


@pytest.mark.parametrize(
    "became", [None, SystemError("returned a result with an exception set")], ids=["lost", "other"]
)
def test_a_stop_that_tensorflow_swallows_is_heeded(
    became: Exception | None,
    train: Callable[..., Done],
    made: Made,
    runs: Callable[[], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As was seen now and then: the handler's exception vanishes in TensorFlow, or comes out as another."""
    from kesikaran.metrics import binary

    log_losses = binary.log_losses  # of every epoch

    def swallows(*arguments: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if became:
                raise became from None
        return log_losses(*arguments)

    monkeypatch.setattr(binary, "log_losses", swallows)
    done = train("-m", *made.words, "seed=0,1")
    assert done.code == 143, done.err
    parent, children = family(runs())
    assert [run.info.status for run in (parent, *children)] == ["KILLED", "KILLED"]
    assert client_metrics(children[0]) <= 1, "it went on training"


def client_metrics(run: Any) -> int:
    """Epochs that the run has logged."""
    import mlflow

    return len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation/loss"))


@pytest.mark.tensorflow
def test_the_suite_keeps_to_its_own_store() -> None:
    import mlflow

    assert mlflow.get_tracking_uri() == f"sqlite:///{ROOT / 'mlflow.db'}"


def test_a_process_that_a_sweep_has_started_leaves_that_sweep_open(
    train: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KESIKARAN_SWEEP_ID", "5" * 32)  # no such run: to close it would be an error
    assert train("--help").code == 0
    assert os.environ["KESIKARAN_SWEEP_ID"] == "5" * 32
