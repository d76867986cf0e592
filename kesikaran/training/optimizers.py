"""The arithmetic of the optimizers, for many heads at once."""

import numpy as np
import tensorflow as tf

from kesikaran.config.schema import OptimizerConfig, OptimizerName, Schedule
from kesikaran.training.hyperparameters import Hyperparameters


def learning_rates(config: OptimizerConfig, epoch: int, epochs: int, steps: int) -> np.ndarray:
    """Of each step of the epoch, float32 [steps]. `cosine` falls from `lr` to 0 over all `epochs`
    (Loshchilov and Hutter 2017)."""
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
    """A weight and its slots after step t (from 1): the arithmetic of tf_keras's optimizers at their defaults."""
    m, v = slots
    if optimizer is OptimizerName.sgd:
        m = numbers.momentum * m - rate * gradient
        return weight + m, [m, v]
    if optimizer is OptimizerName.rmsprop:
        v = 0.9 * v + 0.1 * tf.square(gradient)
        m = numbers.momentum * m + rate * gradient * tf.math.rsqrt(v + 1e-7)
        return weight - m, [m, v]
    weight -= numbers.weight_decay * rate * weight  # adamw's; adam has 0
    m += 0.1 * (gradient - m)
    v += 0.001 * (tf.square(gradient) - v)
    rate *= tf.sqrt(1 - tf.pow(0.999, t)) / (1 - tf.pow(0.9, t))
    return weight - rate * m / (tf.sqrt(v) + 1e-7), [m, v]
