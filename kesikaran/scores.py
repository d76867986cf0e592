"""Truth and logits in, numbers out."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata
from sklearn import metrics


@dataclass(frozen=True)
class Confusion:
    """Counts at the threshold logit >= 0, that is probability >= 0.5. Label 1 is positive."""

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


def confusion(labels: np.ndarray, logits: np.ndarray) -> Confusion:
    """Args: labels int [n] of 0 and 1; logits float [n], finite."""
    predicted = logits >= 0
    result = Confusion(*(int(n) for n in metrics.confusion_matrix(labels, predicted, labels=[0, 1]).ravel()))
    if result.total != len(labels):
        raise AssertionError(f"the confusion matrix holds {result.total} of {len(labels)} images")
    return result


def score(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The metrics of one split.

    Args:
        labels: int [n] of 0 and 1, both present.
        logits: float [n], finite; probability = 1 / (1 + exp(-logit)).

    Returns:
        accuracy, balanced_accuracy, precision (0 when nothing is predicted 1), recall, f1, roc_auc,
        pr_auc (average precision), log_loss (nats), brier, and the counts n tn fp fn tp.
    """
    if not np.isfinite(logits).all():
        raise ValueError(f"{int((~np.isfinite(logits)).sum())} of {len(logits)} logits are not finite")
    counts = confusion(labels, logits)
    probabilities = expit(logits.astype(np.float64))
    predicted = (logits >= 0).astype(int)
    return {
        "accuracy": (counts.tn + counts.tp) / counts.total,
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted, zero_division=0),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted),
        "roc_auc": roc_auc(labels, logits),
        "pr_auc": metrics.average_precision_score(labels, logits),
        "log_loss": log_loss(labels, logits),
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "n": counts.total,
        "tn": counts.tn,
        "fp": counts.fp,
        "fn": counts.fn,
        "tp": counts.tp,
    }


def losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Each image's cross-entropy in nats, float64 [n], from logits so that no probability is clipped."""
    signed = np.where(labels == 1, logits, -logits).astype(np.float64)
    return np.logaddexp(0.0, -signed)


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """The mean of `losses`."""
    return float(np.mean(losses(labels, logits)))


def roc_auc(labels: np.ndarray, logits: np.ndarray) -> float:
    """Area under the ROC curve; ties count half. By ranks (Hanley and McNeil 1982): it is asked for every epoch of
    every head, and scikit-learn's takes as long as an epoch."""
    is_one = labels == 1
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    return float((rankdata(logits)[is_one].sum() - ones * (ones + 1) / 2) / (ones * zeros))
