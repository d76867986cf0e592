"""Influences against derivatives of scikit-learn's weighted metrics, variances against statsmodels and by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn import metrics

from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import influence, predictions
from kesikaran.metrics.predictions import Predictions


def example(n: int = 60, groups: int | None = None) -> predictions.Predictions:
    """Rounded logits, so that there are ties within and across labels."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, n)
    logits = np.round(random.normal(size=n) + labels, 1)
    return Predictions.from_logits(labels, logits, None if groups is None else random.integers(0, groups, n))


def weighted(outcome: predictions.Predictions, weights: np.ndarray) -> dict[str, float]:
    y, said, p = outcome.labels, outcome.predicted, expit(outcome.logits)
    recall, specificity = (metrics.recall_score(y, said, pos_label=label, sample_weight=weights) for label in (1, 0))
    return {
        "accuracy": metrics.accuracy_score(y, said, sample_weight=weights),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": metrics.precision_score(y, said, sample_weight=weights),
        "recall": recall,
        "specificity": specificity,
        "f1": metrics.f1_score(y, said, sample_weight=weights),
        "roc_auc": metrics.roc_auc_score(y, outcome.logits, sample_weight=weights),
        "pr_auc": metrics.average_precision_score(y, outcome.logits, sample_weight=weights),
        "log_loss": metrics.log_loss(y, p, sample_weight=weights),
        "brier": metrics.brier_score_loss(y, p, sample_weight=weights),
    }


def test_the_influence_of_an_image_is_the_derivative_by_its_weight() -> None:
    outcome, step = example(), 1e-5
    found = influence.of(outcome)
    for image in range(len(outcome.labels)):
        weights = np.ones(len(outcome.labels))
        weights[image] += step
        above = weighted(outcome, weights)
        weights[image] -= 2 * step
        below = weighted(outcome, weights)
        for name, part in found.items():
            assert part.each[image] == pytest.approx((above[name] - below[name]) / (2 * step), abs=1e-8), (name, image)


def test_values_are_those_of_scikit_learn_and_influences_sum_to_zero() -> None:
    outcome = example()
    expected = weighted(outcome, np.ones(len(outcome.labels)))
    found = influence.of(outcome)
    assert set(found) == {*expected} == {*METRICS} - {"calibration_error"}
    for name, part in found.items():
        assert part.value == pytest.approx(expected[name], abs=1e-12)
        assert part.each.sum() == pytest.approx(0, abs=1e-12)


def test_variance_of_the_roc_auc_is_delongs() -> None:
    outcome = example()
    ones, zeros = (outcome.logits[outcome.labels == label] for label in (1, 0))
    wins = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    delong = wins.mean(1).var(ddof=1) / len(ones) + wins.mean(0).var(ddof=1) / len(zeros)
    found, _ = influence.variance(influence.of(outcome)["roc_auc"].each, influence.sampling_units(outcome))
    assert found == pytest.approx(delong, rel=1e-12)


def test_variance_with_groups_is_statsmodels_cluster_robust_one() -> None:
    outcome = example(groups=15)
    right = (outcome.labels == outcome.predicted).astype(float)
    robust = sm.OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": outcome.groups})
    part = influence.of(outcome)["accuracy"]
    found, freedom = influence.variance(part.each, influence.sampling_units(outcome), part.of)
    assert found == pytest.approx(float(robust.cov_params()[0, 0]), rel=1e-12)
    assert outcome.groups is not None
    assert freedom == len(set(outcome.groups)) - 1


def test_degrees_of_freedom_are_welchs() -> None:
    random = np.random.default_rng(0)
    zeros, ones = random.normal(size=30), 3 * random.normal(size=8)
    outcome = Predictions.from_logits(np.repeat([0, 1], [30, 8]), np.zeros(38))
    each = np.concatenate([(zeros - zeros.mean()) / 30, (ones - ones.mean()) / 8])
    spread, freedom = influence.variance(each, influence.sampling_units(outcome))
    parts = zeros.var(ddof=1) / 30, ones.var(ddof=1) / 8
    assert spread == pytest.approx(sum(parts), rel=1e-12)
    assert freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 29 + parts[1] ** 2 / 7), rel=1e-12)
