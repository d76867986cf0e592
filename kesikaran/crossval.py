"""Predictions of all folds to one out-of-fold table, and its numbers."""

import numpy as np
import pandas as pd

from kesikaran import scores

_METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier")


def pool(folds: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Each image's prediction by the one model that was tested on it.

    Args:
        folds: fold -> the run's predictions of every image: columns object_id, split, label, logit, probability, and
            what else `scores.of_predictions` reads.

    Returns:
        The columns but split, and fold, sorted by object id: every image once.

    Raises:
        ValueError: the test splits do not cover every image exactly once.
    """
    tested = [rows[rows["split"] == "test"].assign(fold=fold) for fold, rows in folds.items()]
    pooled = pd.concat(tested).drop(columns="split")
    pooled = pooled.sort_values("object_id", ignore_index=True)
    for fold, rows in folds.items():
        if sorted(rows["object_id"]) != list(pooled["object_id"]):
            raise ValueError(
                f"the test splits of {len(folds)} folds hold {len(pooled)} images, {pooled['object_id'].nunique()} "
                f"different ones, and fold {fold} has {len(rows)}: they are not one cross-validation"
            )
    return pooled


def describe(pooled: pd.DataFrame) -> dict[str, float]:
    """The numbers of a pooled table.

    Returns:
        `oof/METRIC` over all images at once, `oof/METRIC_fold_mean` and `oof/METRIC_fold_std` (n - 1) over the
        folds, and the counts `oof/n` and `oof/tn fp fn tp`. Folds share most of their training images, so the
        spread is no standard error of the mean. The pooled ROC AUC also ranks logits of different models against
        each other: where they are calibrated apart it lies below the folds' mean.
    """
    outcome = scores.of_predictions(pooled)
    whole = scores.score(outcome)
    each = [scores.score(outcome.take(np.asarray(rows))) for rows in pooled.groupby("fold").indices.values()]
    spread = pd.DataFrame(each)
    result = {f"oof/{name}": value for name, value in whole.items()}
    for name in _METRICS:
        result[f"oof/{name}_fold_mean"] = float(spread[name].mean())
        result[f"oof/{name}_fold_std"] = float(spread[name].std(ddof=1))
    return result


def table(result: dict[str, float]) -> pd.DataFrame:
    """`describe`'s metrics as rows, with the columns pooled, fold_mean and fold_std."""
    suffixes = {"pooled": "", "fold_mean": "_fold_mean", "fold_std": "_fold_std"}
    rows = {name: {column: result[f"oof/{name}{end}"] for column, end in suffixes.items()} for name in _METRICS}
    return pd.DataFrame(rows).T


def doubts(pooled: pd.DataFrame) -> pd.DataFrame:
    """Every image with the cross-entropy (`loss`, in nats) of its label under the model that had not seen it.

    The highest loss first: where the model contradicts the label most firmly, the label is worth a second look
    (Northcutt, Jiang and Chuang 2021 rank by the same out-of-fold confidence). A wrong label is one reason of a
    high loss, a hard image another; nothing is removed.
    """
    outcome = scores.of_predictions(pooled)
    loss = scores.losses(outcome.labels, outcome.logits)
    return pooled.assign(loss=loss).sort_values(["loss", "object_id"], ascending=[False, True], ignore_index=True)
