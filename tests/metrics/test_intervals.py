"""Intervals: coverage by simulation, references, and the cases where a metric has no spread to be seen."""

import dataclasses
import math
import time

import numpy as np
import pytest
from conftest import simulation
from scipy.stats import binomtest, ncx2, norm
from scipy.stats import t as student

from kesikaran.metrics import calibration, influence, intervals
from kesikaran.metrics.predictions import Predictions

simulate = simulation()


def counted(zeros: tuple[int, int], ones: tuple[int, int], groups: np.ndarray | None = None) -> Predictions:
    """(predicted 1, all) of the images of label 0, and of label 1."""
    labels = np.repeat([0, 1], [zeros[1], ones[1]])
    predicted = np.concatenate([np.arange(zeros[1]) < zeros[0], np.arange(ones[1]) < ones[0]])
    return Predictions.from_logits(labels, predicted - 0.5, groups)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_recall_has_wilsons_interval_as_newcombe_prints_it(right: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Two-sided confidence intervals for the single proportion."""
    found = intervals.intervals(counted((0, 0), (right, n)))["recall"]
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    exact = binomtest(right, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(exact.low, abs=1e-9), pytest.approx(exact.high, abs=1e-9))


def test_some_metrics_have_the_intervals_that_they_have_among_all() -> None:
    predictions = counted((4, 30), (15, 20))
    every, names = intervals.intervals(predictions), ("calibration_error", "accuracy", "log_loss")
    assert intervals.intervals(predictions, names=names) == {name: every[name] for name in every if name in names}


def coverage(world: object, samples: int) -> dict[str, float]:
    return dict(simulate.coverage(world, samples, lambda: None)["holds"])


# Drawn with the label counts fixed, precision varies less than Wilson's interval allows for, and the error of
# calibrated logits lies at the edge of what it can be, so that an interval of it errs on one side only.
CAUTIOUS = ("precision", "calibration_error")


def test_intervals_of_150_images_hold_the_truth_95_times_in_100() -> None:
    for name, share in coverage(simulate.World(75, 75), 500).items():
        assert 0.925 <= share <= (1.0 if name in CAUTIOUS else 0.98), name


def test_intervals_of_150_images_in_30_groups_hold_the_truth() -> None:
    world = simulate.World(75, 75, group=5, alike=0.5)
    for name, share in coverage(world, 300).items():
        assert 0.91 <= share <= (1.0 if name in CAUTIOUS else 0.985), name


def test_intervals_that_overlook_groups_do_not_hold_the_truth() -> None:
    random = np.random.default_rng(1)
    world = simulate.World(75, 75, group=5, alike=0.5)
    target, held = simulate.truth(world)["roc_auc"], []
    for _ in range(200):
        (predictions,) = simulate.draw(world, random)
        found = intervals.intervals(Predictions.from_logits(predictions.labels, predictions.logits))["roc_auc"]
        held.append(found.low <= target <= found.high)
    assert np.mean(held) < 0.85


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_a_wider_confidence_is_a_wider_interval(confidence: float) -> None:
    (predictions,) = simulate.draw(simulate.World(40, 30), np.random.default_rng(0))
    usual, other = intervals.intervals(predictions), intervals.intervals(predictions, confidence)
    for name, one in usual.items():
        assert other[name].value == one.value
        assert (other[name].high - other[name].low > one.high - one.low) == (confidence > 0.95), name


def test_groups_of_one_image_change_nothing_and_copies_add_nothing() -> None:
    (predictions,) = simulate.draw(simulate.World(40, 30), np.random.default_rng(0))
    plain = Predictions.from_logits(predictions.labels, predictions.logits)
    alone = Predictions.from_logits(predictions.labels, predictions.logits, np.arange(70))
    assert intervals.intervals(alone) == intervals.intervals(plain)

    def copied(times: int, grouped: bool) -> dict[str, intervals.Interval]:
        labels, logits, groups = (
            np.repeat(part, times) for part in (predictions.labels, predictions.logits, np.arange(70))
        )
        return intervals.intervals(Predictions.from_logits(labels, logits, groups if grouped else None))

    apart, twice, thrice = copied(2, False), copied(2, True), copied(3, True)
    for name in ("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "log_loss", "brier"):
        assert twice[name].low == pytest.approx(thrice[name].low, abs=1e-9), name
        assert twice[name].high == pytest.approx(thrice[name].high, abs=1e-9), name
        assert apart[name].high - apart[name].low < 0.8 * (twice[name].high - twice[name].low), name


def test_perfect_separation_leaves_room_below_one() -> None:
    found = intervals.intervals(counted((0, 75), (75, 75)))
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "pr_auc"):
        assert found[name].value == found[name].high == 1
        assert 0.93 < found[name].low < 0.98, name
    in_groups = intervals.intervals(counted((0, 75), (75, 75), np.arange(150) // 5))
    assert in_groups["recall"].low == pytest.approx(15 / (15 + student.ppf(0.975, 14) ** 2), abs=1e-9)
    for name in ("accuracy", "roc_auc", "pr_auc", "f1"):
        assert 0.7 < in_groups[name].low < 0.9, name


def test_no_sample_is_worth_more_than_its_counts_of_labels_allow() -> None:
    """Of the balanced accuracy of 20 right of 20 and 10 of 20 only one share varies, and 0.75 x 0.25 / variance would
    be 57 images."""
    found = intervals.intervals(counted((10, 20), (20, 20)))["balanced_accuracy"]
    level = 1 - 2 * norm.sf(student.ppf(0.975, 19))
    expected = binomtest(30, 40).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


@pytest.mark.parametrize("group", [None, 5])
def test_a_perfect_area_is_worth_what_its_labels_allow(group: int | None) -> None:
    """Four times the harmonic mean of 75 and 30, halved, and for pr_auc those of label 1; with groups, of groups."""
    groups = None if group is None else np.arange(105) // group
    zeros, ones = (75, 30) if group is None else (15, 6)
    found = intervals.intervals(counted((0, 75), (30, 30), groups))
    quantile = student.ppf(0.975, zeros + ones - 1)
    for name, size in (("roc_auc", 4 * zeros * ones / (zeros + ones)), ("pr_auc", ones)):
        assert found[name].low == pytest.approx(size / (size + quantile**2), abs=1e-9), name


def test_one_label_of_one_image_is_hardly_known() -> None:
    labels, logits = np.repeat([0, 1], [74, 1]), np.append(np.linspace(-3, 1, 74), 0.9)
    found = intervals.intervals(Predictions.from_logits(labels, logits))
    assert found["roc_auc"].low < 0.6
    assert found["balanced_accuracy"].low < 0.7


def test_ties_say_nothing_and_do_not_claim_to_know_it() -> None:
    found = intervals.intervals(Predictions.from_logits(np.repeat([0, 1], 75), np.zeros(150)))
    assert found["roc_auc"].value == 0.5
    assert found["roc_auc"].low < 0.43
    assert found["roc_auc"].high > 0.57
    loss = found["log_loss"]
    assert [loss.value, loss.low, loss.high] == pytest.approx([math.log(2)] * 3, abs=1e-12)


def test_undefined_metrics_are_three_nans_and_the_others_are_finite() -> None:
    predictions = Predictions.from_logits(np.ones(20, int), np.linspace(-1, 2, 20))
    for name, found in intervals.intervals(predictions).items():
        assert math.isnan(found.value) == math.isnan(found.low) == math.isnan(found.high), name
        assert math.isnan(found.value) == (name in ("balanced_accuracy", "specificity", "roc_auc")), name


def test_one_image_says_nothing_of_a_loss() -> None:
    found = intervals.intervals(Predictions.from_logits(np.array([1]), np.array([0.3])))
    assert (found["log_loss"].low, found["log_loss"].high) == (0, math.inf)
    assert (found["brier"].low, found["brier"].high) == (0, 1)
    assert found["accuracy"].low == pytest.approx(binomtest(1, 1).proportion_ci(method="wilson").low, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 7, 30])
@pytest.mark.parametrize("grouped", [False, True])
def test_low_value_high_stand_in_this_order(n: int, grouped: bool) -> None:
    random = np.random.default_rng(n)
    for _ in range(50):
        groups = random.integers(0, 3, n) if grouped else None
        predictions = Predictions.from_logits(random.integers(0, 2, n), np.round(2 * random.normal(size=n)), groups)
        for name, one in intervals.intervals(predictions).items():
            assert math.isnan(one.value) or one.low <= one.value <= one.high, (name, predictions)
            assert math.isnan(one.value) or name == "log_loss" or (one.low >= 0 and one.high <= 1), (name, predictions)


def test_limits_of_the_calibration_error_are_where_the_seen_one_is_just_credible() -> None:
    (predictions,) = simulate.draw(simulate.World(500, 500, stretch=2.5), np.random.default_rng(0))
    found = calibration.calibration_bins(predictions, 10)
    limits = intervals.calibration_interval(found, 0.9)
    noise = found.share * found.noise
    scale = (noise**2).sum() / noise.sum()
    seen = (limits.value**2 + noise.sum()) / scale
    for limit, level in ((limits.low, 0.95), (limits.high, 0.05)):
        assert ncx2.cdf(seen, noise.sum() / scale, limit**2 / scale) == pytest.approx(level, abs=1e-6)


def test_twenty_thousand_images_take_no_time() -> None:
    (predictions,) = simulate.draw(simulate.World(10_000, 10_000), np.random.default_rng(0))
    began = time.process_time()
    intervals.intervals(predictions)
    assert time.process_time() - began < 2


def test_effective_size_is_the_count_over_the_design_effect() -> None:
    """Pairs that are right or wrong together are worth half their images."""
    right = np.repeat(np.arange(40) < 30, 2)
    predictions = Predictions.from_logits(np.ones(80, int), right - 0.5, np.arange(80) // 2)
    part = influence.of(predictions)["recall"]
    size, freedom = intervals.effective_size(part, influence.sampling_units(predictions))
    assert (size, freedom) == (pytest.approx(39), pytest.approx(39))


def test_groups_that_offset_each_other_are_not_worth_more_than_their_images() -> None:
    """Of 20 pairs 19 have one right and one wrong image: their sums hardly vary."""
    right = np.append(np.tile([1, 0], 19), [1, 1])
    predictions = Predictions.from_logits(np.ones(40, int), right - 0.5, np.arange(40) // 2)
    part = influence.of(predictions)["recall"]
    spread, _ = influence.variance(part, influence.sampling_units(predictions))
    assert part.value * (1 - part.value) / spread > 300
    assert intervals.effective_size(part, influence.sampling_units(predictions)) == (40, pytest.approx(19))


def test_a_calibration_error_without_noise_is_known_exactly() -> None:
    """Probabilities of 0 and 1 that are all wrong: no bin has a spread."""
    labels = np.repeat([0, 1], 20)
    for logits, error in ((np.where(labels == 1, -1000.0, 1000.0), 1), (np.where(labels == 1, 1000.0, -1000.0), 0)):
        found = intervals.intervals(Predictions.from_logits(labels, logits))["calibration_error"]
        assert found == intervals.Interval(error, error, error)


@pytest.mark.parametrize(("zeros", "ones"), [((30, 500), (2, 5)), ((1, 5), (400, 500))])
def test_f1_is_twice_a_share_over_one_plus_it(zeros: tuple[int, int], ones: tuple[int, int]) -> None:
    """J = TP / (TP + FP + FN) with Wilson's limits; F1 = 2J / (1 + J)."""
    found = intervals.intervals(counted(zeros, ones))["f1"]
    share = binomtest(ones[0], ones[1] + zeros[0]).proportion_ci(method="wilson")
    assert found.low == pytest.approx(2 * share.low / (1 + share.low), abs=1e-9)
    assert found.high == pytest.approx(2 * share.high / (1 + share.high), abs=1e-9)
    assert found.value == pytest.approx(2 * ones[0] / (ones[0] + zeros[0] + ones[1]))


def test_a_quantile_of_one_degree_of_freedom_does_not_underflow() -> None:
    found = intervals.wilson(0.5, 20, 1.0, 0.99)
    assert 0 <= found.low < 0.01 < 0.99 < found.high <= 1


def test_the_interval_of_a_loss_leans_to_the_side_of_its_rare_large_values() -> None:
    """Hall (1992): the transformed statistic at either limit is the quantile of Student's t."""
    (predictions,) = simulate.draw(simulate.World(60, 40, stretch=2), np.random.default_rng(0))
    found = intervals.intervals(Predictions.from_logits(predictions.labels, predictions.logits))["log_loss"]
    loss = np.logaddexp(0, np.where(predictions.labels == 1, -1, 1) * predictions.logits)
    error = loss.std(ddof=1) / 10
    skewness = float((((loss - loss.mean()) / 100) ** 3).sum()) / error**3

    def hall(limit: float) -> float:
        s = (found.value - limit) / error
        return s + skewness * s**2 / 3 + skewness**2 * s**3 / 27 + skewness / 6

    quantile = student.ppf(0.975, 99)
    assert (hall(found.low), hall(found.high)) == (pytest.approx(quantile), pytest.approx(-quantile))
    assert found.high - found.value > found.value - found.low


def test_groups_of_unequal_size_are_covered() -> None:
    """30 groups of lognormal sizes whose images correlate by a half; the variance of before covered 86 to 92."""
    for mixed in (False, True):
        world = simulate.World(0, 0, groups=30, alike=0.5, mixed=mixed)
        for name, share in coverage(world, 300).items():
            assert share >= 0.9, (name, mixed)


def test_random_counts_of_labels_are_covered() -> None:
    """1,000 images, one in twenty of label 1: a variance within the labels covered the Brier score 80 times in 100."""
    for name, share in coverage(simulate.World(950, 50, fixed=False), 300).items():
        assert share >= 0.92, name


def test_fixed_counts_narrow_a_share_that_differs_between_the_labels() -> None:
    """The design effect is the binomial variance within the labels over that of all, averaged with 1, of weight 10."""
    predictions = counted((5, 100), (30, 50))
    seen = (100 * 0.95 * 0.05 + 50 * 0.6 * 0.4) / 150**2
    share = 125 / 150
    effect = (50 * seen / (share * (1 - share) / 150) + 10) / 60
    fixed = intervals.intervals(dataclasses.replace(predictions, counts_fixed=True))["accuracy"]
    expected = intervals.wilson(share, 150 / effect, math.inf, 0.95)
    assert effect < 0.9
    assert (fixed.low, fixed.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    random = intervals.intervals(predictions)["accuracy"]
    assert (random.low, random.high) == pytest.approx(binomtest(125, 150).proportion_ci(method="wilson"))


def test_the_variance_of_the_pr_auc_is_averaged_with_the_binomial_one() -> None:
    (predictions,) = simulate.draw(simulate.World(60, 40), np.random.default_rng(0))
    part = influence.of(predictions)["pr_auc"]
    spread, freedom = influence.variance(part, influence.sampling_units(predictions))
    size = 50 / (10 / 40 + 40 * spread / (part.value * (1 - part.value)))
    expected = intervals.wilson(part.value, size, freedom, 0.95)
    found = intervals.intervals(predictions)["pr_auc"]
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


@pytest.mark.parametrize("fixed", [False, True], ids=["random counts", "fixed counts"])
def test_a_weighted_accuracy_is_covered(fixed: bool) -> None:
    """Weights that say how likely an image is decided rightly, as those of unsure labels do."""
    random, kinds = np.random.default_rng(4), np.array([1 / 3, 2 / 3, 1.0])
    rights, shares = np.array([0.6, 0.75, 0.93]), np.array([0.2, 0.1, 0.7])
    truth = float((shares * kinds * rights).sum() / (shares * kinds).sum())
    held = 0
    for _ in range(1000):
        kind = random.choice(3, 200, p=shares)
        labels = random.integers(0, 2, 200)
        is_right = random.random(200) < rights[kind]
        logits = np.where(labels == is_right, 1.0, -1.0)
        one = Predictions.from_logits(labels, logits, weights=kinds[kind], counts_fixed=fixed)
        found = intervals.intervals(one, names=["weighted_accuracy"])["weighted_accuracy"]
        held += found.low <= truth <= found.high
    assert 930 <= held <= 970, held


def test_equal_weights_are_none() -> None:
    random = np.random.default_rng(5)
    labels, logits = random.integers(0, 2, 300), random.normal(size=300)
    found = intervals.intervals(Predictions.from_logits(labels, logits, weights=np.full(300, 0.5)))
    assert found["weighted_accuracy"].value == pytest.approx(found["accuracy"].value)
    assert found["weighted_accuracy"].low == pytest.approx(found["accuracy"].low, abs=2e-3)
    assert "weighted_accuracy" not in intervals.intervals(Predictions.from_logits(labels, logits))


def test_all_right_is_worth_the_images_of_kish() -> None:
    weights = np.array([1.0] * 50 + [1 / 3] * 50)
    labels = np.arange(100) % 2
    found = intervals.intervals(Predictions.from_logits(labels, 2.0 * labels - 1, weights=weights))["weighted_accuracy"]
    kish = weights.sum() ** 2 / (weights**2).sum()
    assert (found.value, found.high) == (1, 1)
    quantile = student.ppf(0.975, 99)
    assert found.low == pytest.approx(kish / (kish + quantile**2), abs=2e-3)


def test_copies_of_weighted_images_add_nothing() -> None:
    random = np.random.default_rng(6)
    labels, logits, weights = random.integers(0, 2, 90), random.normal(size=90), random.choice([0.2, 1.0], 90)
    names = ["weighted_accuracy"]
    once = intervals.intervals(Predictions.from_logits(labels, logits, np.arange(90), weights=weights), names=names)[
        "weighted_accuracy"
    ]
    four = Predictions.from_logits(*(np.repeat(of, 4) for of in (labels, logits, np.arange(90))),
                                   weights=np.repeat(weights, 4))  # fmt: skip
    found = intervals.intervals(four, names=names)["weighted_accuracy"]
    assert found.value == pytest.approx(once.value)
    assert (found.low, found.high) == (pytest.approx(once.low, abs=5e-3), pytest.approx(once.high, abs=5e-3))
