"""tf_keras's optimizers with a learning rate for each variable, and the learning rate of each step."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras

from kesikaran.config.schema import FinetuneConfig, FinetuneOptimizer


def learning_rate(config: FinetuneConfig, step: int, steps: int) -> float:
    """The learning rate of a step, from 0, of so many: it rises evenly to `lr` in the share `warmup` of all steps, and
    falls from there to 0 by a cosine (Loshchilov and Hutter 2017)."""
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


class _ByVariable:
    """What makes of an optimizer one that multiplies the learning rate of each variable by a factor of its own.

    It stands before the optimizer among the base classes. tf_keras asks for the learning rate in `update_step` and in
    the weight decay, each for one variable, and nowhere else.
    """

    factors: dict[Any, float]
    _learning_rate: Any

    def update_step(self, gradient: tf.Tensor, variable: Any) -> None:
        with self._rate_of(variable):
            super().update_step(gradient, variable)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        for variable in variables:
            with self._rate_of(variable):
                super()._apply_weight_decay([variable])  # type: ignore[misc]

    @contextmanager
    def _rate_of(self, variable: Any) -> Iterator[None]:
        common = self._learning_rate
        self._learning_rate = common * self.factors[variable.ref()]
        try:
            yield
        finally:
            self._learning_rate = common


class _AdamW(_ByVariable, tf_keras.optimizers.AdamW):
    pass


class _SGD(_ByVariable, tf_keras.optimizers.SGD):
    pass


def optimizer(config: FinetuneConfig, trained: list[tuple[Any, int]]) -> Any:
    """The optimizer of the variables, built. Weights decay where they have two dimensions or more: biases and the
    scales and offsets of BatchNorm have one.

    Args:
        trained: variables, and of each its depth: `lr` is multiplied by `layer_decay` to this power.
    """
    common = {
        "learning_rate": config.lr,
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm,
        "use_ema": config.ema is not None,
        "ema_momentum": 0.0 if config.ema is None else config.ema,
        "jit_compile": False,  # XLA would compile the update of each shape
    }
    made = _AdamW(**common) if config.optimizer is FinetuneOptimizer.adamw else _SGD(momentum=config.momentum, **common)
    made.factors = {variable.ref(): config.layer_decay**depth for variable, depth in trained}
    variables = [variable for variable, _ in trained]
    made.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    made.build(variables)
    return made
