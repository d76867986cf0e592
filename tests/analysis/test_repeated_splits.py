"""Means over repeated random splits, against the formula by hand and by simulation of splits that share images."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kesikaran.analysis import repeated_splits, sweep_summary


def jobs(**columns: list[Any]) -> pd.DataFrame:
    count = len(columns["accuracy"])
    made = {
        "status": ["FINISHED"] * count,
        "params.split.seed": columns.pop("seed"),
        "metrics.test/n": [100.0] * count,
        "metrics.train/n": [400.0] * count,
    }
    return pd.DataFrame(made | {f"metrics.test/{name}": values for name, values in columns.items()})


def test_the_mean_its_interval_and_its_spread() -> None:
    accuracy = [0.8, 0.9, 0.7, 0.85]
    found = repeated_splits.spread(
        jobs(seed=["0", "1", "0", "1"], accuracy=accuracy, f1=[0.5, 0.6, math.nan, 0.7]),
        pd.Series(["a", "a", "b", "b"]),
        0.95,
    )
    assert found[["setting", "metric"]].values.tolist() == [["a", "accuracy"], ["a", "f1"], ["b", "accuracy"]]
    first = found.iloc[0]
    std = np.std(accuracy[:2], ddof=1)
    half = stats.t.ppf(0.975, 1) * std * math.sqrt(1 / 2 + 100 / 400)
    assert (first["splits"], first["least"], first["most"]) == (2, 0.8, 0.9)
    assert (first["mean"], first["std"]) == (pytest.approx(0.85), pytest.approx(std))
    assert (first["low"], first["high"]) == (pytest.approx(0.85 - half), pytest.approx(0.85 + half))


def test_pairs_are_of_the_splits_that_both_have() -> None:
    given = jobs(seed=["0", "1", "2", "1", "2", "3"], accuracy=[0.8, 0.9, 0.7, 0.85, 0.75, 0.1])
    (one,) = repeated_splits.differences(given, pd.Series(list("aaabbb")), "accuracy", 0.95).to_dict("records")
    assert (one["a"], one["b"], one["splits"]) == ("a", "b", 2)
    assert one["mean"] == pytest.approx(0.0, abs=1e-12)
    assert one["p_value"] == pytest.approx(1.0)
    alone = jobs(seed=["0", "1"], accuracy=[0.8, 0.9])
    assert repeated_splits.differences(alone, pd.Series(["a", "b"]), "accuracy", 0.95).empty
    same = jobs(seed=["0", "1", "0", "1"], accuracy=[0.8, 0.9, 0.8, 0.9])
    (none,) = repeated_splits.differences(same, pd.Series(list("aabb")), "accuracy", 0.95).to_dict("records")
    assert math.isnan(none["p_value"]), "no difference on any split: no test is possible"


def test_settings_that_do_not_differ_are_seldom_found_to_differ() -> None:
    """The images are drawn once, the splits of them several times; whether an image is decided rightly by one setting
    and by the other is a matter of the image."""
    random, wrong, naive, rounds = np.random.default_rng(0), 0, 0, 400
    for _ in range(rounds):
        right = random.random((2, 500)) < 0.8
        tests = [random.choice(500, 100, replace=False) for _ in range(10)]
        values = [right[setting][test].mean() for setting in (0, 1) for test in tests]
        given = jobs(seed=[str(n) for n in range(10)] * 2, accuracy=values)
        (one,) = repeated_splits.differences(given, pd.Series(["a"] * 10 + ["b"] * 10), "accuracy", 0.95).to_dict(
            "records"
        )
        wrong += one["p_value"] < 0.05
        naive += stats.ttest_rel(values[:10], values[10:]).pvalue < 0.05
    assert wrong / rounds < 0.1, wrong
    assert naive / rounds > 0.2, "a test that takes the splits for independent"


def test_of_random_splits_no_job_is_the_best() -> None:
    given = jobs(seed=["0", "1"], accuracy=[0.8, 0.9])
    given["metrics.validation/selection_log_loss"] = [0.2, 0.3]
    given["params.fit.monitor"] = "loss"
    assert sweep_summary.over_splits(given)
    assert sweep_summary.best(given) is None
    given["params.split.seed"] = "0"
    assert sweep_summary.best(given) is not None
