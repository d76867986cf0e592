"""Intervals, differences and p-values in words."""

import math

import pytest

from kesikaran.analysis import wording
from kesikaran.metrics.intervals import UNDEFINED, Interval
from kesikaran.metrics.paired import Difference

NAN = math.nan


def difference(by: float = 0.04) -> Difference:
    return Difference(0.85, 0.85 + by, by, by - 0.05, by + 0.051, 0.1, "McNemar exact")


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
        (difference(), "+0.040 [-0.010, +0.091]"),
        (difference(-0.04), "-0.040 [-0.090, +0.011]"),
        (Difference(0.5, NAN, NAN, NAN, NAN, NAN, "undefined"), "-"),
    ],
)
def test_a_number_in_words(found: Interval | Difference, words: str) -> None:
    assert wording.in_words(found) == words
