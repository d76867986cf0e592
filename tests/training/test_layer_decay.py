"""The optimizer's arithmetic: that of tf_keras, at each variable's own learning rate."""

from typing import Any

import numpy as np
import pytest

from kesikaran.config.schema import FinetuneConfig, FinetuneOptimizer, Trains

pytestmark = pytest.mark.tensorflow


def config(**given: Any) -> FinetuneConfig:
    return FinetuneConfig(**{"trains": Trains.all, "lr": 0.01, "weight_decay": 0.5, "layer_decay": 0.5, **given})


@pytest.mark.parametrize("name", FinetuneOptimizer)
def test_each_variable_is_updated_as_by_an_optimizer_of_its_own(name: FinetuneOptimizer) -> None:
    import tensorflow as tf
    import tf_keras

    from kesikaran.training import layer_decay

    random = np.random.default_rng(0)
    shapes, depths = [(3, 4), (4,), (4, 2), (2,)], [3, 3, 0, 0]
    start = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    variables = [tf.Variable(value) for value in start]
    ours = layer_decay.optimizer(config(optimizer=name, clip_norm=None), list(zip(variables, depths, strict=True)))
    alone = [tf.Variable(value) for value in start]
    kind = {"adamw": tf_keras.optimizers.AdamW, "sgd": tf_keras.optimizers.SGD}[name.name]
    more = {"momentum": 0.9} if name is FinetuneOptimizer.sgd else {}
    theirs = [
        kind(0.01 * 0.5**depth, weight_decay=0.5 if len(shape) > 1 else 0.0, jit_compile=False, **more)
        for shape, depth in zip(shapes, depths, strict=True)
    ]
    for _ in range(3):
        gradients = [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes]
        ours.apply_gradients(zip(gradients, variables, strict=True))
        for optimizer, gradient, variable in zip(theirs, gradients, alone, strict=True):
            optimizer.apply_gradients([(gradient, variable)])
    for one, other in zip(variables, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_norm_of_all_gradients_together_is_clipped() -> None:
    import tensorflow as tf

    from kesikaran.training import layer_decay

    variables = [tf.Variable([0.0, 0.0]), tf.Variable([0.0])]
    sgd = config(optimizer=FinetuneOptimizer.sgd, momentum=0.0, lr=1.0, clip_norm=1.0, weight_decay=0.0)
    made = layer_decay.optimizer(sgd, [(variable, 0) for variable in variables])
    made.apply_gradients([(tf.constant([3.0, 0.0]), variables[0]), (tf.constant([4.0]), variables[1])])
    np.testing.assert_allclose(np.concatenate(variables), [-0.6, 0.0, -0.8], rtol=1e-6)


def test_the_learning_rate_rises_and_falls() -> None:
    from kesikaran.training.layer_decay import learning_rate

    rates = [learning_rate(config(lr=2.0, warmup=0.1), step, 100) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 5)
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[99] < 0.001
    assert learning_rate(config(lr=2.0, warmup=0.0), 0, 1) == 2.0
    assert learning_rate(config(lr=2.0, warmup=0.99), 0, 1) == 2.0
