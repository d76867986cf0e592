"""Truth and logits in, numbers out."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata
from sklearn import metrics


@dataclass(frozen=True)
class Outcome:
    """What a classifier said of n images. Label 1 is positive.

    labels: int [n] of 0 and 1. logits: float [n], finite; probability of label 1 = 1 / (1 + exp(-logit)).
    predicted: int [n] of 0 and 1. groups: [n], equal for images that came together, so that they are no independent
    evidence; None: every image stands alone.
    """

    labels: np.ndarray
    logits: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.logits).all():
            raise ValueError(f"{int((~np.isfinite(self.logits)).sum())} of {len(self.logits)} logits are not finite")

    def take(self, rows: np.ndarray) -> "Outcome":
        """The chosen images: their numbers, int [k], or bool [n]."""
        groups = None if self.groups is None else self.groups[rows]
        return Outcome(self.labels[rows], self.logits[rows], self.predicted[rows], groups)


def plain(labels: np.ndarray, logits: np.ndarray, groups: np.ndarray | None = None) -> Outcome:
    """An outcome that predicts 1 where logit >= 0, that is probability >= 0.5."""
    return Outcome(labels, logits, (logits >= 0).astype(int), groups)


def of_predictions(rows: pd.DataFrame) -> Outcome:
    """The outcome that rows of `predictions.parquet` hold: columns label, logit; log_odds, predicted and group where
    they are there."""
    logits = rows["log_odds" if "log_odds" in rows else "logit"].to_numpy(np.float64)
    groups = rows["group"].to_numpy() if "group" in rows else None
    labels = rows["label"].to_numpy()
    if "predicted" not in rows:
        return plain(labels, logits, groups)
    return Outcome(labels, logits, rows["predicted"].to_numpy(), groups)


@dataclass(frozen=True)
class Confusion:
    """Counts of images."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def total(self) -> int:
        return self.tn + self.fp + self.fn + self.tp

    def matrix(self) -> list[list[int]]:
        """[[tn, fp], [fn, tp]]: rows are the true label, columns the predicted one."""
        return [[self.tn, self.fp], [self.fn, self.tp]]


def confusion(outcome: Outcome) -> Confusion:
    counts = metrics.confusion_matrix(outcome.labels, outcome.predicted, labels=[0, 1])
    result = Confusion(*(int(n) for n in counts.ravel()))
    if result.total != len(outcome.labels):
        raise AssertionError(f"the confusion matrix holds {result.total} of {len(outcome.labels)} images")
    return result


def score(outcome: Outcome, calibration_bins: int = 10) -> dict[str, float]:
    """The metrics of one split, n >= 1.

    Returns:
        accuracy, balanced_accuracy, precision, recall, specificity, f1, roc_auc, pr_auc (average precision),
        log_loss (nats), brier, calibration_error, and the counts n tn fp fn tp. NaN where a metric is undefined:
        recall and pr_auc without an image of label 1, specificity without one of 0, balanced_accuracy and roc_auc
        without either, precision where nothing is predicted 1, f1 where moreover nothing is 1, calibration_error
        where no two independent images share a bin.
    """
    counts = confusion(outcome)
    labels, logits = outcome.labels, outcome.logits
    probabilities = expit(logits.astype(np.float64))
    recall = _ratio(counts.tp, counts.tp + counts.fn)
    specificity = _ratio(counts.tn, counts.tn + counts.fp)
    return {
        "accuracy": _ratio(counts.tn + counts.tp, counts.total),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": _ratio(counts.tp, counts.tp + counts.fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn),
        "roc_auc": roc_auc(labels, logits),
        "pr_auc": metrics.average_precision_score(labels, logits) if labels.any() else math.nan,
        "log_loss": log_loss(labels, logits),
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "calibration_error": calibration_error(outcome, calibration_bins),
        "n": counts.total,
        "tn": counts.tn,
        "fp": counts.fp,
        "fn": counts.fn,
        "tp": counts.tp,
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@dataclass(frozen=True)
class CalibrationBins:
    """The bins of a calibration error that hold two images of different groups, each value float64 [bins].

    share: of the images of these bins. gap: mean of label - probability. squared_gap: its square without bias.
    noise: the variance of `gap` as an estimate of the bin's true gap.
    """

    share: np.ndarray
    gap: np.ndarray
    squared_gap: np.ndarray
    noise: np.ndarray

    @property
    def error(self) -> float:
        """The calibration error, see `calibration_error`."""
        return math.sqrt(max(0.0, float(self.share @ self.squared_gap))) if len(self.share) else math.nan


def bin_of(outcome: Outcome, bins: int) -> np.ndarray:
    """The bin of each image, int [n] from 0: equal counts by logit (Nixon et al. 2019), at most `bins` of them and no
    more than half the images. Equal logits lie in one bin, so the order of the images does not matter."""
    used = max(1, min(bins, len(outcome.labels) // 2))
    return (used * (rankdata(outcome.logits) - 0.5) / len(outcome.labels)).astype(int)


def calibration_bins(outcome: Outcome, bins: int) -> CalibrationBins:
    """The bins of `bin_of`.

    `squared_gap` is the mean product of the
    residuals of two images of different groups: its expectation is the square of the bin's true gap, where the
    square of `gap` is too large by the variance of `gap` (Kumar, Liang and Ma 2019; Brocker 2012).
    """
    n = len(outcome.labels)
    probabilities = expit(outcome.logits.astype(np.float64))
    place = bin_of(outcome, bins)
    used = int(place.max()) + 1
    group = np.arange(n) if outcome.groups is None else np.unique(outcome.groups, return_inverse=True)[1]
    cells, cell = np.unique(place * (int(group.max()) + 1) + group, return_inverse=True)
    cell_bin = cells // (int(group.max()) + 1)
    sums, sizes = np.bincount(cell, outcome.labels - probabilities), np.bincount(cell).astype(float)

    def by_bin(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell_bin, values, used)

    images = by_bin(sizes)
    pairs = images**2 - by_bin(sizes**2)
    kept = pairs > 0
    images, pairs = images[kept], pairs[kept]
    gap = by_bin(sums)[kept] / images
    squared_gap = (by_bin(sums)[kept] ** 2 - by_bin(sums**2)[kept]) / pairs
    # Labels that are all equal in a bin show no spread: it has at least that of labels drawn by the probabilities.
    drawn = np.bincount(place, probabilities * (1 - probabilities), used)[kept] / images**2
    return CalibrationBins(images / images.sum(), gap, squared_gap, np.maximum(gap**2 - squared_gap, drawn))


def calibration_error(outcome: Outcome, bins: int) -> float:
    """How far probabilities are from the shares of label 1, in probability: 0 is best, 1 worst.

    The root mean square over the images of their bin's gap between the mean probability and the share of label 1, on
    bins of equal counts, without the bias that makes a plain expected calibration error of a calibrated model grow
    with the bins and shrink with n. It is 0 where the gaps are no larger than chance makes them, and NaN where no
    bin holds two independent images.
    """
    return calibration_bins(outcome, bins).error


def losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Each image's cross-entropy in nats, from logits so that no probability is clipped.

    Returns:
        float64, of the shape of `logits`: [n], or [m, n] for m classifiers.
    """
    signed = np.where(labels == 1, logits, -logits).astype(np.float64)
    return np.logaddexp(0.0, -signed)


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean of `losses`."""
    return float(log_losses(labels, logits[None])[0])


def log_losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The `log_loss` of each of m classifiers, float64 [m]. logits: float [m, n]."""
    means: np.ndarray = np.mean(losses(labels, logits), axis=1)
    return means


def roc_auc(labels: np.ndarray, logits: np.ndarray) -> float:
    """Area under the ROC curve; ties count half, NaN where a label is missing."""
    return float(roc_aucs(labels, logits[None])[0])


def roc_aucs(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The `roc_auc` of each of m classifiers, float64 [m]. logits: float [m, n].

    By ranks (Hanley and McNeil 1982): it is asked for every epoch of every head, and scikit-learn's takes as long as
    an epoch."""
    is_one = labels == 1
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return np.full(len(logits), math.nan)
    return (rankdata(logits, axis=1)[:, is_one].sum(axis=1) - ones * (ones + 1) / 2) / (ones * zeros)
