"""The predictions of a classifier, from which every metric is computed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier on n images. Label 1 is positive.

    labels: int [n] of 0 and 1. logits: float [n], finite; probability of label 1 = 1 / (1 + exp(-logit)).
    predicted: int [n] of 0 and 1. groups: [n], equal for images that came together and are not independent; None:
    every image is independent.

    Raises:
        ValueError: a logit is not finite.
    """

    labels: np.ndarray
    logits: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.logits).all():
            raise ValueError(f"{int((~np.isfinite(self.logits)).sum())} of {len(self.logits)} logits are not finite")

    @classmethod
    def from_logits(cls, labels: np.ndarray, logits: np.ndarray, groups: np.ndarray | None = None) -> "Predictions":
        """Predicted is 1 where the logit is at least 0, which is a probability of at least 0.5."""
        return cls(labels, logits, (logits >= 0).astype(int), groups)

    @classmethod
    def from_table(cls, rows: pd.DataFrame) -> "Predictions":
        """The predictions in rows of `predictions.parquet`, with the columns label and logit, and log_odds, predicted
        and group where the table has them."""
        logits = rows["log_odds" if "log_odds" in rows else "logit"].to_numpy(np.float64)
        groups = rows["group"].to_numpy() if "group" in rows else None
        labels = rows["label"].to_numpy()
        if "predicted" not in rows:
            return cls.from_logits(labels, logits, groups)
        return cls(labels, logits, rows["predicted"].to_numpy(), groups)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some images. rows: their row numbers, int [k], or bool [n]."""
        groups = None if self.groups is None else self.groups[rows]
        return Predictions(self.labels[rows], self.logits[rows], self.predicted[rows], groups)
