"""The calibration error against its definition, and the cases where it is undefined."""

import math

import numpy as np
import pytest

from kesikaran.metrics import calibration, scores
from kesikaran.metrics.predictions import Predictions


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
