"""The vectorized launcher: what it trains together is what would have been trained one by one."""

import signal
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

pytestmark = pytest.mark.tensorflow

VECTORIZED = ("-m", "hydra/launcher=vectorized", "tracking.log_model=false")


def predictions(run: Any) -> pd.DataFrame:
    from kesikaran.tracking import artifacts

    return artifacts.predictions(run.info.run_id)


def children(runs: list[Any]) -> dict[str, Any]:
    """What the sweep varied -> its run."""
    return {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}


def test_each_job_is_what_it_would_be_alone(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], together: list[int]
) -> None:
    words = [*made.words, "fit.epochs=12", "fit.patience=2", "optimizer.schedule=cosine", "head.l2=0.001"]
    words += [
        "head.dropout=0.4",
        "seed=0,1",
        "optimizer.lr=0.3,0.003",
        "imbalance=none,class_weight,focal,logit_adjusted",
    ]
    done = train(*VECTORIZED, *words)
    assert done.code == 0, done.err
    assert "16 of 16 jobs finished\n" in done.out
    assert together == [16]
    batched = children(runs())
    assert len(batched) == 16
    stopped = {run.data.metrics["workings/epochs"] for run in batched.values()}
    assert len(stopped) > 1, "all stopped at one epoch: early stopping of their own is not tested"
    for job in list(batched)[::5]:
        before = {run.info.run_id for run in runs()}
        fixed = [word.split("=")[0] for word in job.split()]
        others = [word for word in words if word.split("=")[0] not in fixed]
        assert train(*others, *job.split(), "tracking.log_model=false").code == 0
        (alone,) = (run for run in runs() if run.info.run_id not in before)
        ours = batched[job]
        assert ours.data.params == alone.data.params
        assert ours.data.tags["run_fingerprint"] == alone.data.tags["run_fingerprint"]
        for metric in ("workings/epochs", "workings/best_epoch"):
            assert ours.data.metrics[metric] == alone.data.metrics[metric]
        np.testing.assert_allclose(predictions(ours)["logit"], predictions(alone)["logit"], atol=2e-3)
        for metric in ("train/loss", "validation/loss", "test/log_loss"):
            assert ours.data.metrics[metric] == pytest.approx(alone.data.metrics[metric], abs=1e-3)
    assert set(together[1:]) == {1}


def test_jobs_of_other_shapes_and_samples_fall_into_groups(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], together: list[int]
) -> None:
    words = ["head.hidden_units=[],[4]", "imbalance=undersample", "seed=0,1", "optimizer.lr=0.1,0.2"]
    done = train(*VECTORIZED, *made.words, *words)
    assert done.code == 0, done.err
    # Undersampling draws other rows for another seed.
    assert together == [2, 2, 2, 2]


def test_jobs_that_decide_differently_are_one_group(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], together: list[int]
) -> None:
    done = train(*VECTORIZED, *made.words, "decision=plain,prior_shift,tuned")
    assert done.code == 0, done.err
    assert together == [3]
    decided = {job: run.data.metrics for job, run in children(runs()).items()}
    assert decided["decision=plain"]["workings/decision/shift"] == 0
    assert decided["decision=prior_shift"]["workings/decision/shift"] < 0
    assert decided["decision=tuned"]["workings/decision/threshold"] != 0
    assert len({metrics["test/roc_auc"] for metrics in decided.values()}) == 1


def test_a_failing_job_harms_no_other(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], together: list[int]
) -> None:
    done = train(*VECTORIZED, *made.words, "head.dropout=0.1,2", "optimizer.lr=0.1,1e30", "optimizer=sgd")
    assert done.code == 1
    assert done.err.count("error: head.dropout=2.0 is not allowed") == 2
    assert "error: the loss became" in done.err
    assert together == [2]
    assert "1 of 4 jobs finished, 3 failed\n" in done.out
    status = {job: run.info.status for job, run in children(runs()).items()}
    assert [job for job in status if status[job] == "FINISHED"] == ["optimizer.lr=0.1 head.dropout=0.1"]
    assert sorted(status.values()) == ["FAILED", "FAILED", "FAILED", "FINISHED"]
    for job, run in children(runs()).items():
        if status[job] == "FAILED":
            assert "InputError" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/traceback.txt")


def test_a_stop_before_the_training_closes_the_jobs_that_wait_for_it(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.features.extract import FeatureCache

    unpatched, calls = FeatureCache.extract, []

    def interrupted(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return unpatched(*given)

    monkeypatch.setattr(FeatureCache, "extract", interrupted)
    done = train(*VECTORIZED, *made.words, "seed=0,1,2,3")
    assert done.code == 130
    assert [run.info.status for run in runs()] == ["KILLED"] * 4, "the sweep and three jobs"
    (parent,) = (run for run in runs() if "mlflow.parentRunId" not in run.data.tags)
    listed = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/sweep.csv")
    assert listed.count("KILLED") == 3, "closed before the sweep"


def test_a_defect_in_the_training_fails_every_job_of_the_group(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.training import head_trainer

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(head_trainer, "fit", broken)
    with pytest.raises(ZeroDivisionError):
        train(*VECTORIZED, *made.words, "seed=0,1")
    assert {run.info.status for run in runs()} == {"FAILED"}
    assert len(runs()) == 3
