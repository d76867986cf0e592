"""Metrics, tests and intervals against scikit-learn, statsmodels, scipy and R: six digits of each.

The images are made up and written out, many with equal logits. The numbers of R are those that R 4.2.2 with pROC 1.18.0
prints for them: with y the labels, and a and b the logits of two classifiers,

    r1 <- roc(y, a, levels=0:1, direction="<"); r2 <- roc(y, b, levels=0:1, direction="<")
    roc.test(r1, r2, paired=TRUE, method="delong"); var(r1); var(r2)
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest, ttest_rel
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar

from kesikaran.metrics import binary, influence, intervals, paired, scores
from kesikaran.metrics.predictions import Predictions

DIGITS = 1e-6


class Delong(NamedTuple):
    """What R prints: the statistic of a - b and its p-value, the areas, their variances, the interval of a - b."""

    z: float
    p_value: float
    area_a: float
    area_b: float
    variance_a: float
    variance_b: float
    low: float
    high: float


# fmt: off
TIES_A = [1, 0, -1, 0, -4, 1, 4, 1, 1, 2, 2, -1, -2, 4, 2, 2, -3, -1, -1, -1, 0, -3, -2, -1,
          1, 4, 1, 4, 2, 3, 1, 2, 5, 5, 2, 5, 3, 1, 3, 2]
TIES_B = [1, 3, 2, -1, -2, 2, 0, 0, 4, 1, 1, -2, -2, 3, -2, 0, -1, 3, -1, -1, 0, -2, -4, 0,
          0, 1, 5, -1, 1, 2, 2, 0, 1, 2, 0, 4, 1, 0, 4, 1]
LOPSIDED_A = [-0.66, -0.43, -1.42, -0.34, 1.45, -0.62, -1.92, 0.53, -0.15, -0.59, -1.24, -1.05, 0.34, -2.53, -0.14,
              -0.3, -1.54, 0.27, 0.58, -0.01, 1.63, -0.07, 0.94, -1.86, 0.67, -1.03, -0.66, -1.2, -0.54, 0.12, -0.94,
              -0.02, -1.64, 0.54, 0.36, 0.4, 0.81, 0.48, 0.65, -0.53, 2.81, 1.93, 0.85, 1.26, 2.37, 2.87, -0.89, 2.46,
              2.26]
LOPSIDED_B = [1.13, -0.29, -1.03, -1.0, 0.63, 0.2, -0.74, 0.23, 0.56, 1.12, -0.11, 0.65, 0.41, -1.9, -0.54, 0.38,
              -0.96, -1.12, -0.44, -0.49, 0.59, 1.59, 0.82, -1.91, 0.76, 1.01, 1.17, -0.37, 0.52, 0.62, -1.16, -0.2,
              -0.88, 1.31, 0.39, -0.43, 1.22, 1.85, 1.06, 0.95, 2.61, 0.94, 1.6, 0.72, 1.63, 1.62, -0.75, 2.34, 1.13]
# fmt: on
IMAGES = {
    "ties": (np.repeat([0, 1], [24, 16]), np.array(TIES_A, float), np.array(TIES_B, float)),
    "lopsided": (np.repeat([0, 1], [40, 9]), np.array(LOPSIDED_A), np.array(LOPSIDED_B)),
}
R = {
    "ties": Delong(1.716728852691624, 0.086028725800112, 0.854166666666667, 0.699218750000000,
                   0.003243885869565, 0.006660685024784, -0.021953832069, 0.331849665402),
    "lopsided": Delong(1.73212257585986, 0.08325174039740, 0.90555555555556, 0.82638888888889,
                       0.00644938073758, 0.00825283416429, -0.0104134921542, 0.1687468254875),
}  # fmt: skip


def both(case: str) -> tuple[Predictions, Predictions]:
    labels, a, b = IMAGES[case]
    return Predictions.from_logits(labels, a), Predictions.from_logits(labels, b)


@pytest.mark.parametrize("case", IMAGES)
def test_every_metric_is_scikit_learns(case: str) -> None:
    for one in both(case):
        y, predicted, p = one.labels, one.predicted, expit(one.logits)
        expected = {
            "accuracy": metrics.accuracy_score(y, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
            "precision": metrics.precision_score(y, predicted),
            "recall": metrics.recall_score(y, predicted),
            "specificity": metrics.recall_score(y, predicted, pos_label=0),
            "f1": metrics.f1_score(y, predicted),
            "roc_auc": metrics.roc_auc_score(y, one.logits),
            "pr_auc": metrics.average_precision_score(y, one.logits),
            "log_loss": metrics.log_loss(y, p),
            "brier": metrics.brier_score_loss(y, p),
        }
        found = scores.score(one)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=DIGITS)


@pytest.mark.parametrize("case", IMAGES)
def test_delongs_test_is_that_of_r(case: str) -> None:
    a, b = both(case)
    found, printed = paired.compare(a, b)["roc_auc"], R[case]
    # Ours is b - a, and R's is a - b. R also takes the normal distribution.
    expected = (printed.area_a, printed.area_b, -printed.high, -printed.low, printed.p_value)
    assert (found.a, found.b, found.low, found.high, found.p_value) == pytest.approx(expected, abs=DIGITS)
    assert found.difference == pytest.approx(printed.area_b - printed.area_a, abs=DIGITS)
    for one, variance in ((a, printed.variance_a), (b, printed.variance_b)):
        part = influence.of(one)["roc_auc"]
        assert influence.variance(part, influence.sampling_units(one))[0] == pytest.approx(variance, abs=1e-9)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("case", IMAGES)
def test_proportions_have_wilsons_interval_of_scipy(case: str, confidence: float) -> None:
    for one in both(case):
        found = intervals.intervals(one, confidence)
        right = one.labels == one.predicted
        for name, of in (("accuracy", one.labels >= 0), ("recall", one.labels == 1), ("specificity", one.labels == 0)):
            share = binomtest(int(right[of].sum()), int(of.sum())).proportion_ci(confidence, method="wilson")
            assert (found[name].low, found[name].high) == pytest.approx((share.low, share.high), abs=DIGITS), name


@pytest.mark.parametrize("case", IMAGES)
def test_mcnemars_test_is_that_of_statsmodels_and_of_scipy(case: str) -> None:
    a, b = both(case)
    found = paired.compare(a, b)
    for name, of in (("accuracy", a.labels >= 0), ("recall", a.labels == 1), ("specificity", a.labels == 0)):
        right_a, right_b = ((one.labels == one.predicted)[of] for one in (a, b))
        table = [[int((x & y).sum()) for y in (right_b, ~right_b)] for x in (right_a, ~right_a)]
        assert found[name].p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=DIGITS), name
        lost, gained = table[0][1], table[1][0]
        expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1
        assert found[name].p_value == pytest.approx(expected, abs=DIGITS), name


@pytest.mark.parametrize("case", IMAGES)
def test_losses_are_compared_by_the_paired_t_test_of_scipy(case: str) -> None:
    """Of the images of one label, so that no count of labels is taken as fixed."""
    for label in (0, 1):
        a, b = (one.take(one.labels == label) for one in both(case))
        found = paired.compare(a, b)
        losses = {
            "log_loss": [binary.losses(one.labels, one.logits) for one in (a, b)],
            "brier": [(expit(one.logits) - one.labels) ** 2 for one in (a, b)],
        }
        for name, (of_a, of_b) in losses.items():
            expected = ttest_rel(of_b, of_a)
            limits = expected.confidence_interval(0.95)
            assert found[name].p_value == pytest.approx(expected.pvalue, abs=DIGITS), name
            assert (found[name].low, found[name].high) == pytest.approx((limits.low, limits.high), abs=DIGITS), name


def test_holms_correction_is_that_of_r() -> None:
    """p.adjust(c(...), "holm")"""
    found = paired.holm([0.012, 0.034, 0.0007, 0.2, 0.011, 0.049, 0.012])
    assert found == pytest.approx([0.0660, 0.1020, 0.0049, 0.2000, 0.0660, 0.1020, 0.0660], abs=DIGITS)
