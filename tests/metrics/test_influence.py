"""Influences against derivatives of scikit-learn's weighted metrics, variances against statsmodels and by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn import metrics

from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import influence
from kesikaran.metrics.predictions import Predictions


def example(n: int = 60, groups: int | None = None) -> Predictions:
    """Rounded logits, so that there are ties within and across labels."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, n)
    logits = np.round(random.normal(size=n) + labels, 1)
    return Predictions.from_logits(labels, logits, None if groups is None else random.integers(0, groups, n))


def weighted(predictions: Predictions, weights: np.ndarray) -> dict[str, float]:
    y, predicted, p = predictions.labels, predictions.predicted, expit(predictions.logits)
    recall, specificity = (
        metrics.recall_score(y, predicted, pos_label=label, sample_weight=weights) for label in (1, 0)
    )
    return {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=weights),
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
    found, _ = influence.variance(influence.of(predictions)["roc_auc"].each, influence.sampling_units(predictions))
    assert found == pytest.approx(delong, rel=1e-12)


def test_variance_with_groups_is_statsmodels_cluster_robust_one() -> None:
    predictions = example(groups=15)
    right = (predictions.labels == predictions.predicted).astype(float)
    robust = sm.OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": predictions.groups})
    part = influence.of(predictions)["accuracy"]
    found, freedom = influence.variance(part.each, influence.sampling_units(predictions), part.of)
    assert found == pytest.approx(float(robust.cov_params()[0, 0]), rel=1e-12)
    assert predictions.groups is not None
    assert freedom == len(set(predictions.groups)) - 1


def test_degrees_of_freedom_are_welchs() -> None:
    random = np.random.default_rng(0)
    zeros, ones = random.normal(size=30), 3 * random.normal(size=8)
    predictions = Predictions.from_logits(np.repeat([0, 1], [30, 8]), np.zeros(38))
    each = np.concatenate([(zeros - zeros.mean()) / 30, (ones - ones.mean()) / 8])
    spread, freedom = influence.variance(each, influence.sampling_units(predictions))
    parts = zeros.var(ddof=1) / 30, ones.var(ddof=1) / 8
    assert spread == pytest.approx(sum(parts), rel=1e-12)
    assert freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 29 + parts[1] ** 2 / 7), rel=1e-12)
