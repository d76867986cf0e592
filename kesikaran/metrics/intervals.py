"""Each metric of predictions with its confidence interval."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import ncx2, norm, t
from statsmodels.stats.proportion import proportion_confint

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


def intervals(
    predictions: Predictions, confidence: float = CONFIDENCE, calibration_bins: int = CALIBRATION_BINS
) -> dict[str, Interval]:
    """Every metric of the catalogue, in its order.

    Nothing is drawn at random: the intervals come from the influence of each image on the metric, in one sort of the
    logits. scripts/simulate.py prints how often they hold the truth. For roc_auc and pr_auc this is more often than
    promised with independent images, and less often with 30 groups. The target is the metric in a population with the
    share of label 1 of these images.

    - accuracy, precision, recall, specificity: Wilson (1927). Where the split fixes the counts of the labels, precision
      varies less than this, and its interval is wider than necessary. With groups it is Wilson's on the effective
      sample size (Korn and Graubard 1998), which is the count over the design effect, or the number of groups where all
      or none are right.
    - roc_auc, pr_auc, f1, balanced_accuracy: Wilson on the effective sample size value (1 - value) / variance, with
      the quantile of Student's t. The size is capped (`_largest_size`), so that an area of 1 has a lower limit below 1.
    - log_loss, brier: Student's t on the logarithm. Rare large losses that a small sample does not contain are not
      covered: with 30 images, or for a nearly perfect classifier, the interval holds the truth 89 to 93 times in 100.
      Where all images of a label have the same loss, the interval has no width.
    - calibration_error: see `calibration_interval`.

    Args:
        confidence: in (0, 1).
    """
    units = influence.sampling_units(predictions)
    parts = influence.of(predictions)
    return {
        name: calibration_interval(calibration.calibration_bins(predictions, calibration_bins), confidence)
        if metric.kind is Kind.calibration
        else interval(name, parts[name], predictions, units, confidence)
        for name, metric in METRICS.items()
    }


def interval(name: str, part: Influence, predictions: Predictions, units: Units, confidence: float) -> Interval:
    """The interval of a metric of any kind but `calibration`, from its influences."""
    metric = METRICS[name]
    if metric.kind is Kind.proportion:
        return proportion(part, predictions, units, confidence)
    if math.isnan(part.value):
        return UNDEFINED
    spread, freedom = influence.variance(part.each, units)
    if metric.kind is Kind.loss:
        if units.count == 1:
            return Interval(part.value, 0.0, metric.most)
        half_width = _quantile(confidence, freedom) * math.sqrt(spread)
        factor = math.exp(min(half_width / part.value, 700.0)) if half_width else 1.0
        return Interval(part.value, part.value / factor, min(part.value * factor, metric.most))
    largest = _largest_size(metric.kind, part.value, *_counts(predictions, units, groups=spread == 0))
    size = min(part.value * (1 - part.value) / spread, largest) if spread else largest
    return wilson(part.value, size, freedom, confidence)


def proportion(part: Influence, predictions: Predictions, units: Units, confidence: float) -> Interval:
    """The interval of a share of images."""
    if math.isnan(part.value):
        return UNDEFINED
    size, freedom = effective_size(part, predictions, units)
    return wilson(part.value, size, freedom, confidence)


def effective_size(part: Influence, predictions: Predictions, units: Units) -> tuple[float, float]:
    """(how many independent images a proportion is worth, degrees of freedom of that number).

    Without groups it is the number of images, with infinite degrees of freedom. With groups it is at most the number of
    images. Where all or none are right, no design effect can be seen, and it is the number of groups.
    """
    images = float(part.of.sum())
    if predictions.groups is None:
        return images, math.inf
    groups = len(np.unique(units.unit[part.of]))
    spread, freedom = influence.variance(part.each, units, part.of)
    if groups == 1 or spread == 0:
        return float(groups), freedom
    return min(images, part.value * (1 - part.value) / spread), freedom


def wilson(value: float, size: float, freedom: float, confidence: float) -> Interval:
    """Wilson's interval of a share `value` of `size` independent images, with Student's t where freedom is finite."""
    alpha = 2 * norm.sf(_quantile(confidence, freedom))
    low, high = proportion_confint(value * size, size, alpha=alpha, method="wilson")
    return Interval(value, min(max(0.0, float(low)), value), max(min(1.0, float(high)), value))


def _quantile(confidence: float, freedom: float) -> float:
    return float(t.ppf((1 + confidence) / 2, freedom))


def _counts(predictions: Predictions, units: Units, groups: bool) -> tuple[float, float]:
    """The numbers of images, or groups, with label 1 and with label 0."""
    if groups:
        return float((units.stratum > 0).sum()), float((units.stratum < 2).sum())
    return float((predictions.labels == 1).sum()), float((predictions.labels == 0).sum())


def _largest_size(kind: Kind, value: float, ones: float, zeros: float) -> float:
    """The effective sample size that no sample exceeds, however little its influences spread.

    It is that of a balanced accuracy whose two shares are equal. For a roc_auc of 1 it is within 2 % of that of method
    5 of Newcombe (2006, part 2). For a pr_auc of 1 it is the number of images of label 1, as in the binomial interval
    of Boyd, Eng and Page (2013).
    """
    if kind is Kind.average_precision and value == 1:
        return ones
    return 4 * ones * zeros / (ones + zeros) if ones and zeros else ones + zeros


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
    if ncx2.cdf(seen, freedom, 0) <= level:
        return 0.0
    most = seen + 10 * math.sqrt(2 * freedom + 4 * seen) + 40
    return float(brentq(lambda value: ncx2.cdf(seen, freedom, value) - level, 0, most))
