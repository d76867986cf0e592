"""Fine-tuning keeps what is best on validation, says when it cannot go on, and goes on where it was stopped."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Made, one_line, refused, toy_backbone

from kesikaran.config.schema import BackboneConfig, FinetuneConfig, FinetuneOptimizer, HeadConfig, Monitor, Trains
from kesikaran.core.errors import InputError
from kesikaran.training.losses import Loss

pytestmark = pytest.mark.tensorflow

CONFIG = FinetuneConfig(Trains.all, epochs=3, batch_size=16, lr=0.003, label_smoothing=0.0)
Tasks = Callable[..., Any]


@pytest.fixture(scope="module")
def data(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, np.ndarray]:
    """(a backbone with BatchNorm, 90 images, their labels)"""
    return read(made.labels, made.images, toy_backbone(tmp_path_factory.mktemp("normed") / "backbone", norm=True))


def read(labels: Path, images: Path, folder: Path) -> tuple[Any, Any, np.ndarray]:
    from kesikaran.data.pipeline import ImageRows
    from kesikaran.models import backbone

    rows = [line.split(",") for line in labels.read_text().splitlines()[1:91]]
    names = [name for name, _ in rows]
    config = BackboneConfig(str(folder), image_size=32)
    kept = ImageRows(names, [images / name for name in names], config, 50.0)
    kept.keep()
    return backbone.load(str(folder), 32), kept, np.array([int(label) for _, label in rows])


def task_of(data: tuple[Any, Any, np.ndarray], folder: Path, **given: Any) -> Any:
    from kesikaran.models.head import first_weights
    from kesikaran.models.network import Network
    from kesikaran.training.checkpoint import Checkpoint
    from kesikaran.training.task import TuningTask

    net, images, labels = data
    weights = first_weights(net.width, HeadConfig(), 0)
    network = Network(net, HeadConfig())
    network.start(weights)
    validation = np.arange(60, 90)
    pixels = np.concatenate([some for _, some in images.batches(validation, 30)])
    defaults = {
        "network": network, "config": CONFIG, "monitor": Monitor.loss, "loss": Loss(), "seed": 0, "images": images,
        "labels": labels, "train": np.arange(60), "validation": validation, "prior_shift": 0.0, "start": weights,
        "probe": weights, "probe_logits": network.predict(pixels), "on_epoch": lambda epoch, metrics: None,
        "checkpoint": Checkpoint(folder / "f" / "checkpoint.npz", "f"), "probe_epochs": 1,
    }  # fmt: skip
    changes = {key: value for key, value in given.items() if key not in defaults}
    config = dataclasses.replace(given.pop("config", CONFIG), **{k: v for k, v in changes.items() if k != "augment"})
    kept = {key: value for key, value in given.items() if key in defaults or key == "augment"}
    return TuningTask(**{**defaults, **kept, "config": config})


@pytest.fixture
def tasks(data: tuple[Any, Any, np.ndarray], tmp_path: Path) -> Tasks:
    """A task on the made images. Fields of the configuration go by their names too."""
    return lambda **given: task_of(data, tmp_path, **given)


def weights_of(task: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*task.network.layer.variables, *task.network.head.variables)]


def tuned(task: Any) -> tuple[Any, list[dict[str, float]], list[list[np.ndarray]]]:
    """(what `tune` returns, the metrics of each epoch, the weights by which each was judged)"""
    from kesikaran.training import finetune

    history: list[dict[str, float]] = []
    weights: list[list[np.ndarray]] = []

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        assert epoch == len(history) + 1
        history.append(metrics)
        weights.append(weights_of(task))

    return finetune.tune(dataclasses.replace(task, on_epoch=on_epoch)), history, weights


def test_it_learns_and_keeps_the_best_epoch(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of the last two epochs, at a rate beyond all measure, spoil what the first two have learned."""
    from kesikaran.metrics import binary
    from kesikaran.training import finetune, layer_decay

    task = tasks(epochs=4)
    monkeypatch.setattr(layer_decay, "learning_rate", lambda config, step, steps: 0.01 if step < 8 else 1.0)
    done, history, weights = tuned(task)
    losses = [metrics["validation/selection_loss"] for metrics in history]
    assert done.epochs == len(history) == 4
    assert done.epoch == 1 + int(np.argmin(losses)) <= 2
    assert history[1]["train/loss"] < history[0]["train/loss"]
    assert done.remarks == []
    for kept, judged in zip(weights_of(task), weights[done.epoch - 1], strict=True):
        np.testing.assert_array_equal(kept, judged)
    logits = finetune.predict(task, task.validation)
    assert binary.log_loss(task.labels[60:], logits) == min(losses)
    assert set(history[0]) == {
        "train/loss", "validation/loss", "validation/selection_loss", "validation/auc", "learning_rate"
    }  # fmt: skip


def test_frozen_statistics_stay_as_they_are(tasks: Tasks) -> None:
    for update in (False, True):
        task = tasks(update_statistics=update)
        before = [value.numpy() for value in task.network.statistics]
        _, _, weights = tuned(task)
        assert len(weights) == 3
        moved = [np.abs(now - then).max() > 0 for now, then in zip(task.network.statistics, before, strict=True)]
        assert moved == [update] * 4


def test_the_kept_weights_can_be_the_mean_of_the_best_epochs(tasks: Tasks) -> None:
    task = tasks(epochs=5, average_best=2)
    _, history, weights = tuned(task)
    first, second = np.argsort([metrics["validation/selection_loss"] for metrics in history])[:2]
    for kept, a, b in zip(weights_of(task), weights[first], weights[second], strict=True):
        np.testing.assert_allclose(kept, (a + b) / 2, rtol=1e-5, atol=1e-7)


def test_the_moving_average_is_what_is_judged(tasks: Tasks) -> None:
    """Of four steps of plain gradient descent, by hand."""
    from kesikaran.training import finetune

    plain: dict[str, Any] = {
        "optimizer": FinetuneOptimizer.sgd, "momentum": 0.0, "epochs": 1, "lr": 0.5, "dropout": 0.0, "warmup": 0.0,
        "weight_decay": 0.0,
    }  # fmt: skip
    steps: list[list[np.ndarray]] = []
    task = tasks(**plain, ema=0.5)
    tuner = finetune._Tuner(task)
    bar: Any = type("Bar", (), {"update": lambda self, n: steps.append([v.numpy() for v in tuner._trained])})()
    expected = [variable.numpy() for variable in tuner._trained]
    tuner._run_steps(1, bar)
    for step in steps:
        expected = [(then + now) / 2 for then, now in zip(expected, step, strict=True)]
    again = tasks(**plain, ema=0.5)
    _, _, weights = tuned(again)
    every = (*again.network.layer.variables, *again.network.head.variables)
    judged = {variable.ref(): value for variable, value in zip(every, weights[0], strict=True)}
    assert len(steps) == 4
    for (variable, _), wanted in zip(again.network.trained(again.config), expected, strict=True):
        found = judged[variable.ref()]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_probe_is_kept_where_no_epoch_is_better(tasks: Tasks) -> None:
    task = tasks()
    perfect = 20.0 * (2 * task.labels[60:] - 1).astype(np.float32)
    task = dataclasses.replace(task, probe_logits=perfect, probe=[weight + 1 for weight in task.start])
    file = [value.numpy() for value in task.network.layer.variables]
    done, _, _ = tuned(task)
    assert (done.epoch, done.epochs) == (0, 3)
    (remark,) = done.remarks
    assert "the probe loss 0.000. The probe is kept." in remark
    for kept, wanted in zip(weights_of(task), [*file, *task.probe], strict=True):
        np.testing.assert_array_equal(kept, wanted)


def test_patience_stops_it(tasks: Tasks) -> None:
    task = tasks(epochs=9, patience=2)
    perfect = 20.0 * (2 * task.labels[60:] - 1).astype(np.float32)
    done, _, _ = tuned(dataclasses.replace(task, probe_logits=perfect))
    assert done.epochs == 2


def test_weights_that_average_to_worse_than_the_probe_are_told(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    from kesikaran.training import finetune

    task = tasks()
    predict = finetune.predict
    calls: list[int] = []

    def worse_at_last(of: Any, rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return predict(of, rows) + (0 if len(calls) <= 3 else 50)

    monkeypatch.setattr(finetune, "predict", worse_at_last)
    (remark,) = tuned(task)[0].remarks
    assert "the fine-tuned network is worse than the probe" in remark


def test_the_loss_is_that_of_the_treatment_of_imbalance(tasks: Tasks) -> None:
    from kesikaran.training import finetune

    loss = Loss(weight_of_0=3.0, weight_of_1=0.5, logit_offset=0.7)
    task = tasks(loss=loss, lr=1e-9, dropout=0.0, weight_decay=0.0, label_smoothing=0.2)
    _, history, _ = tuned(task)
    z = finetune.predict(task, task.train).astype(np.float64) + 0.7
    labels = task.labels[:60]
    target = 0.8 * labels + 0.1
    by_row = np.where(labels == 1, 0.5, 3.0) * (np.logaddexp(0, z) - target * z)
    assert history[0]["train/loss"] == pytest.approx(by_row.mean(), rel=1e-4)


def test_augmentation_is_applied_to_training_batches_alone(tasks: Tasks) -> None:
    import tensorflow as tf

    seen: list[tuple[list[int], int]] = []

    def noted(keys: Any, epoch: Any) -> Any:
        seen.append((keys.tolist(), int(epoch)))
        return np.float32(0)

    def black(images: Any, keys: Any, epoch: Any) -> Any:
        return images * tf.numpy_function(noted, [keys, epoch], tf.float32)

    task = tasks(augment=black, epochs=2, lr=1e-9, dropout=0.0)
    _, history, _ = tuned(task)
    assert sorted(key for keys, epoch in seen if epoch == 2 for key in keys) == sorted(task.images.keys[:60])
    assert {epoch for _, epoch in seen} == {1, 2}
    logit = float(task.network.predict(np.zeros((1, 32, 32, 3), np.float32))[0])
    expected = np.logaddexp(0, logit) - task.labels[:60].mean() * logit
    assert history[0]["train/loss"] == pytest.approx(expected, rel=1e-4)
    assert history[0]["validation/loss"] != pytest.approx(expected, rel=1e-2)


def test_a_loss_that_is_not_finite_is_one_line(tasks: Tasks) -> None:
    task = tasks(lr=1e30, clip_norm=None, warmup=0.0)
    with pytest.raises(
        InputError, match=r"the loss became (nan|inf) at epoch 1, step \d: try a lower finetune.lr"
    ) as e:
        tuned(task)
    assert one_line(str(e.value))
    assert not task.checkpoint.path.exists()


def test_too_little_memory_is_one_line_with_a_batch_size(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from kesikaran.training import finetune

    def full(*_: Any) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(finetune._Tuner, "_run_steps", full)
    refused(
        "a batch of 16 images does not fit into the memory of the device: try finetune.batch_size=8", tuned, tasks()
    )


STOPPED = """
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf
from test_finetune import read, task_of, weights_of
from kesikaran.training import device, finetune
device.seed(0, True)
data = read(*map(Path, sys.argv[2:5]))
found = []
for name, last in (("whole", 9), ("stopped", 2)):
    folder = Path(sys.argv[5]) / name
    given = {"epochs": 4, "update_statistics": True, "ema": 0.9, "average_best": 4}
    while True:
        history = []
        def on_epoch(epoch, metrics):
            if epoch > last:
                raise KeyboardInterrupt
            history.append((epoch, metrics))
        try:
            task = task_of(data, folder, on_epoch=on_epoch, **given)
            done = finetune.tune(task)
            break
        except KeyboardInterrupt:
            last = 9
    found.append((done, history, [value.tobytes() for value in weights_of(task)]))
assert found[0][1] == found[1][1], (found[0][1], found[1][1])
assert found[0] == found[1]
print(len(history), "epochs, equal")
"""


def test_a_stopped_run_goes_on_to_the_same_bits(made: Made, data: Any, tmp_path: Path) -> None:
    """In a process of its own: determinism stays on for the life of a process."""
    here = Path(__file__).parent
    words = [f"{here}:{here.parent}", str(made.labels), str(made.images), str(data[0].folder), str(tmp_path)]
    code = STOPPED.replace("sys.path.insert(0, sys.argv[1])", "sys.path[:0] = sys.argv[1].split(':')")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=here.parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Going on after epoch 2 of 4, where a run was stopped." in done.stdout
    assert "4 epochs, equal" in done.stdout


def test_epochs_go_on_by_the_numbers_they_had(data: Any, tmp_path: Path) -> None:
    """The probe is trained again, and may stop at another epoch."""
    from kesikaran.training import finetune

    steps: list[int] = []

    def stopped(step: int, _: dict[str, float]) -> None:
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(step)

    with pytest.raises(KeyboardInterrupt):
        finetune.tune(task_of(data, tmp_path, epochs=3, probe_epochs=58, on_epoch=stopped))
    assert steps == [58, 59]
    steps.clear()
    done = finetune.tune(
        task_of(data, tmp_path, epochs=3, probe_epochs=57, on_epoch=lambda step, _: steps.append(step))
    )
    assert steps == [58, 59, 60]
    assert (done.probe_epochs, done.epochs) == (58, 3)
