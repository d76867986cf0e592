"""Predictions of all folds to one out-of-fold table, its numbers, and settings against each other on them.

Intervals and p-values here hold for the models that were trained: what other images of the same kind would change. What
another training set would change is not in them, for the folds share most of their training images, and no estimate of
it from one cross-validation is free of bias (Bengio and Grandvalet 2004).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from kesikaran import influence, intervals, paired, scores
from kesikaran.influence import Influence, Units
from kesikaran.intervals import Interval
from kesikaran.scores import Outcome

_METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier")
COMPARED = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss")  # of settings


def pool(folds: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Each image's prediction by the one model that was tested on it.

    Args:
        folds: fold -> the run's predictions of every image: columns object_id, split, label, logit, probability, and
            what else `scores.of_predictions` reads.

    Returns:
        The columns but split, and fold, sorted by object id: every image once.

    Raises:
        ValueError: the test splits do not cover every image exactly once.
    """
    tested = [rows[rows["split"] == "test"].assign(fold=fold) for fold, rows in folds.items()]
    pooled = pd.concat(tested).drop(columns="split")
    pooled = pooled.sort_values("object_id", ignore_index=True)
    for fold, rows in folds.items():
        if sorted(rows["object_id"]) != list(pooled["object_id"]):
            raise ValueError(
                f"the test splits of {len(folds)} folds hold {len(pooled)} images, {pooled['object_id'].nunique()} "
                f"different ones, and fold {fold} has {len(rows)}: they are not one cross-validation"
            )
    return pooled


def describe(pooled: pd.DataFrame, confidence: float = 0.95, calibration_bins: int = 10) -> dict[str, float]:
    """The numbers of a pooled table.

    Returns:
        `oof/METRIC`, `oof/METRIC_low` and `_high` over all images at once, `oof/METRIC_fold_mean` and
        `oof/METRIC_fold_std` (n - 1) over the folds, and the counts `oof/n` and `oof/tn fp fn tp`. Folds share most of
        their training images, so the spread is no standard error of the mean. The pooled ROC AUC also ranks logits of
        different models against each other: where they are calibrated apart it lies below the folds' mean. What is
        undefined is left out.
    """
    outcome = scores.of_predictions(pooled)
    whole = scores.score(outcome, calibration_bins)
    each = [scores.score(outcome.take(rows)) for rows in _rows(pooled).values()]
    spread = pd.DataFrame(each)
    result = {f"oof/{name}": float(value) for name, value in whole.items()}
    for name, found in intervals.intervals(outcome, confidence, calibration_bins).items():
        result |= {f"oof/{name}_low": found.low, f"oof/{name}_high": found.high}
    for name in _METRICS:
        result[f"oof/{name}_fold_mean"] = float(spread[name].mean(skipna=False))
        result[f"oof/{name}_fold_std"] = float(spread[name].std(ddof=1, skipna=False))
    return {name: value for name, value in result.items() if not np.isnan(value)}


def table(result: dict[str, float]) -> pd.DataFrame:
    """`describe`'s metrics as rows, with the columns pooled, low, high, fold_mean and fold_std; NaN: undefined."""
    ends = {"pooled": "", "low": "_low", "high": "_high", "fold_mean": "_fold_mean", "fold_std": "_fold_std"}
    rows = {name: {column: result.get(f"oof/{name}{end}", np.nan) for column, end in ends.items()} for name in _METRICS}
    return pd.DataFrame(rows).T


def values(pooled: pd.DataFrame, confidence: float = 0.95) -> dict[str, Interval]:
    """The metrics `COMPARED` of a pooled table with their intervals; roc_auc is the mean of the folds' areas."""
    outcome = scores.of_predictions(pooled)
    parts, among = influence.of(outcome), influence.units(outcome)
    result = {name: intervals.interval(name, parts[name], outcome, among, confidence) for name in COMPARED}
    area = _area(pooled, outcome)
    return result | {"roc_auc": intervals.interval("roc_auc", area, outcome, _units(pooled), confidence)}


def compare(settings: Mapping[str, pd.DataFrame], confidence: float = 0.95) -> pd.DataFrame:
    """Every two settings of one cross-validation, image by image, each image by the model that had not seen it.

    The tests are those of `paired.compare`. The ROC AUC compared is the mean of the folds' areas: a pooled one would
    rank the logits of different models against each other. Within a fold its variance is DeLong's, and folds have no
    image in common, so their variances add up.

    Args:
        settings: name -> what `pool` gave, of the same images in the same folds. The first is what the others are
            held against.

    Returns:
        A row for each metric of `COMPARED` and two settings: metric, a, b, value_a, value_b, difference (b - a), low,
        high, p_value, test, p_holm (Holm over all rows) and, where a is the first setting, p_holm_first (Holm over
        those rows). NaN where a metric is undefined.

    Raises:
        ValueError: they are not of the same images in the same folds.
    """
    first, *others = settings.values()
    for rows in others:
        if not first[["object_id", "fold"]].equals(rows[["object_id", "fold"]]):
            raise ValueError("the settings were not tested on the same images in the same folds")
    among = _units(first)
    outcomes = {name: scores.of_predictions(rows) for name, rows in settings.items()}
    areas = {name: _area(rows, outcomes[name]) for name, rows in settings.items()}
    found = []
    for a, b in itertools.combinations(settings, 2):
        pair = paired.compare(outcomes[a], outcomes[b], confidence, metrics=COMPARED)
        if np.isnan(areas[a].value):  # the settings have the same labels in each fold
            pair["roc_auc"] = paired.Difference(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, "undefined")
        else:
            test = "DeLong, by fold" + ("" if outcomes[a].groups is None else " and group")
            pair["roc_auc"] = paired.by_influence(areas[a], areas[b], among, confidence, test)
        for name, one in pair.items():
            limits = {"difference": one.difference, "low": one.low, "high": one.high}
            told = {"metric": name, "a": a, "b": b, "value_a": one.a, "value_b": one.b, **limits}
            found.append({**told, "p_value": one.p_value, "test": one.test})
    result = pd.DataFrame(found)
    held = result["a"] == next(iter(settings))
    result["p_holm"] = paired.holm(result["p_value"].to_numpy())
    result.loc[held, "p_holm_first"] = paired.holm(result.loc[held, "p_value"].to_numpy())
    return result


def _area(pooled: pd.DataFrame, outcome: Outcome) -> Influence:
    """The mean over folds of the ROC AUC."""
    folds = _rows(pooled)
    parts = {fold: influence.of(outcome.take(rows))["roc_auc"] for fold, rows in folds.items()}
    each = np.empty(len(pooled))
    for fold, rows in folds.items():
        each[rows] = parts[fold].each / len(folds)
    value = float(np.mean([part.value for part in parts.values()]))
    return Influence(value, each, np.ones(len(pooled), bool))


def _units(pooled: pd.DataFrame) -> Units:
    """What is independent of what, the folds as strata."""
    among = influence.units(scores.of_predictions(pooled))
    fold = np.empty(among.count, int)
    fold[among.unit] = pooled["fold"].to_numpy()
    stratum = among.stratum
    # As Units has it: 0 and below label 0 only, 2 and above label 1 only.
    return Units(among.unit, np.where(stratum == 0, -fold, np.where(stratum == 2, 2 + fold, 1)))


def _rows(pooled: pd.DataFrame) -> dict[int, np.ndarray]:
    """fold -> its rows."""
    return {fold: np.flatnonzero(pooled["fold"] == fold) for fold in sorted(set(pooled["fold"]))}


def doubts(pooled: pd.DataFrame) -> pd.DataFrame:
    """Every image with the cross-entropy (`loss`, in nats) of its label under the model that had not seen it.

    The highest loss first: where the model contradicts the label most firmly, the label is worth a second look
    (Northcutt, Jiang and Chuang 2021 rank by the same out-of-fold confidence). A wrong label is one reason of a
    high loss, a hard image another; nothing is removed.
    """
    outcome = scores.of_predictions(pooled)
    loss = scores.losses(outcome.labels, outcome.logits)
    return pooled.assign(loss=loss).sort_values(["loss", "object_id"], ascending=[False, True], ignore_index=True)
