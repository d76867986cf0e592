"""The ranking of a sweep's jobs, on made predictions."""

import json

import numpy as np
import pandas as pd

from kesikaran.analysis import pairwise, ranking
from kesikaran.analysis.run_predictions import RunPredictions


def job(name: str, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> RunPredictions:
    ids = [f"{number:040x}.png" for number in range(len(labels))]
    rows = pd.DataFrame({"object_id": ids, "label": labels, "logit": logits, "predicted": (logits >= 0).astype(int)})
    if groups is not None:
        rows["group"] = groups
    return RunPredictions(name * 8, name, {"split_fingerprint": "s", "data_digest": "d"}, {}, rows)


def test_jobs_that_no_test_can_compare_count_as_not_distinguishable() -> None:
    """With one group nothing can be tested, however far apart two jobs are."""
    labels = np.repeat([0, 1], 20)
    right, wrong = np.where(labels == 1, 2.0, -2.0), np.where(labels == 1, -2.0, 2.0)
    one = np.zeros(40, int)
    jobs = [(job("a", right, labels, one), 0.9), (job("b", wrong, labels, one), 0.1)]
    found = ranking.compare_all("sweep", jobs, "roc_auc", 0, "test", lambda: None)
    assert np.isnan(found.candidates[1].p_adjusted)
    assert found.not_distinguishable == ["b" * 8]
    assert "a, is not distinguishable in accuracy from 1 other: b." in found.conclusion
    plain = pairwise.as_json(found)
    json.dumps(plain, allow_nan=False)
    assert (plain["format"], plain["kind"], plain["primary_metric"]) == (1, "sweep", "accuracy")
    assert plain["candidates"][1]["p_adjusted"] is None
    pair = pairwise.as_json(pairwise.compare(jobs[0][0], jobs[1][0], "test"))
    assert (pair["kind"], pair["differences"]["accuracy"]["p_value"], pair["both_wrong"]) == ("pair", None, 0)


def test_the_best_by_validation_may_be_worse_than_others_and_is_said_to_be() -> None:
    labels = np.repeat([0, 1], 20)
    sure = np.where(labels == 1, 2.0, -2.0)
    half = sure * np.where(np.arange(40) % 2 == 0, 1, -1)
    logits = {"a": sure, "b": -sure, "c": half, "d": sure}
    jobs = [(job(name, logits[name], labels), loss) for name, loss in zip("abcd", (0.3, 0.2, 0.1, 0.4), strict=True)]
    steps: list[None] = []
    found = ranking.compare_all("sweep", jobs, "log_loss", 2, "test", lambda: steps.append(None))
    assert len(steps) == 6
    assert [one.name for one in found.candidates] == ["c", "b", "a", "d"]
    differences = [one.against_best.difference for one in found.candidates if one.against_best]
    assert differences == [-0.5, 0.5, 0.5]
    assert (found.candidates[0].against_best, found.not_distinguishable) == (None, [])
    assert found.conclusion == (
        "The best of 4 by validation log_loss, c, is distinguishable in accuracy from all others: 1 is worse, "
        "2 are better."
    )
    assert "2 jobs did not finish and are left out." in found.remarks
