"""The loss of a row is what its formula says, at any logit."""

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_losses_of_any_logit_are_finite_and_so_are_their_gradients(gamma: float) -> None:
    """Against the formula in float64, compiled as training compiles it."""
    import tensorflow as tf

    from kesikaran.training import hyperparameters
    from kesikaran.training.losses import row_losses

    z = np.array([-1000.0, -80, -3, 0, 3, 80, 1000] * 2)
    y = np.repeat([0.0, 1], 7)
    plain = hyperparameters.Hyperparameters(*(tf.zeros((1, 1, 1, 1)) for _ in hyperparameters.Hyperparameters._fields))
    numbers = plain._replace(
        weight_of_0=plain.l2 + 1, weight_of_1=plain.l2 + 3, focal_gamma=plain.l2 + gamma, logit_offset=plain.l2 + 0.5
    )

    @tf.function(jit_compile=True)
    def both(logits: Any, labels: Any) -> Any:
        losses = row_losses(logits, labels, numbers, True)
        return losses, tf.gradients(losses, logits)[0]

    columns = (tf.constant(each[None, None, :, None], tf.float32) for each in (z, y))
    found, slopes = (each.numpy().ravel() for each in both(*columns))
    signed, weight = np.where(y == 1, 1, -1) * (z + 0.5), np.where(y == 1, 3, 1)
    log_p, log_rest = -np.logaddexp(0, -signed), -np.logaddexp(0, signed)
    np.testing.assert_allclose(found, weight * np.exp(gamma * log_rest) * -log_p, rtol=1e-5, atol=1e-30)
    slope = np.exp(gamma * log_rest) * (gamma * np.exp(log_p) * log_p - np.exp(log_rest))
    np.testing.assert_allclose(slopes, weight * np.where(y == 1, 1, -1) * slope, rtol=1e-5, atol=1e-30)
