"""What each treatment does to the training rows, and only to them."""

import numpy as np
import pytest

from kesikaran import imbalance

LABELS = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1])  # two zeros, eight ones


def test_none_changes_nothing() -> None:
    rows, weights = imbalance.treat(LABELS, "none", 0)
    assert rows.tolist() == list(range(10))
    assert weights is None


def test_class_weights_balance_the_classes_with_mean_one() -> None:
    rows, weights = imbalance.treat(LABELS, "class_weight", 0)
    assert rows.tolist() == list(range(10))
    assert weights == {0: 10 / 4, 1: 10 / 16}
    assert 2 * weights[0] == 8 * weights[1]
    assert np.mean([weights[label] for label in LABELS.tolist()]) == 1


def test_oversample_keeps_every_row_and_repeats_the_rarer() -> None:
    rows, weights = imbalance.treat(LABELS, "oversample", 0)
    assert weights is None
    assert set(rows.tolist()) == set(range(10))
    assert np.bincount(LABELS[rows]).tolist() == [8, 8]
    assert np.bincount(rows)[LABELS == 1].tolist() == [1] * 8


def test_undersample_repeats_nothing_and_keeps_the_rarer() -> None:
    rows, weights = imbalance.treat(LABELS, "undersample", 0)
    assert weights is None
    assert len(set(rows.tolist())) == len(rows) == 4
    assert {1, 4} < set(rows.tolist())
    assert np.bincount(LABELS[rows]).tolist() == [2, 2]


@pytest.mark.parametrize("strategy", ["oversample", "undersample"])
def test_the_seed_decides_the_draw_and_either_class_may_be_the_rarer(strategy: str) -> None:
    labels = np.repeat([0, 1], [50, 20])
    first, again, other = (imbalance.treat(labels, strategy, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(np.bincount(labels[first]).tolist())) == 1
    if strategy == "undersample":
        assert len(set(first)) == len(first)


def test_an_unknown_strategy_is_a_defect() -> None:
    with pytest.raises(ValueError, match="no resampling strategy 'smote'"):
        imbalance.treat(LABELS, "smote", 0)
