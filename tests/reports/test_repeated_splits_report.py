"""A sweep over random splits ends with means and with no best job."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

from kesikaran.tracking import artifacts

pytestmark = pytest.mark.tensorflow
SPLITS = ["split=stratified_random", "split.test_size=60", "split.validation_size=60", "split.seed=0,1,2"]


def parent(runs: list[Any]) -> Any:
    (found,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    return found


def test_one_setting(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path) -> None:
    weights = pd.read_csv(made.labels)
    weights["sure"] = np.where(np.arange(len(weights)) % 3, 1.0, 0.5)
    weights.to_csv(tmp_path / "label.csv", index=False)
    words = [word for word in made.words if not word.startswith("data.labels")]
    done = train("-m", *words, *SPLITS, f"data.labels={tmp_path / 'label.csv'}", "data.weight=sure",
                 "evaluation.verdict=weighted_accuracy", "tracking.log_model=false",
                 "hydra/launcher=vectorized")  # fmt: skip
    assert done.code == 0, done.err
    assert "Test weighted accuracy over 3 random splits:" in done.out
    assert "Chosen on validation: the best job" not in done.out
    assert "different splits" not in done.out
    run = parent(runs())
    jobs = [one for one in runs() if one.info.run_id != run.info.run_id]
    values = [one.data.metrics["test/weighted_accuracy"] for one in jobs]
    assert run.data.metrics["splits/weighted_accuracy_mean"] == pytest.approx(np.mean(values))
    assert run.data.metrics["splits/weighted_accuracy_std"] == pytest.approx(np.std(values, ddof=1))
    rows = artifacts.predictions(jobs[0].info.run_id)
    test = rows[rows["split"] == "test"]
    right = test["label"] == test["predicted"]
    logged = jobs[0].data.metrics["test/weighted_accuracy"]
    assert logged == pytest.approx((test["weight"] * right).sum() / test["weight"].sum())


def test_two_settings(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    done = train("-m", *made.words, *SPLITS, "head.l2=0,1", "tracking.log_model=false", "hydra/launcher=vectorized")
    assert done.code == 0, done.err
    assert "  head.l2=1 less head.l2=0: " in done.out
    run = parent(runs())
    pairs = pd.read_csv(StringIO(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/split_pairs.csv")))
    assert pairs[["a", "b", "splits"]].values.tolist() == [["head.l2=0", "head.l2=1", 3]]
    spread = pd.read_csv(StringIO(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/splits.csv")))
    accuracy = spread[spread["metric"] == "accuracy"].set_index("setting")["mean"]
    assert pairs["mean"][0] == pytest.approx(accuracy["head.l2=1"] - accuracy["head.l2=0"])
