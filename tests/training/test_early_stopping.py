"""Which epoch is the best, and when a training ends: told by its losses and metrics alone."""

import math

import numpy as np
import pytest

from kesikaran.config.schema import Monitor
from kesikaran.core.errors import InputError
from kesikaran.training.early_stopping import Best, EarlyStopping

LOSS, AUC = Monitor.loss, Monitor.auc


def follow(
    values: list[float], monitor: Monitor = LOSS, patience: int | None = 2, epochs: int = 100
) -> tuple[list[bool], EarlyStopping]:
    """Tell an EarlyStopping the monitored metric of each epoch until it ends: (which were the best so far, it)."""
    stopping = EarlyStopping(monitor, patience, epochs, lambda epoch, metrics: None)
    best = []
    for epoch, value in enumerate(values):
        watched = "validation/auc" if monitor is AUC else "validation/selection_loss"
        metrics = {"validation/loss": 1.0, "validation/selection_loss": 1.0, "validation/auc": 0.5, watched: value}
        best.append(stopping.update(epoch, np.ones(3, np.float32), True, metrics))
        if not stopping.running:
            break
    return best, stopping


@pytest.mark.parametrize("sign", [1, -1])
def test_it_ends_when_patience_is_over(sign: int) -> None:
    """By the loss, where less is better, and by the AUC, where more is."""
    values = [sign * value for value in (0.9, 0.7, 0.8, 0.6, 0.65, 0.61, 0.1)]
    best, stopping = follow(values, LOSS if sign == 1 else AUC)
    assert best == [True, True, False, True, False, False]
    assert stopping.outcome == Best(epoch=3, epochs=6)


@pytest.mark.parametrize("monitor", list(Monitor))
def test_of_equally_good_epochs_the_earliest_is_the_best(monitor: Monitor) -> None:
    best, stopping = follow([0.5] * 9, monitor)
    assert best == [True, False, False]
    assert stopping.outcome == Best(epoch=0, epochs=3)


def test_it_ends_with_the_last_epoch() -> None:
    best, stopping = follow([0.9, 0.8, 0.7, 0.6], epochs=3)
    assert best == [True] * 3
    assert stopping.outcome == Best(epoch=2, epochs=3)


def test_without_patience_every_epoch_is_the_best_and_none_is_left_out() -> None:
    best, stopping = follow([0.5, 0.6, 0.7, 0.8], patience=None, epochs=4)
    assert best == [True] * 4
    assert stopping.outcome == Best(epoch=3, epochs=4)


@pytest.mark.parametrize("auc", [0.75, math.nan])
def test_the_callback_gets_every_metric_that_is_defined(auc: float) -> None:
    heard = []
    stopping = EarlyStopping(LOSS, 2, 9, lambda epoch, metrics: heard.append((epoch, metrics)))
    metrics = {"train/loss": 0.25, "validation/loss": 0.5, "validation/selection_loss": 0.4, "validation/auc": auc}
    metrics |= {"learning_rate": 0.1}
    given = dict(metrics)
    assert stopping.update(0, np.ones(3, np.float32), True, given)
    assert heard == [(0, {name: value for name, value in metrics.items() if not math.isnan(value)})]
    assert given.keys() == metrics.keys()
    assert (stopping.loss, stopping.auc) == pytest.approx((0.4, auc), nan_ok=True)


@pytest.mark.parametrize(
    ("losses", "logits_finite", "reason"),
    [
        ([1, math.nan, math.inf], True, r"the loss became nan at epoch 1, step 1: try a lower optimizer\.lr"),
        ([math.inf, 1, 1], False, "the loss became inf at epoch 1, step 0: "),
        ([1, 1, 1], False, r"the logits are not finite after epoch 1: try a lower optimizer\.lr"),
    ],
)
def test_numbers_that_are_not_finite_end_it(losses: list[float], logits_finite: bool, reason: str) -> None:
    heard: list[int] = []
    stopping = EarlyStopping(LOSS, None, 9, lambda epoch, _: heard.append(epoch))
    metrics = {"validation/loss": 0.5, "validation/selection_loss": 0.5, "validation/auc": 0.5}
    stopping.update(0, np.ones(3, np.float32), True, metrics)
    assert not stopping.update(1, np.array(losses, np.float32), logits_finite, metrics)
    assert not stopping.running
    assert heard == [0]
    assert isinstance(stopping.outcome, InputError)
    with pytest.raises(InputError, match=reason):
        raise stopping.outcome


def test_the_loss_that_selects_is_not_the_plain_one() -> None:
    stopping = EarlyStopping(LOSS, 5, 9, lambda epoch, metrics: None)
    epochs = zip((0.5, 0.4, 0.3), (0.2, 0.1, 0.15), strict=True)
    for epoch, (plain, selection) in enumerate(epochs):
        metrics = {"validation/loss": plain, "validation/selection_loss": selection, "validation/auc": 0.5}
        stopping.update(epoch, np.ones(3, np.float32), True, metrics)
    assert stopping.outcome == Best(epoch=1, epochs=3)
