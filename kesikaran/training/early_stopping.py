"""Early stopping: which epoch is the best on validation, and when a training ends."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kesikaran.config.schema import Monitor
from kesikaran.core.errors import InputError


class Best(NamedTuple):
    """epoch: the best on validation, from 0. epochs: how many were run."""

    epoch: int
    epochs: int


class EarlyStopping:
    """Follows the training of one model.

    running: whether the training goes on. loss, auc: of the last epoch on validation; the loss is the one by which
    epochs are chosen. outcome: set after the first epoch; an InputError where the losses or the logits were not finite.
    """

    outcome: Best | InputError

    def __init__(
        self,
        monitor: Monitor,
        patience: int | None,
        epochs: int,
        on_epoch: Callable[[int, dict[str, float]], None],
        lr: str = "optimizer.lr",
    ):
        """
        Args:
            monitor, patience, epochs: as in `FitConfig`. Without patience the last epoch is always the best.
            lr: the setting to try lower where the numbers are not finite.
            on_epoch: called after each epoch that gave finite numbers, with its number (from 0) and its metrics.
        """
        self._monitor, self._patience, self._epochs, self._on_epoch = monitor, patience, epochs, on_epoch
        self._lr = lr
        self._best, self._best_epoch = math.inf, 0
        self.running = True
        self.loss, self.auc = math.inf, 0.0

    def update(self, epoch: int, losses: np.ndarray, logits_finite: bool, metrics: dict[str, float]) -> bool:
        """Whether the weights after this epoch are the best so far.

        Args:
            epoch: its number, from 0.
            losses: of its steps, float32 [steps].
            logits_finite: whether every logit on validation is finite.
            metrics: what `on_epoch` is to get, with validation/loss, validation/selection_loss and validation/auc among
                it. An AUC of NaN (validation has one class only) is left out.
        """
        broken = np.flatnonzero(~np.isfinite(losses))
        if broken.size:
            return self._fail(
                f"the loss became {losses[broken[0]]} at epoch {epoch}, step {broken[0]}: try a lower "
                f"{self._lr}, and check the features of your own backbone (backbone.value_range)"
            )
        if not logits_finite:
            return self._fail(f"the logits are not finite after epoch {epoch}: try a lower {self._lr}")
        self.loss, self.auc = metrics["validation/selection_loss"], metrics["validation/auc"]
        value = objective(self._monitor, metrics)
        if math.isnan(self.auc):
            metrics = {name: value for name, value in metrics.items() if name != "validation/auc"}
        self._on_epoch(epoch, metrics)
        better = self._patience is None or value < self._best
        if better:
            self._best, self._best_epoch = value, epoch
        out_of_patience = self._patience is not None and epoch - self._best_epoch >= self._patience
        self.running = not out_of_patience and epoch + 1 < self._epochs
        self.outcome = Best(self._best_epoch, epoch + 1)
        return better

    def _fail(self, reason: str) -> bool:
        self.running, self.outcome = False, InputError(reason)
        return False


def objective(monitor: Monitor, metrics: dict[str, float]) -> float:
    """The number by which epochs are compared, the lower the better. metrics: as of `EarlyStopping.update`."""
    return metrics["validation/selection_loss"] if monitor is Monitor.loss else -metrics["validation/auc"]
