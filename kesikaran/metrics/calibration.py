"""How far probabilities are from the shares of label 1."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran.metrics.predictions import Predictions


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


def bin_of(outcome: Predictions, bins: int) -> np.ndarray:
    """The bin of each image, int [n] from 0: equal counts by logit (Nixon et al. 2019), at most `bins` of them and no
    more than half the images. Equal logits lie in one bin, so the order of the images does not matter."""
    used = max(1, min(bins, len(outcome.labels) // 2))
    return (used * (rankdata(outcome.logits) - 0.5) / len(outcome.labels)).astype(int)


def calibration_bins(outcome: Predictions, bins: int) -> CalibrationBins:
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


def calibration_error(outcome: Predictions, bins: int) -> float:
    """How far probabilities are from the shares of label 1, in probability: 0 is best, 1 worst.

    The root mean square over the images of their bin's gap between the mean probability and the share of label 1, on
    bins of equal counts, without the bias that makes a plain expected calibration error of a calibrated model grow
    with the bins and shrink with n. It is 0 where the gaps are no larger than chance makes them, and NaN where no
    bin holds two independent images.
    """
    return calibration_bins(outcome, bins).error
