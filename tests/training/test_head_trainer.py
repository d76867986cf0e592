"""The head learns what it is told to, stops where validation says, and says when it cannot."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kesikaran.config.schema import FitConfig, HeadConfig, Monitor, OptimizerConfig, OptimizerName, Schedule
from kesikaran.core.errors import InputError
from kesikaran.training.losses import Loss

pytestmark = pytest.mark.tensorflow


def sample(count: int, seed: int, width: int = 6) -> Any:
    """Gaussian features whose first column tells the label, noisily; label 1 three times in four."""
    from kesikaran.training.task import FeatureRows

    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.75).astype(int)
    features = random.normal(size=(count, width))
    features[:, 0] += 1.5 * labels
    return FeatureRows(features.astype(np.float32), labels)


def task(
    head: HeadConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    **fit_words: Any,
) -> tuple[Any, list[dict[str, float]]]:
    """A task on `sample`, and the list that will hold the metrics of each epoch."""
    from kesikaran.models.head import first_weights
    from kesikaran.training.task import HeadTask

    head = head or HeadConfig()
    settings = FitConfig(**{"epochs": 30, **fit_words})
    optimizer = optimizer or OptimizerConfig(OptimizerName.adam, lr=0.05)
    history: list[dict[str, float]] = []
    weights = first_weights(6, head, seed)
    return HeadTask(weights, head, optimizer, settings, loss or Loss(), seed, lambda _, m: history.append(m)), history


def fit(*args: Any, **words: Any) -> tuple[Any, Any, list[dict[str, float]]]:
    """Train one `task`. Returns (the trained weights, or None, what fit says of itself, the metrics of each epoch)."""
    from kesikaran.training import head_trainer

    one, history = task(*args, **words)
    (fitted,) = head_trainer.fit([one], sample(400, 1), sample(200, 2))
    return getattr(fitted, "weights", None), fitted, history


def test_a_linear_head_is_logistic_regression() -> None:
    """Without L2, dropout and early stopping it must reach what scikit-learn's solver finds."""
    from kesikaran.training import head_trainer

    cosine = OptimizerConfig(OptimizerName.adam, lr=0.05, schedule=Schedule.cosine)
    weights, _, _ = fit(optimizer=cosine, epochs=150, patience=None)
    train, validation = sample(400, 1), sample(200, 2)
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(train.features, train.labels)
    logits = reference.decision_function(validation.features)
    np.testing.assert_allclose(head_trainer.predict(weights, validation.features), logits, atol=0.05)


@pytest.mark.parametrize(("monitor", "metric", "best"), [(Monitor.loss, "loss", min), (Monitor.auc, "auc", max)])
def test_the_best_epochs_weights_are_put_back(monitor: Monitor, metric: str, best: Any) -> None:
    from kesikaran.metrics import binary
    from kesikaran.training import head_trainer

    weights, fitted, history = fit(HeadConfig([64]), epochs=60, patience=4, monitor=monitor)
    values = [epoch[f"validation/{metric}"] for epoch in history]
    assert fitted.epochs == len(history) < 60, "it overfits, so it must stop"
    assert values[fitted.epoch] == best(values)
    assert fitted.epochs - 1 - fitted.epoch == 4
    validation = sample(200, 2)
    logits = head_trainer.predict(weights, validation.features)
    found = {"loss": binary.log_loss, "auc": binary.roc_auc}[metric](validation.labels, logits)
    assert found == pytest.approx(values[fitted.epoch])


def test_the_epoch_is_chosen_by_the_loss_of_shifted_logits_head_by_head() -> None:
    from kesikaran.metrics import binary
    from kesikaran.training import head_trainer
    from kesikaran.training.task import FitResult

    made = [task(HeadConfig([64]), epochs=40, patience=4) for _ in range(2)]
    shifts = (0.0, 2.5)
    tasks = [replace(one, prior_shift=shift) for (one, _), shift in zip(made, shifts, strict=True)]
    validation = sample(200, 2)
    fitted = head_trainer.fit(tasks, sample(400, 1), validation)
    for (_, history), shift, result in zip(made, shifts, fitted, strict=True):
        assert isinstance(result, FitResult)
        values = [epoch["validation/selection_loss"] for epoch in history]
        assert result.epoch == int(np.argmin(values))
        logits = head_trainer.predict(result.weights, validation.features)
        assert binary.log_loss(validation.labels, logits + shift) == pytest.approx(min(values))
        plain = history[result.epoch]["validation/loss"]
        assert binary.log_loss(validation.labels, logits) == pytest.approx(plain)
        assert (plain == min(values)) == (shift == 0)


def test_the_best_weights_come_back_when_the_epochs_run_out() -> None:
    _, fitted, history = fit(HeadConfig([64]), epochs=12, patience=11)
    values = [epoch["validation/loss"] for epoch in history]
    assert len(values) == 12
    assert fitted.epoch == int(np.argmin(values)) < 11


def test_without_patience_the_last_epoch_stays() -> None:
    _, fitted, history = fit(HeadConfig([64]), epochs=12, patience=None)
    assert (fitted.epoch, fitted.epochs, len(history)) == (11, 12, 12)


def test_a_batch_larger_than_the_data_is_all_of_them() -> None:
    _, _, whole = fit(epochs=2, batch_size=400)
    _, _, larger = fit(epochs=2, batch_size=2**40)
    assert larger == whole


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step() -> None:
    from kesikaran.training import optimizers

    cosine = OptimizerConfig(OptimizerName.sgd, lr=0.1, schedule=Schedule.cosine)
    _, _, history = fit(optimizer=cosine, epochs=4)
    expected = [optimizers.learning_rates(cosine, epoch, 4, 13)[-1] for epoch in range(4)]
    assert [epoch["learning_rate"] for epoch in history] == pytest.approx(expected)


def test_class_weights_move_the_rarer_class_forward() -> None:
    """Weights w0, w1 shift the ideal logit by log(w1 / w0)."""
    from kesikaran.training import head_trainer, imbalance

    of_class = imbalance.class_weights(sample(400, 1).labels)
    plain, _, _ = fit(epochs=60, patience=None)
    weighted, _, _ = fit(loss=Loss(of_class[0], of_class[1]), epochs=60, patience=None)
    features = sample(200, 2).features
    moved = np.mean(head_trainer.predict(weighted, features) - head_trainer.predict(plain, features))
    assert moved == pytest.approx(np.log(of_class[1] / of_class[0]), abs=0.25)


def test_l2_shrinks_and_dropout_regularizes() -> None:
    plain, _, _ = fit(epochs=60, patience=None)
    small, _, _ = fit(HeadConfig(l2=0.1), epochs=60, patience=None)
    assert np.linalg.norm(small[0]) < 0.7 * np.linalg.norm(plain[0])


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    _, failed, _ = fit(HeadConfig([8]), OptimizerConfig(OptimizerName.sgd, lr=1e30))
    assert isinstance(failed, InputError)
    assert re.match(r"the loss became (nan|inf) at epoch 0, step \d+: try a lower optimizer.lr", str(failed))


def test_predict_takes_any_number_of_rows() -> None:
    from kesikaran.models.head import first_weights
    from kesikaran.training import head_trainer

    weights = first_weights(3, HeadConfig(), 0)
    features = np.random.default_rng(0).normal(size=(10_000, 3)).astype(np.float32)
    logits = head_trainer.predict(weights, features)
    assert (logits.shape, logits.dtype) == ((10_000,), np.float32)
    kernel, bias = weights
    np.testing.assert_allclose(logits, features @ kernel[:, 0] + bias, atol=1e-5)


def test_predict_is_the_model_of_keras() -> None:
    """To the last bit, so that a run's predictions are those of the head that is exported."""
    from kesikaran.models.head import build_head
    from kesikaran.training import head_trainer

    head = build_head(6, HeadConfig([5, 4], dropout=0.3), 0)
    head.set_weights([weight + 0.1 for weight in head.get_weights()])  # with biases
    features = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    expected = head(features, training=False).numpy()[:, 0]
    np.testing.assert_array_equal(head_trainer.predict(head.get_weights(), features), expected)
