"""The numbers in which heads that are trained together may differ."""

from typing import NamedTuple

import tensorflow as tf


class Hyperparameters(NamedTuple):
    """What heads may differ in: float32 [stream, member, 1, 1], dropout [stream] as of its members."""

    l2: tf.Tensor
    momentum: tf.Tensor
    weight_decay: tf.Tensor
    label_smoothing: tf.Tensor
    weight_of_0: tf.Tensor
    weight_of_1: tf.Tensor
    focal_gamma: tf.Tensor
    logit_offset: tf.Tensor
    dropout: tf.Tensor
