"""The influence of each image on each metric, from which intervals and paired comparisons are computed.

The influence of image i is the derivative of the metric by the weight of i (Hampel 1974, the infinitesimal jackknife
of Efron 1982). The influences sum to 0, and the sum of their squares estimates the variance of the metric. For a mean
this is the usual formula, for the ROC AUC it is that of DeLong, DeLong and Clarke-Pearson (1988). The influences of the
images of one group are added up before they are squared, which gives the cluster-robust variance (Obuchowski 1997 for
the ROC AUC).

Whether the counts of the labels are random matters for a metric that weighs the labels by them, such as the log loss:
of random counts the difference between the labels is a part of its variance, of fixed ones it is not.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran.config.metric_names import METRICS, Kind, Metric
from kesikaran.metrics import binary
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Influence:
    """value: the metric. each: the influence of each image, float64 [n], sum 0. cell: int [n], equal for the images
    over which the metric takes one mean, such as those of a label; -1: the image enters no mean."""

    value: float
    each: np.ndarray
    cell: np.ndarray

    @property
    def of(self) -> np.ndarray:
        """bool [n]: the images that enter the metric."""
        return self.cell >= 0


@dataclass(frozen=True)
class Units:
    """The sampling units, which are independent of each other: images, or groups of images.

    unit: int [n], the unit of each image, 0 to count - 1. grouped: the units are groups of images. labels: int [n] of 0
    and 1 where the counts of the labels are fixed, None where they are random.
    """

    unit: np.ndarray
    count: int
    grouped: bool = False
    labels: np.ndarray | None = None


def sampling_units(predictions: Predictions) -> Units:
    """The groups of the predictions, or the images where there are no groups, or each group is one image.

    The counts of the labels are taken for random where there are groups: a rule moves whole groups, and fixes the
    counts of images only nearly. Intervals are then on the safe side.
    """
    n = len(predictions.labels)
    if predictions.groups is not None:
        names, unit = np.unique(predictions.groups, return_inverse=True)
        if len(names) < n:
            return Units(unit, len(names), grouped=True)
    return Units(np.arange(n), n, labels=predictions.labels if predictions.counts_fixed else None)


def variance(part: Influence, units: Units) -> tuple[float, float]:
    """(the variance of a metric, its degrees of freedom) from its influences.

    Where a mean is over the images of one group alone, its variance cannot be known: it is NaN, with 1 degree of
    freedom.
    """
    return _between_groups(part, units) if units.grouped else _between_images(residuals(part, units), part, units)


def residuals(part: Influence, units: Units) -> np.ndarray:
    """The influence of each image on the metric as far as it is random, float64 [n]. Where the counts of the labels are
    fixed, these are the deviations from the mean influence of the label."""
    if units.labels is None:
        return part.each
    means = np.bincount(units.labels, part.each, 2) / np.maximum(np.bincount(units.labels, minlength=2), 1)
    # One image alone shows no spread. Its influence is taken in place of it.
    means[np.bincount(units.labels, minlength=2) == 1] = 0.0
    return part.each - means[units.labels]


def _between_images(residual: np.ndarray, part: Influence, units: Units) -> tuple[float, float]:
    """The sum over the means of their variances, with Satterthwaite's (1946) degrees of freedom."""
    cell = part.cell if units.labels is None else units.labels
    total = divided = 0.0
    for name in np.unique(cell[cell >= 0]):
        inside = residual[cell == name]
        k = max(len(inside), 2)
        of_cell = float(inside @ inside) * (k / (k - 1) if len(inside) > 1 else 1.0)
        total += of_cell
        divided += of_cell**2 / (k - 1)
    return total, total**2 / divided if divided else float(max(int(part.of.sum()) - 1, 1))


def _between_groups(part: Influence, units: Units) -> tuple[float, float]:
    """The delete-one-group jackknife, linearised: the summed influence of a group over 1 minus the group's share of the
    images (CR3: Bell and McCaffrey 2002).

    The degrees of freedom are Satterthwaite's for groups whose images correlate alike (Imbens and Kolesar 2016). The
    correlation is estimated from the influences. With equal groups they are the number of groups less 1, with unequal
    ones fewer, because few groups then decide.
    """
    sums, expected = np.zeros(units.count), np.zeros(units.count)
    for name in np.unique(part.cell[part.of]):
        inside = part.cell == name
        unit, each = units.unit[inside], part.each[inside]
        sizes, of_group = np.bincount(unit, minlength=units.count), np.bincount(unit, each, units.count)
        k = int((sizes > 0).sum())
        if k == 1:
            return math.nan, 1.0
        sums += of_group / (1 - sizes / len(each)) * math.sqrt((k - 1) / k)
        squares, pairs = float(each @ each), float((sizes * (sizes - 1.0)).sum())
        correlation = (float(of_group @ of_group) - squares) / pairs * len(each) / squares if pairs and squares else 0.0
        expected += squares * sizes * (1 + (sizes - 1) * min(max(correlation, 0.0), 1.0)) / len(each)
    together = float(expected @ expected)
    groups = len(np.unique(units.unit[part.of]))
    freedom = float(expected.sum()) ** 2 / together - 1 if together else float(groups - 1)
    return float(sums @ sums), max(freedom, 1.0)


def metrics(predictions: Predictions, names: Collection[str] | None = None) -> dict[str, Metric]:
    """The metrics `names`, or all, in the order of the catalogue, as far as they are defined for such predictions:
    those that need weights only where the images have weights."""
    return {
        name: metric
        for name, metric in METRICS.items()
        if (names is None or name in names) and not (metric.needs_weights and predictions.weights is None)
    }


def of(predictions: Predictions, names: Collection[str] | None = None) -> dict[str, Influence]:
    """Those of `metrics`, but not of the kind `calibration`, which are made of bins and not of images. Value and
    influences are NaN where a metric is undefined.

    Undefined are recall and pr_auc without an image of label 1, specificity without one of label 0, balanced_accuracy
    and roc_auc without either, precision where nothing is predicted 1, f1 where in addition no image has label 1.
    """
    return {
        name: _INFLUENCES[name](predictions)
        for name, metric in metrics(predictions, names).items()
        if metric.kind is not Kind.calibration
    }


def _everywhere(predictions: Predictions) -> np.ndarray:
    return np.ones(len(predictions.labels), bool)


def _by_label(predictions: Predictions) -> np.ndarray:
    return np.asarray(predictions.labels, int)


def _accuracy(predictions: Predictions) -> Influence:
    return _ratio(predictions.labels == predictions.predicted, _everywhere(predictions))


def _weighted_accuracy(predictions: Predictions) -> Influence:
    assert predictions.weights is not None
    return _ratio(predictions.weights * (predictions.labels == predictions.predicted), predictions.weights)


def _balanced_accuracy(predictions: Predictions) -> Influence:
    recall, specificity = _recall(predictions), _specificity(predictions)
    half = (recall.value + specificity.value) / 2
    return Influence(half, (recall.each + specificity.each) / 2, _by_label(predictions))


def _precision(predictions: Predictions) -> Influence:
    return _ratio((predictions.labels == 1) & (predictions.predicted == 1), predictions.predicted == 1)


def _recall(predictions: Predictions) -> Influence:
    return _ratio((predictions.labels == 1) & (predictions.predicted == 1), predictions.labels == 1)


def _specificity(predictions: Predictions) -> Influence:
    return _ratio((predictions.labels == 0) & (predictions.predicted == 0), predictions.labels == 0)


def _f1(predictions: Predictions) -> Influence:
    is_one, predicted_one = predictions.labels == 1, predictions.predicted == 1
    return _ratio(2.0 * (is_one & predicted_one), is_one.astype(float) + predicted_one)


def _log_loss(predictions: Predictions) -> Influence:
    return _ratio(binary.losses(predictions.labels, predictions.logits), _everywhere(predictions))


def _brier(predictions: Predictions) -> Influence:
    return _ratio((expit(predictions.logits.astype(np.float64)) - predictions.labels) ** 2, _everywhere(predictions))


def _ratio(part: np.ndarray, whole: np.ndarray) -> Influence:
    total = float(whole.sum())
    value = float(part.sum()) / total if total else math.nan
    each = (part - value * whole) / total if total else np.full(len(part), math.nan)
    return Influence(value, each, np.where(whole > 0, 0, -1))


def _roc_auc(predictions: Predictions) -> Influence:
    """The influence of an image is (b - area) / m.

    b is the share of the images of the other label that the image is on the right side of, where ties count half. m is
    the number of images of its own label. Computed from midranks (Sun and Xu 2014).
    """
    is_one, logits, by_label = predictions.labels == 1, predictions.logits, _by_label(predictions)
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return Influence(math.nan, np.full(len(is_one), math.nan), by_label)
    ranks = rankdata(logits)
    beaten = np.empty(len(is_one))
    beaten[is_one] = (ranks[is_one] - rankdata(logits[is_one])) / zeros
    beaten[~is_one] = 1 - (ranks[~is_one] - rankdata(logits[~is_one])) / ones
    value = float(beaten[is_one].mean())
    return Influence(value, (beaten - value) / np.where(is_one, ones, zeros), by_label)


def _pr_auc(predictions: Predictions) -> Influence:
    """The average precision, which is the mean over the images of label 1 of the precision at their logit. An image
    moves it by the precision at its own logit, and by its effect on the precision at its logit and at every lower
    one."""
    is_one, logits, by_label = predictions.labels == 1, predictions.logits, _by_label(predictions)
    ones = int(is_one.sum())
    if not ones:
        return Influence(math.nan, np.full(len(is_one), math.nan), by_label)
    levels, level = np.unique(-logits.astype(np.float64), return_inverse=True)
    here = np.bincount(level, is_one, len(levels))
    above_ones = here.cumsum()
    above = np.bincount(level, minlength=len(levels)).cumsum()
    precision = above_ones / above
    value = float((here * precision).sum()) / ones
    gained = (here * (above - above_ones) / above**2)[::-1].cumsum()[::-1][level]
    lost = (here * above_ones / above**2)[::-1].cumsum()[::-1][level]
    return Influence(value, np.where(is_one, precision[level] - value + gained, -lost) / ones, by_label)


_INFLUENCES: dict[str, Callable[[Predictions], Influence]] = {
    "accuracy": _accuracy,
    "weighted_accuracy": _weighted_accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
    "specificity": _specificity,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
}
