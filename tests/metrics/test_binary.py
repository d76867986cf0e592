"""Metrics against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kesikaran.metrics import binary, calibration, scores
from kesikaran.metrics.predictions import Predictions

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
LOGITS = np.array([-3.0, -1.0, -0.5, 2.0, 3.0, 1.5, 1.0, 0.0, -0.25, -2.0], np.float32)


def test_every_metric_by_hand() -> None:
    found = scores.score(Predictions.from_logits(LABELS, LOGITS))
    assert [found[cell] for cell in ("n", "tn", "fp", "fn", "tp")] == [10, 3, 1, 2, 4]
    assert found["accuracy"] == pytest.approx(7 / 10)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert found["precision"] == pytest.approx(4 / 5)
    assert found["recall"] == pytest.approx(4 / 6)
    assert found["specificity"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(8 / 11)
    # Pairs (1, 0) in which the 1 scores higher: 4 + 3 + 3 + 3 + 3 + 1 of 24
    assert found["roc_auc"] == pytest.approx(17 / 24)
    # Precision at each 1, from the highest score down: 1/1, 2/3, 3/4, 4/5, 5/6, then rank 9 of 10
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 5 + 5 / 6 + 6 / 9) / 6)
    p = [1 / (1 + math.exp(-x)) for x in LOGITS.tolist()]
    pairs = list(zip(LABELS.tolist(), p, strict=True))
    assert found["log_loss"] == pytest.approx(-sum(math.log(q if y else 1 - q) for y, q in pairs) / 10)
    assert found["brier"] == pytest.approx(sum((q - y) ** 2 for y, q in pairs) / 10)


def test_the_matrix_has_true_rows_and_predicted_columns() -> None:
    assert binary.confusion(Predictions.from_logits(LABELS, LOGITS)).matrix() == [[3, 1], [2, 4]]


def test_a_logit_of_zero_is_predicted_one() -> None:
    counts = binary.confusion(Predictions.from_logits(np.array([0, 1]), np.zeros(2)))
    assert (counts.fp, counts.tp) == (1, 1)


def test_extreme_logits_are_not_clipped() -> None:
    assert binary.log_loss(np.array([1, 0]), np.array([-1000.0, -1000.0])) == pytest.approx(500)


def test_ties_count_half() -> None:
    assert binary.roc_auc(np.array([0, 1, 0, 1]), np.zeros(4)) == 0.5


UNDEFINED = {
    "nothing predicted 1": (([0, 1], [-1, -1]), {"precision"}),
    "only ones": (([1, 1], [1, -1]), {"specificity", "balanced_accuracy", "roc_auc"}),
    "only zeros": (([0, 0], [1, -1]), {"recall", "balanced_accuracy", "roc_auc", "pr_auc"}),
    "one image": (
        ([0], [-1]),
        {"precision", "recall", "balanced_accuracy", "f1", "roc_auc", "pr_auc", "calibration_error"},
    ),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_undefined_is_no_number_and_no_warning(case: str) -> None:
    (labels, logits), undefined = UNDEFINED[case]
    found = scores.score(Predictions.from_logits(np.array(labels), np.array(logits, float)))
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_a_defect(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 logits are not finite"):
        Predictions.from_logits(np.array([0, 1]), np.array([bad, 0.0]))


def test_roc_auc_is_scikit_learns_with_many_ties() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    logits = np.round(random.normal(size=300) + labels, 1).astype(np.float32)
    assert binary.roc_auc(labels, logits) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    both = np.stack([logits, -logits])
    assert binary.roc_aucs(labels, both).tolist() == [binary.roc_auc(labels, each) for each in both]
    assert binary.log_losses(labels, both).tolist() == [binary.log_loss(labels, each) for each in both]


def pairwise_error(labels: np.ndarray, logits: np.ndarray, bins: list[list[int]], groups: np.ndarray) -> float:
    """The definition: within each bin the mean product of two residuals of different groups, weighted by images."""
    residual = labels - 1 / (1 + np.exp(-logits))
    total = 0.0
    for rows in bins:
        products = [residual[i] * residual[j] for i in rows for j in rows if groups[i] != groups[j]]
        total += len(rows) * float(np.mean(products))
    return math.sqrt(max(0.0, total / sum(map(len, bins))))


@pytest.mark.parametrize("grouped", [False, True])
def test_calibration_error_is_its_definition(grouped: bool) -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=24) * 3, random.integers(0, 2, 24)
    groups = np.arange(24) // 2 if grouped else np.arange(24)
    order = [int(i) for i in np.argsort(logits)]
    expected = pairwise_error(labels, logits, [order[i : i + 6] for i in range(0, 24, 6)], groups)
    assert expected > 0.1
    predictions = Predictions.from_logits(labels, logits, groups if grouped else None)
    assert calibration.calibration_error(predictions, 4) == pytest.approx(expected, abs=1e-12)
    assert scores.score(predictions, 4)["calibration_error"] == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_tied_logits_does_not_depend_on_the_order_of_images() -> None:
    random = np.random.default_rng(0)
    logits, labels = np.round(random.normal(size=200)), random.integers(0, 2, 200)
    found = set()
    for _ in range(20):
        order = random.permutation(200)
        found.add(round(calibration.calibration_error(Predictions.from_logits(labels[order], logits[order]), 10), 12))
    assert len(found) == 1


def test_calibration_error_has_no_bias_that_grows_with_the_bins() -> None:
    """A plain expected calibration error of these is 0.1 and more at 50 bins."""
    random = np.random.default_rng(0)
    squared = {10: [], 50: []}  # type: ignore[var-annotated]
    for _ in range(300):
        logits = random.normal(size=200) * 2
        predictions = Predictions.from_logits((random.random(200) < 1 / (1 + np.exp(-logits))).astype(int), logits)
        for bins, found in squared.items():
            parts = calibration.calibration_bins(predictions, bins)
            found.append(parts.share @ parts.squared_gap)
    for found in squared.values():
        assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(300)
        assert abs(np.mean(found)) < 0.001


def test_calibration_error_of_logits_that_are_sure_and_wrong_is_one() -> None:
    labels = np.repeat([0, 1], 20)
    assert calibration.calibration_error(
        Predictions.from_logits(labels, np.where(labels == 1, -50.0, 50.0)), 10
    ) == pytest.approx(1)


@pytest.mark.parametrize("groups", [None, np.zeros(1, int), np.zeros(6, int)])
def test_calibration_error_needs_two_independent_images(groups: np.ndarray | None) -> None:
    n = 1 if groups is None else len(groups)
    assert math.isnan(calibration.calibration_error(Predictions.from_logits(np.arange(n) % 2, np.zeros(n), groups), 10))


@pytest.mark.parametrize(
    ("logits", "bins", "expected"),
    [
        (np.arange(10), 4, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),  # the ends of the bins at 2.5, 5 and 7.5 images
        (-np.arange(10), 4, [3, 3, 3, 2, 2, 1, 1, 1, 0, 0]),
        (np.arange(7), 10, [0, 0, 1, 1, 1, 2, 2]),  # no more bins than half the images
        (np.array([0, 1, 1, 1, 1, 2]), 3, [0, 1, 1, 1, 1, 2]),  # ties lie where their mean rank does
        (np.arange(1), 10, [0]),
    ],
    ids=str,
)
def test_bins_by_hand(logits: np.ndarray, bins: int, expected: list[int]) -> None:
    predictions = Predictions.from_logits(np.zeros(len(logits), int), logits.astype(float))
    assert calibration.bin_of(predictions, bins).tolist() == expected
