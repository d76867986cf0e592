"""The gate compares the lower end of the interval, and a process whose run fails the gate has exit code 3."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Done, Made

from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import binary, gate
from kesikaran.metrics.predictions import Predictions

MADE = {"test/roc_auc": 0.9, "test/roc_auc_low": 0.85, "test/roc_auc_high": 0.93}


@pytest.mark.parametrize(("least", "passed"), [(0.85, True), (0.8501, False), (0.9, False), (0.0, True)])
def test_the_lower_end_is_judged_and_not_the_value(least: float, passed: bool) -> None:
    verdict = gate.judge("test/roc_auc", least, MADE)
    assert verdict.passed is passed
    assert verdict.tags()["gate"] == ("passed" if passed else "failed")
    assert verdict.tags()["gate_judged"].startswith("test/roc_auc 0.9000 [0.8500, 0.9300]: the lower end ")
    assert f" {least:g}" in verdict.sentence


@pytest.mark.parametrize("logged", [{}, {"test/roc_auc": math.nan, "test/roc_auc_low": math.nan}])
def test_what_is_undefined_does_not_pass(logged: dict[str, float]) -> None:
    verdict = gate.judge("test/roc_auc", 0.0, logged)
    assert not verdict.passed
    assert "undefined" in verdict.sentence


@pytest.mark.tensorflow
def test_the_gate_knows_every_metric_that_a_run_logs() -> None:
    import numpy as np

    from kesikaran.metrics import intervals
    from kesikaran.reports.run_report import SplitMetrics, logged_metrics

    labels, logits = np.array([0, 1, 0, 1, 1, 0]), np.array([-1.0, 2.0, 0.5, -0.3, 1.0, -2.0])
    predictions = Predictions.from_logits(labels, logits, weights=np.ones(6))
    found = logged_metrics(SplitMetrics(binary.confusion(predictions), intervals.intervals(predictions), False), "test")
    logged = {name.partition("/")[2].removesuffix("_low").removesuffix("_high") for name in found}
    assert logged - {"n", "tn", "fp", "fn", "tp"} == set(METRICS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["gate.metric=test/auc", "gate.min=0.5"],
            "gate.metric=test/auc is not allowed: train/, validation/ or test/",
        ),
        (
            ["gate.metric=roc_auc", "gate.min=0.5"],
            "gate.metric=roc_auc is not allowed: train/, validation/ or test/",
        ),
        (
            ["gate.metric=test/log_loss", "gate.min=0.5"],
            "gate.metric=test/log_loss is not allowed: lower is better",
        ),
        (["gate.metric=test/roc_auc"], "gate.metric=test/roc_auc is not allowed: only together with gate.min, as in"),
        (["gate.min=0.5"], "gate.min=0.5 is not allowed: only together with gate.metric, as in"),
        (["gate.metric=test/roc_auc", "gate.min=85"], "gate.min=85.0 is not allowed: 0 to 1"),
        (["gate.metric=test/roc_auc", "gate.min=nan"], "gate.min=nan is not allowed: 0 to 1"),
    ],
)
def test_a_gate_that_is_none_is_refused_before_training(
    words: list[str], says: str, train: Callable[..., Done], made: Made
) -> None:
    done = train(*made.words, *words)
    assert done.code == 1
    assert done.err.strip().splitlines()[-1].startswith(f"error: {says}")
    assert "Features of" not in done.out


@pytest.mark.parametrize(("least", "code", "word"), [(0.2, 0, "passed"), (0.999, 3, "failed")])
def test_a_run_and_its_gate(
    least: float, code: int, word: str, train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    done = train(*made.words, "tracking.log_model=false", "gate.metric=train/accuracy", f"gate.min={least}")
    assert done.code == code, done.err
    (run,) = runs()
    assert run.info.status == "FINISHED", "it did what it should"
    assert run.data.tags["gate"] == word
    assert f"Gate {word}: {run.data.tags['gate_judged']}" in done.out.splitlines()
    low = run.data.metrics["workings/train/accuracy_low"]
    assert (low >= least) is (word == "passed")


@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_a_sweep_fails_the_gate_where_a_job_does(
    launcher: str, train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    words = ["-m", *made.words, f"hydra/launcher={launcher}", "tracking.log_model=false", "gate.metric=train/accuracy"]
    done = train(*words, "gate.min=0.1,0.999")
    assert done.code == 3, done.err
    assert "Gate failed: 1 of 2 jobs" in done.out.splitlines()[-1]
    parent, *jobs = runs()
    assert [run.info.status for run in (parent, *jobs)] == ["FINISHED"] * 3
    assert [run.data.tags["gate"] for run in jobs] == ["passed", "failed"]
    assert train(*words, "gate.min=0.1,0.2").code == 0
