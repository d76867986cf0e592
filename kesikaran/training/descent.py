"""One step of gradient descent of a fine-tuning: on one device, or on several, each with its part of the batch."""

from typing import Any, NamedTuple

import tensorflow as tf

from kesikaran.config.schema import FinetuneConfig
from kesikaran.training.hyperparameters import Hyperparameters
from kesikaran.training.losses import Loss, row_losses
from kesikaran.training.task import TuningTask


class _Part(NamedTuple):
    """What one device takes of a batch of `count` rows. All devices take equally many, so that none is without a row.

    rows: int32 [m], the numbers of the rows. weights: float32 [m], 1, and 0 where the batch's last row fills up.
    """

    count: tf.Tensor
    rows: tf.Tensor
    weights: tf.Tensor


class Descent:
    """The steps of one task, each the same on one device and on several, but for rounding.

    A step takes images float32 [n, size, size, 3], labels float32 [n], the images' keys int64 [n], and the numbers of
    the epoch and of the step, int64; it returns the mean loss of the rows before it, float32.
    """

    def __init__(self, task: TuningTask, trained: list[Any], optimizer: Any):
        """optimizer: of the variables `trained`, built in `task.network.scope()`."""
        self._task, self._trained, self._optimizer = task, trained, optimizer
        self._numbers = _hyperparameters(task.config, task.loss)
        # With the images' size unknown a step takes an eighth longer.
        spec, size = tf.TensorSpec, task.images.image_size
        signature = [spec([None, size, size, 3], tf.float32), spec([None], tf.float32), spec([None], tf.int64)]
        signature += [spec([], tf.int64), spec([], tf.int64)]
        self.step = tf.function(self._step, signature, autograph=False)

    def _step(self, *batch: tf.Tensor) -> tf.Tensor:
        strategy = self._task.network.strategy
        if strategy is None:
            return self._descend(*batch)
        return strategy.reduce("SUM", strategy.run(self._descend_on_part, batch), axis=None)

    def _descend_on_part(
        self, images: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor, epoch: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        part = _part(tf.size(labels))
        with tf.device("CPU"):  # where the batch is, so that a device gets its part alone
            images, labels, keys = (tf.gather(each, part.rows) for each in (images, labels, keys))
        return self._descend(images, labels, keys, epoch, step, part)

    def _descend(
        self, images: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor, epoch: tf.Tensor, step: tf.Tensor,
        part: _Part | None = None,
    ) -> tf.Tensor:  # fmt: skip
        """One step by the rows of a whole batch, or of a part of one; then the losses of all parts add up to that of
        the batch. The optimizer adds up the gradients of all parts before it clips them."""
        task, config = self._task, self._task.config
        if task.augment:
            images = task.augment(images, keys, epoch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trained)
            x = task.network.features(images, config.update_statistics, config.mixed_precision)
            if config.dropout:
                x = self._dropped(x, step, part)
            logits = task.network.head(x, training=False)[None, None]
            losses = row_losses(logits, labels[None, None, :, None], self._numbers, task.loss.focal_gamma > 0)
            if part is None:
                loss = tf.reduce_mean(losses)
            else:
                loss = tf.reduce_sum(losses[0, 0, :, 0] * part.weights) / tf.cast(part.count, tf.float32)
        gradients = tape.gradient(loss, self._trained)
        self._optimizer.apply_gradients(zip(gradients, self._trained, strict=True))
        return loss

    def _dropped(self, x: tf.Tensor, step: tf.Tensor, part: _Part | None) -> tf.Tensor:
        """Features float32 [n, width] with dropout. The mask is one of the whole batch, by seed and step."""
        rate, seed = self._task.config.dropout, tf.stack([tf.constant(self._task.seed, tf.int64), step])
        if part is None:
            return tf.nn.experimental.stateless_dropout(x, rate, seed)
        factors = tf.nn.experimental.stateless_dropout(tf.ones([part.count, tf.shape(x)[1]]), rate, seed)
        return x * tf.gather(factors, part.rows)


def _part(count: tf.Tensor) -> _Part:
    """The part of the device on which this is called, of a batch of so many rows."""
    device = tf.distribute.get_replica_context()
    size = -(-count // device.num_replicas_in_sync)
    rows = device.replica_id_in_sync_group * size + tf.range(size)
    return _Part(count, tf.minimum(rows, count - 1), tf.cast(rows < count, tf.float32))


def _hyperparameters(config: FinetuneConfig, loss: Loss) -> Hyperparameters:
    """Those of `losses.row_losses`, each one number; the others are the optimizer's."""
    numbers = dict.fromkeys(Hyperparameters._fields, tf.constant(0.0))
    given = {"label_smoothing": config.label_smoothing, **vars(loss)}
    return Hyperparameters(**numbers | {name: tf.constant(value, tf.float32) for name, value in given.items()})
