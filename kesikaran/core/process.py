"""The start of every process: quiet, and with Ctrl-C and SIGTERM heeded."""

import logging
import os
import sys
import warnings

from kesikaran.core import terminal


def start() -> None:
    """Before anything heavy is imported. A second call changes nothing, and no stop that was asked for is forgotten."""
    quiet()
    terminal.stop_on_signals()


def quiet() -> None:
    """No wall of TensorFlow's start-up lines; a user's own setting wins. Hydra hands errors to `cli.train`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine unasked
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    for noise in (".*pkg_resources is deprecated.*", "Hint: Inferred schema", ".*dataset source can be interpreted"):
        warnings.filterwarnings("ignore", message=noise)


def refuse_legacy_keras() -> None:
    """For the one command that saves a model; it ends the process."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        sys.exit(
            "error: TF_USE_LEGACY_KERAS is set: MLflow would then save a model that does not load again. "
            "Unset it for this command: env -u TF_USE_LEGACY_KERAS ..."
        )


def elsewhere(command: str) -> None:
    """For `python -m` of a room that is no command: say what to type, and end with 2."""
    print(f"This module is no command; type:  {command} --help", file=sys.stderr)
    sys.exit(2)
