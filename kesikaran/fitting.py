"""Fit a head on features; predict logits."""

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kesikaran import scores, terminal
from kesikaran.config import FitConfig, Monitor
from kesikaran.errors import InputError


@dataclass(frozen=True)
class Sample:
    """features: float32 [n, width]; labels: int [n] of 0 and 1; both in the same order."""

    features: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Sample":
        """The chosen rows: bool [n], or row numbers [m]."""
        return Sample(self.features[rows], self.labels[rows])


@dataclass(frozen=True)
class Fitted:
    """The head holds the weights of `epoch` (from 0); `epochs` were run."""

    epoch: int
    epochs: int


def fit(
    head: Any,
    optimizer: Any,
    train: Sample,
    validation: Sample,
    class_weights: dict[int, float] | None,
    config: FitConfig,
    on_epoch: Callable[[int, dict[str, float]], None],
) -> Fitted:
    """Train `head` in place on binary cross-entropy.

    With `config.patience` the weights of the best epoch by the validation metric `config.monitor`
    are put back, whether training stopped early or not; without it the last epoch's stay.

    Args:
        on_epoch: called with the epoch (from 0) and its metrics: train/loss (as trained: weighted,
            with dropout and L2), validation/loss (plain, nats), validation/auc,
            learning_rate. None is also a final metric's name: MLflow shows the highest step, so the
            last epoch would hide the number of the restored weights.

    Raises:
        InputError: the loss is not finite; it names the step.
    """
    head.compile(optimizer, tf_keras.losses.BinaryCrossentropy(from_logits=True))
    watch = _Watch(validation, config, on_epoch)
    with terminal.sheltered():  # the callback asks after every step; an exception from elsewhere TensorFlow can lose
        head.fit(
            train.features,
            train.labels.astype(np.float32)[:, None],
            batch_size=config.batch_size,
            epochs=config.epochs,
            class_weight=class_weights,
            shuffle=True,
            verbose=0,
            callbacks=[watch],
        )
    return Fitted(watch.best_epoch, watch.epochs)


def predict(head: Any, features: np.ndarray) -> np.ndarray:
    """features float32 [n, width] -> logits float32 [n]."""
    chunks = [head(features[i : i + 4096], training=False).numpy() for i in range(0, len(features), 4096)]
    return np.concatenate(chunks).ravel()


def forget() -> None:
    """Free what Keras keeps of a trained head, so that the jobs of a sweep do not add up."""
    tf_keras.backend.clear_session()
    gc.collect()


class _Watch(tf_keras.callbacks.Callback):
    """Measure after each epoch, stop early, put the best weights back.

    Keras' own EarlyStopping restores only when it stopped: a run that ends at its last epoch would
    keep the last weights.
    """

    def __init__(self, validation: Sample, config: FitConfig, on_epoch: Callable[[int, dict[str, float]], None]):
        super().__init__()
        self._validation, self._config, self._on_epoch = validation, config, on_epoch
        self._best = math.inf
        self._weights: list[np.ndarray] | None = None
        self.best_epoch = 0
        self.epochs = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar = terminal.progress(None, "head", "epoch", self._config.epochs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        terminal.stop_if_asked()
        if not math.isfinite(logs["loss"]):
            self._bar.close()
            raise InputError(
                f"the loss became {logs['loss']} at epoch {self.epochs}, step {batch}: try a lower optimizer.lr, "
                "and check the features of your own backbone (backbone.value_range)"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logits = predict(self.model, self._validation.features)
        if not np.isfinite(logits).all():
            self._bar.close()
            raise InputError(f"the logits are not finite after epoch {epoch}: try a lower optimizer.lr")
        loss = scores.log_loss(self._validation.labels, logits)
        auc = scores.roc_auc(self._validation.labels, logits)
        lr = self.model.optimizer.learning_rate
        self._on_epoch(
            epoch,
            {
                "train/loss": float(logs["loss"]),
                "validation/loss": loss,
                "validation/auc": auc,
                "learning_rate": float(tf.convert_to_tensor(lr)),
            },
        )
        self.epochs = epoch + 1
        self._bar.set_postfix_str(f"validation loss {loss:.3f}, AUC {auc:.3f}", refresh=False)
        self._bar.update()
        self._judge(epoch, loss if self._config.monitor is Monitor.loss else -auc)

    def _judge(self, epoch: int, value: float) -> None:
        if self._config.patience is None:
            self.best_epoch = epoch
        elif value < self._best:
            self._best, self.best_epoch, self._weights = value, epoch, self.model.get_weights()
        elif epoch - self.best_epoch >= self._config.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self._weights is not None:
            self.model.set_weights(self._weights)
        self._bar.close()
