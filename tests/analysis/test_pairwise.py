"""How a comparison is put into words and into JSON."""

import json
import math

import pytest

from kesikaran.analysis import pairwise, run_predictions, wording
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.metrics.intervals import UNDEFINED, Interval
from kesikaran.metrics.paired import Difference

NAN = math.nan


def difference(p_value: float, by: float = 0.04) -> Difference:
    return Difference(0.85, 0.85 + by, by, by - 0.05, by + 0.051, p_value, "McNemar exact")


@pytest.mark.parametrize(("confidence", "level"), [(0.95, 0.05), (0.9, 0.1), (0.99, 0.01), (0.8, 0.2)])
def test_the_level_is_free_of_rounding(confidence: float, level: float) -> None:
    assert wording.significance_level(confidence) == level


@pytest.mark.parametrize(
    ("p_value", "words"),
    [(0.0312, "0.031"), (1.0, "1"), (0.0001, "0.0001"), (0.000099, "< 0.0001"), (0.0, "< 0.0001"), (NAN, "-")],
)
def test_a_p_value_in_words(p_value: float, words: str) -> None:
    assert wording.p_in_words(p_value) == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Interval(0.8531, 0.787, 0.9016), "0.853 [0.787, 0.902]"),
        (Interval(0.8531, NAN, NAN), "0.853"),
        (UNDEFINED, "-"),
        (difference(0.1), "+0.040 [-0.010, +0.091]"),
        (difference(0.1, -0.04), "-0.040 [-0.090, +0.011]"),
        (Difference(0.5, NAN, NAN, NAN, NAN, NAN, "undefined"), "-"),
    ],
)
def test_a_number_in_words(found: Interval | Difference, words: str) -> None:
    assert wording.in_words(found) == words


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
    found = pairwise._conclusion(difference(p_value, by), "test", 1234, 0.95)
    assert found.startswith(begins)
    assert found.endswith("1,234 test images).")


def test_a_number_that_json_has_none_for_is_null() -> None:
    assert pairwise._plain({"a": [(NAN, 1.5), math.inf], "b": "NaN", "c": {"d": NAN}}) == {
        "a": [[None, 1.5], None],
        "b": "NaN",
        "c": {"d": None},
    }
    found = pairwise.as_json(difference(NAN))
    assert (found["format"], found["kind"], found["p_value"], found["a"]) == (1, "difference", None, 0.85)
    json.dumps(found, allow_nan=False)


def test_a_run_before_the_settings_of_its_evaluation_has_their_defaults() -> None:
    def scored(**params: str) -> RunPredictions:
        return RunPredictions("r", "n", {}, {f"evaluation.{key}": value for key, value in params.items()}, None)  # type: ignore[arg-type]

    older, same = scored(), scored(confidence="0.95", calibration_bins="10")
    other = scored(confidence="0.9", calibration_bins="15")
    assert run_predictions.evaluation(older) == run_predictions.evaluation(same)
    assert run_predictions.evaluation_remarks([older, same]) == []
    (remark,) = run_predictions.evaluation_remarks([other, same, other])
    assert remark.startswith("evaluation.confidence=0.9 and evaluation.calibration_bins=15 are those of run r (n); ")
