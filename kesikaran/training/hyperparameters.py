"""The numbers in which heads that are trained together may differ."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class Hyperparameters(NamedTuple):
    """float32 [stream, member, 1, 1], but for dropout: float32 [stream], since the heads of a stream share it."""

    l2: "tf.Tensor"
    momentum: "tf.Tensor"
    weight_decay: "tf.Tensor"
    label_smoothing: "tf.Tensor"
    weight_of_0: "tf.Tensor"
    weight_of_1: "tf.Tensor"
    focal_gamma: "tf.Tensor"
    logit_offset: "tf.Tensor"
    dropout: "tf.Tensor"
