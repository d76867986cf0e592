"""The device and the random state are set for the whole process, so each case has a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

pytestmark = pytest.mark.tensorflow


FORKS = """
import json, os, sys
import tensorflow as tf
from kesikaran.config.schema import Device
from kesikaran.training import device
for line in sys.stdin:
    if not os.fork():
        try:
            exec(json.loads(line))
        except Exception as error:
            print(error)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("end", flush=True)
"""


@pytest.fixture(scope="module")
def answer() -> Iterator[Callable[[str], str]]:
    """What code prints, or its error, in a fork of a process that has imported TensorFlow and not started it."""
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin
        assert process.stdout
        questions, answers = process.stdin, process.stdout

        def ask(code: str) -> str:
            print(json.dumps(code), file=questions, flush=True)
            said: list[str] = []
            while (line := answers.readline()) != "end\n":
                assert line, "the process has ended"
                said.append(line)
            return "".join(said).strip()

        yield ask
        questions.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_forbids_tensorflow_its_races(wanted: bool, answer: Callable[[str], str]) -> None:
    # Small heads come out bit-identical without it too, so the switch itself is looked at.
    ask = "from tensorflow.python.framework import config\nprint(config.is_op_determinism_enabled())"
    assert answer(f"device.seed(0, {wanted})\n{ask}") == str(wanted)


def test_the_cpu_hides_every_gpu(answer: Callable[[str], str]) -> None:
    assert answer("print(device.choose(Device.cpu), tf.config.get_visible_devices('GPU'))") == "cpu []"


def test_a_sweep_cannot_change_its_device(answer: Callable[[str], str]) -> None:
    """Made to look as on a machine with a GPU: TensorFlow refuses the change once it has started."""
    code = """
device.choose(Device.auto)
def started(*_): raise RuntimeError("already initialized")
tf.config.set_visible_devices = started
device.choose(Device.cpu)"""
    assert answer(code).endswith("the jobs of one sweep share a process and so a device: give one device= for all")


def test_a_gpu_is_named_and_takes_memory_as_it_needs_it(answer: Callable[[str], str]) -> None:
    """As far as a machine without a GPU can show it: what is asked of TensorFlow for one that it reports."""
    code = """
asked = []
tf.config.list_physical_devices = tf.config.get_visible_devices = lambda kind: ["GPU:0"]
tf.config.set_visible_devices = lambda devices, kind: None
tf.config.experimental.set_memory_growth = lambda gpu, on: asked.append((gpu, on))
tf.config.experimental.get_device_details = lambda gpu: {"device_name": "made-up"}
print(device.choose(Device.gpu), asked)"""
    assert answer(code) == "made-up [('GPU:0', True)]"


def test_several_visible_gpus_train_together(answer: Callable[[str], str]) -> None:
    """Of halves of a CPU that are taken for GPUs. One alone, or none, has no strategy."""
    code = """
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
cpus = tf.config.list_logical_devices("CPU")
for count in range(3):
    tf.config.list_logical_devices = lambda kind: {"GPU": cpus[:count]}[kind]
    device.strategy.cache_clear()
    found = device.strategy()
    print(found and found.extended.worker_devices)
print(device.strategy() is found)"""
    devices = tuple(f"/job:localhost/replica:0/task:0/device:CPU:{number}" for number in range(2))
    assert answer(code).splitlines() == ["None", "None", str(devices), "True"]
