"""Fit heads on features, alone or many at once; predict logits."""

import gc
import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kesikaran import scores, stack, terminal
from kesikaran.config import FitConfig, HeadConfig, Monitor, OptimizerConfig
from kesikaran.errors import InputError
from kesikaran.imbalance import Loss

_PART_HEADS = 8  # at least, in what a core trains; 16 heads as two parts: 1.8-2.3 s, as one 2.3-3.0 s


@dataclass(frozen=True)
class Sample:
    """matrix: float32 [m, width]; rows: numbers of the sample's rows in it, int [n] (None: all, as they come);
    labels: int [n] of 0 and 1."""

    matrix: np.ndarray
    labels: np.ndarray
    rows: np.ndarray | None = None

    @property
    def features(self) -> np.ndarray:
        """float32 [n, width]; a copy where rows are chosen."""
        return self.matrix if self.rows is None else self.matrix[self.rows]

    def take(self, chosen: np.ndarray) -> "Sample":
        """The chosen rows, by their numbers, int [k]. Their features are not copied yet."""
        return Sample(self.matrix, self.labels[chosen], chosen if self.rows is None else self.rows[chosen])


@dataclass(frozen=True)
class Task:
    """A head to be trained, and how.

    model: of `model.build_head(_, head, _)`; training starts from its weights and leaves the chosen ones in it.
    seed: of the order of the rows and of the dropout masks.
    on_epoch: called with the epoch (from 0) and its metrics: train/loss (as trained: by `loss`, with label
        smoothing, dropout and L2), validation/loss (plain, nats), validation/auc (where validation has both classes),
        learning_rate. None is also a final metric's name: MLflow shows the highest step, so the last epoch would
        hide the number of the restored weights.
    """

    model: Any
    head: HeadConfig
    optimizer: OptimizerConfig
    fit: FitConfig
    loss: Loss
    seed: int
    on_epoch: Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Training:
    """A task and its data: rows of a matrix that several share."""

    task: Task
    every: Sample
    train: np.ndarray  # row numbers, int [n]; a row may come twice
    validation: np.ndarray

    def group(self) -> tuple[Any, ...]:
        """Equal for trainings that `fit` takes together."""
        shapes = tuple(tuple(weight.shape) for weight in self.task.model.weights)
        rows = (self.train.tobytes(), self.validation.tobytes(), self.every.labels.tobytes())
        return id(self.every.matrix), *rows, self.task.optimizer.name, self.task.fit.batch_size, shapes


@dataclass(frozen=True)
class Fitted:
    """The head holds the weights of `epoch` (from 0); `epochs` were run."""

    epoch: int
    epochs: int


def fit(tasks: Sequence[Task], train: Sample, validation: Sample) -> list[Fitted | InputError]:
    """Train heads together, in place.

    Each gets what it would get alone, within float tolerance: order, masks, schedule, early stopping. The updates
    are those of tf_keras's optimizers. With `fit.patience` the weights of the best epoch by the validation metric
    `fit.monitor` are put back, whether training stopped early or not; without it the last epoch's stay.

    Args:
        tasks: alike in the shape of the head, the optimizer's name and `fit.batch_size`.

    Returns:
        What became of each task: an InputError where its loss or logits were not finite (it names the epoch and
        the step). That harms no other.
    """
    kinds = {(t.optimizer.name, t.fit.batch_size, *(tuple(w.shape) for w in t.model.weights)) for t in tasks}
    if len(kinds) != 1:
        raise ValueError(f"heads trained together differ in optimizer, batch size or shape: {kinds}")
    held = stack.held(train, validation)
    parts = [stack.streams([(task.seed, task.head.dropout) for task in tasks])]
    if held and not tf.config.list_logical_devices("GPU"):
        parts = stack.cut(parts[0], min(os.cpu_count() or 1, len(tasks) // _PART_HEADS))
    watches = [_Watch(task) for task in tasks]
    epochs = max(task.fit.epochs for task in tasks)
    # The bar asks at every epoch whether to stop: an exception out of a handler TensorFlow can lose.
    with (
        terminal.sheltered(),
        terminal.progress(None, "head", "epoch", epochs) as bar,
        ThreadPoolExecutor(len(parts)) as pool,
    ):
        every = [(stack.Stack(tasks, part, train, validation, held), [watches[n] for n in part.flat]) for part in parts]
        running = every
        for epoch in range(epochs):
            stacks = [heads for heads, _ in running]
            # One by one also the first time, when the program is compiled
            at_once = len(running) > 1 and epoch > 0
            each = (pool.map if at_once else map)(stack.Stack.run, stacks, itertools.repeat(epoch))
            for (heads, its), done in zip(running, each, strict=True):
                heads.keep(_judge(its, epoch, done, validation.labels))
            loss, auc = min(watch.loss for watch in watches), max(watch.auc for watch in watches)
            bar.set_postfix_str(f"validation loss {loss:.3f}, AUC {auc:.3f}", refresh=False)
            bar.update()
            running = [part for part in running if any(watch.running for watch in part[1])]
            if not running:
                break
        for heads, _ in every:
            heads.put_back()
    return [watch.outcome for watch in watches]


def predict(head: Any, features: np.ndarray) -> np.ndarray:
    """features float32 [n, width] -> logits float32 [n]."""
    chunks = [head(features[i : i + 4096], training=False).numpy() for i in range(0, len(features), 4096)]
    return np.concatenate(chunks).ravel()


def forget() -> None:
    """Free what Keras keeps of a trained head, so that the jobs of a sweep do not add up."""
    tf_keras.backend.clear_session()
    gc.collect()


class _Watch:
    """Measures one head after each epoch, and says whether it goes on."""

    def __init__(self, task: Task):
        self._task = task
        self._best, self._best_epoch = math.inf, 0
        self.running = True
        self.loss, self.auc = math.inf, 0.0
        self.outcome: Fitted | InputError

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
        self.outcome = Fitted(self._best_epoch, epoch + 1)
        return better

    def _fail(self, why: str) -> bool:
        self.running, self.outcome = False, InputError(why)
        return False


def _judge(watches: Sequence[_Watch], epoch: int, done: stack.Epoch, labels: np.ndarray) -> np.ndarray:
    """Let the heads that are running be judged: bool [head], whether these weights are the best so far."""
    running = [n for n, watch in enumerate(watches) if watch.running]
    with np.errstate(invalid="ignore"):  # of a head that broke, which its watch finds
        losses, aucs = (of(labels, done.logits[running]) for of in (scores.log_losses, scores.roc_aucs))
    best = np.zeros(len(watches), bool)
    for n, loss, auc in zip(running, losses.tolist(), aucs.tolist(), strict=True):
        metrics = {
            "train/loss": done.means[n],
            "validation/loss": loss,
            "validation/auc": auc,
            "learning_rate": done.learning_rates[n],
        }
        best[n] = watches[n].judge(epoch, done.losses[n], done.logits[n], metrics)
    return best
