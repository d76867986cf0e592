"""The paired comparison of two classifiers on the same images: which differences are more than chance."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, t
from statsmodels.stats.multitest import multipletests

from kesikaran.config.metric_names import Kind, PairedTest
from kesikaran.config.schema import CALIBRATION_BINS, CONFIDENCE
from kesikaran.metrics import calibration, influence, intervals
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """A metric of two classifiers, `difference` = b - a with its two-sided interval, and the p-value of "no difference"
    with the name of its test. NaNs where the metric is undefined for one of them."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    test: str


def compare(
    a: Predictions,
    b: Predictions,
    confidence: float = CONFIDENCE,
    calibration_bins: int = CALIBRATION_BINS,
    metrics: Collection[str] | None = None,
) -> dict[str, Difference]:
    """Every metric of the catalogue, or those of `metrics`, of two predictions of the same images, row by row.

    Nothing is drawn at random. calibration_error takes longer than all the others. Intervals and p-values allow for
    other images, not for what another training seed or another training set would change.

    - accuracy, recall, specificity: McNemar's exact test, which is conservative: at 5 % it rejects a true "no
      difference" in less than 5 % of samples. The interval is Newcombe's (1998) method 10, so the two may disagree
      at the edge.
    - roc_auc: DeLong, DeLong and Clarke-Pearson (1988), with ties as midranks.
    - precision: the generalized score test of Kosinski (2013). The interval is the wider one of its own and that of
      the next line, so the two may disagree at the edge.
    - the others: Student's t on the differences of the influences of each image (`influence`). Where the counts of the
      labels are random, it is the paired t-test for log_loss and brier.
    - calibration_error: the interval comes from both intervals taken as independent, which makes it wide (MOVER, Zou
      and Donner 2008). The p-value is the smallest level at which the interval does not hold 0.

    With 30 images the intervals of precision, roc_auc and pr_auc are short: they hold a true difference 84 to 88 times
    in 100 (scripts/simulate.py), while the tests stay below their level.

    With groups the sampling units are groups for every metric. The t-test on their summed influences then replaces
    McNemar's and DeLong's tests (Obuchowski 1997), and `test` names it.

    Raises:
        ValueError: labels or groups of the two are not the same, row by row.
    """
    units = _common_units(a, b)
    parts_a, parts_b = influence.of(a, metrics), influence.of(b, metrics)
    result = {}
    for name, metric in influence.metrics(a, metrics).items():
        if name not in parts_b and metric.kind is not Kind.calibration:
            continue  # b has no weights
        if metric.kind is Kind.calibration:
            result[name] = _calibration(a, b, confidence, calibration_bins)
        elif metric.test is PairedTest.mcnemar:
            limits = [intervals.proportion(part, units, confidence) for part in (parts_a[name], parts_b[name])]
            result[name] = _proportion(parts_a[name], parts_b[name], limits, units)
        else:
            result[name] = by_influence(parts_a[name], parts_b[name], units, confidence, metric.test)
            if metric.test is PairedTest.score:
                result[name] = _with_score_test(result[name], parts_a[name], parts_b[name], units, confidence)
    return result


def _common_units(a: Predictions, b: Predictions) -> Units:
    """The sampling units of both, or ValueError where the labels or the units of the two differ."""
    if len(a.labels) != len(b.labels) or not np.array_equal(a.labels, b.labels):
        raise ValueError(
            f"predictions of {len(a.labels)} and {len(b.labels)} images do not have the same labels by row"
        )
    units = influence.sampling_units(a)
    if not np.array_equal(units.unit, influence.sampling_units(b).unit):
        raise ValueError("the two predictions do not have the same groups by row")
    if a.weights is not None and b.weights is not None and not np.array_equal(a.weights, b.weights):
        raise ValueError("the two predictions do not have the same weights by row")
    return units


def _undefined(a: float, b: float, difference: float = math.nan) -> Difference:
    return Difference(a, b, difference, math.nan, math.nan, math.nan, "undefined")


def by_influence(
    a: Influence, b: Influence, units: Units, confidence: float, test: PairedTest, by: str = ""
) -> Difference:
    """The t-test on the differences of the influences, summed over each sampling unit. DeLong's test takes infinite
    degrees of freedom where the units are images.

    Args:
        by: what the metric was averaged over, for the name of the test. Groups add their own word to the name.
    """
    if math.isnan(a.value) or math.isnan(b.value):
        return _undefined(a.value, b.value)
    over = [word for word in (by, "group" if units.grouped else "") if word]
    name = test.value + (f", by {' and '.join(over)}" if over else "")
    change = _change(a, b)
    difference = change.value
    spread, freedom = influence.variance(change, units)
    if units.count == 1 or math.isnan(spread):
        return _undefined(a.value, b.value, difference)
    # Sums of the same terms in another order differ by a rounding error, which is taken for 0.
    error = math.sqrt(spread) if spread > (1e-12 * max(abs(a.value), abs(b.value))) ** 2 else 0.0
    if not error:
        same = math.isclose(a.value, b.value, rel_tol=1e-12, abs_tol=1e-12)
        difference = 0.0 if same else difference
        # Every unit adds the same difference. Of the 2^count ways to swap a and b unit by unit, two differ as much.
        p_value = 1.0 if same else 2.0 ** (1 - units.count)
        return Difference(a.value, b.value, difference, difference, difference, p_value, name)
    if test is PairedTest.delong and not units.grouped:
        freedom = math.inf
    half_width = float(t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return Difference(a.value, b.value, difference, difference - half_width, difference + half_width, p_value, name)


def _change(a: Influence, b: Influence) -> Influence:
    return Influence(b.value - a.value, b.each - a.each, np.maximum(a.cell, b.cell))


def _with_score_test(found: Difference, a: Influence, b: Influence, units: Units, confidence: float) -> Difference:
    """`found` with the generalized score test of two shares of different images (Kosinski 2013).

    The variance is that of two equal shares, so the residuals are taken from the pooled share. With few images in the
    shares this keeps the level, which the variance of the seen shares does not, and the interval is at least as wide as
    this variance makes it. Sums over groups take the place of images. Student's t has as many degrees of freedom as
    units in either share, less 1.
    """
    if math.isnan(found.p_value) or not found.difference:
        return found
    hits = [part.each * part.of.sum() + part.value * part.of for part in (a, b)]
    pooled = float(hits[0].sum() + hits[1].sum()) / float(a.of.sum() + b.of.sum())
    before, after = ((hit - pooled * part.of) / part.of.sum() for hit, part in zip(hits, (a, b), strict=True))
    sums = np.bincount(units.unit, after - before, units.count)
    error, freedom = math.sqrt(float(sums @ sums)), max(len(np.unique(units.unit[a.of | b.of])) - 1, 1)
    name = PairedTest.score.value + (", by group" if units.grouped else "")
    p_value = float(2 * t.sf(abs(found.difference) / error, freedom)) if error else 1.0
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    low, high = min(found.low, found.difference - reach), max(found.high, found.difference + reach)
    return replace(found, low=low, high=high, p_value=p_value, test=name)


def _proportion(a: Influence, b: Influence, limits: Sequence[Interval], units: Units) -> Difference:
    """The difference of two shares of the same images, by McNemar's test or, with groups, by the t-test."""
    if math.isnan(a.value) or math.isnan(b.value):
        return _undefined(a.value, b.value)
    n = int(a.of.sum())
    spreads = [influence.variance(part, units)[0] for part in (a, b, _change(a, b))]
    root = math.sqrt(spreads[0] * spreads[1]) if not math.isnan(spreads[2]) else 0.0
    correlation = (spreads[0] + spreads[1] - spreads[2]) / (2 * root) if root else 0.0
    if units.grouped:
        tested = by_influence(a, b, units, CONFIDENCE, PairedTest.influence_t)  # its p-value alone, not its interval
        p_value, test = tested.p_value, "t of group sums"
    else:
        change = np.rint((b.each - a.each + (b.value - a.value) / n) * n)[a.of]
        gained, lost = int((change > 0).sum()), int((change < 0).sum())
        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        test = PairedTest.mcnemar.value
        if correlation > 0:
            share = math.sqrt(a.value * (1 - a.value) * b.value * (1 - b.value))
            correlation = max(0.0, correlation - 1 / (2 * n * share))
    low, high = _mover(limits[0], limits[1], correlation)
    return Difference(a.value, b.value, b.value - a.value, low, high, p_value, test)


def _mover(a: Interval, b: Interval, correlation: float) -> tuple[float, float]:
    """The limits of b - a from the limits of a and of b (Newcombe 1998, Zou and Donner 2008)."""

    def root(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x**2 + y**2 - 2 * correlation * x * y))

    difference = b.value - a.value
    low = difference - root(b.value - b.low, a.high - a.value)
    return low, difference + root(b.high - b.value, a.value - a.low)


def _calibration(a: Predictions, b: Predictions, confidence: float, bins: int) -> Difference:
    bins_a, bins_b = calibration.calibration_bins(a, bins), calibration.calibration_bins(b, bins)

    def limits(level: float) -> tuple[Interval, Interval, float, float]:
        first, second = (intervals.calibration_interval(each, level) for each in (bins_a, bins_b))
        return first, second, *_mover(first, second, 0.0)

    first, second, low, high = limits(confidence)
    test = PairedTest.intervals.value
    if math.isnan(first.value) or math.isnan(second.value):
        return _undefined(first.value, second.value)
    difference = second.value - first.value
    if difference == 0:
        return Difference(first.value, second.value, 0.0, low, high, 1.0, test)

    def edge(level: float) -> float:
        """The limit that is nearer to 0, turned so that it is above 0 where the interval does not hold 0."""
        _, _, below, above = limits(level)
        return below if difference > 0 else -above

    smallest, largest = 1e-9, 1 - 1e-9
    if edge(smallest) <= 0:
        p_value = 1.0
    elif edge(largest) >= 0:
        p_value = 1 - largest
    else:
        p_value = 1 - float(brentq(edge, smallest, largest, xtol=1e-6))
    return Difference(first.value, second.value, difference, low, high, p_value, test)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values, float64 [k], for k tests that may depend on each other. A NaN stays NaN and does
    not count as a test."""
    given = np.asarray(p_values, dtype=np.float64)
    adjusted, known = np.full(len(given), math.nan), ~np.isnan(given)
    if known.any():
        adjusted[known] = multipletests(given[known], method="holm")[1]
    return adjusted


def against_best(
    predictions: Sequence[Predictions],
    best: int,
    metric: str,
    confidence: float = CONFIDENCE,
    calibration_bins: int = CALIBRATION_BINS,
) -> np.ndarray:
    """Holm's adjusted p-value of each classifier against the classifier `best`, float64 [k]; NaN for `best` itself.

    Classifiers with a p-value above 1 - confidence are not distinguishable from the best. The caller names the best by
    a validation metric: chosen on these images it would look better than it is.
    """

    def p_value(other: Predictions) -> float:
        return compare(predictions[best], other, confidence, calibration_bins, (metric,))[metric].p_value

    return holm([math.nan if i == best else p_value(other) for i, other in enumerate(predictions)])
