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

    It stands before the optimizer among the base classes. tf_keras would let all weights decay before the first update;
    here each decays just before its own, which is the same. So the learning rate is asked for in `update_step` alone,
    which on several devices is called for one variable of one device after the other: the devices' threads, which run
    the rest, would multiply it twice.
    """

    factors: dict[Any, float]
    _learning_rate: Any
    _var_key: Any  # of a variable; those of its copies on several devices are the same

    def update_step(self, gradient: tf.Tensor, variable: Any) -> None:
        with self._rate_of(variable):
            # Of the optimizer's base for one device: that for several would start from the devices' threads.
            super(tf_keras.optimizers.Optimizer, self)._apply_weight_decay([variable])  # type: ignore[misc]
            super().update_step(gradient, variable)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        pass

    @contextmanager
    def _rate_of(self, variable: Any) -> Iterator[None]:
        common = self._learning_rate
        self._learning_rate = common * self.factors[self._var_key(variable)]
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
    made.factors = {made._var_key(variable): config.layer_decay**depth for variable, depth in trained}
    variables = [variable for variable, _ in trained]
    made.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    made.build(variables)
    return made
