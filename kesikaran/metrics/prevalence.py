"""Precision, alerts and missed images at another share of label 1, such as that in use."""

import math
from dataclasses import dataclass

import numpy as np

from kesikaran.config.schema import CONFIDENCE
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


def at(predictions: Predictions, prevalence: float, confidence: float = CONFIDENCE) -> AtPrevalence:
    """What the predicted labels come to where a share `prevalence` of the images has label 1.

    Recall and false-positive rate are taken to be the same there, and their intervals (`intervals.proportion`) to be
    independent. precision is 1 / (1 + odds * ratio), where odds are those of label 0 and ratio is the false-positive
    rate over recall. The interval of the ratio comes from both intervals (MOVER-R, Donner and Zou 2012; Fagerland and
    Newcombe 2013), so that the lower limit of a precision of 1 is below 1. alerts is the weighted sum of the two rates
    (Newcombe 1998; MOVER, Zou and Donner 2008).

    Args:
        prevalence: in (0, 1).

    Returns:
        precision is UNDEFINED where nothing is predicted 1, everything where a label has no image.

    Raises:
        ValueError: prevalence outside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence {prevalence} is not between 0 and 1")
    units, parts = influence.sampling_units(predictions), influence.of(predictions, _RATES)
    recall, specificity = (intervals.proportion(parts[name], units, confidence) for name in _RATES)
    if math.isnan(recall.value) or math.isnan(specificity.value):
        return AtPrevalence(prevalence, UNDEFINED, UNDEFINED, UNDEFINED)
    fpr = Interval(1 - specificity.value, 1 - specificity.high, 1 - specificity.low)
    ones, zeros = 1e4 * prevalence, 1e4 * (1 - prevalence)
    missed = Interval(ones * (1 - recall.value), ones * (1 - recall.high), ones * (1 - recall.low))
    alerts = ones * recall.value + zeros * fpr.value
    fewer = math.hypot(ones * (recall.value - recall.low), zeros * (fpr.value - fpr.low))
    more = math.hypot(ones * (recall.high - recall.value), zeros * (fpr.high - fpr.value))
    precision = _precision(fpr, recall, zeros / ones)
    return AtPrevalence(
        prevalence, precision, Interval(alerts, max(0.0, alerts - fewer), min(1e4, alerts + more)), missed
    )


def _precision(fpr: Interval, recall: Interval, odds: float) -> Interval:
    """The precision at `odds` of label 0 to label 1, with the interval MOVER-R of the ratio (Donner and Zou 2012)."""
    if recall.value == 0 and fpr.value == 0:
        return UNDEFINED
    product = fpr.value * recall.value
    above = fpr.low * (2 * fpr.value - fpr.low)
    root = math.sqrt(max(0.0, product**2 - above * recall.high * (2 * recall.value - recall.high)))
    least = above / (product + root) if above else 0.0
    below = recall.low * (2 * recall.value - recall.low)
    high = 1 / (1 + odds * least)
    if not below:
        return Interval(recall.value / (recall.value + odds * fpr.value), 0.0, high)
    most = (product + math.sqrt(product**2 - fpr.high * (2 * fpr.value - fpr.high) * below)) / below
    return Interval(recall.value / (recall.value + odds * fpr.value), 1 / (1 + odds * most), high)


def smallest_certifiable_rate(n: int, confidence: float = CONFIDENCE) -> float:
    """The lowest upper bound that n independent images can set to an error rate, which they do where none is wrong.

    It is one-sided and exact, 1 - (1 - confidence)^(1 / n); about 3 / n at 95 %, the rule of three (Hanley and
    Lippman-Hand 1983). With 75 images of label 0, no false-positive rate below 3.9 % can be certified.
    """
    return float(-np.expm1(np.log1p(-confidence) / n))
