"""A run whose fine-tuning is shared out to several devices, from the command line to the model. In a process of its
own, whose CPU is cut in two before TensorFlow starts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import Done, Made

from kesikaran.tracking import artifacts

pytestmark = pytest.mark.tensorflow
TUNED = ["finetune=probe_then_all", "finetune.epochs=3", "finetune.lr=0.01", "finetune.batch_size=16"]

# `python -c TWO WORDS`: training on a machine whose two GPUs are the halves of its CPU.
TWO = """
import tensorflow as tf
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
from kesikaran.cli.train import main
from kesikaran.training import device
both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
device.strategy = lambda: both
main()
"""


def test_a_run_on_two_devices_is_that_of_one(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    words = [*made.words, *TUNED]
    assert train(*words).code == 0
    command = [sys.executable, "-c", TWO, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    assert " images on 2 devices; the head starts from the probe." in done.stdout
    one, two = runs()
    best = [run.data.metrics["workings/best_epoch"] for run in (one, two)]
    assert best[1] == best[0] >= 5, "else the probe was kept"
    expected, found = (artifacts.predictions(run.info.run_id) for run in (one, two))
    np.testing.assert_allclose(found["logit"], expected["logit"], rtol=0, atol=1e-4)
    served = mlflow.pyfunc.load_model(f"runs:/{two.info.run_id}/model")
    encoded = [(made.images / name).read_bytes() for name in found["object_id"]]
    answer = served.predict(encoded)["probability"]
    assert answer.to_numpy() == pytest.approx(found["probability"].to_numpy(), abs=1e-5)
