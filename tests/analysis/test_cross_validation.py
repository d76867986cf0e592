"""The out-of-fold table has every image once, and its metrics and comparisons are those of its predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from kesikaran.analysis import cross_validation
from kesikaran.config.metric_names import ACROSS_SETTINGS


def fold(test: str, everyone: str = "abcdef", logit: float = 0.0) -> pd.DataFrame:
    """Predictions of one fold over images named by letters; vowels have label 1."""
    rows = pd.DataFrame({"object_id": list(everyone)})
    labels = rows["object_id"].isin(["a", "e"]).astype(int)
    split = ["test" if name in test else "train" for name in everyone]
    return rows.assign(split=split, label=labels, logit=labels + logit, probability=0.5)


def test_each_image_comes_from_the_fold_that_tested_it() -> None:
    pooled = cross_validation.pool({0: fold("ab", logit=10), 1: fold("ef", logit=20), 2: fold("cd", logit=30)})
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
        cross_validation.pool(folds)


def test_the_numbers_by_hand() -> None:
    pooled = pd.DataFrame(
        {
            "object_id": list("abcdefgh"),
            "label": [0, 1, 0, 1, 0, 1, 0, 1],
            "fold": [0, 0, 0, 0, 1, 1, 1, 1],
            "logit": [-1.0, 1.0, -2.0, 2.0, 9.0, 8.0, 5.0, 6.0],
        }
    )
    found = cross_validation.describe(pooled)
    assert (found["oof/n"], found["oof/tn"], found["oof/fp"], found["oof/fn"], found["oof/tp"]) == (8, 2, 2, 0, 4)
    assert found["oof/accuracy"] == 6 / 8
    assert found["oof/accuracy_fold_mean"] == (1 + 1 / 2) / 2
    assert found["oof/accuracy_fold_std"] == pytest.approx(np.std([1, 0.5], ddof=1))
    assert found["oof/roc_auc"] == pytest.approx(roc_auc_score(pooled["label"], pooled["logit"]))
    assert found["oof/roc_auc_fold_mean"] == pytest.approx((1 + 2 / 4) / 2)
    limits = [found["oof/accuracy_low"], found["oof/accuracy_high"]]
    assert limits == pytest.approx(proportion_confint(6, 8, method="wilson"))
    shown = cross_validation.table(found).to_dict("index")["accuracy"]
    assert list(shown.values()) == pytest.approx([0.75, *limits, 0.75, np.std([1, 0.5], ddof=1)])


def made_pool(seed: int, signal: float, folds: int = 4, images: int = 400) -> pd.DataFrame:
    """Pooled predictions of the same images in the same folds, whatever the seed of the logits."""
    labels = (np.random.default_rng(0).random(images) < 0.4).astype(int)
    logits = np.random.default_rng(seed).normal(signal * (2 * labels - 1), 1.0)
    names = [f"{i:040x}" for i in range(images)]
    return pd.DataFrame({"object_id": names, "label": labels, "fold": np.arange(images) % folds, "logit": logits})


def delong(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(area of b - area of a, its variance), pair by pair as DeLong, DeLong and Clarke-Pearson (1988) write it."""
    placed = []
    for logits in (a, b):
        ones, zeros = logits[labels == 1, None], logits[None, labels == 0]
        placed.append((ones > zeros) + 0.5 * (ones == zeros))
    kernel = placed[1] - placed[0]
    by_one, by_zero = kernel.mean(axis=1), kernel.mean(axis=0)
    return float(kernel.mean()), float(by_one.var(ddof=1) / len(by_one) + by_zero.var(ddof=1) / len(by_zero))


def test_the_area_compared_is_the_mean_of_the_folds_with_delongs_variances() -> None:
    a, b = made_pool(1, 0.5), made_pool(2, 0.7)
    (row,) = cross_validation.compare({"a": a, "b": b}).query("metric == 'roc_auc'").to_dict("records")
    folds = [(a[a["fold"] == i], b[b["fold"] == i]) for i in range(4)]
    areas = [roc_auc_score(rows["label"], rows["logit"]) for _, rows in folds]
    assert row["value_b"] == pytest.approx(np.mean(areas))
    parts = [delong(x["label"].to_numpy(), x["logit"].to_numpy(), y["logit"].to_numpy()) for x, y in folds]
    difference, error = np.mean([part[0] for part in parts]), np.sqrt(sum(part[1] for part in parts)) / 4
    assert row["difference"] == pytest.approx(difference)
    assert [row["low"], row["high"]] == pytest.approx(difference + error * norm.ppf([0.025, 0.975]))
    assert row["p_value"] == pytest.approx(2 * norm.sf(abs(difference) / error))


def test_models_calibrated_apart_have_the_same_area_by_fold() -> None:
    a = made_pool(1, 0.7)
    b = a.assign(logit=a["logit"] + 3 * a["fold"])
    pairs = cross_validation.compare({"a": a, "b": b}).set_index("metric").to_dict("index")
    assert pairs["roc_auc"]["difference"] == 0
    assert pairs["roc_auc"]["p_value"] == 1
    assert pairs["log_loss"]["p_value"] < 1e-6
    assert cross_validation.values(a)["roc_auc"] == cross_validation.values(b)["roc_auc"]


def test_images_that_came_together_are_one_piece_of_evidence() -> None:
    once = made_pool(1, 0.7)
    apart = pd.concat([once, once.assign(object_id=once["object_id"] + "b")], ignore_index=True)
    together = apart.assign(group=apart["object_id"].str[:40])
    for name, found in cross_validation.values(together).items():
        alone, naive = cross_validation.values(once)[name], cross_validation.values(apart)[name]
        assert found.value == pytest.approx(alone.value)
        assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.02)
        assert naive.high - naive.low < 0.75 * (found.high - found.low), "copies are no images"


def test_holm_is_over_all_that_is_said() -> None:
    settings = {name: made_pool(seed, signal) for name, seed, signal in (("a", 1, 0.3), ("b", 2, 0.5), ("c", 3, 0.65))}
    pairs = cross_validation.compare(settings)
    assert len(pairs) == 3 * len(ACROSS_SETTINGS)
    assert pairs["p_holm_first"].notna().tolist() == (pairs["a"] == "a").tolist()
    assert pairs["p_holm"].to_numpy() == pytest.approx(multipletests(pairs["p_value"], method="holm")[1])
    held = pairs[pairs["a"] == "a"]
    assert held["p_holm_first"].to_numpy() == pytest.approx(multipletests(held["p_value"], method="holm")[1])
    lines = cross_validation.conclusion(pairs, 400, 0.95, "accuracy")
    assert lines[0] == "Against a, on 400 images out of fold, image by image, Holm over 10 comparisons at 5%:"
    (accuracy,) = held.query("metric == 'accuracy' and b == 'c'").to_dict("records")
    numbers = f"{accuracy['difference']:+.4f} [{accuracy['low']:+.4f}, {accuracy['high']:+.4f}]"
    assert lines[1:4] == ["  accuracy (the verdict)", f"    real: c {numbers}", "    within noise: b"]
    assert cross_validation.conclusion(pairs, 400, 0.95, "log_loss")[1] == "  log loss (the verdict)"
    other = cross_validation.conclusion(pairs, 400, 0.95, "recall")
    assert other[-2] == "The verdict, recall, is not among the metrics that are compared over folds."
    with pytest.raises(ValueError, match="not tested on the same images in the same folds"):
        cross_validation.compare({"a": made_pool(1, 1), "b": made_pool(1, 1, folds=5)})


def test_a_fold_without_a_class_has_no_area() -> None:
    a = made_pool(1, 0.7)
    a.loc[a["fold"] == 0, "label"] = 0
    pairs = cross_validation.compare({"a": a, "b": a.assign(logit=-a["logit"])})
    by_metric = pairs.set_index("metric").to_dict("index")
    assert np.isnan(by_metric["roc_auc"]["p_value"])
    assert np.isnan(cross_validation.values(a)["roc_auc"].value)
    assert by_metric["accuracy"]["p_holm"] < 1
    lines = cross_validation.conclusion(pairs, 400, 0.95, "accuracy")
    assert lines[lines.index("  ROC AUC") + 1] == "    undefined: b"


def test_the_most_doubtful_label_comes_first() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(500) < 0.4).astype(int)
    logits = random.normal(3 * (2 * labels - 1), 1.0)
    wrong = random.choice(500, 25, replace=False)
    given = labels.copy()
    given[wrong] = 1 - given[wrong]
    names = [f"{i:040x}" for i in range(500)]
    pooled = pd.DataFrame({"object_id": names, "label": given, "fold": 0, "logit": logits, "probability": 0.5})
    ranked = cross_validation.doubts(pooled)
    assert ranked["loss"].is_monotonic_decreasing
    assert ranked["loss"].iloc[0] == pytest.approx(np.log1p(np.exp(np.abs(ranked["logit"].iloc[0]))))
    assert roc_auc_score(ranked["object_id"].isin([names[i] for i in wrong]), ranked["loss"]) > 0.97
    assert len(ranked) == 500
