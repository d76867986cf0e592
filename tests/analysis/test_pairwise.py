"""The conclusion of a comparison, and the numbers of its JSON."""

import math
from typing import Any

import pandas as pd
import pytest

from kesikaran.analysis import pairwise, run_predictions, verdict
from kesikaran.metrics.paired import Difference

NAN = math.nan


def difference(p_value: float, by: float = 0.04) -> Difference:
    return Difference(0.85, 0.85 + by, by, by - 0.05, by + 0.051, p_value, "McNemar exact")


@pytest.mark.parametrize(
    ("p_value", "by", "begins"),
    [
        (0.05, 0.04, "B is better in accuracy: 0.850 and 0.890, B - A = +0.040 [-0.010, +0.091], p = 0.05 (McNemar"),
        (0.05, -0.04, "A is better in accuracy: "),
        (0.0500001, 0.04, "The difference in accuracy is within noise: "),
        (0.00001, 0.04, "B is better in accuracy: 0.850 and 0.890, B - A = +0.040 [-0.010, +0.091], p < 0.0001 (McN"),
        (NAN, 0.04, "Nothing can be said of the difference in accuracy: "),
    ],
)
def test_the_conclusion_is_the_tests(p_value: float, by: float, begins: str) -> None:
    found = verdict.of_pair(difference(p_value, by), "accuracy", "test", 1234, 0.95)
    assert found.startswith(begins)
    assert found.endswith("1,234 test images).")


@pytest.mark.parametrize(
    ("columns", "same"),
    [({}, True), ({"logit": [-2.0, 2.0, 2.0, 1.5] * 10}, False), ({"predicted": [0, 1, 1, 0] * 10}, False)],
    ids=["nothing differs", "a logit differs", "a label differs"],
)
def test_runs_that_predict_the_same_are_said_to(columns: dict[str, Any], same: bool) -> None:
    names = [f"{i:040x}.png" for i in range(40)]
    rows = pd.DataFrame({"object_id": names, "split": "test", "label": [0, 1, 0, 1] * 10, "probability": 0.5})
    rows = rows.assign(logit=[-2.0, 2.0, 2.0, 1.0] * 10, predicted=[0, 1, 1, 1] * 10)
    both = {"a": rows, "b": rows.assign(**columns)}
    a, b = (run_predictions.run_predictions(i, i, {}, {}, each, "test") for i, each in both.items())
    conclusion = pairwise.compare(a, b, "test").conclusion
    says = "A and B predict the same: log-odds and label are equal on all 40 test images."
    assert (conclusion == says) == same
    assert same or "40 test images)." in conclusion


def test_a_number_that_json_has_none_for_is_null() -> None:
    assert pairwise._plain({"a": [(NAN, 1.5), math.inf], "b": "NaN", "c": {"d": NAN}}) == {
        "a": [[None, 1.5], None],
        "b": "NaN",
        "c": {"d": None},
    }


def test_how_a_run_was_named_and_how_its_sweep_goes_on_is_no_difference() -> None:
    a = {"tracking.run_name": "a", "sweep.resume": "True", "seed": "0"}
    assert pairwise._differing_params(a, {"sweep.resume": "False", "seed": "1"}) == {"seed": ("0", "1")}
