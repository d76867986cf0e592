"""Heads of one shape, stacked on the device and trained epoch by epoch; their rows are on the device too, or come in
chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.training import head_epoch, optimizers
from kesikaran.training.hyperparameters import Hyperparameters
from kesikaran.training.task import FeatureRows, HeadTask

_RESIDENT_BYTES = 2**28  # the most features that are put on the device as a whole; more come chunk by chunk
_CHUNK_BYTES = 2**26
Resident = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class Epoch:
    """The numbers of one epoch, by head."""

    losses: np.ndarray  # of each step, float32 [head, steps]
    means: list[float]  # the mean loss over the rows
    logits: np.ndarray  # of validation, float32 [head, n]
    learning_rates: list[float]  # of the last step


class Stack:
    """The heads of several tasks on the device, trained together.

    Where the features are not on the device, they come in chunks, each with the rows of some steps. The last chunk is
    filled up with steps that have no rows: all chunks then have one shape, and the program is compiled once.
    """

    def __init__(
        self,
        tasks: Sequence[HeadTask],
        part: np.ndarray,
        train: FeatureRows,
        validation: FeatureRows,
        resident: Resident | None,
    ):
        """
        Args:
            tasks: all tasks of the fit.
            part: the numbers of the tasks in this stack, int [stream, member]. What the stack returns by head is in
                the order of `part.flat`.
            resident: of `resident`.
        """
        self._tasks, self._shape = [tasks[n] for n in part.flat], part.shape
        self._train, self._validation, self._resident = train, validation, resident
        self._leaders = [tasks[n] for n in part[:, 0]]
        self._rows = len(train.labels)
        self._batch_size = min(tasks[0].fit.batch_size, self._rows)
        self._steps = -(-self._rows // self._batch_size)
        # Over all tasks, so that the stacks of a fit share one program
        has_dropout = any(task.head.dropout for task in tasks)
        has_focal = any(task.loss.focal_gamma for task in tasks)
        self._program = head_epoch.program(tasks[0].optimizer.name, self._batch_size, has_dropout, has_focal)
        self._chunk_steps = self._steps if resident else self._steps_of_a_chunk()
        self._numbers = self._hyperparameters()
        # Kernels [in, out] and biases [out] in Keras
        by_weight = zip(*(task.weights for task in self._tasks), strict=True)
        self._weights = [self._laid_out([np.atleast_2d(value.T) for value in values]) for values in by_weight]
        self._slots = [[tf.zeros_like(weight)] * 2 for weight in self._weights]
        self._best = self._weights

    def _steps_of_a_chunk(self) -> int:
        """As few chunks as their size allows, and these of equal length."""
        width = self._train.matrix.shape[1]
        most_steps = max(_CHUNK_BYTES // (len(self._leaders) * self._batch_size * width * 4), 1)
        chunks = -(-self._steps // most_steps)
        return -(-self._steps // chunks)

    def _hyperparameters(self) -> Hyperparameters:
        return Hyperparameters(
            l2=self._laid_out([task.head.l2 for task in self._tasks]),
            momentum=self._laid_out([task.optimizer.momentum for task in self._tasks]),
            weight_decay=self._laid_out([task.optimizer.weight_decay for task in self._tasks]),
            label_smoothing=self._laid_out([task.fit.label_smoothing for task in self._tasks]),
            weight_of_0=self._laid_out([task.loss.weight_of_0 for task in self._tasks]),
            weight_of_1=self._laid_out([task.loss.weight_of_1 for task in self._tasks]),
            focal_gamma=self._laid_out([task.loss.focal_gamma for task in self._tasks]),
            logit_offset=self._laid_out([task.loss.logit_offset for task in self._tasks]),
            dropout=tf.constant([task.head.dropout for task in self._leaders], tf.float32),
        )

    def run(self, epoch: int) -> Epoch:
        """Train all heads for one epoch. A head that has stopped is trained on: that costs little, and its weights are
        not used any more."""
        layers = len(self._weights) // 2
        seeds = {lead.seed for lead in self._leaders}
        random = {seed: head_epoch.draws(seed, epoch, self._rows, self._batch_size, layers) for seed in seeds}
        order, keys = (
            np.stack(by_stream) for by_stream in zip(*(random[lead.seed] for lead in self._leaders), strict=True)
        )
        rates = [optimizers.learning_rates(t.optimizer, epoch, t.fit.epochs, self._steps) for t in self._tasks]
        rates_by_step = np.stack(rates, 1).reshape(self._steps, *self._shape, 1, 1)
        losses = []
        for first in range(0, self._steps, self._chunk_steps):
            steps = slice(first, first + self._chunk_steps)
            data, local_order = self._data(self._filled(order[:, steps], 1))
            self._weights, self._slots, losses_by_step, logits = self._program(
                *data, self._numbers, local_order, self._filled(keys[:, steps], 1),
                tf.constant(self._rows - first * self._batch_size), self._filled(rates_by_step[steps], 0),
                tf.constant(epoch * self._steps + first), self._weights, self._slots,
            )  # fmt: skip
            losses.append(losses_by_step.numpy())
        losses_by_task = self._by_task(np.moveaxis(np.concatenate(losses)[: self._steps], 0, -1))
        sizes = np.full(self._steps, self._batch_size)
        sizes[-1] = self._rows - (self._steps - 1) * self._batch_size
        means = np.average(losses_by_task, axis=1, weights=sizes).tolist()
        logits_by_task = self._by_task(logits.numpy() if self._resident else self._validation_logits())
        return Epoch(losses_by_task, means, logits_by_task, [float(by_step[-1]) for by_step in rates])

    def keep(self, which: np.ndarray) -> None:
        """Remember the present weights of the chosen heads as their best. which: bool [head]."""
        if which.all():
            self._best = self._weights
        elif which.any():
            chosen = self._laid_out(which) > 0
            self._best = [tf.where(chosen, now, best) for now, best in zip(self._weights, self._best, strict=True)]

    def _data(self, order: tf.Tensor) -> tuple[Sequence[Any], tf.Tensor]:
        """Features, labels and validation features for the program, and `order` as row numbers in these features."""
        if self._resident:
            return self._resident, order
        part = self._train.take(order.numpy().ravel())
        nothing = tf.zeros((0, self._train.matrix.shape[1]))
        local = tf.reshape(tf.range(len(part.labels)), order.shape)
        return [tf.constant(part.features), _floats(part.labels), nothing], local

    def _filled(self, by_step: np.ndarray, axis: int) -> tf.Tensor:
        """The steps of a chunk, along `axis`, filled up with zeros for the steps that the last chunk lacks."""
        lacking = np.zeros((by_step.ndim, 2), int)
        lacking[axis, 1] = self._chunk_steps - by_step.shape[axis]
        return tf.constant(np.pad(by_step, lacking) if lacking.any() else by_step)

    def _validation_logits(self) -> np.ndarray:
        """float32 [stream, member, n], from features that come in chunks."""
        rows, size = np.arange(len(self._validation.labels)), _CHUNK_BYTES // (4 * self._validation.matrix.shape[1])
        parts = [self._validation.take(rows[i : i + size]).features for i in range(0, len(rows), size)]
        return np.concatenate([head_epoch.predicted(tf.constant(part), self._weights) for part in parts], axis=-1)

    def best_weights(self) -> list[list[np.ndarray]]:
        """Of each head those that `keep` was told of last, as `HeadTask` has them."""
        best = zip(*(self._by_task(weight.numpy()) for weight in self._best), strict=True)
        return [
            [w.T.reshape(first.shape) for w, first in zip(weights, task.weights, strict=True)]
            for task, weights in zip(self._tasks, best, strict=True)
        ]

    def _laid_out(self, by_task: Sequence[Any] | np.ndarray) -> tf.Tensor:
        """One number or one matrix a task -> float32 [stream, member, 1, 1] or [stream, member, rows, columns]."""
        array = np.asarray(by_task, np.float32)
        return tf.constant(array.reshape(*self._shape, *(array.shape[1:] or (1, 1))))

    def _by_task(self, laid_out: np.ndarray) -> np.ndarray:
        """[stream, member, ...] -> [task, ...]."""
        return laid_out.reshape(-1, *laid_out.shape[2:])


def resident(train: FeatureRows, validation: FeatureRows) -> Resident | None:
    """Training features, training labels and validation features on the device; None where they are too large."""
    if (len(train.labels) + len(validation.labels)) * train.matrix.shape[1] * 4 > _RESIDENT_BYTES:
        return None
    return tf.constant(train.features), _floats(train.labels), tf.constant(validation.features)


def _floats(labels: np.ndarray) -> tf.Tensor:
    return tf.constant(labels, tf.float32)


def streams(keys: Sequence[Any]) -> np.ndarray:
    """Put tasks with equal keys into one stream.

    Args:
        keys: one for each task.

    Returns:
        Task numbers, int [stream, member]. Where the streams would differ in size, each task is a stream of its own.
    """
    groups: dict[Any, list[int]] = {}
    for n, key in enumerate(keys):
        groups.setdefault(key, []).append(n)
    if len({len(group) for group in groups.values()}) > 1:
        groups = {n: [n] for n in range(len(keys))}
    return np.array(list(groups.values()))


def cut(layout: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a layout, int [stream, member], into equal parts, as many as possible up to `most`. Each part can then run
    on a core of its own, and all of them with one program."""
    for count in range(most, 1, -1):
        for axis in (0, 1):  # between streams first: a stream that is cut gathers and masks its rows in either part
            if layout.shape[axis] % count == 0:
                return np.split(layout, count, axis)
    return [layout]
