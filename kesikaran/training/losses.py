"""The loss of a training row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kesikaran.training.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Loss:
    """The loss of a row is weight (1 - p)^focal_gamma (-log p). p is the probability of the row's own label;
    sigmoid(logit + logit_offset) is the probability of label 1. The defaults give plain cross-entropy."""

    weight_of_0: float = 1.0
    weight_of_1: float = 1.0
    focal_gamma: float = 0.0  # 0 or more
    logit_offset: float = 0.0


def row_losses(logits: "tf.Tensor", labels: "tf.Tensor", numbers: Hyperparameters, has_focal: bool) -> "tf.Tensor":
    """The `Loss` of each row with label smoothing, float32 [stream, member, rows, 1].

    Args:
        logits: float32 [stream, member, rows, 1].
        labels: float32 of 0 and 1, [stream, 1, rows, 1].
        has_focal: whether any head has a focal_gamma above 0.
    """
    import tensorflow as tf  # here, so that `Loss` and what chooses one can be used without it

    z = logits + numbers.logit_offset
    target = labels * (1 - numbers.label_smoothing) + 0.5 * numbers.label_smoothing
    weight = tf.where(labels == 1, numbers.weight_of_1, numbers.weight_of_0)
    if has_focal:  # 1 - p through its logarithm: the gradient of a power of 0 would not be finite
        weight *= tf.exp(-numbers.focal_gamma * tf.nn.softplus((2 * labels - 1) * z))
    return weight * tf.nn.sigmoid_cross_entropy_with_logits(target, z)
