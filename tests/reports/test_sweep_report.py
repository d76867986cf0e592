"""The report of a sweep, of seeds and of a cross-validation, each from one command."""

import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made

from kesikaran.config.metric_names import ACROSS_SETTINGS
from kesikaran.metrics import paired
from kesikaran.metrics.predictions import Predictions


def test_a_sweep_compares_image_by_image_and_draws(
    train: Callable[..., Done], run: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    import mlflow

    from kesikaran.tracking import artifacts

    words = [word for word in made.words if not word.startswith("optimizer.lr=")]
    varied = ["optimizer.lr=1e-4,3e-1", "head.dropout=0,0.3", "imbalance=none,class_weight"]
    done = train("-m", *words, *varied, "hydra/launcher=vectorized", "tracking.log_model=false")
    assert done.code == 0, done.err
    parent, *children = runs()
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/sweep.csv")))
    assert list(table.columns[2:5]) == ["optimizer.lr", "head.dropout", "imbalance"], "in the words of the sweep"
    best = int(table["validation/selection_log_loss"].to_numpy().argmin())
    assert np.isnan(table["p_value_vs_best"][best])
    assert table["p_value_vs_best"].drop(best).between(0, 1).all()
    tested = []
    for child in children:
        rows = artifacts.predictions(child.info.run_id)
        tested.append(Predictions.from_table(rows[rows["split"] == "test"].sample(frac=1, random_state=0)))
    each = [paired.compare(tested[best], one)["accuracy"].p_value for one in tested if one is not tested[best]]
    assert table["p_value_vs_best"].min() == pytest.approx(min(1, 7 * min(each))), "Holm's smallest of seven"
    (verdict,) = (line for line in done.out.splitlines() if line.startswith("Judged by accuracy on the "))
    assert ", the best of 8 by validation prior-corrected log loss (" in verdict
    assert f", run {table['run_id'][best][:8]})" in verdict
    assert "being the best of 8 flatters it by about" in done.out
    assert "validation log loss*" in done.out
    assert "These jobs differ in their treatment of the imbalance" in done.out
    from kesikaran import compare

    again = run(compare.main, "kesikaran-compare", f"sweep:{parent.info.run_id}", "--html", tmp_path / "page.html")
    assert again.code == 0, again.err
    assert verdict in again.out.splitlines(), "the closing and the comparison say the same"
    assert verdict in html.unescape((tmp_path / "page.html").read_text())
    pictures = ["confusion_matrices_test.png", "confusion_matrices_validation.png"]
    for name in ("sweep.png", "parallel_coordinates.png", *pictures):
        mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/{name}")
    by_name = {child.info.run_name: child for child in children}
    first = min(children, key=lambda child: child.data.metrics["validation/selection_log_loss"])
    for name in ("test/accuracy", "validation/selection_log_loss"):
        assert parent.data.metrics[name] == first.data.metrics[name], "the sweep shows its best job's numbers"
    common, one = parent.data.params, first.data.params
    assert {name for name in one if name not in common} == {"optimizer.lr", "head.dropout", "imbalance.strategy"}
    assert all(one[name] == value for name, value in common.items())
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**8 of 8 jobs finished**")
    assert verdict.replace("_", "\\_").replace("*", "\\*") in note
    assert next(line.split("`")[1] for line in note.splitlines() if line.startswith("| `")) == first.info.run_name
    assert note.count("| `") == 8 == len(by_name)
    assert note.endswith(f" To go on:\n\n    kesikaran compare sweep:{parent.info.run_id}")
    assert "kesikaran publish" not in note, "no model is logged"
    (page,) = re.findall(r"/#/experiments/(\S+)\)", done.out.split("Look at it:")[-1])
    key = f"viewStateShareKey={parent.info.run_id}"
    assert page == f"{parent.info.experiment_id}/runs?workflowType=machine_learning&{key}"
    view = mlflow.get_experiment(parent.info.experiment_id).tags[f"mlflow.sharedViewState.{parent.info.run_id}"]
    state = json.loads(view)
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`validation/selection_log_loss`", True)
    assert {"metrics.`test/accuracy`", "params.`optimizer.lr`"} < set(state["selectedColumns"])
    found = mlflow.search_runs([parent.info.experiment_id], state["searchFilter"])
    assert set(found["run_id"]) == {parent.info.run_id, *(child.info.run_id for child in children)}
    blocks = done.out.split("\nSweep ")[1].split("\n\n")
    tables = [block for block in blocks if re.match(" .*(validation log loss|less the best's)", block)]
    assert len(tables) == 2
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80, "the tables fit a terminal"


def test_jobs_on_different_splits_are_not_compared_in_silence(train: Callable[..., Done], made: Made) -> None:
    words = ["-m", *made.words, "fit.epochs=1", "tracking.log_model=false"]
    line = "These jobs were scored on 2 different splits (tag split_fingerprint): their metrics are not comparable"
    done = train(*words, "split.balance=minority,none")
    assert len(re.findall(f"^{re.escape(line)}", done.out, re.MULTILINE)) == 1, done.out + done.err
    done = train(*words, "split=sha1_fold", "split.folds=3", "split.fold=0,2", "seed=0,1")
    assert "4 of 4 jobs finished\n" in done.out
    assert "different splits" not in done.out, "folds differ and are meant to"


def test_seeds_as_one_command(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    import mlflow

    done = train("experiment=seeds", *made.words, "seed=range(0,4)")
    assert done.code == 0, done.err
    parent, *children = runs()
    assert [child.data.params["seed"] for child in children] == ["0", "1", "2", "3"]
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/seeds.csv")), index_col=0)
    for metric in ("accuracy", "roc_auc", "log_loss"):
        values = [child.data.metrics[f"test/{metric}"] for child in children]
        assert table.loc[metric, "std"] == pytest.approx(np.std(values, ddof=1))
        assert parent.data.metrics[f"seeds/{metric}_std"] == pytest.approx(np.std(values, ddof=1))
        assert parent.data.metrics[f"seeds/{metric}_mean"] == pytest.approx(np.mean(values))
    assert "4 seeds of one setting" in done.out
    closing = done.out.split("\nSweep ")[1]
    assert "These 4 jobs differ in their seed only, and none of them is named best" in closing
    assert not re.search(r"the best|best of|\*", closing)
    assert "larger doubt" in done.out or "do not tell" in done.out


def test_one_command_pools_all_folds(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    import mlflow

    done = train("experiment=cv", *made.words, "split.folds=3")
    assert done.code == 0, done.err
    parent, *children = runs()
    assert parent.info.run_name == "sweep: split.fold=range(0,3)"
    assert [child.info.run_name for child in children] == ["split.fold=0", "split.fold=1", "split.fold=2"]
    mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/confusion_matrix_oof.png")
    pooled = pd.read_parquet(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/oof_predictions.parquet"))
    assert len(pooled) == pooled["object_id"].nunique() == 240 == parent.data.metrics["oof/n"]
    tested = [child.data.metrics["workings/test/n"] for child in children]
    assert pooled["fold"].value_counts().sort_index().tolist() == tested
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/label_doubts.csv")
    doubts = pd.read_csv(io.StringIO(text))
    assert set(doubts["object_id"]) == set(pooled["object_id"]), "none is left out"
    right = ((pooled["logit"] >= 0) == pooled["label"]).mean()
    assert parent.data.metrics["oof/accuracy"] == pytest.approx(right)
    areas = [child.data.metrics["test/roc_auc"] for child in children]
    assert parent.data.metrics["workings/oof/roc_auc_fold_mean"] == pytest.approx(np.mean(areas))
    assert re.search(rf"^roc_auc +{parent.data.metrics['oof/roc_auc']:.3f} ", done.out, re.MULTILINE)
    note = parent.data.tags["mlflow.note.content"]
    assert (
        f"Out of fold, 240 images, each tested once by a model that has not seen it: accuracy {right:.3f} \\[" in note
    )
    assert note.endswith(f" To go on:\n\n    kesikaran data label-doubts {parent.info.run_id}")
    assert "compare" not in note, "no job is the best of several folds"


def test_settings_are_pooled_apart_and_blocks_are_folds_too(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    words = ["experiment=cv", *made.words, "split=blocks", "split.block_size=10", "split.folds=2", "seed=0,1"]
    done = train(*words)
    assert done.code == 0, done.err
    parent = runs()[0]
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/cross_validation.csv")
    table = pd.read_csv(io.StringIO(text))
    assert table["seed"].tolist() == [0, 1]
    assert "Against 0, on 240 images out of fold" in done.out
    assert table["oof/n"].tolist() == [240, 240]
    assert "oof/accuracy" not in parent.data.metrics, "two settings have no one accuracy"


def test_some_folds_are_not_pooled(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    words = ["-m", *made.words, "split=sha1_fold", "split.folds=4", "split.fold=0,2", "tracking.log_model=false"]
    done = train(*words)
    assert done.code == 0, done.err
    assert "Not every fold was run once: nothing is pooled." in done.out
    assert not [metric for metric in runs()[0].data.metrics if metric.startswith("oof/")]


def test_the_study_of_imbalance_is_one_command(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    done = train("experiment=imbalance_study", *made.words, "split.folds=2")
    assert done.code == 0, done.err
    parent, *children = runs()
    settings = [(c.data.params["imbalance.strategy"], c.data.params["decision.rule"]) for c in children[::2]]
    trained = ("none", "class_weight", "oversample", "undersample", "focal", "logit_adjusted")
    assert settings == [*((name, "plain") for name in trained), ("none", "prior_shift"), ("none", "tuned")]
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/cross_validation_pairs.csv")
    pairs = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    assert len(pairs) == 8 * 7 / 2 * len(ACROSS_SETTINGS)
    assert set(pairs.loc[pairs["p_holm_first"].notna(), "a"]) == {"none"}
    shifted = pairs.query("a == 'none' and b == 'prior_shift'").set_index("metric")
    assert shifted.loc["roc_auc", "difference"] == pytest.approx(0, abs=1e-9), "a shift ranks as before"
    pooled = pd.read_parquet(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/oof_predictions.parquet"))
    assert pooled["setting"].value_counts().tolist() == [240] * 8
    mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/cross_validation.png")
    assert "Against none, on 240 images out of fold, image by image, Holm over 35 comparisons at 5%:" in done.out


def test_several_settings_over_all_folds_have_a_nested_estimate(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    words = ["split.folds=3", "optimizer.lr=1e-4,3e-1", "head.dropout=0"]
    done = train("experiment=nested_cv", *made.words[:-1], *words)
    assert done.code == 0, done.err
    parent, *children = runs()
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/nested_cv.csv")
    table = pd.read_csv(io.StringIO(text))
    assert table["fold"].tolist() == [0, 1, 2]
    for fold, row in enumerate(table.to_dict("records")):
        of_fold = [c for c in children if c.data.params["split.fold"] == str(fold)]
        best = min(of_fold, key=lambda c: c.data.metrics["validation/log_loss"])
        assert row["run_id"] == best.info.run_id
        assert row["test/accuracy"] == pytest.approx(best.data.metrics["test/accuracy"])
    path = mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/nested_predictions.parquet")
    pooled = pd.read_parquet(path)
    assert len(pooled) == pooled["object_id"].nunique() == 240 == parent.data.metrics["nested/n"]
    right = ((pooled["logit"] >= 0) == pooled["label"]).mean()
    assert parent.data.metrics["nested/accuracy"] == pytest.approx(right)
    assert "Tuned inside, reported outside" in done.out
    assert re.search(r"^Chosen: \S+ in \d of 3 folds", done.out, re.MULTILINE)


def test_one_interval_over_images_training_sets_and_seeds(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    import mlflow

    done = train("experiment=uncertainty", *made.words, "fit.half=range(0,5)", "seed=0,1")
    assert done.code == 0, done.err
    parent, *children = runs()
    assert len(children) == 10
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/uncertainty.csv")
    table = pd.read_csv(io.StringIO(text), index_col=0)
    whole = [c.data.metrics["test/log_loss"] for c in children if c.data.params["fit.half"] == "0"]
    assert len(set(whole)) == 2
    assert table.loc["log_loss", "value"] == pytest.approx(np.mean(whole))
    halves = {c.data.metrics["validation/log_loss"] for c in children}
    assert len(halves) == 10, "each half trains on other rows"
    assert parent.data.metrics["uncertainty/log_loss_low"] == pytest.approx(table.loc["log_loss", "low"])
    mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/uncertainty.png")
    assert "The best of" not in done.out, "nobody chooses a half or a seed"
    row = table.loc["accuracy"]
    quoted = (
        f"To quote:  Accuracy {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] (95%, of a model trained anew"
    )
    assert quoted in done.out


def test_an_incomplete_grid_is_said(train: Callable[..., Done], made: Made) -> None:
    done = train("experiment=uncertainty", *made.words, "fit.half=0,1", "seed=0,1")
    assert done.code == 0, done.err
    line = "The whole uncertainty is not estimated: fit.half needs every number from 0 to an even one, 4 or more."
    assert line in done.out


def test_a_part_that_fails_on_a_full_disk_takes_no_other_part_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from kesikaran.reports import sweep_report

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert not sweep_report._made(SimpleNamespace(text=full), "seed spread", full)  # type: ignore[arg-type]
    assert "error: the seed spread of this sweep could not be made: " in capsys.readouterr().err
