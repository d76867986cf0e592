"""Fits heads on features, one or many at once, and predicts logits."""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.core import terminal
from kesikaran.core.errors import InputError
from kesikaran.metrics import binary
from kesikaran.training import head_stack
from kesikaran.training.early_stopping import EarlyStopping
from kesikaran.training.task import FeatureRows, FitResult, HeadTask

_PART_HEADS = 8  # the fewest heads in what one core trains (measured, 16 heads: two parts 1.8-2.3 s, one 2.3-3.0 s)


def fit(tasks: Sequence[HeadTask], train: FeatureRows, validation: FeatureRows) -> list[FitResult | InputError]:
    """Train heads together.

    Each head is trained as it would be alone, within float tolerance: the same order, masks, schedule and early
    stopping. The updates are those of tf_keras's optimizers. With `fit.patience` the weights are those after the best
    epoch by the validation metric `fit.monitor`, whether training stopped early or not. The loss among these metrics
    is that of the logits plus the task's prior_shift. Without patience they are the weights after the last epoch.

    Args:
        tasks: alike in the shape of the head, the optimizer's name and `fit.batch_size`.

    Returns:
        For each task its result, or an InputError that names epoch and step where its loss or logits were not finite.
        The other tasks go on then.

    Raises:
        ValueError: the tasks are not alike.
    """
    kinds = {(t.optimizer.name, t.fit.batch_size, *(w.shape for w in t.weights)) for t in tasks}
    if len(kinds) != 1:
        raise ValueError(f"heads trained together differ in optimizer, batch size or shape: {kinds}")
    resident = head_stack.resident(train, validation)
    parts = _parts(tasks, resident is not None)
    stops = [EarlyStopping(t.fit.monitor, t.fit.patience, t.fit.epochs, t.on_epoch) for t in tasks]
    # TensorFlow can lose an exception that a signal handler raises. So signals are sheltered here, and the bar, at
    # each epoch, raises for one that came.
    with (
        terminal.sheltered(),
        terminal.progress(None, "head", "epoch", max(task.fit.epochs for task in tasks)) as bar,
        ThreadPoolExecutor(len(parts)) as pool,
    ):
        shifts = np.array([[task.prior_shift] for task in tasks])
        stacks = [
            (
                head_stack.Stack(tasks, part, train, validation, resident),
                [stops[n] for n in part.flat],
                shifts[part.flat],
            )
            for part in parts
        ]
        _run_epochs(stacks, stops, pool, bar, validation.labels)
    weights = {n: own for part, (stack, *_) in zip(parts, stacks, strict=True)
               for n, own in zip(part.flat, stack.best_weights(), strict=True)}  # fmt: skip
    return [
        stop.outcome if isinstance(stop.outcome, InputError) else FitResult(*stop.outcome, weights[n])
        for n, stop in enumerate(stops)
    ]


def predict(weights: Sequence[np.ndarray], features: np.ndarray) -> np.ndarray:
    """The logits of a head, float32 [n], from features float32 [n, width]. weights: as `HeadTask` has them."""
    return np.concatenate([_logits(weights, features[i : i + 4096]) for i in range(0, len(features), 4096)])


def _logits(weights: Sequence[np.ndarray], features: np.ndarray) -> np.ndarray:
    x = tf.constant(features)
    for place in range(0, len(weights), 2):
        x = tf.matmul(tf.nn.relu(x) if place else x, weights[place]) + weights[place + 1]
    logits: np.ndarray = x.numpy()[:, 0]
    return logits


def _parts(tasks: Sequence[HeadTask], features_on_device: bool) -> list[np.ndarray]:
    """The layouts of the stacks, int [stream, member] of task numbers: one, or several that train on a core each."""
    layout = head_stack.streams([(task.seed, task.head.dropout) for task in tasks])
    if not features_on_device or tf.config.list_logical_devices("GPU"):
        return [layout]
    return head_stack.cut(layout, min(os.cpu_count() or 1, len(tasks) // _PART_HEADS))


def _run_epochs(
    stacks: Sequence[tuple[head_stack.Stack, Sequence[EarlyStopping], np.ndarray]],
    stops: Sequence[EarlyStopping],
    pool: ThreadPoolExecutor,
    bar: Any,
    labels: np.ndarray,
) -> None:
    """Train the stacks, each with the early stopping and the prior shifts of its heads, until all heads have stopped.

    Args:
        stops: of all heads.
        bar: its total is the largest number of epochs.
        labels: of validation, int [n].
    """
    running = stacks
    for epoch in range(bar.total):
        # In the first epoch one after the other, since that compiles the program
        apply = pool.map if len(running) > 1 and epoch > 0 else map
        numbers = apply(head_stack.Stack.run, [stack for stack, *_ in running], itertools.repeat(epoch))
        for (stack, its_stops, shifts), its_numbers in zip(running, numbers, strict=True):
            stack.keep(_best_so_far(its_stops, epoch, its_numbers, labels, shifts))
        loss, auc = min(stop.loss for stop in stops), max(stop.auc for stop in stops)
        bar.set_postfix_str(f"validation loss {loss:.3f}, AUC {auc:.3f}", refresh=False)
        bar.update()
        running = [part for part in running if any(stop.running for stop in part[1])]
        if not running:
            break


def _best_so_far(
    stops: Sequence[EarlyStopping], epoch: int, numbers: head_stack.Epoch, labels: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Tell the early stopping of each running head its epoch. Returns whether these weights are its best: bool [head].

    labels: of validation, int [n]. shifts: the prior shift of each head, float64 [head, 1].
    """
    running = [n for n, stop in enumerate(stops) if stop.running]
    with np.errstate(invalid="ignore"):  # logits that are not finite: EarlyStopping reports them
        logits = numbers.logits[running]
        losses, aucs = (of(labels, logits) for of in (binary.log_losses, binary.roc_aucs))
        selection = binary.log_losses(labels, logits + shifts[running])
    best = np.zeros(len(stops), bool)
    for n, *values in zip(running, losses.tolist(), selection.tolist(), aucs.tolist(), strict=True):
        loss, selection_loss, auc = values
        metrics = {
            "train/loss": numbers.means[n],
            "validation/loss": loss,
            "validation/selection_loss": selection_loss,
            "validation/auc": auc,
            "learning_rate": numbers.learning_rates[n],
        }
        best[n] = stops[n].update(epoch, numbers.losses[n], bool(np.isfinite(numbers.logits[n]).all()), metrics)
    return best
