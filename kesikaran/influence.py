"""How far each image moves each metric: what intervals and paired comparisons are made of.

The influence of image i is the derivative of the metric by the weight of i (Hampel 1974, the infinitesimal jackknife
of Efron 1982). The influences sum to 0, and the sum of their squares estimates the metric's variance: for a mean that
is the usual formula, for the ROC AUC it is DeLong, DeLong and Clarke-Pearson's (1988). Images of one group are added up
before they are squared, which is the cluster-robust variance (Obuchowski 1997 for the ROC AUC).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran import scores
from kesikaran.scores import Outcome

# Shares of images that are right or wrong: their interval is the binomial's.
PROPORTIONS = ("accuracy", "precision", "recall", "specificity")


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
    label 1 only, 1 both.
    """

    unit: np.ndarray
    stratum: np.ndarray

    @property
    def count(self) -> int:
        return len(self.stratum)


def units(outcome: Outcome) -> Units:
    if outcome.groups is None:
        return Units(np.arange(len(outcome.labels)), 2 * outcome.labels)
    _, unit = np.unique(outcome.groups, return_inverse=True)
    ones = np.bincount(unit, outcome.labels)
    return Units(unit, (ones > 0).astype(int) + (ones == np.bincount(unit)))


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


def of(outcome: Outcome) -> dict[str, Influence]:
    """Every metric of `scores.score` but the counts and calibration_error; value and influences are NaN where it is
    undefined."""
    is_one, said_one = outcome.labels == 1, outcome.predicted == 1
    everywhere = np.ones(len(is_one), bool)
    recall = _ratio(is_one & said_one, is_one)
    specificity = _ratio(~is_one & ~said_one, ~is_one)
    half = (recall.value + specificity.value) / 2
    return {
        "accuracy": _ratio(is_one == said_one, everywhere),
        "balanced_accuracy": Influence(half, (recall.each + specificity.each) / 2, everywhere),
        "precision": _ratio(is_one & said_one, said_one),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2.0 * (is_one & said_one), is_one.astype(float) + said_one),
        "roc_auc": _roc_auc(is_one, outcome.logits),
        "pr_auc": _pr_auc(is_one, outcome.logits),
        "log_loss": _ratio(scores.losses(outcome.labels, outcome.logits), everywhere),
        "brier": _ratio((expit(outcome.logits.astype(np.float64)) - outcome.labels) ** 2, everywhere),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> Influence:
    total = float(whole.sum())
    value = float(part.sum()) / total if total else math.nan
    each = (part - value * whole) / total if total else np.full(len(part), math.nan)
    return Influence(value, each, whole > 0)


def _roc_auc(is_one: np.ndarray, logits: np.ndarray) -> Influence:
    """An image's influence is the share of the other label's images that it beats (ties: half), less the area, over
    its label's count. By midranks (Sun and Xu 2014)."""
    everywhere, ones, zeros = np.ones(len(is_one), bool), int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return Influence(math.nan, np.full(len(is_one), math.nan), everywhere)
    ranks = rankdata(logits)
    beaten = np.empty(len(is_one))
    beaten[is_one] = (ranks[is_one] - rankdata(logits[is_one])) / zeros
    beaten[~is_one] = 1 - (ranks[~is_one] - rankdata(logits[~is_one])) / ones
    value = float(beaten[is_one].mean())
    return Influence(value, (beaten - value) / np.where(is_one, ones, zeros), everywhere)


def _pr_auc(is_one: np.ndarray, logits: np.ndarray) -> Influence:
    """The average precision is the mean over images of label 1 of the precision at their logit: an image counts by
    its own precision, and by what it does to the precision at its logit and at every lower one."""
    everywhere, ones = np.ones(len(is_one), bool), int(is_one.sum())
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
