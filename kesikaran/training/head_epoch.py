"""One epoch of gradient descent for many heads at once, as one XLA program.

Every array of the heads has two leading axes, [stream, member]. The heads of a stream, its members, see the same rows
in the same order under the same dropout masks, so that a step gathers and masks its rows once for each stream.

Weights are a list with kernel and bias of each layer in turn, float32 [stream, member, out, in] and
[stream, member, 1, out]; the last layer has out = 1. The kernels are transposed, since XLA's matrix products on a CPU
are faster that way (measured: up to twice as fast).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.config.schema import OptimizerName
from kesikaran.training import optimizers
from kesikaran.training.hyperparameters import Hyperparameters
from kesikaran.training.losses import row_losses

Weights = list[tf.Tensor]
Dropout = Callable[[tf.Tensor, int], tf.Tensor]  # (input of a layer, the layer's number) -> the input after dropout


def draws(seed: int, epoch: int, rows: int, batch_size: int, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """The random numbers of one epoch of a stream.

    Returns:
        The row numbers by step, int32 [steps, batch_size], in which each row comes once and the free places of the
        last step are 0; and the keys of the dropout masks, uint32 [steps, layers].
    """
    random = np.random.default_rng([seed, epoch])
    steps = -(-rows // batch_size)
    order = np.zeros(steps * batch_size, np.int32)
    order[:rows] = random.permutation(rows)
    return order.reshape(steps, batch_size), random.integers(2**32, size=(steps, layers), dtype=np.uint32)


def dropped(x: tf.Tensor, rate: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Inverted dropout (Srivastava et al. 2014): a share `rate` of x becomes 0, the rest is divided by 1 - rate.

    The masks are a hash of key, row and column. TensorFlow's own random numbers would make a step many times
    slower (XLA's Philox on a CPU: 2.8 ms, where the hash takes 0.01 ms).

    Args:
        x: float32 [stream, m, rows, width]. One mask serves all m.
        rate: float32 [stream], below 1.
        keys: uint32 [stream].
    """
    row, column = (tf.cast(tf.range(size), tf.uint32) for size in x.shape[-2:])
    row_keys = _mixed(tf.bitwise.bitwise_xor(keys[:, None], row))
    bits = _mixed(tf.bitwise.bitwise_xor(row_keys[:, None, :, None], column))
    rate = rate[:, None, None, None]
    return tf.where(bits >= tf.cast(rate * 2.0**32, tf.uint32), x / (1 - rate), 0.0)


def _mixed(bits: tf.Tensor) -> tf.Tensor:
    """uint32 -> uint32, a bijection that scrambles the bits: the finalizer of MurmurHash3 (Appleby 2011)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        shifted = tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32))
        bits = tf.bitwise.bitwise_xor(bits, shifted) * tf.constant(factor, tf.uint32)
    return bits


@functools.cache  # for the life of the process: a later job with the same arguments and shapes compiles nothing
def program(optimizer: OptimizerName, batch_size: int, has_dropout: bool, has_focal: bool) -> Any:
    """The epoch as a tf.function. It is compiled once for each shape of its arguments, in about a second.

    Its arguments:
        features, labels: float32 [n, width] and [n], of the training rows.
        validation: float32 [n_validation, width].
        numbers: Hyperparameters.
        order, keys: int32 [stream, steps, batch_size] and uint32 [stream, steps, layers], of `draws`.
        rows: int32, how many of the row numbers in a stream's `order` count. Steps beyond them are not made.
        rates: float32 [steps, stream, member, 1, 1], the learning rates.
        done: int32, how many steps were made before.
        weights, slots: Weights, and for each of them the optimizer's two slots of its shape, 0 at first.

    It returns weights and slots after the epoch, the loss of each step, float32 [steps, stream, member] (the mean
    over the step's rows, with L2, before the update), and the validation logits, float32
    [stream, member, n_validation].
    """
    epoch = functools.partial(_epoch, optimizer, batch_size, has_dropout, has_focal)
    return tf.function(epoch, jit_compile=True, autograph=False)


def _epoch(
    optimizer: OptimizerName,
    batch_size: int,
    has_dropout: bool,
    has_focal: bool,
    features: tf.Tensor,
    labels: tf.Tensor,
    validation: tf.Tensor,
    numbers: Hyperparameters,
    order: tf.Tensor,
    keys: tf.Tensor,
    rows: tf.Tensor,
    rates: tf.Tensor,
    done: tf.Tensor,
    weights: Weights,
    slots: list[Weights],
) -> tuple[Any, ...]:
    """See `program`."""
    steps = order.shape[1]

    def step(i: tf.Tensor, weights: Weights, slots: list[Weights], losses: tf.TensorArray) -> tuple[Any, ...]:
        def drop(x: tf.Tensor, layer: int) -> tf.Tensor:
            return dropped(x, numbers.dropout, keys[:, i, layer]) if has_dropout else x

        batch = order[:, i]
        x = drop(tf.gather(features, batch)[:, None], 0)[:, 0]
        y = tf.gather(labels, batch)[:, None, :, None]
        is_row = tf.cast(i * batch_size + tf.range(batch_size) < rows, tf.float32)[:, None]
        loss = _step_loss(x, y, is_row, weights, numbers, has_focal, drop)
        # These are gradients of the sum over the heads. Each head's loss depends on its own weights alone, so they
        # are each head's own gradients.
        gradients = tf.gradients(loss, weights)
        t = tf.cast(done + i + 1, tf.float32)
        after = [
            optimizers.updated(optimizer, weight, gradient, pair, rates[i], t, numbers)
            for weight, gradient, pair in zip(weights, gradients, slots, strict=True)
        ]
        return i + 1, [weight for weight, _ in after], [pair for _, pair in after], losses.write(i, loss)

    losses = tf.TensorArray(tf.float32, steps, element_shape=rates.shape[1:3])
    start = (0, weights, slots, losses)
    _, weights, slots, losses = tf.while_loop(
        lambda i, *_: i * batch_size < rows, step, start, maximum_iterations=steps
    )
    return weights, slots, losses.stack(), predicted(validation, weights)


def _step_loss(
    x: tf.Tensor,
    labels: tf.Tensor,
    is_row: tf.Tensor,
    weights: Weights,
    numbers: Hyperparameters,
    has_focal: bool,
    drop: Dropout,
) -> tf.Tensor:
    """The loss of every head on the rows of a step, with L2: float32 [stream, member].

    Args:
        x: the input of the first layer after its dropout, float32 [stream, batch_size, width].
        labels: float32 [stream, 1, batch_size, 1].
        is_row: 1 for a row, 0 for a free place of the last step: float32 [batch_size, 1].
    """
    # einsum in this order is faster than in that of `predicted`, by up to a fifth of the step
    first = tf.linalg.matrix_transpose(tf.einsum("smoi,sri->smor", weights[0], x))
    losses_by_row = row_losses(_logits(first, weights, drop), labels, numbers, has_focal)
    loss = tf.reduce_sum(losses_by_row * is_row, (2, 3)) / tf.reduce_sum(is_row)
    squares = tf.add_n([tf.reduce_sum(tf.square(kernel), (2, 3)) for kernel in weights[::2]])
    return loss + numbers.l2[..., 0, 0] * squares


def predicted(features: tf.Tensor, weights: Weights) -> tf.Tensor:
    """The logits of every head, float32 [stream, member, n], from features float32 [n, width]."""
    return _logits(tf.einsum("ri,smoi->smro", features, weights[0]), weights, lambda x, _: x)[..., 0]


def _logits(first: tf.Tensor, weights: Weights, drop: Dropout) -> tf.Tensor:
    """The logits, [stream, member, rows, 1], from the first layer's output without its bias, `first`,
    [stream, member, rows, out]."""
    x = first + weights[1]
    for n in range(2, len(weights), 2):
        x = tf.matmul(drop(tf.nn.relu(x), n // 2), weights[n], transpose_b=True) + weights[n + 1]
    return x
