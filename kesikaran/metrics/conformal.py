"""The band of log-odds in which a classifier is not sure, by conformal prediction on validation.

For each label alone, validation tells which log-odds are unusual for an image of that label. A label is possible for an
image where the image's log-odds are not among the share `error` of the most unusual ones (Vovk, Gammerman and Shafer
2005, Mondrian conformal prediction; chapter 4.5). The classifier is sure of an image where its own label is the only
possible one. So of the images of each label, at most the share `error` is called the other label with certainty. That
holds on average over validation sets, and whatever the share of label 1 is where the classifier is used, as long as the
images of each label there are like those of validation.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Band:
    """Where a classifier is not sure: low <= log-odds <= high, in nats. Both ends may be infinite, where validation has
    too few images of a label. error: the share that is promised."""

    low: float
    high: float
    error: float


def band(labels: np.ndarray, log_odds: np.ndarray, error: float, threshold: float) -> Band:
    """The band of a classifier that calls an image 1 where its log-odds are at least `threshold`.

    Each end lies half-way between two log-odds of validation, on the cautious side.

    Args:
        labels: int [n] of 0 and 1, of validation. log_odds: float [n]. error: above 0, below 1.
    """
    scores = np.asarray(log_odds, np.float64)
    for_one = _least(scores[labels == 1], error)  # the lowest log-odds for which label 1 is possible
    for_zero = -_least(-scores[labels == 0], error)  # the highest for which label 0 is possible
    # Between them both labels are possible or none is, in which case the image is unlike all of validation. With the
    # threshold inside, the only possible label outside is the classifier's own.
    return Band(min(for_one, for_zero, threshold), max(for_one, for_zero, threshold), error)


def _least(scores: np.ndarray, error: float) -> float:
    """The least score that is possible for images of one label, whose low scores are unusual. scores: float64 [n] of
    such images."""
    from crepes import ConformalClassifier

    if len(scores) + 1 < 1 / error:  # even the lowest is not unusual enough
        return -math.inf
    values = np.unique(scores)
    fitted = ConformalClassifier().fit(-scores)
    p_values = fitted.predict_p(-values[:, None], smoothing=False)[:, 0]
    place = int(np.argmax(p_values > error))
    return float(values[0]) if place == 0 else float(values[place - 1] + values[place]) / 2


def is_sure(found: Band | None, log_odds: np.ndarray) -> np.ndarray:
    """bool [n]; everywhere True without a band."""
    if found is None:
        return np.ones(len(log_odds), bool)
    return ~((log_odds >= found.low) & (log_odds <= found.high))


@dataclass(frozen=True)
class Kept:
    """What came of the promise. unsure: share of the images that the classifier is not sure of. wrong: label -> the
    number of its images that are called the other label with certainty. counts: label -> the number of its images."""

    unsure: float
    wrong: dict[int, int]
    counts: dict[int, int]


def kept(rows: pd.DataFrame) -> Kept:
    """rows: with the columns label, predicted and sure."""
    surely_wrong = rows["sure"] & (rows["predicted"] != rows["label"])
    each = {label: rows["label"] == label for label in (0, 1)}
    wrong = {label: int(surely_wrong[those].sum()) for label, those in each.items()}
    return Kept(float(1 - rows["sure"].mean()), wrong, {label: int(those.sum()) for label, those in each.items()})
