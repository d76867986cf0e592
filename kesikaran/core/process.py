"""How every process starts: without noise on the terminal, and so that a signal stops it in order."""

import getpass
import logging
import os
import sys
import warnings

from kesikaran.core import streams, terminal


def start() -> None:
    """Call it before TensorFlow or MLflow is imported. A second call changes nothing: no signal is forgotten."""
    streams.install()
    name_the_user()
    quiet()
    terminal.stop_on_signals()


def quiet() -> None:
    """Settings of other libraries: TensorFlow and MLflow print less, where the user has not set otherwise, and Hydra
    raises its errors instead of printing them: `cli.train` prints them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would send usage data
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run; the last line has a link
    # A server that is away is asked again after 0, 2, 4, ... 64 and 120 s: for four minutes, as by MLflow's own values,
    # which ask half as often.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "8")
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it would tell of each attempt
    # Workers that are killed at a stop leave semaphores; the process that removes them would tell of it.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for message in (".*pkg_resources is deprecated.*", "Hint: Inferred schema", ".*dataset source can be interpreted"):
        warnings.filterwarnings("ignore", message=message)


def name_the_user() -> None:
    """Give a user id that the system does not know, as in containers, a home and a name: `/`, as Docker does, and the
    number. Without them MLflow cannot be imported and cannot tell whose a run is. Nothing is written to `/`: the cache
    then needs KESIKARAN_CACHE, and says so."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = "/"
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def refuse_legacy_keras() -> None:
    """End the process where the variable is set. For training, the one command that saves a model."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        sys.exit(
            "error: TF_USE_LEGACY_KERAS is set: MLflow would then save a model that does not load again. "
            "Unset it for this command: env -u TF_USE_LEGACY_KERAS ..."
        )


def elsewhere(command: str) -> None:
    """For `python -m` of a module that is no command: print the command to type, and end with 2."""
    print(f"This module is no command; type:  {command} --help", file=sys.stderr)
    sys.exit(2)
