"""The conclusion of a comparison, and the numbers of its JSON."""

import math

import pytest

from kesikaran.analysis import pairwise
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
    found = pairwise._conclusion(difference(p_value, by), "test", 1234, 0.95)
    assert found.startswith(begins)
    assert found.endswith("1,234 test images).")


def test_a_number_that_json_has_none_for_is_null() -> None:
    assert pairwise._plain({"a": [(NAN, 1.5), math.inf], "b": "NaN", "c": {"d": NAN}}) == {
        "a": [[None, 1.5], None],
        "b": "NaN",
        "c": {"d": None},
    }
