"""Fit heads on features, alone or many at once; predict logits."""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kesikaran import descent, scores, terminal
from kesikaran.config import FitConfig, HeadConfig, Monitor, OptimizerConfig
from kesikaran.errors import InputError
from kesikaran.imbalance import Loss

_HELD_BYTES = 2**28  # of features; what is larger stays where it is and comes to the device chunk by chunk
_CHUNK_BYTES = 2**26


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
class _Epoch:
    """What an epoch did to one head."""

    losses: np.ndarray  # of each step, float32 [steps]
    loss: float  # their mean, a row counting as a row
    logits: np.ndarray  # of validation, float32 [n]
    learning_rate: float  # of the last step


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
    watches = [_Watch(task) for task in tasks]
    epochs = max(task.fit.epochs for task in tasks)
    # The bar asks at every epoch whether to stop: an exception out of a handler TensorFlow can lose.
    with terminal.sheltered(), terminal.progress(None, "head", "epoch", epochs) as bar:
        heads = _Heads(tasks, train, validation)
        for epoch in range(epochs):
            seen = zip(watches, heads.run(epoch), strict=True)
            heads.keep([w.running and w.judge(epoch, done, validation.labels) for w, done in seen])
            loss, auc = min(watch.loss for watch in watches), max(watch.auc for watch in watches)
            bar.set_postfix_str(f"validation loss {loss:.3f}, AUC {auc:.3f}", refresh=False)
            bar.update()
            if not any(watch.running for watch in watches):
                break
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

    def judge(self, epoch: int, done: _Epoch, labels: np.ndarray) -> bool:
        """Whether the weights after this epoch are the best so far. labels: of validation."""
        broken = np.flatnonzero(~np.isfinite(done.losses))
        if broken.size:
            return self._fail(
                f"the loss became {done.losses[broken[0]]} at epoch {epoch}, step {broken[0]}: try a lower "
                "optimizer.lr, and check the features of your own backbone (backbone.value_range)"
            )
        if not np.isfinite(done.logits).all():
            return self._fail(f"the logits are not finite after epoch {epoch}: try a lower optimizer.lr")
        self.loss, self.auc = scores.log_loss(labels, done.logits), scores.roc_auc(labels, done.logits)
        metrics = {"train/loss": done.loss, "validation/loss": self.loss, "learning_rate": done.learning_rate}
        if not math.isnan(self.auc):
            metrics["validation/auc"] = self.auc
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


class _Heads:
    """The tasks' heads on the device, trained together.

    Features that are too many to be held there too come chunk by chunk, a chunk the rows of some steps. Every chunk
    has one shape, so that the program is compiled once: steps are added to the last that have no rows.
    """

    def __init__(self, tasks: Sequence[Task], train: Sample, validation: Sample):
        self._tasks, self._train, self._validation = tasks, train, validation
        self._layout = streams([(task.seed, task.head.dropout) for task in tasks])
        self._leaders = [tasks[n] for n in self._layout[:, 0]]
        self._rows = len(train.labels)
        self._batch_size = min(tasks[0].fit.batch_size, self._rows)
        self._steps = -(-self._rows // self._batch_size)
        has_dropout = any(task.head.dropout for task in tasks)
        has_focal = any(task.loss.focal_gamma for task in tasks)
        self._program = descent.program(tasks[0].optimizer.name, self._batch_size, has_dropout, has_focal)
        width = train.matrix.shape[1]
        self._held: list[tf.Tensor] | None = None
        self._chunk_steps = self._steps
        if (self._rows + len(validation.labels)) * width * 4 <= _HELD_BYTES:
            self._held = [tf.constant(train.features), _floats(train.labels), tf.constant(validation.features)]
        else:
            most_steps = max(_CHUNK_BYTES // (len(self._layout) * self._batch_size * width * 4), 1)
            chunks = -(-self._steps // most_steps)
            self._chunk_steps = -(-self._steps // chunks)
        self._numbers = descent.Numbers(
            l2=self._laid_out([task.head.l2 for task in tasks]),
            momentum=self._laid_out([task.optimizer.momentum for task in tasks]),
            weight_decay=self._laid_out([task.optimizer.weight_decay for task in tasks]),
            label_smoothing=self._laid_out([task.fit.label_smoothing for task in tasks]),
            weight_of_0=self._laid_out([task.loss.weight_of_0 for task in tasks]),
            weight_of_1=self._laid_out([task.loss.weight_of_1 for task in tasks]),
            focal_gamma=self._laid_out([task.loss.focal_gamma for task in tasks]),
            logit_offset=self._laid_out([task.loss.logit_offset for task in tasks]),
            dropout=tf.constant([task.head.dropout for task in self._leaders], tf.float32),
        )
        # Keras has kernels [in, out] and biases [out]
        by_weight = zip(*(task.model.get_weights() for task in tasks), strict=True)
        self._weights = [self._laid_out([np.atleast_2d(one.T) for one in each]) for each in by_weight]
        self._slots = [[tf.zeros_like(weight)] * 2 for weight in self._weights]
        self._best = self._weights

    def run(self, epoch: int) -> list[_Epoch]:
        """One epoch of all heads, the stopped ones as well: they cost little and nobody looks."""
        layers = len(self._weights) // 2
        random = [descent.draws(lead.seed, epoch, self._rows, self._batch_size, layers) for lead in self._leaders]
        order, keys = (np.stack(each) for each in zip(*random, strict=True))
        rates = [descent.learning_rates(t.optimizer, epoch, t.fit.epochs, self._steps) for t in self._tasks]
        rates_by_step = np.stack(rates, 1)[:, self._layout, None, None]
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
        logits_by_task = self._by_task(logits.numpy() if self._held else self._validation_logits())
        last = [float(each[-1]) for each in rates]
        return [_Epoch(*each) for each in zip(losses_by_task, means, logits_by_task, last, strict=True)]

    def _data(self, order: tf.Tensor) -> tuple[Sequence[Any], tf.Tensor]:
        """(features, labels and validation features for the program, the order as row numbers in these)."""
        if self._held:
            return self._held, order
        part = self._train.take(order.numpy().ravel())
        nothing = tf.zeros((0, self._train.matrix.shape[1]))
        local = tf.reshape(tf.range(len(part.labels)), order.shape)
        return [tf.constant(part.features), _floats(part.labels), nothing], local

    def _filled(self, by_step: np.ndarray, axis: int) -> tf.Tensor:
        """A chunk's part of what is given by step, with zeros for the steps that the last chunk lacks."""
        lacking = np.zeros((by_step.ndim, 2), int)
        lacking[axis, 1] = self._chunk_steps - by_step.shape[axis]
        return tf.constant(np.pad(by_step, lacking) if lacking.any() else by_step)

    def _validation_logits(self) -> np.ndarray:
        """float32 [stream, member, n], chunk by chunk."""
        rows, size = np.arange(len(self._validation.labels)), _CHUNK_BYTES // (4 * self._validation.matrix.shape[1])
        parts = [self._validation.take(rows[i : i + size]).features for i in range(0, len(rows), size)]
        return np.concatenate([descent.predicted(tf.constant(part), self._weights) for part in parts], axis=-1)

    def keep(self, which: Sequence[bool]) -> None:
        """Keep the present weights of some heads, by task, as their best."""
        if any(which):
            chosen = self._laid_out(which) > 0
            self._best = [tf.where(chosen, now, best) for now, best in zip(self._weights, self._best, strict=True)]

    def put_back(self) -> None:
        """The best weights into the tasks' models."""
        best = [self._by_task(weight.numpy()) for weight in self._best]
        for task, weights in zip(self._tasks, zip(*best, strict=True), strict=True):
            shapes = [weight.shape for weight in task.model.weights]
            task.model.set_weights([w.T.reshape(shape) for w, shape in zip(weights, shapes, strict=True)])

    def _laid_out(self, by_task: Sequence[Any] | np.ndarray) -> tf.Tensor:
        """Numbers or matrices, by task -> float32 [stream, member, 1, 1] or [stream, member, rows, columns]."""
        array = np.asarray(by_task, np.float32)[self._layout]
        return tf.constant(array if array.ndim == 4 else array[..., None, None])

    def _by_task(self, laid_out: np.ndarray) -> np.ndarray:
        """[stream, member, ...] -> [task, ...]."""
        return laid_out.reshape(-1, *laid_out.shape[2:])[np.argsort(self._layout, axis=None)]


def _floats(labels: np.ndarray) -> tf.Tensor:
    return tf.constant(labels, tf.float32)


def streams(likes: Sequence[Any]) -> np.ndarray:
    """Which tasks share a stream: those that are alike in what is given for each.

    Returns:
        Task numbers, int [stream, member]. Streams of unequal size would leave holes: each task has its own then.
    """
    groups: dict[Any, list[int]] = {}
    for n, like in enumerate(likes):
        groups.setdefault(like, []).append(n)
    if len({len(group) for group in groups.values()}) > 1:
        groups = {n: [n] for n in range(len(likes))}
    return np.array(list(groups.values()))
