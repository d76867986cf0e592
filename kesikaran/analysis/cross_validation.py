"""Predictions of all folds to one out-of-fold table, its numbers, and settings against each other on them.

Intervals and p-values here hold for the models that were trained: what other images of the same kind would change. What
another training set would change is not in them, for the folds share most of their training images, and no estimate of
it from one cross-validation is free of bias (Bengio and Grandvalet 2004).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from kesikaran.analysis.wording import significance_level
from kesikaran.config.metric_names import ACROSS_SETTINGS, METRICS, OVER_FOLDS
from kesikaran.metrics import binary, influence, intervals, paired, scores
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions


def conclusion(pairs: pd.DataFrame, images: int, confidence: float) -> list[str]:
    """What differs from the first setting, in words.

    Args:
        pairs: as `crossval.compare` gives them.
    """
    first = pairs["a"].iloc[0]
    held = pairs[pairs["a"] == first]
    least = significance_level(confidence)
    lines = [
        f"Against {first}, on {images:,} images out of fold, image by image, "
        f"Holm over {held['p_value'].count()} comparisons at {least:.0%}:"
    ]
    for metric, rows in held.groupby("metric", sort=False):
        real = rows[rows["p_holm_first"] <= least]
        noise = rows.loc[rows["p_holm_first"] > least, "b"]
        undefined = rows.loc[rows["p_holm_first"].isna(), "b"]
        each = [
            f"{row['b']} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" for _, row in real.iterrows()
        ]
        lines.append(f"  {METRICS[str(metric)].words}")
        found = {"real": each, "within noise": list(noise), "undefined": list(undefined)}
        lines += [f"    {word}: {', '.join(names)}" for word, names in found.items() if names]
    lines.append(
        "Intervals and p-values hold for these trained models on other images of the kind. What another seed or "
        "another training set would change is not in them, and the folds share training images. ROC AUC is "
        "the mean of the folds' areas."
    )
    return lines


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
    outcome = Predictions.from_table(pooled)
    whole = scores.score(outcome, calibration_bins)
    each = [scores.score(outcome.take(rows)) for rows in _rows(pooled).values()]
    spread = pd.DataFrame(each)
    result = {f"oof/{name}": float(value) for name, value in whole.items()}
    for name, found in intervals.intervals(outcome, confidence, calibration_bins).items():
        result |= {f"oof/{name}_low": found.low, f"oof/{name}_high": found.high}
    for name in OVER_FOLDS:
        result[f"oof/{name}_fold_mean"] = float(spread[name].mean(skipna=False))
        result[f"oof/{name}_fold_std"] = float(spread[name].std(ddof=1, skipna=False))
    return {name: value for name, value in result.items() if not np.isnan(value)}


def table(result: dict[str, float]) -> pd.DataFrame:
    """`describe`'s metrics as rows, with the columns pooled, low, high, fold_mean and fold_std; NaN: undefined."""
    ends = {"pooled": "", "low": "_low", "high": "_high", "fold_mean": "_fold_mean", "fold_std": "_fold_std"}
    rows = {
        name: {column: result.get(f"oof/{name}{end}", np.nan) for column, end in ends.items()} for name in OVER_FOLDS
    }
    return pd.DataFrame(rows).T


def values(pooled: pd.DataFrame, confidence: float = 0.95) -> dict[str, Interval]:
    """The metrics `ACROSS_SETTINGS` of a pooled table with their intervals; a metric that ranks is the mean of its
    values on the folds."""
    outcome = Predictions.from_table(pooled)
    parts, among = influence.of(outcome, ACROSS_SETTINGS), influence.sampling_units(outcome)
    within, folds = _fold_means(pooled, outcome), _units(pooled)
    return {
        name: intervals.interval(
            name, within.get(name, parts[name]), outcome, folds if name in within else among, confidence
        )
        for name in ACROSS_SETTINGS
    }


def compare(settings: Mapping[str, pd.DataFrame], confidence: float = 0.95) -> pd.DataFrame:
    """Every two settings of one cross-validation, image by image, each image by the model that had not seen it.

    The tests are those of `paired.compare`. The ROC AUC compared is the mean of the folds' areas: a pooled one would
    rank the logits of different models against each other. Within a fold its variance is DeLong's, and folds have no
    image in common, so their variances add up.

    Args:
        settings: name -> what `pool` gave, of the same images in the same folds. The first is what the others are
            held against.

    Returns:
        A row for each metric of `ACROSS_SETTINGS` and two settings: metric, a, b, value_a, value_b, difference (b - a),
        low, high, p_value, test, p_holm (Holm over all rows) and, where a is the first setting, p_holm_first (Holm over
        those rows). NaN where a metric is undefined.

    Raises:
        ValueError: they are not of the same images in the same folds.
    """
    first, *others = settings.values()
    for rows in others:
        if not first[["object_id", "fold"]].equals(rows[["object_id", "fold"]]):
            raise ValueError("the settings were not tested on the same images in the same folds")
    among = _units(first)
    outcomes = {name: Predictions.from_table(rows) for name, rows in settings.items()}
    within = {name: _fold_means(rows, outcomes[name]) for name, rows in settings.items()}
    found = []
    for a, b in itertools.combinations(settings, 2):
        pair = paired.compare(outcomes[a], outcomes[b], confidence, metrics=ACROSS_SETTINGS)
        for name, mean in within[a].items():
            pair[name] = paired.by_influence(mean, within[b][name], among, confidence, METRICS[name].test, by="fold")
        for name, one in pair.items():
            limits = {"difference": one.difference, "low": one.low, "high": one.high}
            told = {"metric": name, "a": a, "b": b, "value_a": one.a, "value_b": one.b, **limits}
            found.append({**told, "p_value": one.p_value, "test": one.test})
    result = pd.DataFrame(found)
    held = result["a"] == next(iter(settings))
    result["p_holm"] = paired.holm(result["p_value"].to_numpy())
    result.loc[held, "p_holm_first"] = paired.holm(result.loc[held, "p_value"].to_numpy())
    return result


def _fold_means(pooled: pd.DataFrame, outcome: Predictions) -> dict[str, Influence]:
    """The metrics that rank, each as the mean of its values on the folds."""
    folds = _rows(pooled)
    ranked = [name for name in ACROSS_SETTINGS if METRICS[name].ranks]
    parts = {fold: influence.of(outcome.take(rows), ranked) for fold, rows in folds.items()}
    result = {}
    for name in ranked:
        each = np.empty(len(pooled))
        for fold, rows in folds.items():
            each[rows] = parts[fold][name].each / len(folds)
        value = float(np.mean([part[name].value for part in parts.values()]))
        result[name] = Influence(value, each, np.ones(len(pooled), bool))
    return result


def _units(pooled: pd.DataFrame) -> Units:
    """What is independent of what, the folds as strata."""
    among = influence.sampling_units(Predictions.from_table(pooled))
    fold = np.empty(among.count, int)
    fold[among.unit] = pooled["fold"].to_numpy()
    stratum = among.stratum
    # As Units has it: 0 and below label 0 only, 2 and above label 1 only.
    return Units(among.unit, np.where(stratum == 0, -fold, np.where(stratum == 2, 2 + fold, 1)), among.grouped)


def _rows(pooled: pd.DataFrame) -> dict[int, np.ndarray]:
    """fold -> its rows."""
    return {fold: np.flatnonzero(pooled["fold"] == fold) for fold in sorted(set(pooled["fold"]))}


def doubts(pooled: pd.DataFrame) -> pd.DataFrame:
    """Every image with the cross-entropy (`loss`, in nats) of its label under the model that had not seen it.

    The highest loss first: where the model contradicts the label most firmly, the label is worth a second look
    (Northcutt, Jiang and Chuang 2021 rank by the same out-of-fold confidence). A wrong label is one reason of a
    high loss, a hard image another; nothing is removed.
    """
    outcome = Predictions.from_table(pooled)
    loss = binary.losses(outcome.labels, outcome.logits)
    return pooled.assign(loss=loss).sort_values(["loss", "object_id"], ascending=[False, True], ignore_index=True)
