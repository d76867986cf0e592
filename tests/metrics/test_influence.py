"""Influences against derivatives of scikit-learn's weighted metrics, variances by hand."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import binary, influence
from kesikaran.metrics.predictions import Predictions


def example(n: int = 60, groups: int | None = None) -> Predictions:
    """Rounded logits, so that there are ties within and across labels."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, n)
    logits = np.round(random.normal(size=n) + labels, 1)
    of = None if groups is None else random.integers(0, groups, n)
    return Predictions.from_logits(labels, logits, of, weights=random.choice([1 / 3, 2 / 3, 1.0], n))


def weighted(predictions: Predictions, weights: np.ndarray) -> dict[str, float]:
    y, predicted, p = predictions.labels, predictions.predicted, expit(predictions.logits)
    recall, specificity = (
        metrics.recall_score(y, predicted, pos_label=label, sample_weight=weights) for label in (1, 0)
    )
    return {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=weights),
        "weighted_accuracy": metrics.accuracy_score(y, predicted, sample_weight=weights * predictions.weights),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": metrics.precision_score(y, predicted, sample_weight=weights),
        "recall": recall,
        "specificity": specificity,
        "f1": metrics.f1_score(y, predicted, sample_weight=weights),
        "roc_auc": metrics.roc_auc_score(y, predictions.logits, sample_weight=weights),
        "pr_auc": metrics.average_precision_score(y, predictions.logits, sample_weight=weights),
        "log_loss": metrics.log_loss(y, p, sample_weight=weights),
        "brier": metrics.brier_score_loss(y, p, sample_weight=weights),
    }


def test_the_influence_of_an_image_is_the_derivative_by_its_weight() -> None:
    predictions, step = example(), 1e-5
    found = influence.of(predictions)
    for image in range(len(predictions.labels)):
        weights = np.ones(len(predictions.labels))
        weights[image] += step
        above = weighted(predictions, weights)
        weights[image] -= 2 * step
        below = weighted(predictions, weights)
        for name, part in found.items():
            assert part.each[image] == pytest.approx((above[name] - below[name]) / (2 * step), abs=1e-8), (name, image)


def test_values_are_those_of_scikit_learn_and_influences_sum_to_zero() -> None:
    predictions = example()
    expected = weighted(predictions, np.ones(len(predictions.labels)))
    found = influence.of(predictions)
    assert set(found) == {*expected} == {*METRICS} - {"calibration_error"}
    for name, part in found.items():
        assert part.value == pytest.approx(expected[name], abs=1e-12)
        assert part.each.sum() == pytest.approx(0, abs=1e-12)


def test_variance_of_the_roc_auc_is_delongs() -> None:
    predictions = example()
    ones, zeros = (predictions.logits[predictions.labels == label] for label in (1, 0))
    wins = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    delong = wins.mean(1).var(ddof=1) / len(ones) + wins.mean(0).var(ddof=1) / len(zeros)
    for fixed in (False, True):
        units = influence.sampling_units(dataclasses.replace(predictions, counts_fixed=fixed))
        found, _ = influence.variance(influence.of(predictions)["roc_auc"], units)
        assert found == pytest.approx(delong, rel=1e-12)


def test_variance_with_groups_is_the_delete_one_group_jackknife() -> None:
    predictions = example(groups=15)
    part, groups = influence.of(predictions)["accuracy"], np.asarray(predictions.groups)
    right = (predictions.labels == predictions.predicted).astype(float)
    without = np.array([right[groups != group].mean() for group in np.unique(groups)])
    found, freedom = influence.variance(part, influence.sampling_units(predictions))
    k = len(without)
    # About the mean of all images, not about that of the deleted means.
    assert found == pytest.approx((k - 1) / k * ((without - part.value) ** 2).sum(), rel=1e-12)
    assert 8 < freedom < k - 1, "of groups of unequal size, fewer than groups"


def test_equal_groups_have_as_many_degrees_of_freedom_as_groups_less_one() -> None:
    predictions = Predictions.from_logits(np.tile([0, 1], 30), example().logits, np.arange(60) // 4)
    _, freedom = influence.variance(influence.of(predictions)["accuracy"], influence.sampling_units(predictions))
    assert freedom == pytest.approx(14)


def test_one_group_that_holds_a_label_alone_tells_no_variance() -> None:
    labels = np.repeat([0, 1], [20, 5])
    predictions = Predictions.from_logits(labels, example(25).logits, np.append(np.arange(20) // 4, [9] * 5))
    units, parts = influence.sampling_units(predictions), influence.of(predictions)
    assert math.isnan(influence.variance(parts["roc_auc"], units)[0])
    assert influence.variance(parts["accuracy"], units)[0] > 0


def test_groups_of_one_image_are_images() -> None:
    predictions = example()
    alone = dataclasses.replace(predictions, groups=np.arange(60))
    assert not influence.sampling_units(alone).grouped


def test_random_counts_of_the_labels_are_a_part_of_the_variance() -> None:
    """Of a mean it is the usual variance; with fixed counts it is that within the labels."""
    predictions = example()
    loss = binary.losses(predictions.labels, predictions.logits)
    part, label = influence.of(predictions)["log_loss"], predictions.labels
    found, freedom = influence.variance(part, influence.sampling_units(predictions))
    assert (found, freedom) == (pytest.approx(loss.var(ddof=1) / 60, rel=1e-12), 59)
    fixed = influence.sampling_units(dataclasses.replace(predictions, counts_fixed=True))
    within = sum(loss[label == one].var(ddof=1) * (label == one).sum() / 60**2 for one in (0, 1))
    assert influence.variance(part, fixed)[0] == pytest.approx(within, rel=1e-12)


def test_degrees_of_freedom_are_welchs() -> None:
    random = np.random.default_rng(0)
    zeros, ones = random.normal(size=30), 3 * random.normal(size=8)
    predictions = Predictions.from_logits(np.repeat([0, 1], [30, 8]), np.zeros(38))
    each = np.concatenate([(zeros - zeros.mean()) / 30, (ones - ones.mean()) / 8])
    part = influence.Influence(0.0, each, predictions.labels)
    spread, freedom = influence.variance(part, influence.sampling_units(predictions))
    parts = zeros.var(ddof=1) / 30, ones.var(ddof=1) / 8
    assert spread == pytest.approx(sum(parts), rel=1e-12)
    assert freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 29 + parts[1] ** 2 / 7), rel=1e-12)
