"""Precision, alerts and missed images at another prevalence, by hand and against references."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep

from kesikaran.metrics import prevalence
from kesikaran.metrics.predictions import Predictions


def counted(wrong: int, zeros: int, hit: int, ones: int, groups: np.ndarray | None = None) -> Predictions:
    predicted = np.concatenate([np.arange(zeros) < wrong, np.arange(ones) < hit])
    return Predictions.from_logits(np.repeat([0, 1], [zeros, ones]), predicted - 0.5, groups)


def test_at_one_percent_a_good_test_set_is_a_poor_detector() -> None:
    """By hand: 3 of 75 false positives and 69 of 75 found."""
    found = prevalence.at(counted(3, 75, 69, 75), 0.01)
    assert found.precision.value == pytest.approx(0.01 * 0.92 / (0.01 * 0.92 + 0.99 * 0.04), abs=1e-12)
    assert found.alerts.value == pytest.approx(100 * 0.92 + 9900 * 0.04, abs=1e-9)
    assert found.missed.value == pytest.approx(100 * 0.08, abs=1e-9)
    wilson = binomtest(6, 75).proportion_ci(method="wilson")
    assert (found.missed.low, found.missed.high) == (pytest.approx(100 * wilson.low), pytest.approx(100 * wilson.high))


@pytest.mark.parametrize("counts", [(3, 75, 69, 75), (0, 75, 69, 75), (9, 40, 25, 30)])
def test_precision_is_near_the_score_interval_of_the_ratio(counts: tuple[int, int, int, int]) -> None:
    low, high = confint_proportions_2indep(*counts, compare="ratio", method="score")
    found = prevalence.at(counted(*counts), 0.01).precision
    ratio = [(1 / limit - 1) * 0.01 / 0.99 for limit in (found.high, found.low)]
    assert ratio == [pytest.approx(low, rel=0.05, abs=1e-9), pytest.approx(high, rel=0.05)]


def test_alerts_at_the_test_sets_own_share_hold_newcombes_limits() -> None:
    """Of two Wilson intervals combined (Newcombe 1998, method 10 for a difference): 100 % less specificity is one."""
    found = prevalence.at(counted(3, 75, 69, 75), 0.5)
    recall, wrong = binomtest(69, 75).proportion_ci(method="wilson"), binomtest(3, 75).proportion_ci(method="wilson")
    fewer, more = math.hypot(0.92 - recall.low, 0.04 - wrong.low), math.hypot(recall.high - 0.92, wrong.high - 0.04)
    assert (found.alerts.low, found.alerts.high) == (
        pytest.approx(4800 - 5000 * fewer),
        pytest.approx(4800 + 5000 * more),
    )


def test_no_false_positive_is_no_certainty() -> None:
    found = prevalence.at(counted(0, 75, 75, 75), 0.01)
    assert found.precision.value == found.precision.high == 1
    assert 0.1 < found.precision.low < 0.25
    assert found.alerts.high > 500
    in_groups = prevalence.at(counted(0, 75, 75, 75, np.arange(150) // 5), 0.01)
    assert in_groups.precision.low < 0.1


@pytest.mark.parametrize(
    ("counts", "precision"), [((75, 75, 75, 75), 0.01), ((75, 75, 0, 75), 0.0), ((0, 75, 0, 75), math.nan)]
)
def test_all_none_and_only_wrong_alerts(counts: tuple[int, int, int, int], precision: float) -> None:
    found = prevalence.at(counted(*counts), 0.01)
    assert found.precision.value == pytest.approx(precision, nan_ok=True)
    for one in (found.precision, found.alerts, found.missed):
        assert math.isnan(one.value) or one.low <= one.value <= one.high


def test_no_more_alerts_than_images() -> None:
    """At this prevalence the two shares of 10,000 images sum to more than 10,000, by a rounding error."""
    assert 1e4 * 0.00037 + 1e4 * (1 - 0.00037) > 1e4
    assert prevalence.at(counted(75, 75, 75, 75), 0.00037).alerts.high == 1e4


def test_without_an_image_of_a_label_nothing_is_known() -> None:
    found = prevalence.at(counted(0, 0, 5, 9), 0.01)
    assert all(math.isnan(one.value) for one in (found.precision, found.alerts, found.missed))


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, math.nan])
def test_a_prevalence_is_a_share(bad: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        prevalence.at(counted(3, 75, 69, 75), bad)


def test_75_images_certify_no_rate_below_four_percent() -> None:
    found = prevalence.smallest_certifiable_rate(75)
    assert found == pytest.approx(0.0392, abs=5e-5)
    assert found == pytest.approx(binomtest(0, 75, alternative="less").proportion_ci(0.95).high, abs=1e-9)
