"""The best job of a sweep, what its jobs differ in, and the number of splits."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import sweep_summary
from kesikaran.config.metric_names import METRICS, SELECTION_LOSS


def jobs(**columns: list[Any]) -> pd.DataFrame:
    """Three finished jobs on one split, and what else is given."""
    count = len(next(iter(columns.values()))) if columns else 3
    made = {
        "run_id": [f"{i:032x}" for i in range(count)],
        "status": ["FINISHED"] * count,
        "split_fingerprint": ["a"] * count,
        "params.fit.monitor": ["loss"] * count,
        "params.split.fold": ["0"] * count,
    }
    return pd.DataFrame(made | columns)


LOSS, OLD = "metrics.validation/selection_log_loss", "metrics.validation/log_loss"
AUC = "metrics.validation/roc_auc"


def test_the_best_is_chosen_on_validation_by_the_objective() -> None:
    values = {LOSS: [0.4, 0.3, np.nan], AUC: [0.9, 0.8, 0.85], "metrics.test/log_loss": [0.1, 0.9, 0.2]}
    values[LOSS][2] = 0.35
    assert sweep_summary.best(jobs(**values)) == sweep_summary.Best(1, SELECTION_LOSS)
    assert sweep_summary.best(jobs(**values, **{"params.fit.monitor": ["auc"] * 3})) == sweep_summary.Best(
        0, METRICS["roc_auc"]
    )


def test_runs_of_an_older_version_are_chosen_among_by_their_log_loss() -> None:
    values = {LOSS: [0.1, np.nan, 0.2], OLD: [0.3, 0.2, 0.4]}
    assert sweep_summary.best(jobs(**values)) == sweep_summary.Best(1, METRICS["log_loss"])
    assert sweep_summary.best(jobs(**{OLD: [0.3, 0.2, 0.4]})) == sweep_summary.Best(1, METRICS["log_loss"])


def test_only_finished_jobs_of_one_fold_have_a_best() -> None:
    given = jobs(**{LOSS: [0.2, 0.3, 0.4, 0.1]}, split_fingerprint=["a", "a", "b", "a"])
    given.loc[3, "status"] = "FAILED"
    assert sweep_summary.best(given) == sweep_summary.Best(0, SELECTION_LOSS)
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, **{"params.split.fold": ["0", "1"]})) is None, (
        "folds are no rivals"
    )
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, status=["FAILED", "KILLED"])) is None
    assert sweep_summary.best(pd.DataFrame(columns=["run_id", "status"])) is None


@pytest.mark.parametrize(
    ("columns", "compares"),
    [
        ({"overrides.strategy": ["none", "tuned"]}, True),
        ({"params.imbalance.strategy": ["none", "focal"]}, True),
        ({"params.imbalance.tau": ["1.0", "0.5"], "params.imbalance.strategy": ["logit_adjusted"] * 2}, True),
        ({"overrides.head.l2": ["0", "1"], "params.imbalance.strategy": ["none"] * 2}, False),
    ],
)
def test_what_a_sweep_over_treatments_compares_is_said(columns: dict[str, Any], compares: bool) -> None:
    given = jobs(**columns)
    assert sweep_summary.compares_treatments(given) == compares
    assert "by the log loss of logits moved to validation's share" in sweep_summary.treatments_sentence(given)
    by_auc = given.assign(**{"params.fit.monitor": "auc"})
    assert "and the best job are chosen by ROC AUC, which no prior moves" in sweep_summary.treatments_sentence(by_auc)


@pytest.mark.parametrize(
    ("folds", "fingerprints", "expected"),
    [("000", "aab", 2), ("0011", "aabb", 1), ("0011", "aabc", 2), ("00", "a ", 1), ("0", " ", 0), ("", "", 0)],
)
def test_splits_are_counted_fold_by_fold(folds: str, fingerprints: str, expected: int) -> None:
    given = [name.strip() or None for name in fingerprints]
    given_jobs = pd.DataFrame({"params.split.fold": list(folds), "split_fingerprint": given})
    assert sweep_summary.splits(given_jobs if folds else pd.DataFrame(columns=["run_id", "status"])) == expected
