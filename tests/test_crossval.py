"""Cross-validation: every image is tested once, and the numbers are of exactly those predictions."""

import io
import re
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made
from sklearn.metrics import roc_auc_score

from kesikaran import crossval


def fold(test: str, everyone: str = "abcdef", logit: float = 0.0) -> pd.DataFrame:
    """Predictions of one fold over images named by letters; vowels have label 1."""
    rows = pd.DataFrame({"object_id": list(everyone)})
    labels = rows["object_id"].isin(["a", "e"]).astype(int)
    split = ["test" if name in test else "train" for name in everyone]
    return rows.assign(split=split, label=labels, logit=labels + logit, probability=0.5)


def test_each_image_comes_from_the_fold_that_tested_it() -> None:
    pooled = crossval.pool({0: fold("ab", logit=10), 1: fold("ef", logit=20), 2: fold("cd", logit=30)})
    assert list(pooled["object_id"]) == list("abcdef")
    assert list(pooled["fold"]) == [0, 0, 2, 2, 1, 1]
    assert list(pooled["logit"]) == [11, 10, 30, 30, 21, 20]


@pytest.mark.parametrize(
    "folds",
    [{0: fold("abc"), 1: fold("cdef")}, {0: fold("ab"), 1: fold("ef")}, {0: fold("abc"), 1: fold("def", "abcdefg")}],
    ids=["an image twice", "an image never", "another set"],
)
def test_what_is_no_cross_validation_is_refused(folds: dict[int, pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="they are not one cross-validation"):
        crossval.pool(folds)


def test_the_numbers_by_hand() -> None:
    pooled = pd.DataFrame(
        {
            "object_id": list("abcdefgh"),
            "label": [0, 1, 0, 1, 0, 1, 0, 1],
            "fold": [0, 0, 0, 0, 1, 1, 1, 1],
            "logit": [-1.0, 1.0, -2.0, 2.0, 9.0, 8.0, 5.0, 6.0],
        }
    )
    found = crossval.describe(pooled)
    assert (found["oof/n"], found["oof/tn"], found["oof/fp"], found["oof/fn"], found["oof/tp"]) == (8, 2, 2, 0, 4)
    assert found["oof/accuracy"] == 6 / 8
    assert found["oof/accuracy_fold_mean"] == (1 + 1 / 2) / 2
    assert found["oof/accuracy_fold_std"] == pytest.approx(np.std([1, 0.5], ddof=1))
    assert found["oof/roc_auc"] == pytest.approx(roc_auc_score(pooled["label"], pooled["logit"]))
    assert found["oof/roc_auc_fold_mean"] == pytest.approx((1 + 2 / 4) / 2)
    shown = crossval.table(found).to_dict("index")["accuracy"]
    assert list(shown.values()) == pytest.approx([0.75, 0.75, np.std([1, 0.5], ddof=1)])


def test_the_most_doubtful_label_comes_first() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(500) < 0.4).astype(int)
    logits = random.normal(3 * (2 * labels - 1), 1.0)
    wrong = random.choice(500, 25, replace=False)
    given = labels.copy()
    given[wrong] = 1 - given[wrong]
    names = [f"{i:040x}" for i in range(500)]
    pooled = pd.DataFrame({"object_id": names, "label": given, "fold": 0, "logit": logits, "probability": 0.5})
    ranked = crossval.doubts(pooled)
    assert ranked["loss"].is_monotonic_decreasing
    assert ranked["loss"].iloc[0] == pytest.approx(np.log1p(np.exp(np.abs(ranked["logit"].iloc[0]))))
    assert roc_auc_score(ranked["object_id"].isin([names[i] for i in wrong]), ranked["loss"]) > 0.97
    assert len(ranked) == 500


def test_one_command_pools_all_folds(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    done = train("experiment=cv", *made.words, "split.folds=3")
    assert done.code == 0, done.err
    parent, *children = runs()
    assert parent.info.run_name == "sweep: split.fold=range(0,3)"
    assert [child.info.run_name for child in children] == ["split.fold=0", "split.fold=1", "split.fold=2"]
    mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/confusion_matrix_oof.png")
    pooled = pd.read_parquet(mlflow.artifacts.download_artifacts(f"{parent.info.artifact_uri}/oof_predictions.parquet"))
    assert len(pooled) == pooled["object_id"].nunique() == 240 == parent.data.metrics["oof/n"]
    tested = [child.data.metrics["test/n"] for child in children]
    assert pooled["fold"].value_counts().sort_index().tolist() == tested
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/label_doubts.csv")
    doubts = pd.read_csv(io.StringIO(text))
    assert set(doubts["object_id"]) == set(pooled["object_id"]), "none is left out"
    right = ((pooled["logit"] >= 0) == pooled["label"]).mean()
    assert parent.data.metrics["oof/accuracy"] == pytest.approx(right)
    areas = [child.data.metrics["test/roc_auc"] for child in children]
    assert parent.data.metrics["oof/roc_auc_fold_mean"] == pytest.approx(np.mean(areas))
    assert re.search(rf"^roc_auc +{parent.data.metrics['oof/roc_auc']:.3f} ", done.out, re.MULTILINE)


def test_settings_are_pooled_apart_and_blocks_are_folds_too(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    words = ["experiment=cv", *made.words, "split=blocks", "split.block_size=10", "split.folds=2", "seed=0,1"]
    done = train(*words)
    assert done.code == 0, done.err
    parent = runs()[0]
    text = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/cross_validation.csv")
    table = pd.read_csv(io.StringIO(text))
    assert table["seed"].tolist() == [0, 1]
    assert table["oof/n"].tolist() == [240, 240]
    assert "oof/accuracy" not in parent.data.metrics, "two settings have no one accuracy"


def test_some_folds_are_not_pooled(train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> None:
    words = ["-m", *made.words, "split=sha1_fold", "split.folds=4", "split.fold=0,2", "tracking.log_model=false"]
    done = train(*words)
    assert done.code == 0, done.err
    assert "Not every fold was run once: nothing is pooled." in done.out
    assert not [metric for metric in runs()[0].data.metrics if metric.startswith("oof/")]
