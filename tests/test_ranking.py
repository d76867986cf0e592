"""The ranking of a sweep's jobs, on made predictions."""

import numpy as np
import pandas as pd

from kesikaran import ranking
from kesikaran.comparison import Said


def job(name: str, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Said:
    ids = [f"{number:040x}.png" for number in range(len(labels))]
    rows = pd.DataFrame({"object_id": ids, "label": labels, "logit": logits, "predicted": (logits >= 0).astype(int)})
    if groups is not None:
        rows["group"] = groups
    return Said(name * 8, name, {"split_fingerprint": "s", "data_digest": "d"}, {}, rows)


def test_jobs_that_no_test_can_compare_count_as_not_distinguishable() -> None:
    """With one group nothing can be tested, however far apart two jobs are."""
    labels = np.repeat([0, 1], 20)
    right, wrong = np.where(labels == 1, 2.0, -2.0), np.where(labels == 1, -2.0, 2.0)
    one = np.zeros(40, int)
    jobs = [(job("a", right, labels, one), 0.9), (job("b", wrong, labels, one), 0.1)]
    found = ranking.sweep("sweep", jobs, "auc", 0, "test", lambda: None)
    assert np.isnan(found.candidates[1].p_adjusted)
    assert found.not_distinguishable == ["b" * 8]
    assert "a, is not distinguishable in accuracy from 1 other: b." in found.conclusion
