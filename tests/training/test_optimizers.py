"""Learning rates by step. The update rules are tested against Keras in test_head_epoch.py."""

import numpy as np
import pytest

from kesikaran.config.schema import OptimizerConfig, OptimizerName, Schedule

pytestmark = pytest.mark.tensorflow


def test_a_constant_rate() -> None:
    from kesikaran.training import optimizers

    rates = optimizers.learning_rates(OptimizerConfig(OptimizerName.sgd, lr=0.1), epoch=3, epochs=4, steps=5)
    assert rates.dtype == np.float32
    assert rates.tolist() == [np.float32(0.1)] * 5


def test_cosine_falls_from_the_full_rate_to_nearly_none_over_all_epochs() -> None:
    from kesikaran.training import optimizers

    cosine = OptimizerConfig(OptimizerName.sgd, lr=0.1, schedule=Schedule.cosine)
    rates = np.concatenate([optimizers.learning_rates(cosine, epoch, 4, 13) for epoch in range(4)])
    assert rates == pytest.approx([0.1 * (1 + np.cos(np.pi * step / 52)) / 2 for step in range(52)], abs=1e-8)
    assert rates[[0, 26]] == pytest.approx([0.1, 0.05])
