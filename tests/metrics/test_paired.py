"""Paired comparisons: references, levels by simulation, and the cases without a difference or without a metric."""

import math
import warnings

import numpy as np
import pytest
from conftest import simulation
from scipy.stats import binomtest, norm, t, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar

from kesikaran.metrics import binary, paired
from kesikaran.metrics.predictions import Predictions

simulate = simulation()


def crossed(both: int, only_b: int, only_a: int, neither: int) -> tuple[Predictions, Predictions]:
    """Images of label 1 that a and b get right."""
    counts = [both, only_b, only_a, neither]
    labels = np.ones(sum(counts), int)
    a, b = np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)
    return Predictions.from_logits(labels, a - 0.5), Predictions.from_logits(labels, b - 0.5)


def two(zeros: int = 40, ones: int = 30, better: float = 0.4, group: int = 1) -> list[Predictions]:
    drawn: list[Predictions] = simulate.draw(
        simulate.World(zeros, ones, group=group, alike=0.5), np.random.default_rng(5), 2, better
    )
    return drawn


@pytest.mark.parametrize(
    ("counts", "low", "high"), [((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)]
)
def test_the_interval_of_accuracy_is_the_one_that_newcombe_prints(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe (1998), Improved confidence intervals ... based on paired data, method 10."""
    found = paired.compare(*crossed(*counts))["accuracy"]
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("counts", [(30, 6, 4, 10), (9, 5, 3, 5), (36, 12, 2, 0)])
def test_the_interval_of_accuracy_is_newcombes_formula(counts: tuple[int, int, int, int]) -> None:
    """Wilson's limits of both shares, and the correlation of right answers with its correction for continuity."""
    e, f, g, h = counts
    n = sum(counts)
    share_a, share_b = (e + g) / n, (e + f) / n
    a, b = (binomtest(k, n).proportion_ci(method="wilson") for k in (e + g, e + f))
    product = e * h - f * g
    corrected = max(product - n / 2, 0) if product > 0 else product
    phi = corrected / math.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    x, y = share_b - b.low, a.high - share_a
    found = paired.compare(*crossed(*counts))["accuracy"]
    assert found.difference - found.low == pytest.approx(math.sqrt(x**2 - 2 * phi * x * y + y**2), abs=1e-9)


@pytest.mark.parametrize("counts", [(36, 12, 2, 0), (10, 3, 9, 8), (5, 0, 4, 1), (5, 1, 0, 1)])
def test_the_p_value_of_accuracy_is_mcnemars_exact_one(counts: tuple[int, int, int, int]) -> None:
    found = paired.compare(*crossed(*counts))
    expected = mcnemar([counts[:2], counts[2:]], exact=True).pvalue
    for name in ("accuracy", "recall"):
        assert found[name].p_value == pytest.approx(expected, abs=1e-9)
        assert found[name].test == "McNemar exact"


def test_mcnemar_of_both_labels_counts_the_images_where_only_one_is_right() -> None:
    a, b = two()
    right_a, right_b = (one.labels == one.predicted for one in (a, b))
    table = [[int((x & y).sum()) for y in (right_b, ~right_b)] for x in (right_a, ~right_a)]
    assert table[0][1] != table[1][0]
    assert paired.compare(a, b)["accuracy"].p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)


def test_the_roc_auc_is_compared_by_delong() -> None:
    """By all pairs of a label-1 and a label-0 image, with ties."""
    a, b = (Predictions.from_logits(one.labels, np.round(one.logits)) for one in two())
    wins = []
    for one in (a, b):
        ones, zeros = one.logits[one.labels == 1], one.logits[one.labels == 0]
        wins.append((ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros))
    change = wins[1] - wins[0]
    error = math.sqrt(change.mean(1).var(ddof=1) / 30 + change.mean(0).var(ddof=1) / 40)
    found = paired.compare(a, b)["roc_auc"]
    assert found.test == "DeLong"
    assert found.difference == pytest.approx(change.mean(), abs=1e-12)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(change.mean()) / error), abs=1e-9)
    assert found.high - found.difference == pytest.approx(norm.ppf(0.975) * error, abs=1e-9)


def test_of_one_label_the_log_loss_is_compared_by_the_paired_t_test() -> None:
    a, b = (one.take(one.labels == 1) for one in two())
    losses = [binary.losses(one.labels, one.logits) for one in (a, b)]
    expected = ttest_rel(losses[1], losses[0])
    found = paired.compare(a, b)["log_loss"]
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.low == pytest.approx(expected.confidence_interval(0.95).low, abs=1e-9)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_outcome_does_not_differ_from_itself(grouped: bool) -> None:
    a, _ = two(group=5 if grouped else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, found in paired.compare(a, a).items():
            assert (found.difference, found.p_value) == (0, 1), name
            assert found.low <= 0 <= found.high, name


def test_swapping_the_two_turns_the_difference_round() -> None:
    a, b = two(group=5)
    forth, back = paired.compare(a, b), paired.compare(b, a)
    for name, one in forth.items():
        other = back[name]
        assert one.difference == pytest.approx(-other.difference, abs=1e-12), name
        assert (one.low, one.high) == (pytest.approx(-other.high, abs=1e-9), pytest.approx(-other.low, abs=1e-9)), name
        assert one.p_value == pytest.approx(other.p_value, abs=1e-5), name


def test_groups_replace_mcnemar_and_delong_and_say_so() -> None:
    a, b = two(group=5)
    found = paired.compare(a, b)
    assert found["accuracy"].test == "t of group sums"
    assert found["roc_auc"].test == "DeLong, by group"
    a, b = two()
    twice, thrice = (paired.compare(copies(a, times), copies(b, times)) for times in (2, 3))
    for name in ("accuracy", "balanced_accuracy", "precision", "f1", "log_loss", "brier"):
        assert twice[name].p_value == pytest.approx(thrice[name].p_value, abs=1e-9), name


def copies(one: Predictions, times: int) -> Predictions:
    """Each image `times` times, and its copies in one group."""
    labels, logits, groups = (np.repeat(part, times) for part in (one.labels, one.logits, np.arange(len(one.labels))))
    return Predictions.from_logits(labels, logits, groups)


def test_groups_give_delong_the_degrees_of_freedom_of_their_sums() -> None:
    """Obuchowski (1997), with the degrees of freedom of groups whose images correlate alike, label by label."""
    a, b = two(group=5)
    wins = []
    for one in (a, b):
        ones, zeros = one.logits[one.labels == 1], one.logits[one.labels == 0]
        wins.append((ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros))
    change = wins[1] - wins[0]
    assert a.groups is not None
    parts, expected, counts = [], [], []
    for label, each in ((1, change.mean(1)), (0, change.mean(0))):
        _, group = np.unique(a.groups[a.labels == label], return_inverse=True)
        moved = (each - each.mean()) / len(each)
        sums = np.bincount(group, moved)
        parts.append(sums.var(ddof=1) * len(sums))
        squares = (moved**2).sum()
        alike = np.clip(((sums**2).sum() - squares) / (len(sums) * 20) / (squares / len(each)), 0, 1)
        expected.append(squares * (1 + 4 * alike))
        counts.append(len(sums))
    error = math.sqrt(sum(parts))
    freedom = sum(expected) ** 2 / sum(part**2 / k for part, k in zip(expected, counts, strict=True)) - 1
    assert min(counts) - 1 <= freedom <= sum(counts) - 1
    found = paired.compare(a, b)["roc_auc"]
    assert found.p_value == pytest.approx(2 * t.sf(abs(change.mean()) / error, freedom), abs=1e-9)
    assert found.high - found.difference == pytest.approx(t.ppf(0.975, freedom) * error, abs=1e-9)


@pytest.mark.parametrize("grouped", [False, True])
def test_where_every_unit_moves_alike_all_swaps_are_counted(grouped: bool) -> None:
    """Of 2**6 ways to swap two classifiers unit by unit, two give a difference as large."""
    n = 12 if grouped else 6
    groups = np.arange(n) // 2 if grouped else None
    a, b = (Predictions.from_logits(np.ones(n, int), np.full(n, logit), groups) for logit in (0.5, 1.0))
    for name in ("log_loss", "brier"):
        found = paired.compare(a, b)[name]
        assert found.p_value == 2 / 2**6, name
        assert found.low == found.high == found.difference == found.b - found.a < 0, name


def test_what_is_undefined_is_nan() -> None:
    a, b = (one.take(one.labels == 1) for one in two())
    for name, found in paired.compare(a, b).items():
        undefined = name in ("balanced_accuracy", "specificity", "roc_auc")
        assert math.isnan(found.p_value) == math.isnan(found.low) == math.isnan(found.difference) == undefined, name


def test_one_image_compares_nothing() -> None:
    a, b = (Predictions.from_logits(np.array([1]), np.array([logit])) for logit in (0.1, 0.2))
    found = paired.compare(a, b)
    assert math.isnan(found["log_loss"].p_value)
    assert found["accuracy"].p_value == 1


@pytest.mark.parametrize("change", ["labels", "length", "groups"])
def test_outcomes_of_other_images_are_refused(change: str) -> None:
    a, b = two()
    others = {
        "labels": Predictions.from_logits(1 - b.labels, b.logits),
        "length": b.take(np.arange(10)),
        "groups": Predictions.from_logits(b.labels, b.logits, np.arange(70) // 2),
    }
    with pytest.raises(ValueError, match="groups by row" if change == "groups" else "labels by row"):
        paired.compare(a, others[change])


def test_equals_are_told_apart_5_times_in_100() -> None:
    found = simulate.rejections(simulate.World(75, 75), 0.0, 200, lambda: None)
    for name, share in found["rejects"].items():
        cautious = name in ("accuracy", "recall", "specificity", "calibration_error")
        assert (0 if cautious else 0.015) <= share <= 0.09, name
    assert (found["holds"] >= 0.915).all()


def test_equals_in_groups_are_told_apart_5_times_in_100() -> None:
    found = simulate.rejections(simulate.World(75, 75, group=5, alike=0.5), 0.0, 80, lambda: None)
    assert (found["rejects"] <= 0.12).all()


def test_the_better_of_two_is_seen() -> None:
    found = simulate.rejections(simulate.World(150, 150), 1.0, 20, lambda: None)["rejects"]
    assert (found.drop("calibration_error") >= 0.7).all()


def test_miscalibration_is_seen() -> None:
    a, _ = two(300, 300, 0.0)
    bent = Predictions.from_logits(a.labels, 1.8 * a.logits)
    found = paired.compare(a, bent)["calibration_error"]
    assert found.low > 0
    assert found.p_value < 0.05
    limits = paired.compare(a, bent, confidence=1 - found.p_value)["calibration_error"]
    assert limits.low == pytest.approx(0, abs=1e-4)


def test_holm() -> None:
    """By hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 is not below its predecessor."""
    assert paired.holm([0.01, 0.04, math.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True
    )
    assert len(paired.holm([])) == 0


def test_against_the_best() -> None:
    a, b = two(150, 150, 0.0)
    worse = Predictions.from_logits(a.labels, a.logits + np.random.default_rng(0).normal(size=300) * 4)
    found = paired.against_best([a, b, worse, a], 0, "log_loss")
    alone = [paired.compare(a, one)["log_loss"].p_value for one in (b, worse, a)]
    assert found == pytest.approx([math.nan, *paired.holm(alone)], nan_ok=True)
    assert found[2] < 0.001
    assert found[3] == 1
    assert math.isnan(found[0])


def test_precision_has_the_generalized_score_test() -> None:
    """Kosinski (2013), equation 5, by its own formula: pooled precision, and the products of both predictions."""
    a, b = two(200, 20)
    hit_a, hit_b = ((one.labels == 1) & (one.predicted == 1) for one in (a, b))
    n_a, n_b = int(a.predicted.sum()), int(b.predicted.sum())
    pooled = (hit_a.sum() + hit_b.sum()) / (n_a + n_b)
    both = (a.predicted == 1) & (b.predicted == 1)
    covariance = float((((a.labels - pooled) ** 2)[both]).sum())
    variance = sum(
        float((((one.labels - pooled) ** 2)[one.predicted == 1]).sum()) / n**2 for one, n in ((a, n_a), (b, n_b))
    )
    error = math.sqrt(variance - 2 * covariance / (n_a * n_b))
    found = paired.compare(a, b)["precision"]
    freedom = int(((a.predicted == 1) | (b.predicted == 1)).sum()) - 1
    assert found.test == "score"
    assert found.p_value == pytest.approx(2 * t.sf(abs(found.difference) / error, freedom), abs=1e-9)
    assert found.high - found.difference >= t.ppf(0.975, freedom) * error - 1e-12
    assert paired.compare(copies(a, 2), copies(b, 2))["precision"].p_value == pytest.approx(found.p_value, abs=1e-9)


def test_two_models_of_equal_loss_that_shift_opposite_ways_are_told_apart_5_times_in_100() -> None:
    """With random counts of the labels; a variance within the labels rejects twice as often and more."""
    random, share, rejected = np.random.default_rng(1), 0.29, {False: 0, True: 0}
    for _ in range(300):
        labels = (random.random(600) < share).astype(int)
        logits = 2 * (random.normal(size=600) + 2 * (labels - 0.5)) + math.log(share / (1 - share))
        a, b = logits - 0.9, logits + 0.86
        for fixed in rejected:
            pair = [Predictions.from_logits(labels, one, counts_fixed=fixed) for one in (a, b)]
            found = paired.compare(pair[0], pair[1], metrics=("log_loss",))
            rejected[fixed] += found["log_loss"].p_value <= 0.05
    assert rejected[False] <= 0.08 * 300
    assert rejected[True] >= 0.10 * 300


def test_weights_of_the_two_are_the_same() -> None:
    random = np.random.default_rng(0)
    labels, first, second = random.integers(0, 2, 80), random.normal(size=80), random.normal(size=80)
    weights = random.choice([0.5, 1.0], 80)
    a, b = (Predictions.from_logits(labels, logits, weights=weights) for logits in (first, second))
    found = paired.compare(a, b)["weighted_accuracy"]
    hits = [(one.labels == one.predicted) @ weights / weights.sum() for one in (a, b)]
    assert (found.a, found.b) == (pytest.approx(hits[0]), pytest.approx(hits[1]))
    assert found.low < found.difference < found.high
    assert "weighted_accuracy" not in paired.compare(a, Predictions.from_logits(labels, second))
    with pytest.raises(ValueError, match="do not have the same weights by row"):
        paired.compare(a, Predictions.from_logits(labels, second, weights=weights[::-1]))
