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


def features(layer: Any) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """The function from images float32 [n, size, size, 3] in [0, 1] to features float32 [n, 1280], by the variables of
    this layer; None where the layer is not EfficientNet-Lite0, by the names of its variables and by what it gives."""
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
            x = tf.nn.depthwise_conv2d(x, kernel * scale[:, None], [1, at.stride, at.stride, 1], "SAME")
        else:
            x = tf.nn.conv2d(x, kernel * scale, at.stride, "SAME")
        x = _biased(x, beta - mean * scale)
        return tf.nn.relu6(x) if at.is_activated else x

    def of_images(images: tf.Tensor) -> tf.Tensor:
        x = lite0.pass_through(images * lite0.SCALE + lite0.OFFSET, convolve, tf.add)
        return tf.reduce_mean(x, [1, 2])

    image = tf.random.stateless_uniform([1, 64, 64, 3], seed=(0, 0))
    expected, found = layer(image, training=False).numpy(), of_images(image).numpy()
    return of_images if np.allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max()) else None


def _names(at: Convolution) -> list[str]:
    kernel = "depthwise_kernel" if at.filters is None else "kernel"
    return [f"{lite0.layer_name(at.prefix)}/{kernel}", *(f"{lite0.layer_name(at.norm)}/{part}" for part in _NORM)]


@tf.custom_gradient
def _biased(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """x + bias. With the gradient of TensorFlow's own, the gradients of kernel and bias would become one kernel of
    oneDNN, which takes twice the time of both."""
    return tf.nn.bias_add(x, bias), lambda upstream: (upstream, tf.reduce_sum(upstream, [0, 1, 2]))
