"""The device and the random state of this process, set once a job before anything is computed.

Both are state of the process that outlives a job: the devices that TensorFlow can see, op determinism, and the global
random states of Python, NumPy and TensorFlow.
"""

from functools import cache

import tensorflow as tf
import tf_keras

from kesikaran.config.schema import Device
from kesikaran.core.errors import InputError


def choose(device: Device) -> str:
    """Make only the wanted devices visible to TensorFlow. Returns the name for the tags: `cpu`, or the first GPU's own,
    on which all is computed that `strategy` does not share out.

    Raises:
        InputError: `gpu` on a machine without one, or another device than an earlier job of this process used.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device is Device.gpu and not gpus:
        raise InputError(
            "device=gpu and TensorFlow sees no GPU: install tensorflow[and-cuda] and the driver, or device=auto"
        )
    try:
        tf.config.set_visible_devices([] if device is Device.cpu else gpus, "GPU")
        for gpu in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        raise InputError("the jobs of one sweep share a process and so a device: give one device= for all") from None
    if device is Device.cpu or not gpus:
        return "cpu"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu"))


@cache  # for the life of the process: what is loaded under one strategy belongs to it
def strategy() -> tf.distribute.Strategy | None:
    """That of all visible GPUs, by which they train one network together; None where there is one or none."""
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus]) if len(gpus) > 1 else None


def seed(value: int, deterministic: bool) -> None:
    """Seed Python, NumPy and TensorFlow. `deterministic` also turns on TensorFlow's op determinism, which has no off
    switch: it stays on for the later jobs of the process."""
    tf_keras.utils.set_random_seed(value)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
