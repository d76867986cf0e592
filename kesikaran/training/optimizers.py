"""Learning rates by step, and the update rules of the optimizers for many heads at once."""

import numpy as np
import tensorflow as tf

from kesikaran.config.schema import OptimizerConfig, OptimizerName, Schedule
from kesikaran.training.hyperparameters import Hyperparameters


def learning_rates(config: OptimizerConfig, epoch: int, epochs: int, steps: int) -> np.ndarray:
    """The learning rate of each step of an epoch, float32 [steps]. With `cosine` it falls from `lr` to 0 over all
    `epochs` (Loshchilov and Hutter 2017)."""
    done = np.arange(epoch * steps, (epoch + 1) * steps) / (epochs * steps)
    factor = (1 + np.cos(np.pi * done)) / 2 if config.schedule is Schedule.cosine else np.ones(steps)
    return (config.lr * factor).astype(np.float32)


def updated(
    optimizer: OptimizerName,
    weight: tf.Tensor,
    gradient: tf.Tensor,
    slots: list[tf.Tensor],
    rate: tf.Tensor,
    t: tf.Tensor,
    numbers: Hyperparameters,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """A weight and its two slots after step t (from 1), by the arithmetic of tf_keras's optimizers at their defaults.

    Args:
        weight, gradient: float32 [stream, member, rows, columns].
        slots: what the optimizer remembers of the weight, two arrays of its shape: m, the momentum or the mean of the
            gradients, and v, the mean of their squares. An optimizer that has no use for one leaves it alone.
        rate: the learning rate, float32 [stream, member, 1, 1].
    """
    m, v = slots
    if optimizer is OptimizerName.sgd:
        m = numbers.momentum * m - rate * gradient
        return weight + m, [m, v]
    if optimizer is OptimizerName.rmsprop:
        v = 0.9 * v + 0.1 * tf.square(gradient)
        m = numbers.momentum * m + rate * gradient * tf.math.rsqrt(v + 1e-7)
        return weight - m, [m, v]
    weight -= numbers.weight_decay * rate * weight  # of adamw; 0 for adam
    m += 0.1 * (gradient - m)
    v += 0.001 * (tf.square(gradient) - v)
    rate *= tf.sqrt(1 - tf.pow(0.999, t)) / (1 - tf.pow(0.9, t))
    return weight - rate * m / (tf.sqrt(v) + 1e-7), [m, v]
