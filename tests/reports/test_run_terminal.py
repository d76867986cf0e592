"""What a run prints: a headline in numbers of images, a small table, warnings; or everything."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.config.schema import EvaluationConfig, Report
from kesikaran.metrics.predictions import Predictions
from kesikaran.tracking import context

pytestmark = pytest.mark.tensorflow  # the report comes with MLflow

SHORT = ["accuracy", "recall", "precision", "roc_auc", "f1"]


def side(zeros_right: int, zeros: int, ones_right: int, ones: int) -> Any:
    """The metrics of a split, by how many images of each label are judged rightly."""
    from kesikaran.reports import run_report

    labels = np.repeat([0, 1], [zeros, ones])
    right = np.concatenate([np.arange(zeros) < zeros_right, np.arange(ones) < ones_right])
    predicted = np.where(right, labels, 1 - labels)
    table = pd.DataFrame({"label": labels, "logit": 2.0 * predicted - 1, "log_odds": 2.0 * predicted - 1})
    table = table.assign(probability=1 / (1 + np.exp(-table["log_odds"])), predicted=predicted, counts_fixed=False)
    return run_report.split_metrics(Predictions.from_table(table), EvaluationConfig())


@pytest.fixture
def results() -> dict[str, Any]:
    return {"train": side(90, 100, 40, 50), "validation": side(45, 50, 40, 50), "test": side(80, 100, 45, 50)}


def printed(results: dict[str, Any], capsys: pytest.CaptureFixture[str], report: Report = Report.short) -> str:
    from kesikaran.reports import run_terminal

    remarks = run_terminal.Remarks(["a warning"], ["a detail"], {"siblings": "of the data"})
    run: Any = SimpleNamespace(run_id="5" * 32, experiment_id="1")
    run_terminal.print_report(results, EvaluationConfig(report=report), remarks, run, ["epoch"])
    return capsys.readouterr().out


def test_the_headline_counts_images_and_knows_the_commoner_label(results: dict[str, Any]) -> None:
    from kesikaran.reports import run_terminal

    first, second = run_terminal.headline(results, EvaluationConfig()).splitlines()
    low, high = (results["test"].metrics["accuracy"].low, results["test"].metrics["accuracy"].high)
    assert first == (
        f"Of 100 test images it gets 83 right ({100 * low:.0f} to {100 * high:.0f}; 95% interval of 150 images)."
    )
    assert second == "Always saying 0, the commoner label in training, would get 67 right."
    turned = results | {"train": side(40, 50, 90, 100)}
    assert "Always saying 1, the commoner label in training, would get 33 right." in run_terminal.headline(
        turned, EvaluationConfig()
    )


def test_the_short_report_is_small_and_leaves_the_details_out(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = printed(results, capsys)
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.split() == ["test", "validation*"])
    assert [line.split()[0] for line in lines[head + 1 : head + 6]] == SHORT
    assert lines[head + 6] == ""
    assert "(label 1 found)          0.900 [" in lines[head + 2]
    assert max(map(len, lines[: head + 8])) <= 80
    assert "a warning" in lines
    assert "of the data" in lines
    assert "a detail" not in out
    assert len(lines) <= 22
    assert lines[-1].startswith("Look at it:  ")


def test_the_full_report_has_everything(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(results, capsys, Report.full)
    for name in results["test"].metrics:
        assert f"\n{name} " in out
    for words in ("a warning", "a detail", "of the data", "train", "The model has seen the images of train."):
        assert words in out


def test_a_job_of_a_sweep_prints_what_is_new_about_the_data(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path))
    monkeypatch.setenv(context.SWEEP_ENV, "5" * 32)
    monkeypatch.setenv(context.COMMAND_ENV, "c" * 32)
    assert printed(results, capsys) == "of the data\n"
    assert printed(results, capsys) == ""
    assert "a detail" in printed(results, capsys, Report.full), "it is asked for"


def test_what_cannot_be_computed_is_said(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(results | {"test": side(0, 0, 9, 10)}, capsys)
    assert "Undefined in test, with 0 images of label 0, 10 of label 1 and 9 predicted 1: roc_auc\n" in out
