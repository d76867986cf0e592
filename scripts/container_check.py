"""The container's entry: see that a requested GPU is there, then become `python -m kesikaran.train`.

Without the check a GPU that did not reach the container shows only as hours of training on the CPU.
TensorFlow (seconds to import) is asked only where a GPU was requested.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ASK = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"


def gpu_request(arguments: Sequence[str]) -> str | None:
    """What asks for a GPU: a word of the command line, NVIDIA's variable or a device node; else None."""
    asked = {argument.lstrip("+") for argument in arguments}
    if "device=gpu" in asked:
        return "device=gpu"
    if "device=cpu" in asked:
        return None
    visible = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if visible not in ("", "void", "none"):
        return f"NVIDIA_VISIBLE_DEVICES={visible}"
    # Under CDI (podman --device nvidia.com/gpu=all) the variable is always "void"; the nodes tell.
    return next((str(node) for node in sorted(Path("/dev").glob("nvidia[0-9]*"))), None)


def main() -> None:
    request = gpu_request(sys.argv[1:])
    # In a process of its own: TensorFlow's start-up notices heed no log level and would bury the one line.
    if request and subprocess.run([sys.executable, "-c", ASK], stderr=subprocess.DEVNULL).returncode:
        sys.exit(
            f"kesikaran: a GPU is requested ({request}) and TensorFlow sees none: run with --gpus all, "
            "an image built with CUDA=1, and NVIDIA's driver and container toolkit on the host; "
            "or give device=cpu"
        )
    # exec, not a child: SIGTERM from `docker stop` reaches the training itself.
    os.execv(sys.executable, [sys.executable, "-m", "kesikaran.train", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
