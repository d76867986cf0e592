"""What each treatment does to the training rows, and only to them."""

from typing import Any

import numpy as np
import pytest

from kesikaran.config.schema import ImbalanceConfig, Strategy
from kesikaran.training import imbalance
from kesikaran.training.losses import Loss

LABELS = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1])  # two zeros, eight ones


def treat(labels: np.ndarray, strategy: str, seed: int, **settings: Any) -> tuple[np.ndarray, Loss]:
    return imbalance.treat(labels, ImbalanceConfig(Strategy[strategy], **settings), seed)


def test_none_changes_nothing() -> None:
    rows, loss = treat(LABELS, "none", 0)
    assert rows.tolist() == list(range(10))
    assert loss == Loss()


def test_class_weights_balance_the_classes_with_mean_one() -> None:
    rows, loss = treat(LABELS, "class_weight", 0)
    assert rows.tolist() == list(range(10))
    assert loss == Loss(weight_of_0=10 / 4, weight_of_1=10 / 16)
    assert 2 * loss.weight_of_0 == 8 * loss.weight_of_1
    assert np.mean([loss.weight_of_1 if label else loss.weight_of_0 for label in LABELS]) == 1


def test_oversample_keeps_every_row_and_repeats_the_rarer() -> None:
    rows, loss = treat(LABELS, "oversample", 0)
    assert loss == Loss()
    assert set(rows.tolist()) == set(range(10))
    assert np.bincount(LABELS[rows]).tolist() == [8, 8]
    assert np.bincount(rows)[LABELS == 1].tolist() == [1] * 8


def test_undersample_repeats_nothing_and_keeps_the_rarer() -> None:
    rows, loss = treat(LABELS, "undersample", 0)
    assert loss == Loss()
    assert len(set(rows.tolist())) == len(rows) == 4
    assert {1, 4} < set(rows.tolist())
    assert np.bincount(LABELS[rows]).tolist() == [2, 2]


def test_focal_has_its_gamma() -> None:
    rows, loss = treat(LABELS, "focal", 0, focal_gamma=1.5)
    assert rows.tolist() == list(range(10))
    assert loss == Loss(focal_gamma=1.5)
    assert treat(LABELS, "none", 0)[1].focal_gamma == 0, "the default of the setting is of focal only"


def test_logit_adjusted_adds_log_odds_of_the_rows() -> None:
    rows, loss = treat(LABELS, "logit_adjusted", 0, tau=0.5)
    assert rows.tolist() == list(range(10))
    assert loss == Loss(logit_offset=loss.logit_offset)
    assert loss.logit_offset == pytest.approx(0.5 * np.log(8 / 2))


@pytest.mark.parametrize("strategy", ["oversample", "undersample"])
def test_the_seed_decides_the_draw_and_either_class_may_be_the_rarer(strategy: str) -> None:
    labels = np.repeat([0, 1], [50, 20])
    first, again, other = (treat(labels, strategy, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(np.bincount(labels[first]).tolist())) == 1
    if strategy == "undersample":
        assert len(set(first)) == len(first)


@pytest.mark.parametrize("strategy", ["oversample", "undersample"])
def test_resampled_rows_are_sorted(strategy: str) -> None:
    rows, _ = treat(np.tile([1, 1, 0], 20), strategy, 0)
    assert rows.tolist() == sorted(rows.tolist())


def test_an_unknown_strategy_is_a_defect() -> None:
    with pytest.raises(ValueError, match="no resampling strategy 'smote'"):
        imbalance.resampled_rows(LABELS, "smote", 0)


@pytest.mark.parametrize(
    ("strategy", "settings", "share"),
    [
        ("none", {}, 0.8),
        ("focal", {}, 0.8),
        ("class_weight", {}, 0.5),
        ("oversample", {}, 0.5),
        ("undersample", {}, 0.5),
        ("logit_adjusted", {}, 0.5),
        ("logit_adjusted", {"tau": 0.5}, 2 / 3),  # log-odds 0.5 log 4 = log 2
        ("logit_adjusted", {"tau": 2.0}, 0.2),
    ],
)
def test_the_shift_is_from_the_share_that_the_logits_stand_for(
    strategy: str, settings: dict[str, float], share: float
) -> None:
    config = ImbalanceConfig(Strategy[strategy], **settings)
    validation = np.repeat([0, 1], [30, 10])
    expected = np.log(10 / 30) - np.log(share / (1 - share))
    assert imbalance.prior_shift(LABELS, validation, config) == pytest.approx(expected)
    assert imbalance.prior_shift(LABELS, validation[:30], config) == 0, "a share of 0 is none"


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [(s.name, {}) for s in Strategy if s.name != "focal"] + [("logit_adjusted", {"tau": 0.5})],
)
def test_a_treatment_that_only_moves_the_prior_is_worth_what_no_treatment_is(
    strategy: str, settings: dict[str, float]
) -> None:
    """The best constant logit by the loss of each treatment, moved by its shift, is that of validation's share."""
    labels, validation = np.repeat([0, 1], [710, 290]), np.repeat([0, 1], [50, 50])
    rows, loss = treat(labels, strategy, 0, **settings)
    weights = np.where(labels[rows] == 1, loss.weight_of_1, loss.weight_of_0)
    share = np.average(labels[rows], weights=weights)
    fitted = np.log(share / (1 - share)) - loss.logit_offset
    config = ImbalanceConfig(Strategy[strategy], **settings)
    assert fitted + imbalance.prior_shift(labels, validation, config) == pytest.approx(0, abs=1e-9)
