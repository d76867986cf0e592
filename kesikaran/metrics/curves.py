"""The curves that figures draw of predictions: ROC, precision against recall, and reliability, with their bands."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from kesikaran.metrics import calibration, influence, intervals
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

_MOST_THRESHOLDS = 200  # a figure shows no more


@dataclass(frozen=True)
class Curve:
    """A curve and the two edges of its band, each float64 [k, 2] of x and y, in [0, 1], x ascending."""

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """Bins of equal counts of images. probability: the mean predicted probability of label 1, float64 [bins]. share:
    the share of label 1 of each bin, with its interval. images: the counts, int [bins]."""

    probability: np.ndarray
    share: list[Interval]
    images: np.ndarray


def roc(predictions: Predictions, confidence: float) -> Curve | None:
    """The true positive rate against the false positive rate; None where a label is missing.

    The band is pointwise: at each threshold the true pair of rates lies between the edges with `confidence`, because
    the two rates come from different images and each has a Wilson interval of level sqrt(confidence). Unlike the band
    of a bootstrap it has a width where the sample shows no errors. The curve has at most 200 thresholds, evenly spread
    over the distinct logits.
    """
    rates = _rates(predictions, confidence)
    if rates is None:
        return None
    points = np.array([(false.value, true.value) for false, true in rates])
    low = np.array([(0.0, 0.0), *((false.high, true.low) for false, true in rates)])
    high = np.array([*((false.low, true.high) for false, true in rates), (1.0, 1.0)])
    return Curve(points, low, high)


def precision_recall(predictions: Predictions, confidence: float) -> Curve | None:
    """Precision against recall; None where a label is missing.

    The band is that of `roc`, at the share of label 1 of these images. The precision of a point holds from the recall
    of the point before it to the recall of the point itself.
    """
    rates = _rates(predictions, confidence)
    if rates is None:
        return None
    ones = float(np.mean(predictions.labels))

    def precision(false: float, true: float) -> float:
        predicted = ones * true + (1 - ones) * false
        return ones * true / predicted if predicted else 1.0

    points = np.array([(true.value, precision(false.value, true.value)) for false, true in rates[1:]])
    low = [(true.low, precision(false.high, true.low)) for false, true in rates]
    high = [(true.high, precision(false.low, true.high)) for false, true in rates]
    return Curve(points, np.array([*low, (1.0, low[-1][1])]), np.array([(0.0, high[0][1]), *high]))


def reliability(predictions: Predictions, bins: int, confidence: float) -> Reliability:
    """The share of label 1 against the predicted probability, on the bins of `calibration.bin_of`."""
    units = influence.sampling_units(predictions)
    place = calibration.bin_of(predictions, bins)
    counts = np.bincount(place)
    kept = np.flatnonzero(counts)
    probability = np.bincount(place, expit(predictions.logits.astype(np.float64)))[kept] / counts[kept]
    is_one = predictions.labels == 1
    share = [_share(is_one, place == b, units, confidence) for b in kept]
    return Reliability(probability, share, counts[kept])


def _rates(predictions: Predictions, confidence: float) -> list[tuple[Interval, Interval]] | None:
    """The false and the true positive rate at each threshold, from one above all logits to the lowest logit."""
    zeros, ones = predictions.labels == 0, predictions.labels == 1
    if not zeros.any() or not ones.any():
        return None
    units = influence.sampling_units(predictions)
    distinct = np.unique(predictions.logits)[::-1]
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _MOST_THRESHOLDS)).round().astype(int))
    rates = []
    for threshold in (math.inf, *distinct[chosen]):
        above = predictions.logits >= threshold
        false, true = (_share(above, of, units, math.sqrt(confidence)) for of in (zeros, ones))
        rates.append((false, true))
    return rates


def _share(which: np.ndarray, of: np.ndarray, units: Units, confidence: float) -> Interval:
    """The share of the images `of` that are in `which`, both bool [n]."""
    value = float(which[of].mean())
    each = np.where(of, which - value, 0.0) / of.sum()
    return intervals.proportion(Influence(value, each, np.where(of, 0, -1)), units, confidence)
