"""Curves against those of scikit-learn, and the coverage of their bands by simulation."""

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from kesikaran.metrics import curves
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import figures


def drawn(seed: int, zeros: int = 40, ones: int = 30, groups: int = 0) -> Predictions:
    """Logits that are normal, one standard deviation apart by label; groups share a part of it."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [zeros, ones])
    logits = random.normal(size=zeros + ones) + labels
    if not groups:
        return Predictions.from_logits(labels, logits)
    group = random.integers(0, groups, len(labels))
    return Predictions.from_logits(labels, logits + random.normal(size=groups)[group], group)


def test_the_points_are_scikit_learns() -> None:
    predictions = drawn(0)
    found = curves.roc(predictions, 0.95)
    assert found
    expected = np.stack(metrics.roc_curve(predictions.labels, predictions.logits, drop_intermediate=False)[:2], axis=1)
    assert found.points == pytest.approx(expected)
    line = curves.precision_recall(predictions, 0.95)
    assert line
    precision, recall, _ = metrics.precision_recall_curve(predictions.labels, predictions.logits)
    assert line.points == pytest.approx(np.stack([recall, precision], axis=1)[-2::-1])
    for curve in (found, line):
        assert curve.low.min() >= 0
        assert curve.high.max() <= 1
        for edge in (curve.low, curve.high):
            assert (np.diff(edge[:, 0]) >= 0).all()


def test_a_band_holds_the_truth_as_often_as_it_says() -> None:
    """At a fixed threshold, both true rates at once; at a confidence of 0.9, 1,000 samples: 0.9 +- 0.03."""
    threshold, held, samples = 0.5, 0, 1000
    truth = norm.sf(threshold), norm.sf(threshold - 1)
    for seed in range(samples):
        predictions = drawn(seed)
        cut = Predictions(
            predictions.labels, np.where(predictions.logits >= threshold, 1.0, -1.0), predictions.predicted
        )
        rates = curves._rates(cut, 0.9)
        assert rates
        held += all(rate.low <= true <= rate.high for rate, true in zip(rates[1], truth, strict=True))
    assert held / samples == pytest.approx(0.91, abs=0.03)


def test_the_edges_by_hand() -> None:
    """At the fifth threshold: Wilson's limits of both rates at sqrt(0.95), and the precision at the two far corners."""
    predictions = drawn(0)
    above = predictions.logits >= np.sort(predictions.logits)[-5]
    (false_low, false_high), (true_low, true_high) = (
        proportion_confint(int(above[of].sum()), int(of.sum()), alpha=1 - math.sqrt(0.95), method="wilson")
        for of in (predictions.labels == 0, predictions.labels == 1)
    )
    found, line = curves.roc(predictions, 0.95), curves.precision_recall(predictions, 0.95)
    assert found
    assert line
    assert found.low[6] == pytest.approx([false_high, true_low])  # after (0, 0) and the threshold that nothing reaches
    assert found.high[5] == pytest.approx([false_low, true_high])
    for edge, true, false in ((line.low[5], true_low, false_high), (line.high[6], true_high, false_low)):
        assert edge == pytest.approx([true, 30 * true / (30 * true + 40 * false)])


def test_the_ends_of_the_band_of_precision_by_hand() -> None:
    """At the lowest threshold all are predicted 1: the lower edge goes on to recall 1 at the precision it has there.
    At the highest none is, and the upper edge begins at recall 0."""
    line = curves.precision_recall(drawn(0), 0.95)
    assert line
    least, _ = proportion_confint(30, 30, alpha=1 - math.sqrt(0.95), method="wilson")
    precision = 30 * least / (30 * least + 40)
    assert line.low[-2:] == pytest.approx(np.array([[least, precision], [1, precision]]))
    assert line.high[:2] == pytest.approx(np.array([[0, 1], [1 - least, 1]]))


def test_groups_widen_a_band() -> None:
    grouped = drawn(0, 200, 200, groups=20)
    alone = Predictions(grouped.labels, grouped.logits, grouped.predicted)

    def width(predictions: Predictions) -> float:
        rates = curves._rates(predictions, 0.95)
        assert rates
        return float(np.mean([true.high - true.low for _, true in rates]))

    assert width(grouped) > 1.5 * width(alone)


def test_a_band_has_a_width_where_no_image_is_wrong() -> None:
    found = curves.roc(Predictions.from_logits(np.array([0] * 20 + [1] * 20), np.arange(40.0)), 0.95)
    assert found
    assert found.points[20].tolist() == [0, 1]
    assert 0.1 < found.low[21][0] < 0.25
    assert 0.75 < found.low[21][1] < 0.9


def test_reliability_by_hand() -> None:
    labels, logits = np.array([0, 0, 1, 1, 0, 1]), np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
    found = curves.reliability(Predictions.from_logits(labels, logits), 2, 0.95)
    assert found.images.tolist() == [3, 3]
    assert found.probability == pytest.approx([expit(logits[:3]).mean(), expit(logits[3:]).mean()])
    assert [share.value for share in found.share] == pytest.approx([1 / 3, 2 / 3])
    assert all(share.low < share.value < share.high for share in found.share)


@pytest.mark.parametrize("labels", [[1], [0, 0], [1, 1]])
def test_one_class_has_no_curve(labels: list[int]) -> None:
    predictions = Predictions.from_logits(np.array(labels), np.zeros(len(labels)))
    assert curves.roc(predictions, 0.95) is None
    assert curves.precision_recall(predictions, 0.95) is None
    assert not math.isnan(curves.reliability(predictions, 10, 0.95).share[0].low)


def test_a_drawing_of_many_images_is_small() -> None:
    predictions = drawn(0, 50_000, 50_000)
    found = curves.roc(predictions, 0.95)
    assert found
    assert len(found.points) == 201
    drawing = figures.svg(figures.roc_bands({"A": found, "B": found}, {"A": 0.5, "B": 0.5}, 0.5))
    assert len(drawing) < 60_000
    assert "currentColor" in drawing
    assert "#010203" not in drawing
