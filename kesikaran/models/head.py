"""The head: the layers that are trained on features."""

from typing import Any

import tf_keras

from kesikaran.config.schema import HeadConfig


def build_head(width: int, head: HeadConfig, seed: int) -> Any:
    """A tf_keras model: features float32 [n, width] -> logits float32 [n, 1]. Without hidden units it is linear.

    Args:
        seed: of the first weights. Layer i draws its own with seed + i.
    """
    layers = tf_keras.layers
    l2 = tf_keras.regularizers.L2(head.l2) if head.l2 else None

    def dense(units: int, position: int, activation: str | None) -> Any:
        glorot = tf_keras.initializers.GlorotUniform(seed=seed + position)
        return layers.Dense(units, activation, kernel_initializer=glorot, kernel_regularizer=l2)

    model = tf_keras.Sequential([layers.InputLayer((width,))], name="head")
    for position, units in enumerate(head.hidden_units):
        if head.dropout:
            model.add(layers.Dropout(head.dropout))
        model.add(dense(units, position, "relu"))
    if head.dropout:
        model.add(layers.Dropout(head.dropout))
    model.add(dense(1, len(head.hidden_units), None))
    return model
