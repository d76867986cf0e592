"""Fine-tunes a backbone and its head on images, from the trained probe on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.config.schema import FinetuneConfig, HeadStart, Monitor
from kesikaran.core import terminal
from kesikaran.core.errors import InputError
from kesikaran.data import augment
from kesikaran.data.pipeline import epoch_order
from kesikaran.metrics import binary
from kesikaran.training import layer_decay
from kesikaran.training.checkpoint import Epoch, State
from kesikaran.training.descent import Descent
from kesikaran.training.early_stopping import EarlyStopping, objective
from kesikaran.training.task import Tuned, TuningTask


def tune(task: TuningTask) -> Tuned:
    """Fine-tune the network in place. After each epoch its state is written, and where there is such a state of the
    same run, training goes on from it.

    The network ends with the mean of the weights of the `average_best` epochs that are best on validation by
    `task.monitor`; with those of the probe, on the backbone as it came, where no epoch is better than the probe.

    Raises:
        InputError: losses or logits are not finite, the memory does not suffice for a batch, an image cannot be
            decoded any more, or the disk is full.
    """
    config = task.config
    patience = config.epochs + 1 if config.patience is None else config.patience
    setting = f"finetune.lr than {config.lr:g}"

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        if epoch:
            task.on_epoch(tuner.probe_epochs + epoch - 1, metrics)

    stop = EarlyStopping(task.monitor, patience, config.epochs + 1, on_epoch, setting)
    first = _metrics(task, task.probe_logits)
    stop.update(0, np.zeros(0), bool(np.isfinite(task.probe_logits).all()), first)
    task.network.start(task.start)
    tuner = _Tuner(task)
    task.say(tuner.sentence())
    for epoch, metrics in enumerate(tuner.resume(), 1):
        stop.update(epoch, np.zeros(0), True, metrics)
    # As in `head_trainer.fit`: the bar raises for a signal that came.
    total = config.epochs * len(task.train)
    with _memory(config), terminal.sheltered(), terminal.progress(None, "fine-tune", "image", total) as bar:
        bar.initial = bar.n = tuner.done * len(task.train)  # what was made before does not count as this run's speed
        while stop.running:
            tuner.run_epoch(stop, bar)
        if isinstance(stop.outcome, InputError):
            raise stop.outcome
        epoch = stop.outcome.epoch
        return Tuned(epoch, tuner.done, tuner.probe_epochs, tuner.finish(epoch, first))


def objective_of(task: TuningTask, views: tuple[str, ...]) -> float:
    """The network's `early_stopping.objective` on validation, of the mean of these views: the lower the better."""
    return objective(task.monitor, _metrics(task, predict(task, task.validation, views)))


def predict(
    task: TuningTask, rows: np.ndarray, views: tuple[str, ...] = (augment.IDENTITY,), bar: Any = None
) -> np.ndarray:
    """The network's logits of images, of the mean of these views: float32 [n]. The batches are filled up: the last bits
    of a logit could depend on how many images are beside it.

    Args:
        rows: the numbers of the images, int [n]. bar: is told of each batch.
    """
    size, parts = task.config.batch_size, []
    with _memory(task.config):
        for some, images in task.images.batches(rows, size):
            filled = tf.pad(images, [[0, size - len(some)], [0, 0], [0, 0], [0, 0]])
            parts.append(task.network.predict(filled, views)[: len(some)])
            if bar is not None:
                bar.update(len(some))
            terminal.stop_if_asked()
    return np.concatenate(parts)


@contextmanager
def _memory(config: FinetuneConfig) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError:
        size = config.batch_size
        remedy = (
            f"finetune.batch_size={size // 2}" if size > 1 else "a smaller backbone.image_size or finetune=batchnorm"
        )
        raise InputError(f"a batch of {size} images does not fit into the memory of the device: try {remedy}") from None


def _metrics(task: TuningTask, logits: np.ndarray) -> dict[str, float]:
    """The metrics of an epoch on validation. logits: float32 [n]."""
    labels = task.labels[task.validation]
    with np.errstate(invalid="ignore"):  # logits that are not finite: EarlyStopping reports them
        return {
            "validation/loss": binary.log_loss(labels, logits),
            "validation/selection_loss": binary.log_loss(labels, logits + task.prior_shift),
            "validation/auc": binary.roc_auc(labels, logits),
        }


class _Tuner:
    """The training of one network, epoch by epoch. done: how many epochs are behind it. probe_epochs: as of `Tuned`. A
    probe that is trained again may take another number of epochs, where the process is not deterministic."""

    def __init__(self, task: TuningTask):
        self._task, self._network = task, task.network
        trained = task.network.trained(task.config)
        self._trained = [variable for variable, _ in trained]
        statistics = task.network.statistics if task.config.update_statistics else []
        self._changed = [*self._trained, *statistics]
        with task.network.scope():
            self._optimizer = layer_decay.optimizer(task.config, trained)
        self._descent = Descent(task, self._trained, self._optimizer)
        self._steps = -(-len(task.train) // task.config.batch_size)
        self._best: list[Epoch] = []
        self._history: list[dict[str, float]] = []
        self.probe_epochs = task.probe_epochs

    @property
    def done(self) -> int:
        return len(self._history)

    def sentence(self) -> str:
        every = [*self._network.layer.variables, *self._network.head.variables]
        start = self._task.config.head_start
        weights, of = (sum(math.prod(v.shape) for v in some) for some in (self._trained, every))
        share = f"{weights / 1e6:.1f} of {of / 1e6:.1f} M" if of >= 1e6 else f"{weights:,} of {of:,}"
        devices = f" on {strategy.num_replicas_in_sync} devices" if (strategy := self._network.strategy) else ""
        return (
            f"Fine-tuning {len(self._trained)} of {len(every)} variables, {share} weights, on {len(self._task.train)} "
            f"images{devices}; the head starts {'from the probe' if start is HeadStart.probe else 'at random'}."
        )

    def resume(self) -> list[dict[str, float]]:
        """Go on from the state of a run that was stopped, if there is one. Returns the metrics of its epochs."""
        state = self._task.checkpoint.load(self._state())
        if state:
            self._set(self._changed, state.weights)
            self._set(self._optimizer.variables, state.optimizer)
            self._best, self._history, self.probe_epochs = state.best, state.history, state.probe_epochs
            epochs = self._task.config.epochs
            self._task.say(f"Going on after epoch {self.done} of {epochs}, where a run was stopped.")
        return self._history

    def _state(self) -> State:
        weights, optimizer = self._values(self._changed), self._values(self._optimizer.variables)
        return State(weights, optimizer, self._best, self._history, self.probe_epochs)

    def run_epoch(self, stop: EarlyStopping, bar: Any) -> None:
        """One epoch, its validation, and its checkpoint."""
        task, epoch = self._task, self.done + 1
        losses, mean = self._run_steps(epoch, bar)
        # A moving average of the weights takes their place while it is judged.
        current = self._values(self._trained)
        self._optimizer.finalize_variable_values(self._trained)
        finite = bool(np.isfinite(losses).all())
        logits = predict(task, task.validation) if finite else np.full(len(task.validation), np.nan, np.float32)
        rate = layer_decay.learning_rate(task.config, epoch * self._steps - 1, self._total_steps)
        metrics = {"train/loss": mean, **_metrics(task, logits), "learning_rate": rate}
        stop.update(epoch, losses, bool(np.isfinite(logits).all()), metrics)
        if isinstance(stop.outcome, InputError):
            return
        best = [*self._best, Epoch(objective(task.monitor, metrics), epoch, self._values(self._changed))]
        self._best = sorted(best, key=lambda one: (one.value, one.number))[: task.config.average_best]
        self._set(self._trained, current)
        self._history = [*self._history, metrics]
        self._task.checkpoint.save(self._state())
        bar.set_postfix_str(f"validation loss {stop.loss:.3f}, AUC {stop.auc:.3f}", refresh=False)

    @property
    def _total_steps(self) -> int:
        return self._task.config.epochs * self._steps

    def _run_steps(self, epoch: int, bar: Any) -> tuple[np.ndarray, float]:
        """(the loss of each step, up to the first that is not finite, float32 [steps]; their mean over the rows)"""
        task, losses, sizes = self._task, [], []
        order = task.train[epoch_order(len(task.train), task.seed, epoch)]
        step = (epoch - 1) * self._steps
        for rows, images in task.images.batches(order, task.config.batch_size):
            self._optimizer.learning_rate = layer_decay.learning_rate(task.config, step, self._total_steps)
            labels, keys = task.labels[rows].astype(np.float32), task.images.keys[rows]
            losses.append(float(self._descent.step(images, labels, keys, np.int64(epoch), np.int64(step))))
            sizes.append(len(rows))
            step += 1
            bar.update(len(rows))
            if not math.isfinite(losses[-1]):
                break
        return np.array(losses, np.float32), float(np.average(losses, weights=sizes))

    def finish(self, best_epoch: int, probe: dict[str, float]) -> list[str]:
        """Give the network the weights that are kept. Returns remarks. probe: its metrics on validation."""
        task = self._task
        if not best_epoch:
            task.network.start(task.probe)
            least = min(self._history, key=lambda metrics: objective(task.monitor, metrics))
            return [
                f"Fine-tuning made nothing better: on validation its best epoch has {_said(least, task.monitor)}, the "
                f"probe {_said(probe, task.monitor)}. The probe is kept."
            ]
        mean = [np.mean(values, axis=0) for values in zip(*(epoch.weights for epoch in self._best), strict=True)]
        self._set(self._changed, mean)
        kept = _metrics(task, predict(task, task.validation))
        if objective(task.monitor, kept) <= objective(task.monitor, probe):
            return []
        return [
            f"On validation the fine-tuned network is worse than the probe: {_said(kept, task.monitor)} against "
            f"{_said(probe, task.monitor)}."
        ]

    @staticmethod
    def _values(variables: list[Any]) -> list[np.ndarray]:
        return [variable.numpy() for variable in variables]

    @staticmethod
    def _set(variables: list[Any], values: list[np.ndarray]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _said(metrics: dict[str, float], monitor: Monitor) -> str:
    if monitor is Monitor.auc:
        return f"AUC {metrics['validation/auc']:.3f}"
    return f"loss {metrics['validation/selection_loss']:.3f}"
