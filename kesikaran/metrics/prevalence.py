"""What a classifier's errors come to where label 1 is as rare as it is in use."""

import math
from dataclasses import dataclass

import numpy as np

from kesikaran.metrics import influence, intervals
from kesikaran.metrics.intervals import UNDEFINED, Interval
from kesikaran.metrics.predictions import Predictions

_RATES = ("recall", "specificity")


@dataclass(frozen=True)
class AtPrevalence:
    """precision: the share of alerts (images predicted 1) that are label 1. alerts, missed: of 10,000 images, those
    predicted 1, and those of label 1 that are predicted 0."""

    prevalence: float
    precision: Interval
    alerts: Interval
    missed: Interval


def at(outcome: Predictions, prevalence: float, confidence: float = 0.95) -> AtPrevalence:
    """The outcome's own predictions where a share `prevalence` of the images has label 1.

    Recall and false-positive rate are taken to be the same there, and their intervals to be independent (`intervals`;
    Wilson's, with groups on the effective sample size). precision is 1 / (1 + odds * ratio) of the ratio of the
    false-positive rate to recall, whose interval comes from both (MOVER-R, Donner and Zou 2012; Fagerland and
    Newcombe 2013): without a false positive its lower limit is below 1. alerts is their weighted sum (Newcombe 1998;
    MOVER, Zou and Donner 2008).

    Args:
        prevalence: in (0, 1).

    Returns:
        precision is UNDEFINED where nothing is predicted 1, everything where a label has no image.

    Raises:
        ValueError: prevalence outside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence {prevalence} is not between 0 and 1")
    among, parts = influence.sampling_units(outcome), influence.of(outcome)
    if math.isnan(parts["roc_auc"].value):
        return AtPrevalence(prevalence, UNDEFINED, UNDEFINED, UNDEFINED)
    recall, right = (intervals.interval(name, parts[name], outcome, among, confidence) for name in _RATES)
    wrong = Interval(1 - right.value, 1 - right.high, 1 - right.low)
    ones, zeros = 1e4 * prevalence, 1e4 * (1 - prevalence)
    missed = Interval(ones * (1 - recall.value), ones * (1 - recall.high), ones * (1 - recall.low))
    alerts = ones * recall.value + zeros * wrong.value
    fewer = math.hypot(ones * (recall.value - recall.low), zeros * (wrong.value - wrong.low))
    more = math.hypot(ones * (recall.high - recall.value), zeros * (wrong.high - wrong.value))
    precision = _precision(wrong, recall, zeros / ones)
    return AtPrevalence(
        prevalence, precision, Interval(alerts, max(0.0, alerts - fewer), min(1e4, alerts + more)), missed
    )


def _precision(wrong: Interval, recall: Interval, odds: float) -> Interval:
    """odds: of label 0 to label 1 in use. The ratio is Donner and Zou's (2012) MOVER-R."""
    if recall.value == 0 and wrong.value == 0:
        return UNDEFINED
    product = wrong.value * recall.value
    above = wrong.low * (2 * wrong.value - wrong.low)
    root = math.sqrt(max(0.0, product**2 - above * recall.high * (2 * recall.value - recall.high)))
    least = above / (product + root) if above else 0.0
    below = recall.low * (2 * recall.value - recall.low)
    high = 1 / (1 + odds * least)
    if not below:
        return Interval(recall.value / (recall.value + odds * wrong.value), 0.0, high)
    most = (product + math.sqrt(product**2 - wrong.high * (2 * wrong.value - wrong.high) * below)) / below
    return Interval(recall.value / (recall.value + odds * wrong.value), 1 / (1 + odds * most), high)


def smallest_certifiable_rate(n: int, confidence: float = 0.95) -> float:
    """The lowest upper bound that n independent images can set to an error rate: none of them is wrong.

    One-sided and exact, 1 - (1 - confidence)^(1 / n); about 3 / n at 95 %, the rule of three (Hanley and
    Lippman-Hand 1983). With 75 images of label 0, no false-positive rate below 3.9 % can be certified.
    """
    return float(-np.expm1(np.log1p(-confidence) / n))
