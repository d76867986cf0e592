"""EfficientNet-Lite0 as a function of its variables, to be trained.

BatchNorm with fixed statistics is part of each convolution: its scale is a factor of the kernel, its offset a bias. The
features are those of the SavedModel within float tolerance, all variables get their gradients, and a step of training
is quicker (on two cores by a fifth, a forward pass by half).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.models import efficientnet_lite0 as lite0
from kesikaran.models.efficientnet_lite0 import Convolution

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


Features = Callable[..., tf.Tensor]
"""(images float32 [n, size, size, 3] in [0, 1], dtype=tf.float32) -> features float32 [n, 1280]. dtype: in which the
convolutions are computed."""


def features(layer: Any) -> Features | None:
    """The function by the variables of this layer; None where the layer is not EfficientNet-Lite0, by the names of its
    variables and by what it gives."""
    by_name = {variable.name.removesuffix(":0"): variable for variable in layer.variables}
    names: list[str] = []

    def noted(_: int, at: Convolution) -> int:
        names.extend(_names(at))
        return 0

    lite0.pass_through(0, noted, lambda one, other: 0)
    if sorted(by_name) != sorted(names):
        return None

    def convolve(x: tf.Tensor, at: Convolution) -> tf.Tensor:
        kernel, gamma, beta, mean, variance = (by_name[name] for name in _names(at))
        scale = gamma * tf.math.rsqrt(variance + lite0.EPSILON)
        if at.filters is None:
            kernel = tf.cast(kernel * scale[:, None], x.dtype)
            x = tf.nn.depthwise_conv2d(x, kernel, [1, at.stride, at.stride, 1], "SAME")
        else:
            x = tf.nn.conv2d(x, tf.cast(kernel * scale, x.dtype), at.stride, "SAME")
        x = _biased(x, beta - mean * scale)
        return tf.nn.relu6(x) if at.is_activated else x

    def of_images(images: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        x = tf.cast(images * lite0.SCALE + lite0.OFFSET, dtype)
        x = lite0.pass_through(x, convolve, tf.add)
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])

    image = tf.random.stateless_uniform([1, 64, 64, 3], seed=(0, 0))
    expected, found = layer(image, training=False).numpy(), of_images(image).numpy()
    return of_images if np.allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max()) else None


def _names(at: Convolution) -> list[str]:
    kernel = "depthwise_kernel" if at.filters is None else "kernel"
    return [f"{lite0.layer_name(at.prefix)}/{kernel}", *(f"{lite0.layer_name(at.norm)}/{part}" for part in _NORM)]


@tf.custom_gradient
def _biased(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """x plus the bias, float32 [channels]. With TensorFlow's own gradient those of kernel and bias would become
    one kernel of oneDNN, which takes twice the time of both."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream, tf.reduce_sum(tf.cast(upstream, tf.float32), [0, 1, 2])

    return tf.nn.bias_add(x, tf.cast(bias, x.dtype)), gradient
