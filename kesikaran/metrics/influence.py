"""The influence of each image on each metric, from which intervals and paired comparisons are computed.

The influence of image i is the derivative of the metric by the weight of i (Hampel 1974, the infinitesimal jackknife
of Efron 1982). The influences sum to 0, and the sum of their squares estimates the variance of the metric. For a mean
this is the usual formula, for the ROC AUC it is that of DeLong, DeLong and Clarke-Pearson (1988). The influences of the
images of one group are added up before they are squared, which gives the cluster-robust variance (Obuchowski 1997 for
the ROC AUC).
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran.config.metric_names import METRICS, Kind
from kesikaran.metrics import binary
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Influence:
    """value: the metric. each: the influence of each image, float64 [n], sum 0. of: bool [n], the images whose share
    the metric is, or all images."""

    value: float
    each: np.ndarray
    of: np.ndarray


@dataclass(frozen=True)
class Units:
    """The sampling units, which are independent of each other: images, or groups of images.

    unit: int [n], the unit of each image, 0 to count - 1. stratum: int [count]. 0 and below: the units hold images of
    label 0 only. 1: both labels. 2 and above: label 1 only. grouped: the units are groups, so that the number of groups
    and not the number of images decides how far a variance can be trusted.
    """

    unit: np.ndarray
    stratum: np.ndarray
    grouped: bool = False

    @property
    def count(self) -> int:
        return len(self.stratum)


def sampling_units(predictions: Predictions) -> Units:
    """The groups of the predictions, or the images where there are no groups."""
    if predictions.groups is None:
        return Units(np.arange(len(predictions.labels)), 2 * predictions.labels)
    _, unit = np.unique(predictions.groups, return_inverse=True)
    ones = np.bincount(unit, predictions.labels)
    return Units(unit, (ones > 0).astype(int) + (ones == np.bincount(unit)), grouped=True)


def variance(each: np.ndarray, units: Units, of: np.ndarray | None = None) -> tuple[float, float]:
    """(the variance of a metric, its degrees of freedom) from the influences.

    The numbers of units in the strata are taken as fixed. The degrees of freedom are those of Satterthwaite (1946).

    Args:
        each: the influence of each image, float64 [n].
        of: bool [n]. Units without any of these images are left out, and the others are one stratum.
    """
    sums = np.bincount(units.unit, each, units.count)
    stratum = units.stratum
    if of is not None:
        with_images = np.bincount(units.unit, of, units.count) > 0
        sums, stratum = sums[with_images], np.zeros(int(with_images.sum()), int)
    total, squares = 0.0, 0.0
    for name in np.unique(stratum):
        inside = sums[stratum == name]
        k = len(inside)
        # One unit alone has no spread. Its squared influence is taken in place of it, with one degree of freedom.
        part = float(np.sum((inside - inside.mean()) ** 2)) * k / (k - 1) if k > 1 else float(inside[0] ** 2)
        total += part
        squares += part**2 / max(k - 1, 1)
    return total, total**2 / squares if squares else float(max(len(sums) - 1, 1))


def of(predictions: Predictions, names: Collection[str] | None = None) -> dict[str, Influence]:
    """The metrics `names`, or all, in the order of the catalogue, but those of the kind `calibration`, which are made
    of bins and not of images. Value and influences are NaN where a metric is undefined.

    Undefined are recall and pr_auc without an image of label 1, specificity without one of label 0, balanced_accuracy
    and roc_auc without either, precision where nothing is predicted 1, f1 where in addition no image has label 1.
    """
    return {
        name: _INFLUENCES[name](predictions)
        for name, metric in METRICS.items()
        if metric.kind is not Kind.calibration and (names is None or name in names)
    }


def _everywhere(predictions: Predictions) -> np.ndarray:
    return np.ones(len(predictions.labels), bool)


def _accuracy(predictions: Predictions) -> Influence:
    return _ratio(predictions.labels == predictions.predicted, _everywhere(predictions))


def _balanced_accuracy(predictions: Predictions) -> Influence:
    recall, specificity = _recall(predictions), _specificity(predictions)
    half = (recall.value + specificity.value) / 2
    return Influence(half, (recall.each + specificity.each) / 2, _everywhere(predictions))


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
    return Influence(value, each, whole > 0)


def _roc_auc(predictions: Predictions) -> Influence:
    """The influence of an image is (b - area) / m.

    b is the share of the images of the other label that the image is on the right side of, where ties count half. m is
    the number of images of its own label. Computed from midranks (Sun and Xu 2014).
    """
    is_one, logits, everywhere = predictions.labels == 1, predictions.logits, _everywhere(predictions)
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return Influence(math.nan, np.full(len(is_one), math.nan), everywhere)
    ranks = rankdata(logits)
    beaten = np.empty(len(is_one))
    beaten[is_one] = (ranks[is_one] - rankdata(logits[is_one])) / zeros
    beaten[~is_one] = 1 - (ranks[~is_one] - rankdata(logits[~is_one])) / ones
    value = float(beaten[is_one].mean())
    return Influence(value, (beaten - value) / np.where(is_one, ones, zeros), everywhere)


def _pr_auc(predictions: Predictions) -> Influence:
    """The average precision, which is the mean over the images of label 1 of the precision at their logit. An image
    moves it by the precision at its own logit, and by its effect on the precision at its logit and at every lower
    one."""
    is_one, logits, everywhere = predictions.labels == 1, predictions.logits, _everywhere(predictions)
    ones = int(is_one.sum())
    if not ones:
        return Influence(math.nan, np.full(len(is_one), math.nan), everywhere)
    levels, level = np.unique(-logits.astype(np.float64), return_inverse=True)
    here = np.bincount(level, is_one, len(levels))
    above_ones = here.cumsum()
    above = np.bincount(level, minlength=len(levels)).cumsum()
    precision = above_ones / above
    value = float((here * precision).sum()) / ones
    gained = (here * (above - above_ones) / above**2)[::-1].cumsum()[::-1][level]
    lost = (here * above_ones / above**2)[::-1].cumsum()[::-1][level]
    return Influence(value, np.where(is_one, precision[level] - value + gained, -lost) / ones, everywhere)


_INFLUENCES: dict[str, Callable[[Predictions], Influence]] = {
    "accuracy": _accuracy,
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
