"""The metrics of binary predictions."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Confusion:
    """Counts of images."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def total(self) -> int:
        return self.tn + self.fp + self.fn + self.tp

    def matrix(self) -> list[list[int]]:
        """[[tn, fp], [fn, tp]]: rows are the true label, columns the predicted one."""
        return [[self.tn, self.fp], [self.fn, self.tp]]


def confusion(predictions: Predictions) -> Confusion:
    """The counts of the predicted labels against the true ones."""
    counts = np.bincount(2 * predictions.labels + predictions.predicted, minlength=4)  # as [label][predicted]
    result = Confusion(*(int(n) for n in counts))
    if result.total != len(predictions.labels):
        raise AssertionError(f"the confusion matrix holds {result.total} of {len(predictions.labels)} images")
    return result


def losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The cross-entropy of each image, in nats. It is computed from logits, so that no probability is clipped.

    Returns:
        float64, of the shape of `logits`: [n], or [m, n] for m classifiers.
    """
    signed = np.where(labels == 1, logits, -logits).astype(np.float64)
    return np.logaddexp(0.0, -signed)


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean of `losses`."""
    return float(log_losses(labels, logits[None])[0])


def log_losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The `log_loss` of each of m classifiers, float64 [m]. logits: float [m, n]."""
    means: np.ndarray = np.mean(losses(labels, logits), axis=1)
    return means


def roc_auc(labels: np.ndarray, logits: np.ndarray) -> float:
    """The area under the ROC curve, in [0, 1]. Ties count half. NaN where a label is missing."""
    return float(roc_aucs(labels, logits[None])[0])


def roc_aucs(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The `roc_auc` of each of m classifiers, float64 [m]. logits: float [m, n].

    Computed from ranks (Hanley and McNeil 1982), because training needs it after every epoch of every head and
    scikit-learn's function takes as long as an epoch."""
    is_one = labels == 1
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return np.full(len(logits), math.nan)
    return (rankdata(logits, axis=1)[:, is_one].sum(axis=1) - ones * (ones + 1) / 2) / (ones * zeros)
