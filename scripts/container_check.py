"""The container's entry: see that a requested GPU is there, then become `python -m kesikaran.train`.

Without the check a GPU that did not reach the container shows only as hours of training on the CPU.
TensorFlow (seconds to import) is asked only where a GPU was requested.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Hydra's flags that print something and train nothing: they need no GPU.
SHOWS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
NO_GPU = 3  # not 1, which Python also exits with when TensorFlow cannot be imported
ASK = f"import sys, tensorflow as tf; sys.exit(0 if tf.config.list_physical_devices('GPU') else {NO_GPU})"


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
    only_shows = any(word.split("=")[0] in SHOWS for word in sys.argv[1:])
    request = None if only_shows else gpu_request(sys.argv[1:])
    # In a process of its own: TensorFlow's start-up notices heed no log level and would bury the one line.
    asked = subprocess.run([sys.executable, "-c", ASK], stderr=subprocess.PIPE, text=True) if request else None
    if asked and asked.returncode not in (0, NO_GPU):
        last = (asked.stderr.strip().splitlines() or [f"exit {asked.returncode}"])[-1]
        sys.exit(f"kesikaran: a GPU is requested ({request}) and TensorFlow does not start: {last}")
    if asked and asked.returncode == NO_GPU:
        sys.exit(
            f"kesikaran: a GPU is requested ({request}) and TensorFlow sees none: run with --gpus all, "
            "an image built with CUDA=1, and NVIDIA's driver and container toolkit on the host; "
            "or give device=cpu"
        )
    # exec, not a child: SIGTERM from `docker stop` reaches the training itself.
    os.execv(sys.executable, [sys.executable, "-m", "kesikaran.train", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
