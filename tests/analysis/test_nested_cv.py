"""Settings chosen inside each fold and scored outside."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_cross_validation import made_pool

from kesikaran.analysis import nested_cv


def jobs(validation: dict[str, list[float]], test: dict[str, list[float]], monitor: str = "loss") -> pd.DataFrame:
    metric = {"loss": "log_loss", "auc": "roc_auc"}[monitor]
    return pd.DataFrame(
        [
            {"run_id": f"{name}{fold}", "setting": name, "params.split.fold": str(fold), "params.fit.monitor": monitor,
             f"metrics.validation/{metric}": value, f"metrics.test/{metric}": test[name][fold]}
            for name, values in validation.items()
            for fold, value in enumerate(values)
        ]
    )  # fmt: skip


def test_validation_chooses_and_test_does_not() -> None:
    validation = {"a": [0.5, 0.2, 0.4, np.nan], "b": [0.4, 0.3, 0.4, 0.9]}
    table = jobs(validation, {"a": [0.1] * 4, "b": [0.9] * 4})
    chosen = nested_cv.choices(table)
    assert chosen is not None
    assert chosen["setting"].tolist() == ["b", "a", "a", "b"], "the first of equals; nothing is not the best"
    assert chosen["run_id"].tolist() == ["b0", "a1", "a2", "b3"]
    assert nested_cv.in_hindsight(table, "log_loss") == "a"
    whole = {name: values[:3] for name, values in validation.items()}
    auc = nested_cv.choices(jobs(whole, whole, "auc"))
    assert auc is not None
    assert auc["setting"].tolist() == ["a", "b", "a"], "higher is better"
    assert nested_cv.choices(jobs({"a": [np.nan, 1], "b": [np.nan, 1]}, validation)) is None


def test_what_is_pooled_is_each_folds_choice() -> None:
    settings = {"a": made_pool(1, 0.5), "b": made_pool(2, 0.7)}
    chosen = pd.DataFrame({"fold": range(4), "setting": ["a", "b", "b", "a"]})
    pooled = nested_cv.pool(chosen, settings)
    assert pooled["object_id"].tolist() == settings["a"]["object_id"].tolist()
    from_a = pooled["fold"].isin([0, 3])
    assert (pooled["logit"] == settings["a"]["logit"].where(from_a, settings["b"]["logit"])).all()
    found = nested_cv.describe(pooled, 0.95, 10)
    areas = [roc_auc_score(rows["label"], rows["logit"]) for _, rows in pooled.groupby("fold")]
    assert found["nested/roc_auc"] == pytest.approx(np.mean(areas)), "models of two settings are not ranked together"
    assert found["nested/roc_auc_low"] < found["nested/roc_auc"] < found["nested/roc_auc_high"]
    assert "nested/pr_auc" not in found
    assert found["nested/accuracy"] == ((pooled["logit"] >= 0) == pooled["label"]).mean()
