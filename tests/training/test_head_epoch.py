"""The compiled epoch against tf_keras's own `fit`, and heads trained together against heads trained alone."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from test_head_trainer import sample, task

from kesikaran.config.schema import HeadConfig, OptimizerConfig, OptimizerName, Schedule
from kesikaran.core.errors import InputError
from kesikaran.training.losses import Loss

pytestmark = pytest.mark.tensorflow

ADAM, ADAMW, SGD, RMSPROP = (OptimizerName[name] for name in ("adam", "adamw", "sgd", "rmsprop"))
COSINE = Schedule.cosine


def keras_optimizer(config: OptimizerConfig, steps: int) -> Any:
    from tf_keras import optimizers

    schedule = optimizers.schedules.CosineDecay(config.lr, steps) if config.schedule is COSINE else config.lr
    return {
        ADAM: lambda: optimizers.Adam(schedule),
        ADAMW: lambda: optimizers.AdamW(schedule, weight_decay=config.weight_decay),
        SGD: lambda: optimizers.SGD(schedule, momentum=config.momentum),
        RMSPROP: lambda: optimizers.RMSprop(schedule, momentum=config.momentum),
    }[config.name]()


def same_masks(layer: int, rate: float, keys: np.ndarray, batch_size: int) -> Any:
    """A Keras layer that drops what `head_epoch.dropped` drops. keys: uint32 [all steps, layers]."""
    import tensorflow as tf
    import tf_keras

    from kesikaran.training import head_epoch

    class Dropped(tf_keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.step = self.add_weight(shape=(), dtype=tf.int32, initializer="zeros", trainable=False)

        def call(self, x: Any, training: bool = False) -> Any:
            if not training:
                return x
            key = tf.constant(keys[:, layer])[self.step]
            self.step.assign_add(1)
            whole = tf.ensure_shape(tf.pad(x, [[0, batch_size - tf.shape(x)[0]], [0, 0]]), (batch_size, x.shape[1]))
            return head_epoch.dropped(whole[None, None], tf.constant([rate]), key[None])[0, 0, : tf.shape(x)[0]]

    return Dropped()


def keras_loss(task: Any) -> Any:
    import tf_keras

    words = {"from_logits": True, "label_smoothing": task.fit.label_smoothing, "reduction": "none"}
    if task.loss.focal_gamma:
        loss = tf_keras.losses.BinaryFocalCrossentropy(gamma=task.loss.focal_gamma, **words)
    else:
        loss = tf_keras.losses.BinaryCrossentropy(**words)
    return lambda labels, logits: loss(labels, logits + task.loss.logit_offset)


def fit(tasks: list[Any], train: Any, validation: Any) -> list[Any]:
    from kesikaran.training import head_trainer

    return head_trainer.fit(tasks, train, validation)


def keras_fit(task: Any, train: Any) -> tuple[list[np.ndarray], list[float]]:
    """The weights and the losses by epoch of plain tf_keras on the same rows in the same order."""
    import tf_keras

    from kesikaran.training import head_epoch

    size, epochs = task.fit.batch_size, task.fit.epochs
    from kesikaran.models.head import build_head

    head = build_head(train.features.shape[1], task.head, task.seed)
    layers = [layer for layer in head.layers if layer.weights]
    random = [head_epoch.draws(task.seed, epoch, len(train.labels), size, len(layers)) for epoch in range(epochs)]
    keys = np.concatenate([keys for _, keys in random])
    stack: list[Any] = [tf_keras.layers.InputLayer(train.features.shape[1:])]
    for position, layer in enumerate(layers):
        stack += [same_masks(position, task.head.dropout, keys, size)] if task.head.dropout else []
        stack.append(type(layer).from_config(layer.get_config()))
    model = tf_keras.Sequential(stack)
    dense = [layer for layer in model.layers if layer.trainable_weights]
    for ours, theirs in zip(layers, dense, strict=True):
        theirs.set_weights(ours.get_weights())
    model.compile(keras_optimizer(task.optimizer, len(keys)), keras_loss(task))
    weights = {0: task.loss.weight_of_0, 1: task.loss.weight_of_1}
    losses = []
    for order, _ in random:
        part = train.take(order.ravel()[: len(train.labels)])
        words: Any = {"batch_size": size, "shuffle": False, "class_weight": weights, "verbose": 0}
        losses += model.fit(part.features, part.labels.astype(np.float32)[:, None], **words).history["loss"]
    return [weight for layer in dense for weight in layer.get_weights()], losses


@pytest.mark.parametrize(
    ("optimizer", "head", "words"),
    [
        (OptimizerConfig(ADAM, 0.05), HeadConfig(), {}),
        (OptimizerConfig(ADAM, 0.05, COSINE), HeadConfig(l2=0.01), {"loss": Loss(2.0, 0.7)}),
        (OptimizerConfig(ADAMW, 0.05, COSINE, weight_decay=0.3), HeadConfig([5]), {"loss": Loss(2.0, 0.7)}),
        (OptimizerConfig(SGD, 0.1), HeadConfig(l2=0.01), {"label_smoothing": 0.2}),
        (OptimizerConfig(SGD, 0.05, COSINE, momentum=0.9), HeadConfig([5]), {"loss": Loss(2.0, 0.7)}),
        (OptimizerConfig(RMSPROP, 0.02), HeadConfig(dropout=0.3), {}),
        (OptimizerConfig(RMSPROP, 0.02, COSINE, momentum=0.9), HeadConfig([5]), {"label_smoothing": 0.2}),
        (
            OptimizerConfig(ADAM, 0.02),
            HeadConfig([5, 4], dropout=0.3, l2=0.01),
            {"loss": Loss(2.0, 0.7), "label_smoothing": 0.2},
        ),
        (OptimizerConfig(ADAM, 0.05), HeadConfig([5], dropout=0.3), {"loss": Loss(focal_gamma=2.0)}),
        (OptimizerConfig(SGD, 0.1), HeadConfig(l2=0.01), {"loss": Loss(2.0, 0.7, focal_gamma=0.5)}),
        (OptimizerConfig(ADAM, 0.05), HeadConfig([5]), {"loss": Loss(logit_offset=1.1), "label_smoothing": 0.2}),
    ],
)
def test_an_epoch_is_that_of_keras(optimizer: OptimizerConfig, head: HeadConfig, words: dict[str, Any]) -> None:
    """Every weight and every epoch's loss, after 4 epochs of 13 steps, the last of them of 16 rows."""

    one, history = task(head, optimizer, epochs=4, patience=None, seed=5, **words)
    weights, losses = keras_fit(one, sample(400, 1))
    (fitted,) = fit([one], sample(400, 1), sample(200, 2))
    assert [epoch["train/loss"] for epoch in history] == pytest.approx(losses, rel=1e-5)
    for ours, theirs in zip(fitted.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


GRID: list[dict[str, Any]] = [  # two seeds x two dropouts, three a stream, which do not stand side by side
    {"seed": seed, "dropout": dropout, "lr": lr, "l2": l2}
    for lr, l2 in ((0.05, 0.0), (0.01, 0.0), (0.05, 0.02))
    for seed, dropout in ((0, 0.0), (0, 0.4), (7, 0.0), (7, 0.4))
]
UNEVEN: list[dict[str, Any]] = [
    {"lr": 0.05, "loss": Loss(2.0, 0.7)},
    {"lr": 0.02, "label_smoothing": 0.2, "epochs": 5},
    {"lr": 0.05, "seed": 3, "patience": None, "epochs": 9, "schedule": COSINE},
]


LOSSES: list[dict[str, Any]] = [
    {"lr": 0.05},
    {"lr": 0.05, "loss": Loss(2.0, 0.7)},
    {"lr": 0.05, "loss": Loss(focal_gamma=2.0)},
    {"lr": 0.05, "loss": Loss(focal_gamma=0.5)},
    {"lr": 0.05, "loss": Loss(logit_offset=1.1)},
    {"lr": 0.05, "label_smoothing": 0.2},
]


JOBS = {repr(job): job for job in (*GRID, *UNEVEN, *LOSSES)}


def grid_task(job: dict[str, Any], units: list[int]) -> tuple[Any, list[dict[str, float]]]:
    job = {"epochs": 25, "patience": 2, **job}
    head = HeadConfig(units, job.pop("dropout", 0.0), job.pop("l2", 0.0))
    return task(head, OptimizerConfig(ADAM, job.pop("lr"), job.pop("schedule", Schedule.constant)), **job)


@cache
def trained_alone(job: str, hidden: bool) -> tuple[Any, Any, list[dict[str, float]]]:
    """(the weights, what fit says of it, the metrics of each epoch) of a job as JOBS names it, trained by itself."""

    one, history = grid_task(JOBS[job], [4] if hidden else [])
    (fitted,) = fit([one], sample(400, 1), sample(200, 2))
    return fitted.weights, fitted, history


@pytest.mark.parametrize("units", [[], [4]], ids=["linear", "hidden"])
@pytest.mark.parametrize("jobs", [GRID, UNEVEN, LOSSES], ids=["grid", "uneven", "losses"])
def test_heads_trained_together_are_heads_trained_alone(jobs: list[dict[str, Any]], units: list[int]) -> None:
    """Job by job: the best epoch, where it stopped, all metrics of all epochs, and the weights put back."""
    from kesikaran.training.task import FitResult

    train, validation = sample(400, 1), sample(200, 2)
    together = [grid_task(job, units) for job in jobs]
    outcomes = fit([one for one, _ in together], train, validation)
    assert len({outcome.epochs for outcome in outcomes if isinstance(outcome, FitResult)}) > 1
    for job, (_, history), outcome in zip(jobs, together, outcomes, strict=True):
        alone, fitted, expected = trained_alone(repr(job), bool(units))
        assert outcome == fitted, job
        for ours, theirs in zip(history, expected, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4), job
        for mine, its in zip(outcome.weights, alone, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cores", "parts"), [(1, 1), (2, 2), (3, 3), (64, 3)])
def test_parts_on_cores_are_one_program_and_change_nothing(
    cores: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 streams of 3, by streams and by members, not below 4 heads a part; the parts stop at different epochs."""
    from kesikaran.training import head_epoch, head_stack, head_trainer

    made: list[Any] = []
    whole = head_stack.Stack

    def noted(tasks: Any, part: Any, *rest: Any) -> Any:
        made.append(part)
        return whole(tasks, part, *rest)

    noted.run = whole.run  # type: ignore[attr-defined]
    monkeypatch.setattr(head_stack, "Stack", noted)
    monkeypatch.setattr(head_trainer, "_PART_HEADS", 4)
    monkeypatch.setattr(head_trainer.os, "cpu_count", lambda: cores)
    head_epoch.program.cache_clear()
    train, validation = sample(400, 1), sample(200, 2)
    jobs = sorted(GRID, key=lambda job: job["dropout"])  # of two parts one has dropout
    together = [grid_task(job, []) for job in jobs]
    outcomes = fit([one for one, _ in together], train, validation)
    assert len(made) == parts
    assert sorted(np.concatenate([part.flat for part in made])) == list(range(12))
    assert head_epoch.program(ADAM, 32, True, False).experimental_get_tracing_count() == 1
    assert head_epoch.program.cache_info().currsize == 1
    for job, (_, history), outcome in zip(jobs[::2], together[::2], outcomes[::2], strict=True):
        alone, fitted, expected = trained_alone(repr(job), False)
        assert outcome == fitted, job
        assert history[-1] == pytest.approx(expected[-1], rel=1e-4), job
        for mine, its in zip(outcome.weights, alone, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


def test_the_logit_offset_is_training_s_alone() -> None:
    """Adjusted training is plain training of shifted logits: started one offset lower, it goes the same way one offset
    lower. Validation sees the logits as they are."""
    from kesikaran.metrics import binary
    from kesikaran.training import head_trainer

    tasks = (task(loss=loss, epochs=5, patience=None) for loss in (None, Loss(logit_offset=1.1)))
    (plain, _), (adjusted, history) = tasks
    kernel, bias = plain.weights
    adjusted = replace(adjusted, weights=[kernel, bias - 1.1])
    train, validation = sample(400, 1), sample(200, 2)
    plainly, adjustedly = (fit([one], train, validation)[0].weights for one in (plain, adjusted))
    for mine, its, offset in zip(adjustedly, plainly, (0, 1.1), strict=True):
        np.testing.assert_allclose(mine, its - offset, atol=1e-5)
    logits = head_trainer.predict(adjustedly, validation.features)
    assert history[4]["validation/loss"] == pytest.approx(binary.log_loss(validation.labels, logits))


def test_a_head_that_fails_harms_no_other() -> None:
    from kesikaran.training.task import FitResult

    train, validation = sample(400, 1), sample(200, 2)
    tasks = [task(HeadConfig([4]), OptimizerConfig(SGD, lr), epochs=5) for lr in (0.1, 1e30, 0.05)]
    first, failed, last = fit([one for one, _ in tasks], train, validation)
    assert isinstance(failed, InputError)
    assert "at epoch 0, step" in str(failed)
    assert [len(history) for _, history in tasks] == [5, 0, 5]
    assert (first, last) == (FitResult(4, 5, []), FitResult(4, 5, []))
    alone, _ = task(HeadConfig([4]), OptimizerConfig(SGD, 0.05), epochs=5)
    (fitted,) = fit([alone], train, validation)
    np.testing.assert_allclose(last.weights[0], fitted.weights[0], rtol=1e-4)


def test_unlike_heads_are_refused() -> None:

    unlike = [task()[0], task(HeadConfig([3]))[0]]
    with pytest.raises(ValueError, match="heads trained together differ"):
        fit(unlike, sample(400, 1), sample(200, 2))


def test_a_later_job_compiles_nothing() -> None:
    from kesikaran.training import head_epoch

    head_epoch.program.cache_clear()
    for lr in (0.1, 0.2):
        fit([task(optimizer=OptimizerConfig(SGD, lr), epochs=3)[0]], sample(400, 1), sample(200, 2))
    assert head_epoch.program(SGD, 32, False, False).experimental_get_tracing_count() == 1


def test_draws_are_a_permutation_by_seed_and_epoch() -> None:
    from kesikaran.training import head_epoch

    order, keys = head_epoch.draws(3, 5, 100, 32, 2)
    assert (order.shape, keys.shape) == ((4, 32), (4, 2))
    assert sorted(order.ravel()[:100]) == list(range(100))
    assert not order.ravel()[100:].any()
    assert len(np.unique(keys)) == keys.size
    again, _ = head_epoch.draws(3, 5, 100, 32, 2)
    assert (order == again).all()
    for other in ((3, 6), (4, 5)):
        assert (head_epoch.draws(*other, 100, 32, 2)[0] != order).any()


def test_dropout_masks_look_like_coins() -> None:
    """Shares and correlations of 2 x 64 x 512 places, within five standard errors."""
    import tensorflow as tf

    from kesikaran.training import head_epoch

    ones = tf.ones((2, 1, 64, 512))
    masks = head_epoch.dropped(ones, tf.constant([0.25, 0.25]), tf.constant([1, 2], tf.uint32)).numpy()[:, 0]
    assert np.unique(masks) == pytest.approx([0, 1 / 0.75])
    kept = masks > 0
    assert kept.mean() == pytest.approx(0.75, abs=5 * np.sqrt(0.25 * 0.75 / kept.size))
    moved = {"key": kept[::-1], "row": np.roll(kept, 1, 1), "column": np.roll(kept, 1, 2)}
    for name, other in moved.items():
        correlation = np.corrcoef(kept.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(kept.size / 2), name
    # A higher rate drops these and more: heads of one seed see nested masks.
    more = head_epoch.dropped(ones, tf.constant([0.5, 0.5]), tf.constant([1, 2], tf.uint32)).numpy()[:, 0] > 0
    assert (kept | ~more).all()
    nothing = head_epoch.dropped(ones, tf.constant([0.0, 0.0]), tf.constant([1, 2], tf.uint32))
    assert (nothing.numpy() == 1).all()
