"""How far each image moves each metric: what intervals and paired comparisons are made of.

The influence of image i is the derivative of the metric by the weight of i (Hampel 1974, the infinitesimal jackknife
of Efron 1982). The influences sum to 0, and the sum of their squares estimates the metric's variance: for a mean that
is the usual formula, for the ROC AUC it is DeLong, DeLong and Clarke-Pearson's (1988). Images of one group are added up
before they are squared, which is the cluster-robust variance (Obuchowski 1997 for the ROC AUC).
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran.metrics import binary
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Influence:
    """value: the metric. each: float64 [n], sum 0. of: bool [n], the images that it is a share of, or all of them."""

    value: float
    each: np.ndarray
    of: np.ndarray


@dataclass(frozen=True)
class Units:
    """What is independent of what: images, or groups of them.

    unit: int [n], the unit of each image, 0 to count - 1. stratum: int [count]: 0 holds images of label 0 only, 2 of
    label 1 only, 1 both. grouped: units are groups, so that their number and not that of the images decides how far
    a variance can be trusted.
    """

    unit: np.ndarray
    stratum: np.ndarray
    grouped: bool = False

    @property
    def count(self) -> int:
        return len(self.stratum)


def sampling_units(outcome: Predictions) -> Units:
    if outcome.groups is None:
        return Units(np.arange(len(outcome.labels)), 2 * outcome.labels)
    _, unit = np.unique(outcome.groups, return_inverse=True)
    ones = np.bincount(unit, outcome.labels)
    return Units(unit, (ones > 0).astype(int) + (ones == np.bincount(unit)), grouped=True)


def variance(each: np.ndarray, among: Units, of: np.ndarray | None = None) -> tuple[float, float]:
    """(the variance of a metric, its degrees of freedom) from the influences.

    The counts of the strata are taken as given. Degrees of freedom after Satterthwaite (1946).

    Args:
        of: bool [n]; units that hold none of these images are left out, and the others are one stratum.
    """
    sums = np.bincount(among.unit, each, among.count)
    stratum = among.stratum
    if of is not None:
        held = np.bincount(among.unit, of, among.count) > 0
        sums, stratum = sums[held], np.zeros(int(held.sum()), int)
    total, squares = 0.0, 0.0
    for name in np.unique(stratum):
        inside = sums[stratum == name]
        k = len(inside)
        # A stratum of one has no spread of its own: its influence stands for it, with one degree of freedom.
        part = float(np.sum((inside - inside.mean()) ** 2)) * k / (k - 1) if k > 1 else float(inside[0] ** 2)
        total += part
        squares += part**2 / max(k - 1, 1)
    return total, total**2 / squares if squares else float(max(len(sums) - 1, 1))


def of(outcome: Predictions, names: Collection[str] | None = None) -> dict[str, Influence]:
    """The metrics `names` (None: all) but the calibration error, which is made of bins and not of images; value and
    influences are NaN where a metric is undefined.

    Undefined are recall and pr_auc without an image of label 1, specificity without one of label 0, balanced_accuracy
    and roc_auc without either, precision where nothing is predicted 1, f1 where moreover nothing is 1.
    """
    wanted = [name for name in _INFLUENCES if names is None or name in names]
    return {name: _INFLUENCES[name](outcome) for name in wanted}


def _everywhere(outcome: Predictions) -> np.ndarray:
    return np.ones(len(outcome.labels), bool)


def _accuracy(outcome: Predictions) -> Influence:
    return _ratio(outcome.labels == outcome.predicted, _everywhere(outcome))


def _balanced_accuracy(outcome: Predictions) -> Influence:
    recall, specificity = _recall(outcome), _specificity(outcome)
    half = (recall.value + specificity.value) / 2
    return Influence(half, (recall.each + specificity.each) / 2, _everywhere(outcome))


def _precision(outcome: Predictions) -> Influence:
    return _ratio((outcome.labels == 1) & (outcome.predicted == 1), outcome.predicted == 1)


def _recall(outcome: Predictions) -> Influence:
    return _ratio((outcome.labels == 1) & (outcome.predicted == 1), outcome.labels == 1)


def _specificity(outcome: Predictions) -> Influence:
    return _ratio((outcome.labels == 0) & (outcome.predicted == 0), outcome.labels == 0)


def _f1(outcome: Predictions) -> Influence:
    is_one, predicted_one = outcome.labels == 1, outcome.predicted == 1
    return _ratio(2.0 * (is_one & predicted_one), is_one.astype(float) + predicted_one)


def _log_loss(outcome: Predictions) -> Influence:
    return _ratio(binary.losses(outcome.labels, outcome.logits), _everywhere(outcome))


def _brier(outcome: Predictions) -> Influence:
    return _ratio((expit(outcome.logits.astype(np.float64)) - outcome.labels) ** 2, _everywhere(outcome))


def _ratio(part: np.ndarray, whole: np.ndarray) -> Influence:
    total = float(whole.sum())
    value = float(part.sum()) / total if total else math.nan
    each = (part - value * whole) / total if total else np.full(len(part), math.nan)
    return Influence(value, each, whole > 0)


def _roc_auc(outcome: Predictions) -> Influence:
    """An image's influence is the share of the other label's images that it beats (ties: half), less the area, over
    its label's count. By midranks (Sun and Xu 2014)."""
    is_one, logits, everywhere = outcome.labels == 1, outcome.logits, _everywhere(outcome)
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return Influence(math.nan, np.full(len(is_one), math.nan), everywhere)
    ranks = rankdata(logits)
    beaten = np.empty(len(is_one))
    beaten[is_one] = (ranks[is_one] - rankdata(logits[is_one])) / zeros
    beaten[~is_one] = 1 - (ranks[~is_one] - rankdata(logits[~is_one])) / ones
    value = float(beaten[is_one].mean())
    return Influence(value, (beaten - value) / np.where(is_one, ones, zeros), everywhere)


def _pr_auc(outcome: Predictions) -> Influence:
    """The average precision is the mean over images of label 1 of the precision at their logit: an image counts by
    its own precision, and by what it does to the precision at its logit and at every lower one."""
    is_one, logits, everywhere = outcome.labels == 1, outcome.logits, _everywhere(outcome)
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
