"""The calibration error: how far probabilities are from the shares of label 1."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class CalibrationBins:
    """The bins that hold images of two groups or more, each value float64 [bins].

    share: the part of the images of these bins that lie in the bin. gap: the mean of label - probability. squared_gap:
    an estimate of the squared true gap, without bias. noise: the variance of `gap` as an estimate of the true gap.
    """

    share: np.ndarray
    gap: np.ndarray
    squared_gap: np.ndarray
    noise: np.ndarray

    @property
    def error(self) -> float:
        """The calibration error, see `calibration_error`."""
        return math.sqrt(max(0.0, float(self.share @ self.squared_gap))) if len(self.share) else math.nan


def bin_of(predictions: Predictions, bins: int) -> np.ndarray:
    """The bin of each image, int [n] from 0.

    The bins hold equal counts of images in the order of the logits (Nixon et al. 2019). There are at most `bins` of
    them, and at most half as many as images. Equal logits lie in one bin, so the order of the images does not matter.
    """
    used = max(1, min(bins, len(predictions.labels) // 2))
    return (used * (rankdata(predictions.logits) - 0.5) / len(predictions.labels)).astype(int)


def calibration_bins(predictions: Predictions, bins: int) -> CalibrationBins:
    """The gaps of the bins of `bin_of`.

    `squared_gap` is the mean product of the residuals of two images of different groups. Its expectation is the square
    of the true gap of the bin. The square of `gap` is too large by the variance of `gap` (Kumar, Liang and Ma 2019;
    Brocker 2012).
    """
    n = len(predictions.labels)
    probabilities = expit(predictions.logits.astype(np.float64))
    place = bin_of(predictions, bins)
    used = int(place.max()) + 1
    group = np.arange(n) if predictions.groups is None else np.unique(predictions.groups, return_inverse=True)[1]
    cells, cell = np.unique(place * (int(group.max()) + 1) + group, return_inverse=True)
    cell_bin = cells // (int(group.max()) + 1)
    sums, sizes = np.bincount(cell, predictions.labels - probabilities), np.bincount(cell).astype(float)

    def by_bin(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell_bin, values, used)

    images = by_bin(sizes)
    pairs = images**2 - by_bin(sizes**2)
    kept = pairs > 0
    images, pairs = images[kept], pairs[kept]
    gap = by_bin(sums)[kept] / images
    squared_gap = (by_bin(sums)[kept] ** 2 - by_bin(sums**2)[kept]) / pairs
    # Labels that are all equal in a bin show no spread. The noise is therefore at least that of labels drawn by the
    # probabilities.
    drawn = np.bincount(place, probabilities * (1 - probabilities), used)[kept] / images**2
    return CalibrationBins(images / images.sum(), gap, squared_gap, np.maximum(gap**2 - squared_gap, drawn))


def calibration_error(predictions: Predictions, bins: int) -> float:
    """How far probabilities are from the shares of label 1, a probability: 0 is best, 1 worst.

    It is the root mean square, over the images, of the gap of their bin between the mean probability and the share of
    label 1. The bins hold equal counts. The plain expected calibration error of a calibrated model grows with the bins
    and shrinks with n; this estimate does not have that bias. It is 0 where the gaps are no larger than chance makes
    them, and NaN where no bin holds two independent images.
    """
    return calibration_bins(predictions, bins).error
