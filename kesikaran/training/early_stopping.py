"""Which epoch is the best on validation, and when to stop."""

import math

import numpy as np

from kesikaran.config.schema import Monitor
from kesikaran.core.errors import InputError
from kesikaran.training.task import FitResult, HeadTask


class EarlyStopping:
    """Measures one head after each epoch, and says whether it goes on."""

    def __init__(self, task: HeadTask):
        self._task = task
        self._best, self._best_epoch = math.inf, 0
        self.running = True
        self.loss, self.auc = math.inf, 0.0
        self.outcome: FitResult | InputError

    def judge(self, epoch: int, losses: np.ndarray, logits: np.ndarray, metrics: dict[str, float]) -> bool:
        """Whether the weights after this epoch are the best so far.

        Args:
            losses, logits: of the steps and of validation, float32 [steps] and [n].
            metrics: those of `Task.on_epoch`.
        """
        broken = np.flatnonzero(~np.isfinite(losses))
        if broken.size:
            return self._fail(
                f"the loss became {losses[broken[0]]} at epoch {epoch}, step {broken[0]}: try a lower "
                "optimizer.lr, and check the features of your own backbone (backbone.value_range)"
            )
        if not np.isfinite(logits).all():
            return self._fail(f"the logits are not finite after epoch {epoch}: try a lower optimizer.lr")
        self.loss, self.auc = metrics["validation/loss"], metrics["validation/auc"]
        if math.isnan(self.auc):
            del metrics["validation/auc"]
        self._task.on_epoch(epoch, metrics)
        config = self._task.fit
        value = self.loss if config.monitor is Monitor.loss else -self.auc
        better = config.patience is None or value < self._best
        if better:
            self._best, self._best_epoch = value, epoch
        worn_out = config.patience is not None and epoch - self._best_epoch >= config.patience
        self.running = not worn_out and epoch + 1 < config.epochs
        self.outcome = FitResult(self._best_epoch, epoch + 1)
        return better

    def _fail(self, why: str) -> bool:
        self.running, self.outcome = False, InputError(why)
        return False
