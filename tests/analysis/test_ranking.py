"""The ranking of a sweep's jobs, on made predictions."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import sweep_of

from kesikaran.analysis import pairwise, ranking, run_predictions, sweep_summary
from kesikaran.core.errors import InputError

LABELS = np.repeat([0, 1], 20)
SURE = np.where(LABELS == 1, 2.0, -2.0)
HALF = SURE * np.where(np.arange(40) % 2 == 0, 1, -1)


def test_a_job_that_no_test_can_compare_is_not_called_alike() -> None:
    """With one group nothing can be tested, however far apart two jobs are."""
    jobs, read = sweep_of({"a": SURE, "b": -SURE}, LABELS, [0.1, 0.9], group=np.zeros(40, int))
    found = ranking.compare("sweep", jobs, read, "test")
    assert np.isnan(found.candidates[1].p_adjusted)
    assert (found.not_distinguishable, found.untested) == ([], [found.candidates[1].run_id])
    assert "(a, run 0cc175b9), could not be tested against 1 other." in found.conclusion
    plain = pairwise.as_json(ranking.with_every_pair(found, jobs, read, lambda: None))
    json.dumps(plain, allow_nan=False)
    assert (plain["format"], plain["kind"], plain["primary_metric"]) == (1, "sweep", "accuracy")
    assert plain["candidates"][1]["p_adjusted"] is None
    runs = [run_predictions.run_predictions(name, name, {}, {}, read(name), "test") for name in jobs["run_id"]]
    pair = pairwise.as_json(pairwise.compare(runs[0], runs[1], "test"))
    assert (pair["kind"], pair["differences"]["accuracy"]["p_value"], pair["both_wrong"]) == ("pair", None, 0)


def test_the_best_by_validation_may_be_worse_than_others_and_is_said_to_be() -> None:
    jobs, read = sweep_of({"a": SURE, "b": -SURE, "c": HALF, "d": SURE}, LABELS, [0.3, 0.2, 0.1, 0.4])
    jobs = pd.concat([jobs, jobs.iloc[3:].assign(run_id="e", status="FAILED")], ignore_index=True)
    found = ranking.compare("sweep", jobs, read, "test")
    assert [one.name for one in found.candidates] == ["c", "b", "a", "d"]
    assert [one.against_best.difference for one in found.candidates if one.against_best] == [-0.5, 0.5, 0.5]
    assert (found.candidates[0].against_best, found.not_distinguishable, found.untested) == (None, [], [])
    assert re.sub(r"\[[^]]*\]", "[..]", found.conclusion) == (
        "Judged by accuracy on the 40 test images, the best of 4 by validation prior-corrected log loss (c, run "
        "4a8a08f0), is not the best there: it is WORSE than 2 others, a (+0.500 [..], p < 0.0001), "
        "d (+0.500 [..], p < 0.0001); 1 is worse than it (Holm over 3 comparisons at 5%)."
    )
    assert "Left out, as not finished: 1 of 5 jobs." in found.remarks
    steps: list[None] = []
    every = ranking.with_every_pair(found, jobs, read, lambda: steps.append(None))
    assert len(steps) == 6
    assert every.p_adjusted[2][3] == 1


def test_the_metric_of_the_verdict_is_that_of_the_best_and_its_direction_counts() -> None:
    jobs, read = sweep_of({"a": SURE, "b": SURE / 20}, LABELS, [0.2, 0.1], {"evaluation.verdict": "log_loss"})
    found = ranking.compare("sweep", jobs, read, "test")
    assert found.primary_metric == "log_loss"
    assert found.conclusion.startswith("Judged by log loss on the 40 test images, the best of 2 by validation")
    assert "it is WORSE than 1 other, a (-0.5" in found.conclusion, "less is better"
    assert found.beside == [], "a loss has nothing to say beside itself"
    jobs.loc[0, "params.evaluation.verdict"] = "f1"
    assert any(
        "evaluation.verdict=log_loss are those of run" in remark
        for remark in ranking.compare("s", jobs, read, "test").remarks
    )


def test_groups_that_one_job_keeps_together_are_those_of_all() -> None:
    jobs, read = sweep_of({"a": SURE, "b": HALF}, LABELS, [0.1, 0.2])
    tables = {run_id: read(run_id) for run_id in jobs["run_id"]}
    tables[jobs["run_id"][1]]["group"] = np.tile(np.arange(40) // 4, 2).astype(str)
    found = ranking.compare("sweep", jobs, tables.__getitem__, "test")
    assert found.groups == 10
    assert found.candidates[1].against_best is not None
    assert found.candidates[1].against_best.test == "t of group sums"


def test_jobs_with_other_images_are_left_out_and_named() -> None:
    jobs, read = sweep_of({"a": SURE, "b": HALF, "c": SURE}, LABELS, [0.1, 0.2, 0.3])
    tables = {run_id: read(run_id) for run_id in jobs["run_id"]}
    tables[jobs["run_id"][1]] = tables[jobs["run_id"][1]].iloc[1:]
    tables[jobs["run_id"][1]] = tables[jobs["run_id"][1]].drop(index=40)
    found = ranking.compare("sweep", jobs, tables.__getitem__, "test")
    assert [one.name for one in found.candidates] == ["a", "c"]
    assert "1 finished jobs are not compared, the first because run 0cc175b9 (a) and run" in found.remarks[-1]
    found = ranking.compare("sweep", jobs.iloc[:2], tables.__getitem__, "test")
    assert found.conclusion.endswith("(a, run 0cc175b9) was not compared: no other job has its test images.")
    jobs["params.split.fold"] = ["0", "1", "2"]
    with pytest.raises(InputError, match="none of its jobs is the best"):
        ranking.compare("sweep", jobs, read, "test")


def test_the_optimism_is_of_the_logits_that_chose() -> None:
    random = np.random.default_rng(0)
    logits = {str(job): random.normal(size=40) + SURE / 2 for job in range(8)}
    jobs, read = sweep_of(logits, LABELS, [0.5 - job / 100 for job in range(8)])
    best = sweep_summary.best(jobs)
    assert best is not None
    first = ranking.optimism(jobs, best, read)
    assert first is not None
    assert first.startswith("The best of 8 by validation prior-corrected log loss shows 0.")
    assert ranking.optimism(jobs.assign(selection_shift=1.0), best, read) != first
    assert ranking.optimism(jobs.iloc[-1:], best, read) is None
