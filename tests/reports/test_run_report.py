"""The report of a run: intervals beside every metric, and no number where a metric is undefined."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Done, Made

import kesikaran
from kesikaran.metrics.intervals import intervals
from kesikaran.metrics.predictions import Predictions
from kesikaran.tracking import artifacts, metric_places

pytestmark = pytest.mark.tensorflow

# Whether a package has the metric `npv`, place by place.
EVERYWHERE = """
import json
import numpy as np
import pandas as pd
from kesikaran.analysis import cross_validation, pairwise, run_predictions
from kesikaran.config import rules
from kesikaran.config.metric_names import GATED
from kesikaran.config.schema import EvaluationConfig, GateConfig
from kesikaran.core.errors import InputError
from kesikaran.metrics import paired, scores
from kesikaran.metrics.predictions import Predictions
from kesikaran.tracking import metric_places
from kesikaran.reports import comparison_page, run_report

names = [f"{i:040x}.png" for i in range(40)]
logits = np.where(np.arange(40) < 8, -1, 1) * np.where(np.arange(40) % 2 == 1, 1.5, -1.5)
rows = pd.DataFrame({"object_id": names, "split": "test", "label": np.arange(40) % 2, "logit": logits})
rows["probability"] = 1 / (1 + np.exp(-logits))
runs = [run_predictions.run_predictions(i * 32, i, {}, {}, rows, "test") for i in "ab"]
predictions = run_predictions.aligned(runs, "test")
pair = pairwise.compare(*runs, "test")
kinds = ("fixed", "broken", "both_wrong")
page = comparison_page.pair(pair, predictions, {kind: rows[:0] for kind in kinds}, {kind: [] for kind in kinds})
try:
    rules._check_gate(GateConfig("test/npv", 0.5))
    allowed = True
except InputError:
    allowed = False
print(json.dumps({
    "score": scores.score(predictions[0]).get("npv"),
    "comparison": "npv" in paired.compare(*predictions),
    "logged": [
        name
        for name in run_report.logged_metrics(run_report.split_metrics(predictions[0], EvaluationConfig()), "test")
        if "npv" in name
    ],
    "page": "npv</th>" in page,
    "cross-validation": "oof/npv_fold_mean" in cross_validation.describe(rows.drop(columns="split").assign(fold=0)),
    "gate": allowed and "npv" in GATED,
}))
"""

Train = Callable[..., Done]
Runs = Callable[[], list[Any]]


def written_split(made: Made, path: Path, tested: list[int]) -> str:
    """A split of the made images whose test side has the given labels, one image each; the word that takes it."""
    table = pd.read_csv(made.labels)
    table["type"] = ["validation" if row % 5 == 0 else "train" for row in range(len(table))]
    for label in set(tested):
        rows = table.index[(table["value"] == label) & (table["type"] == "train")][: tested.count(label)]
        table.loc[rows, "type"] = "test"
    table.to_csv(path, index=False)
    return f"split.file={path}"


def test_every_metric_has_its_interval_in_mlflow_and_in_the_table(train: Train, made: Made, runs: Runs) -> None:
    done = train(*made.words, "tracking.log_model=false", "evaluation.confidence=0.9", "evaluation.report=full")
    assert done.code == 0
    (run,) = runs()
    logged = metric_places.read(run.data.metrics)
    table = artifacts.predictions(run.info.run_id)
    for side in ("train", "validation", "test"):
        predictions = Predictions.from_table(table[table["split"] == side])
        for name, interval in intervals(predictions, 0.9, 10).items():
            found = [logged[f"{side}/{name}{end}"] for end in ("", "_low", "_high")]
            assert found == pytest.approx([interval.value, interval.low, interval.high], abs=1e-12)
            assert found[1] <= found[0] <= found[2]
            assert f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]" in done.out
    assert logged["test/accuracy_high"] - logged["test/accuracy_low"] > 0.02


def test_a_test_split_of_one_class_has_no_number_for_what_it_cannot_say(
    train: Train, made: Made, runs: Runs, tmp_path: Path
) -> None:
    given = written_split(made, tmp_path / "split.csv", [1] * 12)
    done = train(*made.words, "split=from_file", given, "tracking.log_model=false", "evaluation.report=full")
    assert done.code == 0, done.err
    logged = metric_places.read(runs()[0].data.metrics)
    ours = {"specificity", "balanced_accuracy", "roc_auc"}
    assert {name for name in ours if f"test/{name}" in logged or f"test/{name}_low" in logged} == set()
    assert logged["test/n"] == logged["test/fn"] + logged["test/tp"] == 12
    assert 0 <= logged["test/accuracy_low"] <= logged["test/accuracy"]
    (line,) = re.findall(r"^Undefined in test, with 0 images of label 0, 12 of label 1 .*: (.*)$", done.out, re.M)
    assert ours <= set(line.split(", "))


def test_a_test_split_of_one_image(train: Train, made: Made, runs: Runs, tmp_path: Path) -> None:
    given = written_split(made, tmp_path / "split.csv", [0])
    done = train(*made.words, "split=from_file", given, "tracking.log_model=false")
    assert done.code == 0, done.err
    logged = metric_places.read(runs()[0].data.metrics)
    assert logged["test/accuracy"] in (0, 1)
    assert logged["test/accuracy_high"] - logged["test/accuracy_low"] > 0.75


def test_a_validation_split_of_one_class_can_stop_by_loss_and_not_by_auc(
    train: Train, made: Made, runs: Runs, tmp_path: Path
) -> None:
    table = pd.read_csv(made.labels)
    table["type"] = ["test" if row % 5 == 0 else "train" for row in range(len(table))]
    table.loc[table.index[(table["value"] == 1) & (table["type"] == "train")][:20], "type"] = "validation"
    table.to_csv(tmp_path / "split.csv", index=False)
    words = [*made.words, "split=from_file", f"split.file={tmp_path / 'split.csv'}", "tracking.log_model=false"]
    assert train(*words).code == 0
    assert "validation/auc" not in runs()[0].data.metrics
    assert "validation/loss" in runs()[0].data.metrics
    done = train(*words, "fit.monitor=auc")
    assert done.code == 1
    assert (
        "validation split is left with 0 images of label 0 and 20 of label 1: it needs at least one of each" in done.err
    )


def test_prevalences_are_told_and_listed(train: Train, made: Made, runs: Runs, client: Any, tmp_path: Path) -> None:
    done = train(*made.words, "evaluation.prevalences=[0.5,0.01]", "tracking.log_model=false", "evaluation.report=full")
    assert done.code == 0
    (run,) = runs()
    path = client.download_artifacts(run.info.run_id, "prevalences.csv", str(tmp_path))
    table = pd.read_csv(path)
    assert table["prevalence"].tolist() == [0.5, 0.01]
    for row in table.to_dict("records"):
        recall, specificity = run.data.metrics["test/recall"], run.data.metrics["test/specificity"]
        alerts = row["prevalence"] * recall + (1 - row["prevalence"]) * (1 - specificity)
        assert row["alerts_per_10000"] == pytest.approx(1e4 * alerts)
        assert row["missed_per_10000"] == pytest.approx(1e4 * row["prevalence"] * (1 - recall))
        assert row["precision"] == pytest.approx(row["prevalence"] * recall / alerts)
        assert row["precision_low"] <= row["precision"] <= row["precision_high"]
    zeros = int(run.data.metrics["workings/test/tn"] + run.data.metrics["workings/test/fp"])
    assert f"With {zeros} test images of label 0 no false-positive rate below {1 - 0.05 ** (1 / zeros):.1%}" in done.out


def test_what_the_split_keeps_together_is_resampled_together(train: Train, made: Made, runs: Runs) -> None:
    assert train(*made.words, "tracking.log_model=false").code == 0
    blocks = ["split=blocks", "split.block_size=8", "split.folds=4"]
    assert train(*made.words, *blocks, "tracking.log_model=false").code == 0
    alone, grouped = (artifacts.predictions(run.info.run_id) for run in runs())
    assert "group" not in alone
    assert grouped["group"].nunique() == 30
    assert grouped.groupby("group")["split"].nunique().max() == 1


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evaluation.prevalences=[0.5,1]", "evaluation.prevalences=[0.5, 1.0] is not allowed"),
        ("evaluation.prevalences=[0]", "evaluation.prevalences=[0.0] is not allowed"),
        ("evaluation.confidence=1", "evaluation.confidence=1.0 is not allowed"),
        ("evaluation.calibration_bins=0", "evaluation.calibration_bins=0 is not allowed: 1 to 1000"),
    ],
)
def test_ranges(train: Train, made: Made, word: str, message: str) -> None:
    done = train(*made.words, word)
    assert (done.code, message in done.err, done.err.count("\n")) == (1, True, 1)


def planted(path: Path, before: str, line: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, line + before))


def test_a_new_metric_is_one_entry_and_one_function(tmp_path: Path) -> None:
    """The negative predictive value, planted in a copy of the package, is in every place without another change."""

    def found() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", EVERYWHERE], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    package = tmp_path / "kesikaran"
    shutil.copytree(Path(kesikaran.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert not any(found().values()), "it is in no place yet"
    entry = 'Metric("npv", "negative predictive value", Kind.proportion, PairedTest.influence_t),'
    planted(package / "config" / "metric_names.py", 'Metric("calibration_error"', entry)
    function = "lambda p: _ratio((p.labels == 0) & (p.predicted == 0), p.predicted == 0)"
    planted(package / "metrics" / "influence.py", '"brier": _brier', f'"npv": {function},')
    everywhere = found()
    assert everywhere.pop("score") == pytest.approx(16 / 20), "4 of 20 images that are predicted 0 have label 1"
    assert everywhere.pop("logged") == ["test/npv", "test/npv_low", "test/npv_high"]
    assert all(everywhere.values()), everywhere
