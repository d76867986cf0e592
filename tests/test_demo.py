"""The embedded demo, really trained; and the same path on shuffled labels, which must fail to learn."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done

SHUFFLES = 6


def test_the_demo_learns_and_shuffled_labels_do_not(
    train: Callable[..., Done], runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """Expected: the frozen probe measured outside gives 0.91 ROC AUC on random splits."""
    done = train("tracking.log_model=false")
    assert done.code == 0, done.err
    (real,) = runs()
    assert real.data.metrics["test/n"] == 150
    assert real.data.metrics["validation/n"] == 152
    assert 0.88 < real.data.metrics["test/roc_auc"] < 0.95
    # The figures that were measured outside: the gauge must speak up here.
    assert "Neighbours by position share their label 79.7% of the time, 57.0% by chance" in done.out
    assert "Compare with split=blocks split.order=position." in done.out

    (labels,) = Path(os.environ["KESIKARAN_CACHE"]).glob("elpv/*/label.csv")
    words = ["data=label_csv", f"data.images={labels.parent / 'images'}", "data.name=control"]
    rows = [line.split(",")[:2] for line in labels.read_text().splitlines()[1:]]
    # Only images outside both windows: which images are validation and test, and their labels, stay as they were.
    inside = [i for i, (name, _) in enumerate(rows) if int(name.split(".")[0][-2:], 16) >= 50]
    for seed in range(SHUFFLES):
        shuffled = [list(row) for row in rows]
        for i, j in zip(inside, np.random.default_rng(seed).permutation(inside).tolist(), strict=True):
            shuffled[i][1] = rows[j][1]
        (tmp_path / "label.csv").write_text("objectId,value\n" + "".join(f"{a},{b}\n" for a, b in shuffled))
        assert train(*words, f"data.labels={tmp_path / 'label.csv'}", "tracking.log_model=false").code == 0
    controls = [run.data.metrics for run in runs() if run.data.params["data.name"] == "control"]
    assert [metrics["test/n"] for metrics in controls] == [150] * SHUFFLES
    areas = [metrics["test/roc_auc"] for metrics in controls]
    print("test ROC AUC with shuffled training labels:", np.round(areas, 3))
    # Measured over 16 shuffles: mean 0.511, standard deviation 0.073, so three standard errors of six.
    assert np.mean(areas) == pytest.approx(0.5, abs=0.09)
    assert max(areas) < real.data.metrics["test/roc_auc"] - 0.1
