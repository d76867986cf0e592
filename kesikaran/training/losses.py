"""The loss of a training row."""

from dataclasses import dataclass

import tensorflow as tf

from kesikaran.training.hyperparameters import Hyperparameters


def row_losses(logits: tf.Tensor, labels: tf.Tensor, numbers: Hyperparameters, has_focal: bool) -> tf.Tensor:
    """What `Loss` says, with label smoothing: float32 [stream, member, rows, 1].

    Args:
        logits: float32 [stream, member, rows, 1].
        labels: float32 of 0 and 1, [stream, 1, rows, 1].
        has_focal: whether a head has a focal_gamma.
    """
    z = logits + numbers.logit_offset
    target = labels * (1 - numbers.label_smoothing) + 0.5 * numbers.label_smoothing
    weight = tf.where(labels == 1, numbers.weight_of_1, numbers.weight_of_0)
    if has_focal:  # 1 - p by its logarithm: a power of 0 would have no gradient
        weight *= tf.exp(-numbers.focal_gamma * tf.nn.softplus((2 * labels - 1) * z))
    return weight * tf.nn.sigmoid_cross_entropy_with_logits(target, z)


@dataclass(frozen=True)
class Loss:
    """The loss of a row: weight (1 - p)^focal_gamma (-log p), where p is the probability of the row's label and
    sigmoid(logit + logit_offset) that of label 1. With the values here it is plain cross-entropy."""

    weight_of_0: float = 1.0
    weight_of_1: float = 1.0
    focal_gamma: float = 0.0  # 0 or more
    logit_offset: float = 0.0
