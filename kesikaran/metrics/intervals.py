"""Each metric of an outcome with its confidence interval."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import ncx2, norm, t
from statsmodels.stats.proportion import proportion_confint

from kesikaran.config.metric_names import METRICS, Kind
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


def intervals(outcome: Predictions, confidence: float = 0.95, calibration_bins: int = 10) -> dict[str, Interval]:
    """Every metric of the catalogue.

    Nothing is drawn at random: the intervals come from each image's influence on the metric, in one sort of the
    logits. How often they hold the truth is what scripts/simulate.py prints; for roc_auc and pr_auc it is more than
    promised with independent images, and less with 30 groups. The target is the metric in a population with this
    outcome's share of label 1.

    - accuracy, precision, recall, specificity: Wilson (1927); where the split fixed the label counts, precision
      varies less than that, and its interval is wider than it need be. With groups Wilson on the effective sample size
      (Korn and Graubard 1998): the count over the design effect, and the number of groups where all or none are right.
    - roc_auc, pr_auc, f1, balanced_accuracy: Wilson on the effective sample size value (1 - value) / variance, with
      the quantile of Student's t. It is capped (`_most`), so that an area of 1 has a lower limit below 1.
    - log_loss, brier: Student's t on the logarithm. Rare large losses that a small sample did not meet are not in it:
      at 30 images, or of a nearly perfect classifier, it holds the truth 89 to 93 times in 100. Where all images of
      a label have one loss, it is known exactly.
    - calibration_error: see `calibration_interval`.

    Args:
        confidence: in (0, 1).
    """
    among = influence.sampling_units(outcome)
    found = influence.of(outcome)
    result = {name: interval(name, part, outcome, among, confidence) for name, part in found.items()}
    result["calibration_error"] = calibration_interval(
        calibration.calibration_bins(outcome, calibration_bins), confidence
    )
    return result


def interval(name: str, part: Influence, outcome: Predictions, among: Units, confidence: float) -> Interval:
    """The interval of one metric other than calibration_error, from its influences."""
    if math.isnan(part.value):
        return UNDEFINED
    metric = METRICS[name]
    if metric.kind is Kind.proportion:
        size, freedom = effective_size(part, outcome, among)
        return wilson(part.value, size, freedom, confidence)
    spread, freedom = influence.variance(part.each, among)
    if metric.kind is Kind.loss:
        if among.count == 1:
            return Interval(part.value, 0.0, metric.most)
        wide = _quantile(confidence, freedom) * math.sqrt(spread)
        factor = math.exp(min(wide / part.value, 700.0)) if wide else 1.0
        return Interval(part.value, part.value / factor, min(part.value * factor, metric.most))
    most = _most(name, part.value, *_counts(outcome, among, groups=spread == 0))
    size = min(part.value * (1 - part.value) / spread, most) if spread else most
    return wilson(part.value, size, freedom, confidence)


def effective_size(part: Influence, outcome: Predictions, among: Units) -> tuple[float, float]:
    """(how many independent images a proportion is worth, degrees of freedom of that number).

    The images themselves where there are no groups, with infinite degrees of freedom. With groups never more than
    the images; where all or none are right no design effect can be seen, and the groups are counted."""
    images = float(part.of.sum())
    if outcome.groups is None:
        return images, math.inf
    groups = len(np.unique(among.unit[part.of]))
    spread, freedom = influence.variance(part.each, among, part.of)
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


def _counts(outcome: Predictions, among: Units, groups: bool) -> tuple[float, float]:
    """How many images, or groups, there are with label 1 and with label 0."""
    if groups:
        return float((among.stratum > 0).sum()), float((among.stratum < 2).sum())
    return float((outcome.labels == 1).sum()), float((outcome.labels == 0).sum())


def _most(name: str, value: float, ones: float, zeros: float) -> float:
    """The effective sample size that no sample exceeds, however little its influences spread.

    That of a balanced accuracy whose two shares are equal. For a roc_auc of 1 it is within 2 % of that of Newcombe's
    (2006, part 2) method 5. For a pr_auc of 1 it is the images of label 1 (the binomial interval of Boyd, Eng and Page
    2013).
    """
    if name == "pr_auc" and value == 1:
        return ones
    return 4 * ones * zeros / (ones + zeros) if ones and zeros else ones + zeros


def calibration_interval(found: CalibrationBins, confidence: float) -> Interval:
    """The interval of `scores.calibration_error`, the bins taken as given.

    The squared gaps that are seen sum to a multiple of a noncentral chi-squared variable, by their first two moments
    (Satterthwaite 1946), and its noncentrality is the squared calibration error: the interval inverts its
    distribution function (Venables 1975; the same is done for the RMSEA). It holds 0 unless the gaps are larger
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
    """The noncentrality at which a chi-squared variable is below `seen` with probability `level`, 0 if none is."""
    if ncx2.cdf(seen, freedom, 0) <= level:
        return 0.0
    most = seen + 10 * math.sqrt(2 * freedom + 4 * seen) + 40
    return float(brentq(lambda value: ncx2.cdf(seen, freedom, value) - level, 0, most))
