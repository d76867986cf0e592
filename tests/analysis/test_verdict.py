"""What the closing of a sweep and `kesikaran compare` say of six sweeps, on made predictions."""

import dataclasses
import math
import re

import numpy as np
import pytest
from conftest import sweep_of

from kesikaran.analysis import ranking, verdict
from kesikaran.metrics.paired import Difference

N = 200
LABELS = np.arange(N) % 2
SIGN = np.where(LABELS == 1, 1.0, -1.0)
JUDGED = "Judged by accuracy on the 200 test images, the best of {} by validation prior-corrected log loss ({}),"


def wrong(count: int, first: int = 0, sure: float = 1.5) -> np.ndarray:
    """Logits that are wrong on `count` images from the `first` on."""
    which = (np.arange(N) >= first) & (np.arange(N) < first + count)
    return np.where(which, -sure, sure) * SIGN


def said(logits: dict[str, np.ndarray], varies: str = "head.l2") -> list[str]:
    """The sentences on a sweep whose jobs are given from the best by validation to the worst."""
    jobs, read = sweep_of(logits, LABELS, [0.3 + number / 100 for number in range(len(logits))], varies=varies)
    found = ranking.compare("s", jobs, read, "test")
    return [re.sub(r"\[[^]]*\]", "[..]", sentence) for sentence in (found.conclusion, *found.beside)]


def test_nothing_differs() -> None:
    assert said({"a": wrong(20), "b": wrong(22), "c": wrong(20, first=5)}) == [
        f"{JUDGED.format(3, 'a, run 0cc175b9')} is not distinguishable from 2 others (Holm over 2 comparisons at 5%)."
    ]


def test_accuracy_differs() -> None:
    assert said({"a": wrong(20), "b": wrong(60), "c": wrong(20, first=5)}) == [
        f"{JUDGED.format(3, 'a, run 0cc175b9')} is better than 1 other; 1 is not distinguishable from it "
        "(Holm over 2 comparisons at 5%)."
    ]


@pytest.mark.parametrize(("sure", "word", "values"), [(0.5, "better", "b 0.351 against 0.524"),
                                                       (5.0, "better", "b 0.351 against 0.507"),
                                                       (1.6, "worse", "b 0.351 against 0.344")])  # fmt: skip
def test_only_the_log_loss_differs(sure: float, word: str, values: str) -> None:
    """It is said beside the verdict, and makes no better classifier."""
    assert said({"a": wrong(20, sure=sure), "b": wrong(20)}) == [
        f"{JUDGED.format(2, 'a, run 0cc175b9')} is not distinguishable from 1 other (Holm over 1 comparison at 5%).",
        "Beside the verdict: 1 of the others gets as many images right, within noise, and its probabilities fit the "
        f"labels {word} than those of the best (log loss {values}). By the verdict that makes it no {word} a "
        "classifier.",
    ]


def test_the_best_by_validation_is_worse_on_test() -> None:
    assert said({"a": wrong(60), "b": wrong(20), "c": wrong(60, first=3)}) == [
        f"{JUDGED.format(3, 'a, run 0cc175b9')} is not the best there: it is WORSE than 1 other, b (+0.200 [..], p < "
        "0.0001); 1 is not distinguishable from it (Holm over 2 comparisons at 5%).",
    ]


def test_no_seed_is_named_best() -> None:
    assert said({"0": wrong(60), "1": wrong(20), "2": wrong(20)}, "seed") == [
        "These 3 jobs differ in their seed only, and none of them is named best: the lead of one seed is chance, and "
        "no setting that can be chosen."
    ]


def test_one_job_has_nothing_to_be_compared_with() -> None:
    assert said({"a": wrong(20)}) == ["This sweep has one job: there is nothing to compare it with."]
    assert verdict.of_one(5) == "One of the 5 jobs of this sweep finished: there is nothing to compare it with."


def found(difference: float, p_value: float) -> Difference:
    return Difference(0.8, 0.8 + difference, difference, difference - 0.01, difference + 0.01, p_value, "test")


@pytest.mark.parametrize(
    ("p_values", "says"),
    [
        ([math.nan], "could not be tested against 1 other."),
        ([math.nan, 0.5], "is not distinguishable from 1 other; 1 could not be tested (Holm over 1 comparison at 5%)."),
        (
            [0.01, math.nan, math.nan],
            "1 other, j0 (+0.100 [+0.090, +0.110], p = 0.01); 2 could not be tested",
        ),
        ([0.01] * 5, "j2 (+0.100 [+0.090, +0.110], p = 0.01) and 2 more (Holm over 5 comparisons at 5%)."),
        ([0.05, 0.0501], "WORSE than 1 other, j0 "),
    ],
)
def test_every_job_is_counted_once(p_values: list[float], says: str) -> None:
    others = [(f"j{number}", found(0.1, p_value), p_value) for number, p_value in enumerate(p_values)]
    assert says in verdict.of_best("the best", others, "accuracy", "test", 200, 0.95)


def test_less_of_a_loss_is_better() -> None:
    others = [("j", found(0.1, 0.01), 0.01)]
    assert "is better than 1 other (" in verdict.of_best("the best", others, "brier", "test", 200, 0.95)
    assert verdict.of_pair(found(0.1, 0.01), "log_loss", "test", 200, 0.95).startswith("A is better in log loss: ")


def test_two_runs_that_differ_in_log_loss_only() -> None:
    alike, apart, loss = found(0.01, 0.5), found(0.1, 0.01), found(-0.2, 0.001)
    (line,) = verdict.beside_pair(alike, loss, "accuracy", 0.95)
    assert line == (
        "Beside the verdict: the two get as many images right, within noise; the probabilities of B fit the labels "
        "better (log loss 0.800 and 0.600). By the verdict that makes it no better a classifier."
    )
    assert verdict.beside_pair(apart, loss, "accuracy", 0.95) == []
    assert verdict.beside_pair(alike, found(-0.2, 0.5), "accuracy", 0.95) == []
    assert verdict.beside_pair(alike, loss, "brier", 0.95) == []
    near = dataclasses.replace(loss, a=0.8001, b=0.7999)
    assert verdict.beside_pair(alike, near, "accuracy", 0.95) == [], "0.800 and 0.800 tell nobody which is better"
    assert verdict.beside_best([("j", 0.5, loss, 0.001)], "accuracy", 0.95) != []
    assert verdict.beside_best([("j", 0.5, near, 0.001)], "accuracy", 0.95) == []
