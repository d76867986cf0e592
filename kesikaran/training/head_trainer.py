"""Fit heads on features, alone or many at once; predict logits."""

import gc
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kesikaran.core import terminal
from kesikaran.core.errors import InputError
from kesikaran.metrics import binary
from kesikaran.training import head_stack
from kesikaran.training.early_stopping import EarlyStopping
from kesikaran.training.task import FeatureRows, FitResult, HeadTask

_PART_HEADS = 8  # at least, in what a core trains; 16 heads as two parts: 1.8-2.3 s, as one 2.3-3.0 s


def fit(tasks: Sequence[HeadTask], train: FeatureRows, validation: FeatureRows) -> list[FitResult | InputError]:
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
    resident = head_stack.resident(train, validation)
    parts = [head_stack.streams([(task.seed, task.head.dropout) for task in tasks])]
    if resident and not tf.config.list_logical_devices("GPU"):
        parts = head_stack.cut(parts[0], min(os.cpu_count() or 1, len(tasks) // _PART_HEADS))
    watches = [EarlyStopping(task) for task in tasks]
    epochs = max(task.fit.epochs for task in tasks)
    # The bar asks at every epoch whether to stop: an exception out of a handler TensorFlow can lose.
    with (
        terminal.sheltered(),
        terminal.progress(None, "head", "epoch", epochs) as bar,
        ThreadPoolExecutor(len(parts)) as pool,
    ):
        every = [
            (head_stack.Stack(tasks, part, train, validation, resident), [watches[n] for n in part.flat])
            for part in parts
        ]
        running = every
        for epoch in range(epochs):
            stacks = [heads for heads, _ in running]
            # One by one also the first time, when the program is compiled
            at_once = len(running) > 1 and epoch > 0
            each = (pool.map if at_once else map)(head_stack.Stack.run, stacks, itertools.repeat(epoch))
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


def _judge(watches: Sequence[EarlyStopping], epoch: int, done: head_stack.Epoch, labels: np.ndarray) -> np.ndarray:
    """Let the heads that are running be judged: bool [head], whether these weights are the best so far."""
    running = [n for n, watch in enumerate(watches) if watch.running]
    with np.errstate(invalid="ignore"):  # of a head that broke, which its watch finds
        losses, aucs = (of(labels, done.logits[running]) for of in (binary.log_losses, binary.roc_aucs))
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
