"""The head: the layers that are trained on features."""

import itertools
from typing import Any

import numpy as np
import tf_keras

from kesikaran.config.schema import HeadConfig


def build_head(width: int, head: HeadConfig, seed: int) -> Any:
    """A tf_keras model: features float32 [n, width] -> logits float32 [n, 1]. Without hidden units it is linear.

    Args:
        seed: as of `first_weights`, which are its weights.
    """
    layers = tf_keras.layers
    l2 = tf_keras.regularizers.L2(head.l2) if head.l2 else None

    def dense(units: int, position: int, activation: str | None) -> Any:
        return layers.Dense(units, activation, kernel_initializer=_glorot(seed, position), kernel_regularizer=l2)

    model = tf_keras.Sequential([layers.InputLayer((width,))], name="head")
    for position, units in enumerate(head.hidden_units):
        if head.dropout:
            model.add(layers.Dropout(head.dropout))
        model.add(dense(units, position, "relu"))
    if head.dropout:
        model.add(layers.Dropout(head.dropout))
    model.add(dense(1, len(head.hidden_units), None))
    return model


def first_weights(width: int, head: HeadConfig, seed: int) -> list[np.ndarray]:
    """Kernel and bias of each layer in turn, float32 [in, out] and [out], as `get_weights()` of the model gives them,
    which takes a hundred times as long to build.

    Args:
        seed: layer i draws its kernel with seed + i (Glorot and Bengio 2010, uniform). A bias is 0.
    """
    weights, sizes = [], [width, *head.hidden_units, 1]
    for position, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        weights += [_glorot(seed, position)((rows, columns)).numpy(), np.zeros(columns, np.float32)]
    return weights


def _glorot(seed: int, position: int) -> Any:
    return tf_keras.initializers.GlorotUniform(seed=seed + position)
