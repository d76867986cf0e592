"""What a run has left comes back as it was written, or is refused in one line."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import refused

from kesikaran.tracking import artifacts, queries, run_store, runs, sweeps

pytestmark = pytest.mark.tensorflow

IDS = ["0" * 40 + ".png", "1" * 40]
ROWS = pd.DataFrame({"object_id": IDS, "split": "test", "label": [0, 1], "logit": [-1.0, 1.0]})
ROWS["probability"] = 1 / (1 + np.exp(-ROWS["logit"]))


def made(name: str, rows: pd.DataFrame | None = ROWS) -> str:
    """A finished run with these predictions; its id."""
    with runs.run("records", name, {}) as run:
        if rows is not None:
            run.parquet(rows, artifacts.PREDICTIONS)
    return run.run_id


def test_predictions_come_back_or_are_refused(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(artifacts.predictions(made("a")), ROWS)
    refused("has no predictions.parquet; train again", artifacts.predictions, made("none", None))
    sweep = sweeps.open_sweep("records", "sweep")
    with sweeps.closing_sweep(sweep, "FINISHED"):
        pass
    assert queries.find(sweep).is_sweep
    refused(
        f"it is a sweep's parent: sweep:{sweep} are its jobs, --split oof its folds where", artifacts.predictions, sweep
    )
    refused("cannot be read from sqlite:", artifacts.predictions, "0" * 32)
    bad = {
        "no logit": ROWS.drop(columns="logit"),
        "a label of 2": ROWS.assign(label=[0, 2]),
        "no number": ROWS.assign(logit=[float("nan"), 0.0]),
        "text": ROWS.assign(logit=["a", "b"]),
        "no name": ROWS.assign(object_id=np.array([IDS[0], None], object)),
        "empty": ROWS.head(0),
    }
    for rows in bad.values():
        refused(" is damaged: ", artifacts.predictions, made("bad", rows))
    cut = made("cut")
    (path,) = Path(mlflow.get_run(cut).info.artifact_uri.removeprefix("file://")).glob("*.parquet")
    for content in (path.read_bytes()[:-100], b"", b"PAR1"):
        path.write_bytes(content)
        refused(f"predictions.parquet of run {cut} is damaged: ", artifacts.predictions, cut)


def test_no_store_has_no_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'none.db'}")
    refused("there is no store of runs at", artifacts.predictions, "x")


def test_a_text_comes_back_or_is_refused() -> None:
    with runs.run("records", "texts", {}) as run:
        run.text("é\n", "a.txt")
    assert artifacts.text(run.run_id, "a.txt") == "é\n"
    refused(f"run {run.run_id} has no b.txt; train again", artifacts.text, run.run_id, "b.txt")
    Path(mlflow.get_run(run.run_id).info.artifact_uri.removeprefix("file://"), "a.txt").write_bytes(b"\xff")
    refused(f"a.txt of run {run.run_id} is damaged: ", artifacts.text, run.run_id, "a.txt")


def test_the_doubts_of_the_latest_cross_validation_are_found() -> None:
    table = f"object_id,label,probability,loss,note\n{IDS[0]},1,0.5,2.5,x\n{IDS[1]},0,0.25,1.5,y\n"
    with runs.run("records", "an older one", {}) as older:
        older.metrics({"oof/n": 2.0})
        older.text("object_id,label,probability,loss\n", "label_doubts.csv")
    with runs.run("records", "a latest one", {}) as latest:
        latest.metrics({"oof/n": 2.0})
        latest.text(table, "label_doubts.csv")
    made("a run without doubts")
    for run_id in (None, latest.run_id):
        found, doubts = artifacts.label_doubts(run_id)
        assert found == latest.run_id
        assert doubts.to_dict("list") == {
            "object_id": IDS, "label": [1, 0], "probability": [0.5, 0.25], "loss": [2.5, 1.5],
        }  # fmt: skip
    assert artifacts.label_doubts(older.run_id)[1].empty
    refused("has no label_doubts.csv; the parent run", artifacts.label_doubts, made("none"))
    with runs.run("records", "damaged", {}) as damaged:
        damaged.text(table.replace("0.25", "much"), "label_doubts.csv")
    refused(f"label_doubts.csv of run {damaged.run_id} is damaged: ", artifacts.label_doubts, damaged.run_id)
