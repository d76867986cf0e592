"""Two classifiers on the same images: which differences are more than chance."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, t
from statsmodels.stats.multitest import multipletests

from kesikaran.config.metric_names import METRICS, PairedTest
from kesikaran.metrics import calibration, influence, intervals
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """A metric of two outcomes, `difference` = b - a with its two-sided interval, and the p-value of "no difference"
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
    confidence: float = 0.95,
    calibration_bins: int = 10,
    metrics: Collection[str] | None = None,
) -> dict[str, Difference]:
    """Every metric of `scores.score` but the counts, or those of `metrics`, of two outcomes of the same images, row by
    row. calibration_error takes longer than all the others.

    Nothing is drawn at random. Intervals and p-values allow for the images, not for what another training seed or
    another training set would change.

    - accuracy, recall, specificity: McNemar's exact test, which is conservative: at 5 % it rejects a true "no
      difference" in less than 5 % of samples. The interval is Newcombe's (1998) method 10, so the two may disagree
      at the edge.
    - roc_auc: DeLong, DeLong and Clarke-Pearson (1988), with ties as midranks.
    - the others: Student's t on the difference of each image's influences (`influence`), which is the paired t-test
      for log_loss and brier.
    - calibration_error: the interval comes from both intervals taken as independent, which makes it wide (MOVER, Zou
      and Donner 2008), and the p-value is the smallest level at which it leaves out 0.

    With 30 images the intervals of precision, roc_auc and pr_auc are short: they hold a true difference 84 to 88 times
    in 100 (scripts/simulate.py), while the tests stay below their level.

    With groups whole groups are the units everywhere: the t-test on their summed influences stands for McNemar's and
    DeLong's (Obuchowski 1997), and `test` says so.

    Raises:
        ValueError: labels or groups of the two are not the same, row by row.
    """
    if len(a.labels) != len(b.labels) or not np.array_equal(a.labels, b.labels):
        raise ValueError(f"outcomes of {len(a.labels)} and {len(b.labels)} images do not have the same labels by row")
    if not np.array_equal(influence.sampling_units(a).unit, influence.sampling_units(b).unit):
        raise ValueError("the two outcomes do not have the same groups by row")
    among = influence.sampling_units(a)
    parts_b = influence.of(b, metrics)
    result = {}
    for name, part_a in influence.of(a, metrics).items():
        part_b, test = parts_b[name], METRICS[name].test
        if test is PairedTest.mcnemar and not (math.isnan(part_a.value) or math.isnan(part_b.value)):
            limits_a = intervals.interval(name, part_a, a, among, confidence)
            limits_b = intervals.interval(name, part_b, b, among, confidence)
            result[name] = _proportion(part_a, part_b, (limits_a, limits_b), among)
        else:
            result[name] = by_influence(part_a, part_b, among, confidence, test)
    if metrics is None or "calibration_error" in metrics:
        result["calibration_error"] = _calibration(a, b, confidence, calibration_bins)
    return result


def _undefined(a: float, b: float, difference: float = math.nan) -> Difference:
    return Difference(a, b, difference, math.nan, math.nan, math.nan, "undefined")


def by_influence(
    a: Influence, b: Influence, among: Units, confidence: float, test: PairedTest, by: str = ""
) -> Difference:
    """The t-test on the difference of each unit's influences. DeLong's test takes infinite degrees of freedom, where
    the units are images.

    Args:
        by: what the influences were averaged over, for the name of the test; groups are named by themselves.
    """
    if math.isnan(a.value) or math.isnan(b.value):
        return _undefined(a.value, b.value)
    over = [word for word in (by, "group" if among.grouped else "") if word]
    name = test.value + (f", by {' and '.join(over)}" if over else "")
    each, difference = b.each - a.each, b.value - a.value
    spread, freedom = influence.variance(each, among)
    if among.count == 1:
        return _undefined(a.value, b.value, difference)
    # Sums of equal terms in another order differ by a rounding error.
    error = math.sqrt(spread) if spread > (1e-12 * max(abs(a.value), abs(b.value))) ** 2 else 0.0
    if not error:
        same = math.isclose(a.value, b.value, rel_tol=1e-12, abs_tol=1e-12)
        difference = 0.0 if same else difference
        # Every unit moves it by the same: no test that swaps the two can give less.
        p_value = 1.0 if same else 2.0 ** (1 - among.count)
        return Difference(a.value, b.value, difference, difference, difference, p_value, name)
    if test is PairedTest.delong and not among.grouped:
        freedom = math.inf
    wide = float(t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return Difference(a.value, b.value, difference, difference - wide, difference + wide, p_value, name)


def _proportion(a: Influence, b: Influence, limits: tuple[Interval, Interval], among: Units) -> Difference:
    """Of shares of the same images."""
    n = int(a.of.sum())
    spreads = [influence.variance(each, among, a.of)[0] for each in (a.each, b.each, b.each - a.each)]
    root = math.sqrt(spreads[0] * spreads[1])
    correlation = (spreads[0] + spreads[1] - spreads[2]) / (2 * root) if root else 0.0
    if among.grouped:
        found = by_influence(a, b, among, 0.95, PairedTest.influence_t)
        p_value, test = found.p_value, "t of group sums"
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
    """The limits of b - a from those of each (Newcombe 1998, Zou and Donner 2008)."""

    def root(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x**2 + y**2 - 2 * correlation * x * y))

    difference = b.value - a.value
    low = difference - root(b.value - b.low, a.high - a.value)
    return low, difference + root(b.high - b.value, a.value - a.low)


def _calibration(a: Predictions, b: Predictions, confidence: float, bins: int) -> Difference:
    found = [calibration.calibration_bins(one, bins) for one in (a, b)]

    def limits(level: float) -> tuple[Interval, Interval, float, float]:
        first, second = (intervals.calibration_interval(one, level) for one in found)
        return first, second, *_mover(first, second, 0.0)

    first, second, low, high = limits(confidence)
    test = PairedTest.intervals.value
    if math.isnan(first.value) or math.isnan(second.value):
        return _undefined(first.value, second.value)
    difference = second.value - first.value
    if difference == 0:
        return Difference(first.value, second.value, 0.0, low, high, 1.0, test)

    def edge(level: float) -> float:
        """Above 0 while the interval leaves 0 out."""
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
    """Holm's (1979) adjusted p-values, float64 [k], for k tests that may depend on each other; NaNs stay out of it."""
    given = np.asarray(p_values, dtype=np.float64)
    adjusted, known = np.full(len(given), math.nan), ~np.isnan(given)
    if known.any():
        adjusted[known] = multipletests(given[known], method="holm")[1]
    return adjusted


def against_best(
    outcomes: Sequence[Predictions], best: int, metric: str, confidence: float = 0.95, calibration_bins: int = 10
) -> np.ndarray:
    """Holm's adjusted p-value of each outcome against outcome `best`, float64 [k]; NaN for `best` itself.

    Outcomes above 1 - confidence are not distinguishable from the best. The caller names the best by a validation
    metric: picked on these images it would look better than it is.
    """
    p_values = [
        math.nan if i == best else compare(outcomes[best], one, confidence, calibration_bins, (metric,))[metric].p_value
        for i, one in enumerate(outcomes)
    ]
    return holm(p_values)
