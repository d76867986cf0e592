"""The predictions of a classifier, from which every metric is computed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# No float32 comes near it, and the squares of a million losses of this size are still finite in float64.
LARGEST_LOGIT = 1e100


@dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier on n images. Label 1 is positive.

    labels: int [n] of 0 and 1. logits: float [n], finite; probability of label 1 = 1 / (1 + exp(-logit)).
    predicted: int [n] of 0 and 1. groups: [n], equal for images that came together and are not independent; None:
    every image is independent. weights: what each image counts for in the weighted metrics, float [n], above 0; None:
    these metrics are not defined. counts_fixed: the rule of the split has fixed how many images of each label there
    are; otherwise the counts are taken for random, as those of images that were drawn whatever their label.

    Raises:
        ValueError: a logit is not finite, or is beyond `LARGEST_LOGIT`.
    """

    labels: np.ndarray
    logits: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray | None = None
    counts_fixed: bool = False
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.logits).all():
            raise ValueError(f"{int((~np.isfinite(self.logits)).sum())} of {len(self.logits)} logits are not finite")
        largest = np.abs(self.logits.astype(np.float64)).max(initial=0.0)
        if largest > LARGEST_LOGIT:
            raise ValueError(f"a logit of {largest:.3g} is beyond {LARGEST_LOGIT:g}: its loss cannot be squared")

    @classmethod
    def from_logits(
        cls,
        labels: np.ndarray,
        logits: np.ndarray,
        groups: np.ndarray | None = None,
        *,
        counts_fixed: bool = False,
        weights: np.ndarray | None = None,
    ) -> "Predictions":
        """Predicted is 1 where the logit is at least 0, which is a probability of at least 0.5."""
        return cls(labels, logits, (logits >= 0).astype(int), groups, counts_fixed, weights)

    @classmethod
    def from_table(cls, rows: pd.DataFrame) -> "Predictions":
        """The predictions in rows of `predictions.parquet`, with the columns label and logit, and log_odds, predicted,
        group, weight and counts_fixed where the table has them. Counts are fixed where they are so for all rows."""
        logits = rows["log_odds" if "log_odds" in rows else "logit"].to_numpy(np.float64)
        groups = rows["group"].to_numpy() if "group" in rows else None
        weights = rows["weight"].to_numpy(np.float64) if "weight" in rows else None
        labels = rows["label"].to_numpy()
        fixed = "counts_fixed" in rows and bool(rows["counts_fixed"].all())
        if "predicted" not in rows:
            return cls.from_logits(labels, logits, groups, counts_fixed=fixed, weights=weights)
        return cls(labels, logits, rows["predicted"].to_numpy(), groups, fixed, weights)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some images. rows: their row numbers, int [k], or bool [n]."""
        groups, weights = (None if of is None else of[rows] for of in (self.groups, self.weights))
        each = self.labels[rows], self.logits[rows], self.predicted[rows]
        return Predictions(*each, groups, self.counts_fixed, weights)
