"""Fine-tuning on two devices gives the numbers of one. In a process of its own: TensorFlow cuts a CPU in two before it
starts, or not at all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, toy_backbone

pytestmark = pytest.mark.tensorflow

TWO = """
import dataclasses, json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
import numpy as np
import tensorflow as tf
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
from test_finetune import read, task_of, tuned, weights_of
from kesikaran.config.schema import AugmentConfig, AugmentName, FinetuneOptimizer, HeadConfig
from kesikaran.data import augment
from kesikaran.models.network import Network
from kesikaran.training import device, finetune, layer_decay
from kesikaran.training.losses import Loss
device.seed(0, True)
data, root = read(*map(Path, sys.argv[2:5])), Path(sys.argv[5])
both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

# AdamW divides a gradient by its own size: where one is nothing but rounding, so is the step, which is as large as any.
# By this much more in the divisor a step is as near as its gradient.
made_by = layer_decay.optimizer

def steady(config, trained):
    made = made_by(config, trained)
    made.epsilon = 1e-3
    return made

layer_decay.optimizer = steady

def changed(images, keys, epoch):
    images.set_shape([None, 32, 32, 3])
    return augment.augmented(images, keys, 0, epoch, AugmentConfig(AugmentName.standard), [0.0, 1.0])

def task(name, strategy, **given):
    made = task_of(data, root / name, augment=changed, **given)
    network = Network(data[0], HeadConfig(), strategy)
    network.start(made.start)
    return dataclasses.replace(made, network=network)

def distance(one, other):
    "Of two lists of arrays, the largest of any pair, as a share of the largest value."
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(one, other, strict=True))

def compared(name, **given):
    found = []
    for strategy in (None, both):
        made = task(f"{name}-{strategy is None}", strategy, **given)
        start = weights_of(made)
        done, history, weights = tuned(made)
        moved = [now - then for now, then in zip(weights[-1], start, strict=True) if (now != then).any()]
        found.append((done, [np.array(list(metrics.values())) for metrics in history], moved))
    (done, history, moved), (again, other, moves) = found
    told = {"same": done == again, "epochs": len(history)}
    return told | {"history": distance(history, other), "moved": distance(moved, moves)}

adamw = {"ema": 0.9, "clip_norm": 0.1, "dropout": 0.3, "average_best": 2, "weight_decay": 0.1, "train": np.arange(57)}
sgd = {"optimizer": FinetuneOptimizer.sgd, "lr": 0.1, "weight_decay": 0.1, "layer_decay": 0.5, "train": np.arange(49)}
focal = Loss(weight_of_0=2.0, focal_gamma=1.5, logit_offset=0.3)
told = {"adamw": compared("adamw", **adamw), "sgd": compared("sgd", loss=focal, **sgd)}

ends = []
for name, last in (("whole", 9), ("stopped", 2)):
    def on_epoch(epoch, metrics):
        if epoch > last:
            raise KeyboardInterrupt
    while True:
        made = task(name, both, epochs=4, on_epoch=on_epoch, **adamw)
        try:
            ends.append((finetune.tune(made), weights_of(made)))
            break
        except KeyboardInterrupt:
            last = 9
(whole, weights), (resumed, others) = ends
told["resumed"] = whole == resumed and all((a == b).all() for a, b in zip(weights, others, strict=True))

made.network.save_backbone(root / "saved")
images = np.random.default_rng(1).random((4, 32, 32, 3), np.float32)
saved = tf.saved_model.load(str(root / "saved"))(images, training=False)
told["saved"] = distance([made.network.features(images, training=False).numpy()], [saved.numpy()])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """(the sentences that were printed, what was found out)"""
    here, root = Path(__file__).parent, tmp_path_factory.mktemp("two")
    folder = toy_backbone(root / "backbone", norm=True)
    words = [f"{here}:{here.parent}", str(made.labels), str(made.images), str(folder), str(root)]
    done = subprocess.run([sys.executable, "-c", TWO, *words], capture_output=True, text=True, cwd=here.parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    *sentences, found = done.stdout.splitlines()
    return "\n".join(sentences), json.loads(found)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_two_devices_give_the_numbers_of_one(optimizer: str, told: tuple[str, dict[str, Any]]) -> None:
    """With augmentation, dropout, clipping and decay. The last batch is odd; under sgd it is one image, so that a
    device has none of its own."""
    _, found = told
    assert found[optimizer]["same"], "as tune tells it"
    assert found[optimizer]["epochs"] == 3
    assert found[optimizer]["history"] < 1e-5
    assert found[optimizer]["moved"] < 1e-4


def test_a_run_on_two_devices_says_so(told: tuple[str, dict[str, Any]]) -> None:
    sentences, _ = told
    assert "weights, on 57 images; the head starts from the probe." in sentences
    assert "weights, on 57 images on 2 devices; the head starts from the probe." in sentences


def test_a_run_on_two_devices_goes_on_where_it_was_stopped(told: tuple[str, dict[str, Any]]) -> None:
    sentences, found = told
    assert "Going on after epoch 2 of 4, where a run was stopped." in sentences
    assert found["resumed"], "to the same bits"


def test_a_backbone_that_two_devices_have_trained_is_saved(told: tuple[str, dict[str, Any]]) -> None:
    _, found = told
    assert found["saved"] < 1e-6
