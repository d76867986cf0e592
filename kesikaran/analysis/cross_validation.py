"""Cross-validation: the out-of-fold predictions of all folds, their metrics, and the comparison of settings on them.

Intervals and p-values hold for the trained models on other images of the same kind. They do not cover what another
training set would change: the folds share most of their training images, and no estimate of it from one
cross-validation is free of bias (Bengio and Grandvalet 2004).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from kesikaran.analysis.wording import significance_level
from kesikaran.config.metric_names import ACROSS_SETTINGS, METRICS, OVER_FOLDS
from kesikaran.config.schema import CALIBRATION_BINS, CONFIDENCE
from kesikaran.metrics import binary, influence, intervals, paired, scores
from kesikaran.metrics.influence import Influence
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.paired import Difference
from kesikaran.metrics.predictions import Predictions


def conclusion(pairs: pd.DataFrame, images: int, confidence: float, verdict: str) -> list[str]:
    """Sentences on which settings differ from the first.

    Args:
        pairs: the table of `compare`. verdict: the metric that comes first and is named the verdict, where the pairs
            have it.
    """
    first = pairs["a"].iloc[0]
    with_first = pairs[pairs["a"] == first]
    level = significance_level(confidence)
    lines = [
        f"Against {first}, on {images:,} images out of fold, image by image, "
        f"Holm over {with_first['p_value'].count()} comparisons at {level:.0%}:"
    ]
    by_metric = sorted(with_first.groupby("metric", sort=False), key=lambda one: one[0] != verdict)
    for metric, rows in by_metric:
        real = rows[rows["p_holm_first"] <= level]
        noise = rows.loc[rows["p_holm_first"] > level, "b"]
        undefined = rows.loc[rows["p_holm_first"].isna(), "b"]
        differences = [
            f"{row['b']} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" for _, row in real.iterrows()
        ]
        lines.append(f"  {METRICS[str(metric)].words}{' (the verdict)' if metric == verdict else ''}")
        found = {"real": differences, "within noise": list(noise), "undefined": list(undefined)}
        lines += [f"    {word}: {', '.join(names)}" for word, names in found.items() if names]
    if verdict not in ACROSS_SETTINGS:
        lines.append(f"The verdict, {METRICS[verdict].words}, is not among the metrics that are compared over folds.")
    lines.append(
        "Intervals and p-values hold for these trained models on other images of the kind. What another seed or "
        "another training set would change is not in them, and the folds share training images. ROC AUC is "
        "the mean of the folds' areas."
    )
    return lines


def pool(folds: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """The out-of-fold table: the prediction of each image by the one model that was tested on it.

    Args:
        folds: fold -> the predictions of its run for every image: columns object_id, split, label, logit, probability,
            and the optional columns of `Predictions.from_table`.

    Returns:
        The same columns without split and with fold, sorted by object id, every image once.

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


def describe(
    pooled: pd.DataFrame, confidence: float = CONFIDENCE, calibration_bins: int = CALIBRATION_BINS
) -> dict[str, float]:
    """The metrics of a pooled table.

    Returns:
        `oof/METRIC`, `oof/METRIC_low` and `_high` over all images at once, `oof/METRIC_fold_mean` and
        `oof/METRIC_fold_std` (n - 1) over the folds, and the counts `oof/n` and `oof/tn fp fn tp`. Folds share most of
        their training images, so the spread is not a standard error of the mean. The pooled ROC AUC also ranks logits
        of different models against each other: where these are calibrated differently, it lies below the mean over the
        folds. Undefined metrics are left out.
    """
    predictions = Predictions.from_table(pooled)
    whole = scores.score(predictions, calibration_bins)
    by_fold = pd.DataFrame([scores.score(predictions.take(rows), calibration_bins) for rows in _rows(pooled).values()])
    result = {f"oof/{name}": float(value) for name, value in whole.items()}
    for name, found in intervals.intervals(predictions, confidence, calibration_bins).items():
        result |= {f"oof/{name}_low": found.low, f"oof/{name}_high": found.high}
    for name in (name for name in OVER_FOLDS if name in by_fold):
        result[f"oof/{name}_fold_mean"] = float(by_fold[name].mean(skipna=False))
        result[f"oof/{name}_fold_std"] = float(by_fold[name].std(ddof=1, skipna=False))
    return {name: value for name, value in result.items() if not np.isnan(value)}


def table(result: dict[str, float]) -> pd.DataFrame:
    """The metrics of `describe` as rows, with the columns pooled, low, high, fold_mean and fold_std; NaN: undefined."""
    ends = {"pooled": "", "low": "_low", "high": "_high", "fold_mean": "_fold_mean", "fold_std": "_fold_std"}
    names = [name for name in OVER_FOLDS if not METRICS[name].needs_weights or f"oof/{name}" in result]
    rows = {name: {column: result.get(f"oof/{name}{end}", np.nan) for column, end in ends.items()} for name in names}
    return pd.DataFrame(rows).T


def values(pooled: pd.DataFrame, confidence: float = CONFIDENCE) -> dict[str, Interval]:
    """The metrics `ACROSS_SETTINGS` of a pooled table with their intervals. A metric that ranks is the mean of its
    values on the folds."""
    predictions = Predictions.from_table(pooled)
    parts, units = influence.of(predictions, ACROSS_SETTINGS), influence.sampling_units(predictions)
    parts |= _fold_means(pooled, predictions)
    return {name: intervals.interval(name, parts[name], predictions, units, confidence) for name in ACROSS_SETTINGS}


def compare(settings: Mapping[str, pd.DataFrame], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Every two settings of one cross-validation, image by image. Each image is predicted by the model that was not
    trained on it.

    The tests are those of `paired.compare`. The ROC AUC that is compared is the mean of the areas of the folds, because
    a pooled one would rank the logits of different models against each other. Within a fold its variance is DeLong's.
    Folds have no image in common, so their variances add up.

    Args:
        settings: name -> the table of `pool`, of the same images in the same folds. The first is the reference of the
            others.

    Returns:
        A row for each metric of `ACROSS_SETTINGS` and two settings: metric, a, b, value_a, value_b, difference (b - a),
        low, high, p_value, test, p_holm (Holm over all rows) and, where a is the first setting, p_holm_first (Holm over
        those rows). NaN where a metric is undefined.

    Raises:
        ValueError: the settings are not of the same images in the same folds.
    """
    first, *others = settings.values()
    for rows in others:
        if not first[["object_id", "fold"]].equals(rows[["object_id", "fold"]]):
            raise ValueError("the settings were not tested on the same images in the same folds")
    units = influence.sampling_units(Predictions.from_table(first))
    predictions = {name: Predictions.from_table(rows) for name, rows in settings.items()}
    fold_means = {name: _fold_means(rows, predictions[name]) for name, rows in settings.items()}
    pairs = []
    for a, b in itertools.combinations(settings, 2):
        differences = paired.compare(predictions[a], predictions[b], confidence, metrics=ACROSS_SETTINGS)
        for name, mean in fold_means[a].items():
            test = METRICS[name].test
            differences[name] = paired.by_influence(mean, fold_means[b][name], units, confidence, test, by="fold")
        pairs += [_row(name, a, b, found) for name, found in differences.items()]
    result = pd.DataFrame(pairs)
    with_first = result["a"] == next(iter(settings))
    result["p_holm"] = paired.holm(result["p_value"].to_numpy())
    result.loc[with_first, "p_holm_first"] = paired.holm(result.loc[with_first, "p_value"].to_numpy())
    return result


def _row(metric: str, a: str, b: str, found: Difference) -> dict[str, object]:
    limits = {"difference": found.difference, "low": found.low, "high": found.high}
    values = {"value_a": found.a, "value_b": found.b, **limits}
    return {"metric": metric, "a": a, "b": b, **values, "p_value": found.p_value, "test": found.test}


def _fold_means(pooled: pd.DataFrame, predictions: Predictions) -> dict[str, Influence]:
    """The metrics that rank, each as the mean of its values on the folds."""
    folds = _rows(pooled)
    ranked = [name for name in ACROSS_SETTINGS if METRICS[name].ranks]
    parts = {fold: influence.of(predictions.take(rows), ranked) for fold, rows in folds.items()}
    result = {}
    for name in ranked:
        each, cell = np.empty(len(pooled)), np.empty(len(pooled), int)
        for number, (fold, rows) in enumerate(folds.items()):
            each[rows] = parts[fold][name].each / len(folds)
            cell[rows] = 2 * number + parts[fold][name].cell  # each fold and label has a mean of its own
        value = float(np.mean([part[name].value for part in parts.values()]))
        result[name] = Influence(value, each, cell)
    return result


def _rows(pooled: pd.DataFrame) -> dict[int, np.ndarray]:
    """fold -> the row numbers of its images."""
    return {fold: np.flatnonzero(pooled["fold"] == fold) for fold in sorted(set(pooled["fold"]))}


def doubts(pooled: pd.DataFrame) -> pd.DataFrame:
    """Every image with the cross-entropy (`loss`, in nats) of its label under the model that was not trained on it.

    The highest loss comes first. There the model contradicts the label most, and the label is worth a second look
    (Northcutt, Jiang and Chuang 2021 rank by the same out-of-fold confidence). A wrong label is one reason for a high
    loss, a hard image another; nothing is removed.
    """
    predictions = Predictions.from_table(pooled)
    loss = binary.losses(predictions.labels, predictions.logits)
    return pooled.assign(loss=loss).sort_values(["loss", "object_id"], ascending=[False, True], ignore_index=True)
