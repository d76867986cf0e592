"""Predictions from logits and from tables, and the logits that are refused."""

import numpy as np
import pandas as pd
import pytest

from kesikaran.metrics import binary
from kesikaran.metrics.predictions import Predictions


def test_a_logit_of_zero_is_predicted_one() -> None:
    counts = binary.confusion(Predictions.from_logits(np.array([0, 1]), np.zeros(2)))
    assert (counts.fp, counts.tp) == (1, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_a_defect(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 logits are not finite"):
        Predictions.from_logits(np.array([0, 1]), np.array([bad, 0.0]))


def test_a_logit_whose_loss_has_no_square_is_a_defect() -> None:
    with pytest.raises(ValueError, match=r"a logit of 1e\+308 is beyond 1e\+100"):
        Predictions.from_logits(np.array([0, 1]), np.array([-1e308, 0.0]))
    Predictions.from_logits(np.array([0, 1]), np.array([np.finfo(np.float32).max, 0.0], np.float32))


def test_counts_are_fixed_where_they_are_for_all_rows() -> None:
    rows = pd.DataFrame({"label": [0, 1], "logit": [1.0, -1.0]})
    assert not Predictions.from_table(rows).counts_fixed
    assert Predictions.from_table(rows.assign(counts_fixed=True)).counts_fixed
    assert not Predictions.from_table(rows.assign(counts_fixed=[True, False])).counts_fixed
    assert Predictions.from_table(rows.assign(counts_fixed=True)).take(np.array([0])).counts_fixed


def test_a_table_gives_what_it_has() -> None:
    rows = pd.DataFrame({"label": [0, 1, 1], "logit": [1.0, -1.0, 0.0]})
    plain = Predictions.from_table(rows)
    assert (plain.logits.tolist(), plain.predicted.tolist(), plain.groups) == ([1.0, -1.0, 0.0], [1, 0, 1], None)
    decided = Predictions.from_table(
        rows.assign(log_odds=[0.5, -1.5, -0.5], predicted=[0, 0, 1], group=["a", "b", "a"])
    )
    assert decided.logits.tolist() == [0.5, -1.5, -0.5], "the log-odds of the decision, not the logits"
    assert decided.predicted.tolist() == [0, 0, 1], "of a threshold that is not 0"
    assert decided.groups is not None
    assert decided.groups.tolist() == ["a", "b", "a"]


def test_taken_rows_keep_their_labels_decisions_and_groups() -> None:
    every = Predictions(np.array([0, 1, 1]), np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]), np.array(["a", "b", "c"]))
    for rows in (np.array([0, 2]), np.array([True, False, True])):
        some = every.take(rows)
        assert some.groups is not None
        found = [some.labels.tolist(), some.logits.tolist(), some.predicted.tolist(), some.groups.tolist()]
        assert found == [[0, 1], [1.0, 3.0], [0, 1], ["a", "c"]]
