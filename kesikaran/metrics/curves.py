"""ROC, precision against recall, and reliability, each with its uncertainty: what is drawn of an outcome."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from kesikaran.metrics import calibration, influence, intervals
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

_MOST = 200  # thresholds: a drawing shows no more


@dataclass(frozen=True)
class Curve:
    """A curve and the two edges of its band, each float64 [k, 2] of x and y, in [0, 1], x ascending."""

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """Bins of equal counts: probability, float64 [bins], is the mean that was said; share: of label 1, with its
    intervals; images: int [bins]."""

    probability: np.ndarray
    share: list[Interval]
    images: np.ndarray


def roc(outcome: Predictions, confidence: float) -> Curve | None:
    """The true positive rate against the false positive rate; None where a label is missing.

    The band is pointwise: at each threshold the true pair of rates lies between its edges with `confidence`, for the
    two rates come from different images and each has a Wilson interval of level sqrt(confidence). Unlike a bootstrap's
    it has a width where the sample shows no errors. At most 200 thresholds, evenly spread over the distinct logits.
    """
    rates = _rates(outcome, confidence)
    if rates is None:
        return None
    points = np.array([(false.value, true.value) for false, true in rates])
    low = np.array([(0.0, 0.0), *((false.high, true.low) for false, true in rates)])
    high = np.array([*((false.low, true.high) for false, true in rates), (1.0, 1.0)])
    return Curve(points, low, high)


def precision_recall(outcome: Predictions, confidence: float) -> Curve | None:
    """Precision against recall; None where a label is missing. The band is that of `roc`, with the share of label 1 as
    it is here. A point's precision holds from the recall before it up to its own."""
    rates = _rates(outcome, confidence)
    if rates is None:
        return None
    ones = float(np.mean(outcome.labels))

    def precision(false: float, true: float) -> float:
        said = ones * true + (1 - ones) * false
        return ones * true / said if said else 1.0

    points = np.array([(true.value, precision(false.value, true.value)) for false, true in rates[1:]])
    low = [(true.low, precision(false.high, true.low)) for false, true in rates]
    high = [(true.high, precision(false.low, true.high)) for false, true in rates]
    return Curve(points, np.array([*low, (1.0, low[-1][1])]), np.array([(0.0, high[0][1]), *high]))


def reliability(outcome: Predictions, bins: int, confidence: float) -> Reliability:
    """The share of label 1 against the probability that was said, on the bins of `scores.bin_of`."""
    among = influence.sampling_units(outcome)
    place = calibration.bin_of(outcome, bins)
    counts = np.bincount(place)
    kept = np.flatnonzero(counts)
    said = np.bincount(place, expit(outcome.logits.astype(np.float64)))[kept] / counts[kept]
    is_one = outcome.labels == 1
    return Reliability(said, [_share(is_one, place == b, outcome, among, confidence) for b in kept], counts[kept])


def _rates(outcome: Predictions, confidence: float) -> list[tuple[Interval, Interval]] | None:
    """The false and the true positive rate at each threshold, from the highest, where nothing is 1, to the lowest."""
    zeros, ones = outcome.labels == 0, outcome.labels == 1
    if not zeros.any() or not ones.any():
        return None
    among = influence.sampling_units(outcome)
    distinct = np.unique(outcome.logits)[::-1]
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _MOST)).round().astype(int))
    rates = []
    for threshold in (math.inf, *distinct[chosen]):
        above = outcome.logits >= threshold
        false, true = (_share(above, of, outcome, among, math.sqrt(confidence)) for of in (zeros, ones))
        rates.append((false, true))
    return rates


def _share(which: np.ndarray, of: np.ndarray, outcome: Predictions, among: Units, confidence: float) -> Interval:
    """The share of the images `of` that are `which`, both bool [n]."""
    value = float(which[of].mean())
    each = np.where(of, which - value, 0.0) / of.sum()
    return intervals.interval("recall", Influence(value, each, of), outcome, among, confidence)
