"""The band of which a classifier is not sure: what it promises, and where it lies."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kesikaran.metrics import conformal
from kesikaran.metrics.conformal import Band


def drawn(random: np.random.Generator, count: int, share: float, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """(labels, log-odds) of images whose log-odds are normal, with a mean of `apart` to either side."""
    labels = (np.arange(count) < share * count).astype(int)
    return labels, random.normal(size=count) + np.where(labels == 1, apart, -apart)


def surely_wrong(band: Band, threshold: float, labels: np.ndarray, log_odds: np.ndarray, label: int) -> float:
    """The share of the images of a label that is called the other with certainty."""
    wrong = (log_odds >= threshold) != (labels == 1)
    return float(np.mean((wrong & conformal.is_sure(band, log_odds))[labels == label]))


@pytest.mark.parametrize(("apart", "threshold"), [(0.5, 0.0), (3.0, 0.0), (1.0, 1.5)])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_of_each_label_at_most_the_promised_share_is_surely_wrong(apart: float, threshold: float, share: float) -> None:
    """Over 100 validation sets of 200 images, each with a test set of another share of label 1."""
    random = np.random.default_rng(0)
    found: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(100):
        band = conformal.band(*drawn(random, 200, share, apart), 0.1, threshold)
        labels, log_odds = drawn(random, 400, 0.7, apart)
        for label in found:
            found[label].append(surely_wrong(band, threshold, labels, log_odds, label))

    for shares in found.values():
        error = np.std(shares) / math.sqrt(len(shares))
        assert np.mean(shares) <= 0.1 + 3 * error


def test_it_is_sure_of_what_it_may_be_sure_of() -> None:
    """Of normal log-odds two apart, the promise of a tenth leaves the images between the tenths of both labels."""
    random = np.random.default_rng(1)
    band = conformal.band(*drawn(random, 20_000, 0.5, 1.0), 0.1, 0.0)

    assert (band.low, band.high) == pytest.approx((1 - 1.2816, 1.2816 - 1), abs=0.05)


def test_labels_that_are_far_apart_leave_an_emptiness_that_is_not_sure() -> None:
    log_odds = np.concatenate([np.linspace(-9, -8, 40), np.linspace(8, 9, 40)])
    band = conformal.band(np.repeat([0, 1], 40), log_odds, 0.05, 0.0)

    assert -8.2 < band.low < -7.9
    assert 7.9 < band.high < 8.2


def test_the_p_value_is_that_of_the_rank() -> None:
    """Of 19 images of a label, 0.1 lets go of the one that is the most unusual: p = (1 + its rank) / 20."""
    ones = np.arange(19.0)
    band = conformal.band(np.array([1] * 19 + [0] * 19), np.concatenate([ones, ones - 100]), 0.1, -50.0)

    assert band.high == 0.5  # half-way between the first and the second image of label 1
    assert band.low == -82.5


@pytest.mark.parametrize(("count", "is_endless"), [(18, True), (19, False)])
def test_too_few_images_of_a_label_leave_nothing_sure(count: int, is_endless: bool) -> None:
    labels = np.array([1] * count + [0] * 100)
    log_odds = np.concatenate([np.linspace(1, 2, count), np.linspace(-2, -1, 100)])

    band = conformal.band(labels, log_odds, 0.05, 0.0)

    assert (band.low == -math.inf) == is_endless
    assert math.isfinite(band.high)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-50, 50, width=32)), min_size=1, max_size=60),
    st.floats(-60, 60),
    st.sampled_from([0.01, 0.05, 0.2, 0.5, 0.9]),
)
def test_the_threshold_is_within_and_a_sure_label_is_the_only_possible_one(
    rows: list[tuple[int, float]], threshold: float, error: float
) -> None:
    labels, log_odds = np.array([label for label, _ in rows]), np.array([value for _, value in rows])
    band = conformal.band(labels, log_odds, error, threshold)

    assert band.low <= threshold <= band.high
    for value in (band.low - 0.01, band.high + 0.01):
        if math.isfinite(value):
            other = 0 if value >= threshold else 1
            of_other = log_odds[labels == other] * (1 if other else -1)
            rank = (np.sum(of_other <= value * (1 if other else -1)) + 1) / (len(of_other) + 1)
            assert rank <= error


def test_without_a_band_it_is_sure_of_all() -> None:
    assert conformal.is_sure(None, np.array([-1.0, 0.0])).tolist() == [True, True]
    assert conformal.is_sure(Band(-1, 1, 0.1), np.array([-1.1, -1.0, 0.0, 1.0, 1.1])).tolist() == [1, 0, 0, 0, 1]


def test_what_came_of_the_promise_is_counted_by_label() -> None:
    rows = pd.DataFrame(
        {"label": [0, 0, 1, 1, 1], "predicted": [0, 1, 0, 0, 1], "sure": [True, True, True, False, False]}
    )

    found = conformal.kept(rows)

    assert found.unsure == pytest.approx(0.4)
    assert (found.wrong, found.counts) == ({0: 1, 1: 1}, {0: 2, 1: 3})
