"""Each metric of predictions with its confidence interval."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtr, chndtr, stdtrit  # the same numbers as scipy.stats, in a hundredth of the time

from kesikaran.config.metric_names import METRICS, Kind
from kesikaran.config.schema import CALIBRATION_BINS, CONFIDENCE
from kesikaran.metrics import calibration, influence
from kesikaran.metrics.calibration import CalibrationBins
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Interval:
    """A metric and its two-sided confidence interval; three NaNs where the metric is undefined."""

    value: float
    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan, math.nan)

# A variance that few images decide is estimated badly, and too small more often than not. Where a binomial variance is
# known to be near, the two are averaged, and this many images are the weight of the binomial one. Chosen by simulation.
_PRIOR_IMAGES = 10


def intervals(
    predictions: Predictions,
    confidence: float = CONFIDENCE,
    calibration_bins: int = CALIBRATION_BINS,
    names: Collection[str] | None = None,
) -> dict[str, Interval]:
    """The metrics `names`, or every metric of the catalogue, in its order.

    Nothing is drawn at random: the intervals come from the influence of each image on the metric, in one sort of the
    logits. scripts/simulate.py prints how often they hold the truth, docs/statistics.md where that is not 93 to 97
    times in 100. The target is the metric in the population that the images come from; where the counts of the labels
    are fixed (`Predictions.counts_fixed`), in a population with these shares of the labels.

    - accuracy, precision, recall, specificity: Wilson (1927) on the effective sample size (`effective_size`).
    - weighted_accuracy: Wilson on the effective sample size value (1 - value) / variance, with the quantile of
      Student's t. The size is at most that of Kish (1965), (sum of weights)^2 / (sum of squared weights).
    - f1: 2J / (1 + J) of the limits of J = TP / (TP + FP + FN), which is the share of hits among the images that are of
      label 1 or predicted 1, and has the interval of a share.
    - roc_auc, pr_auc, balanced_accuracy: Wilson on the effective sample size value (1 - value) / variance, with the
      quantile of Student's t. The size is capped (`_largest_size`), so that an area of 1 has a lower limit below 1.
    - log_loss, brier: Student's t on the logarithm with groups. Of independent images Hall's (1992) transformation,
      which corrects Student's t for the skewness of the losses. Rare large losses that a small sample does not contain
      are not covered. Where all images of a label have the same loss, the interval has no width.
    - calibration_error: see `calibration_interval`.

    Args:
        confidence: in (0, 1).
    """
    units = influence.sampling_units(predictions)
    parts = influence.of(predictions, names)
    return {
        name: calibration_interval(calibration.calibration_bins(predictions, calibration_bins), confidence)
        if metric.kind is Kind.calibration
        else interval(name, parts[name], predictions, units, confidence)
        for name, metric in influence.metrics(predictions, names).items()
    }


def interval(name: str, part: Influence, predictions: Predictions, units: Units, confidence: float) -> Interval:
    """The interval of a metric of any kind but `calibration`, from its influences."""
    metric = METRICS[name]
    if metric.kind is Kind.proportion:
        return proportion(part, units, confidence)
    if math.isnan(part.value):
        return UNDEFINED
    if metric.kind is Kind.harmonic:
        return _harmonic(part, units, confidence)
    if metric.kind is Kind.loss:
        return _loss(part, units, confidence, metric.most)
    spread, freedom = influence.variance(part, units)
    if math.isnan(spread):
        return Interval(part.value, 0.0, 1.0)
    if metric.kind is Kind.weighted:
        size = _kish(predictions, units, groups=spread == 0)
        size = min(part.value * (1 - part.value) / spread, size) if spread else size
        return wilson(part.value, size, freedom, confidence)
    ones, zeros = _counts(predictions, units, groups=spread == 0)
    largest = _largest_size(metric.kind, part.value, ones, zeros)
    size = min(part.value * (1 - part.value) / spread, largest) if spread else largest
    if metric.kind is Kind.average_precision:
        # The variance is averaged with the binomial one of Boyd, Eng and Page (2013).
        size = (_PRIOR_IMAGES + ones) / (_PRIOR_IMAGES / ones + ones / size)
    return wilson(part.value, size, freedom, confidence)


def proportion(part: Influence, units: Units, confidence: float) -> Interval:
    """The interval of a share of images."""
    if math.isnan(part.value):
        return UNDEFINED
    size, freedom = effective_size(part, units)
    return wilson(part.value, size, freedom, confidence) if size else Interval(part.value, 0.0, 1.0)


def effective_size(part: Influence, units: Units) -> tuple[float, float]:
    """(how many independent images a proportion is worth, degrees of freedom of that number).

    It is the count of images over the design effect (Korn and Graubard 1998). Of independent images with random counts
    of the labels the design effect is 1, and the degrees of freedom are infinite. With fixed counts a share that
    differs between the labels is less random (Yan and Su 2010). With groups it is at most the number of images, and
    the number of groups where all or none are right, so that no design effect can be seen. It is 0 where one group
    holds all images.
    """
    images = float(part.of.sum())
    if not units.grouped:
        return images / _design_effect(part, units), math.inf
    groups = len(np.unique(units.unit[part.of]))
    spread, freedom = influence.variance(part, units)
    if groups == 1:
        return 0.0, freedom
    return (min(images, part.value * (1 - part.value) / spread) if spread else float(groups)), freedom


def _design_effect(part: Influence, units: Units) -> float:
    """The variance of a share of independent images over that of a binomial one: 1 where the counts of the labels are
    random. Of fixed counts it is averaged with 1, because few images of a label can hide their variance."""
    binomial = part.value * (1 - part.value) / float(part.of.sum())
    if units.labels is None or not binomial:
        return 1.0
    seen = float(np.sum(influence.residuals(part, units) ** 2)) / binomial
    rarer = int(np.bincount(units.labels, minlength=2).min())
    return (rarer * seen + _PRIOR_IMAGES) / (rarer + _PRIOR_IMAGES)


def wilson(value: float, size: float, freedom: float, confidence: float) -> Interval:
    """Wilson's interval of a share `value` of `size` independent images, with Student's t where freedom is finite."""
    squared = _quantile(confidence, freedom) ** 2 / size
    centre = (value + squared / 2) / (1 + squared)
    half_width = math.sqrt(squared * value * (1 - value) + squared**2 / 4) / (1 + squared)
    return Interval(value, min(max(0.0, centre - half_width), value), max(min(1.0, centre + half_width), value))


def _harmonic(part: Influence, units: Units, confidence: float) -> Interval:
    """The interval of F = 2J / (1 + J) by that of the share J = F / (2 - F), whose derivative is 2 / (2 - F)^2."""
    share = part.value / (2 - part.value)
    found = proportion(Influence(share, part.each * 2 / (2 - part.value) ** 2, part.cell), units, confidence)
    low, high = (2 * limit / (1 + limit) for limit in (found.low, found.high))
    return Interval(part.value, min(low, part.value), max(high, part.value))


def _loss(part: Influence, units: Units, confidence: float, most: float) -> Interval:
    """The interval of a mean of losses of 0 or more. most: the largest possible loss."""
    value = part.value
    spread, freedom = influence.variance(part, units)
    if units.count == 1 or math.isnan(spread):
        return Interval(value, 0.0, most)
    if not spread:
        return Interval(value, value, value)
    error, quantile = math.sqrt(spread), _quantile(confidence, freedom)
    if units.grouped:
        factor = math.exp(min(quantile * error / value, 700.0))
        return Interval(value, value / factor, min(value * factor, most))
    residuals = influence.residuals(part, units) / error
    low, high = (value - error * _unskewed(side, float(np.sum(residuals**3))) for side in (quantile, -quantile))
    return Interval(value, min(max(0.0, low), value), max(min(high, most), value))


def _unskewed(quantile: float, skewness: float) -> float:
    """The quantile of the studentised mean, by the inverse of Hall's (1992) monotone transformation.

    Args:
        skewness: of the mean, that is the skewness of the images over the root of their number.
    """
    if abs(skewness) < 1e-6:
        return quantile
    return 3 * (float(np.cbrt(1 + skewness * (quantile - skewness / 6))) - 1) / skewness


def _quantile(confidence: float, freedom: float) -> float:
    return float(stdtrit(freedom, (1 + confidence) / 2))


def _kish(predictions: Predictions, units: Units, groups: bool) -> float:
    """How many images, or groups, of equal weight are worth those of the predictions' weights (Kish 1965)."""
    of_image = np.asarray(predictions.weights, np.float64)
    each = np.bincount(units.unit, of_image) if groups and units.grouped else of_image
    return float(each.sum() ** 2 / (each @ each))


def _counts(predictions: Predictions, units: Units, groups: bool) -> tuple[float, float]:
    """The numbers of images, or of groups, that hold label 1 and label 0."""
    if groups and units.grouped:
        held = (len(np.unique(units.unit[predictions.labels == label])) for label in (1, 0))
    else:
        held = (int((predictions.labels == label).sum()) for label in (1, 0))
    ones, zeros = (float(count) for count in held)
    return ones, zeros


def _largest_size(kind: Kind, value: float, ones: float, zeros: float) -> float:
    """The effective sample size that no sample exceeds, however little its influences spread.

    It is that of a balanced accuracy whose two shares are equal. For a roc_auc of 1 it is within 2 % of that of method
    5 of Newcombe (2006, part 2). For a pr_auc it is no less than the number of images of label 1, as in the binomial
    interval of Boyd, Eng and Page (2013), and this number for a pr_auc of 1.
    """
    if kind is Kind.average_precision and value == 1:
        return ones
    most = 4 * ones * zeros / (ones + zeros) if ones and zeros else ones + zeros
    return max(ones, most) if kind is Kind.average_precision else most


def calibration_interval(found: CalibrationBins, confidence: float) -> Interval:
    """The interval of `calibration.calibration_error`, with the bins taken as fixed.

    The sum of the observed squared gaps is taken for a multiple of a noncentral chi-squared variable with the same
    first two moments (Satterthwaite 1946). Its noncentrality is the squared calibration error, and the interval inverts
    its distribution function (Venables 1975), as is done for the RMSEA. The interval holds 0 unless the gaps are larger
    than chance makes them.
    """
    error = found.error
    if math.isnan(error):
        return UNDEFINED
    noise = found.share * found.noise
    if not noise.sum():
        return Interval(error, error, error)
    scale = float(noise @ noise / noise.sum())
    freedom, seen = float(noise.sum()) / scale, (error**2 + float(noise.sum())) / scale
    low, high = (_noncentrality(seen, freedom, level) for level in ((1 + confidence) / 2, (1 - confidence) / 2))
    return Interval(error, min(error, math.sqrt(scale * low)), min(1.0, max(error, math.sqrt(scale * high))))


def _noncentrality(seen: float, freedom: float, level: float) -> float:
    """The noncentrality at which a chi-squared variable is below `seen` with probability `level`, or 0 without one."""
    if chdtr(freedom, seen) <= level:
        return 0.0
    most = seen + 10 * math.sqrt(2 * freedom + 4 * seen) + 40
    return float(brentq(lambda value: chndtr(seen, freedom, value) - level, 0, most))
