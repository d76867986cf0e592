"""Counts, log loss and ROC AUC against numbers worked out by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kesikaran.metrics import binary
from kesikaran.metrics.predictions import Predictions

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
LOGITS = np.array([-3.0, -1.0, -0.5, 2.0, 3.0, 1.5, 1.0, 0.0, -0.25, -2.0], np.float32)


def test_the_matrix_has_true_rows_and_predicted_columns() -> None:
    assert binary.confusion(Predictions.from_logits(LABELS, LOGITS)).matrix() == [[3, 1], [2, 4]]


def test_extreme_logits_are_not_clipped() -> None:
    assert binary.log_loss(np.array([1, 0]), np.array([-1000.0, -1000.0])) == pytest.approx(500)


def test_ties_count_half() -> None:
    assert binary.roc_auc(np.array([0, 1, 0, 1]), np.zeros(4)) == 0.5


def test_roc_auc_is_scikit_learns_with_many_ties() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    logits = np.round(random.normal(size=300) + labels, 1).astype(np.float32)
    assert binary.roc_auc(labels, logits) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    both = np.stack([logits, -logits])
    assert binary.roc_aucs(labels, both).tolist() == [binary.roc_auc(labels, each) for each in both]
    assert binary.log_losses(labels, both).tolist() == [binary.log_loss(labels, each) for each in both]
