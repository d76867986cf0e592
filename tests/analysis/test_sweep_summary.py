"""The best job of a sweep, the jobs that are not distinguishable from it, and the number of splits."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import sweep_summary


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


LOSS, AUC = "metrics.validation/log_loss", "metrics.validation/roc_auc"


def test_the_best_is_chosen_on_validation_by_the_objective() -> None:
    values = {LOSS: [0.4, 0.3, np.nan], AUC: [0.9, 0.8, 0.85], "metrics.test/log_loss": [0.1, 0.9, 0.2]}
    assert sweep_summary.best(jobs(**values)) == sweep_summary.Best(1, "log_loss", [0, 2])
    assert sweep_summary.best(jobs(**values, **{"params.fit.monitor": ["auc"] * 3})) == sweep_summary.Best(
        0, "roc_auc", [1, 2]
    )


def test_only_finished_jobs_on_its_split_are_its_rivals() -> None:
    given = jobs(**{LOSS: [0.2, 0.3, 0.4, 0.1]}, split_fingerprint=["a", "a", "b", "a"])
    given.loc[3, "status"] = "FAILED"
    assert sweep_summary.best(given) == sweep_summary.Best(0, "log_loss", [1])
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, **{"params.split.fold": ["0", "1"]})) is None, (
        "folds are no rivals"
    )
    assert sweep_summary.best(jobs(**{LOSS: [0.2, 0.3]}, status=["FAILED", "KILLED"])) is None
    assert sweep_summary.best(pd.DataFrame(columns=["run_id", "status"])) is None


def test_the_words_and_the_honest_line() -> None:
    given = jobs(**{LOSS: [0.2, 0.3, 0.4, 0.5, 0.6]}, **{"overrides.head.l2": ["0", "1", "2", "3", "4"]})
    given.loc[4, "split_fingerprint"] = "b"
    found = sweep_summary.best(given)
    assert found is not None
    p_values = pd.Series([np.nan, 0.05, 0.0501, 1e-9, np.nan])
    assert list(sweep_summary.against_best(found, p_values, 0.95)) == ["best", "0.05", "~", "< 0.0001", "-"]
    line = sweep_summary.best_sentence(given, found, p_values, 150, 0.95)
    assert line == (
        "The best of 5 by validation log loss (head.l2=0, run 00000000) is not distinguishable from 1 other on the "
        "150 test images: log loss, image by image, Holm over 3 comparisons at 5%."
    )
    assert "differs from every other" in sweep_summary.best_sentence(given, found, p_values * 0, 150, 0.95)
    assert "was not compared" in sweep_summary.best_sentence(given, found, p_values * np.nan, 150, 0.95)


@pytest.mark.parametrize(
    ("folds", "fingerprints", "expected"),
    [("000", "aab", 2), ("0011", "aabb", 1), ("0011", "aabc", 2), ("00", "a ", 1), ("0", " ", 0), ("", "", 0)],
)
def test_splits_are_counted_fold_by_fold(folds: str, fingerprints: str, expected: int) -> None:
    given = [name.strip() or None for name in fingerprints]
    given_jobs = pd.DataFrame({"params.split.fold": list(folds), "split_fingerprint": given})
    assert sweep_summary.splits(given_jobs if folds else pd.DataFrame(columns=["run_id", "status"])) == expected
