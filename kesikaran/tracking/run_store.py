"""The store of runs: its address, its experiments, and reading it so that every failure is one line.

Nothing here prints or raises the store's address with its password.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kesikaran.core import errors, files, paths, terminal
from kesikaran.core.errors import InputError


@terminal.sheltered()
def open_experiment(name: str) -> str:
    """The id of the experiment `name` in the store, both made where missing.

    Raises:
        InputError: the store is not writable, or the experiment's artifacts are out of reach.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it logs is raised as well
    uri, database = _address()
    if database is None:
        return _experiment_id(uri, name, None)
    home = database.parent
    artifacts = files.writable(home / "mlruns", "store of runs", "run from another folder or set MLFLOW_TRACKING_URI")
    files.writable(home, "store of runs", "run from another folder or set MLFLOW_TRACKING_URI")
    # Four processes that open a fresh SQLite store at once: three fail in the migration.
    with filelock.FileLock(artifacts / ".store.lock"):
        return _experiment_id(uri, name, artifacts)


def _experiment_id(uri: str, name: str, artifacts: Path | None) -> str:
    try:
        _use(uri)
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            location = None if artifacts is None else (artifacts / name).as_uri()
            return mlflow.create_experiment(name, artifact_location=location)
    except (MlflowException, SQLAlchemyError) as error:
        raise _refusal(f"the store {uri} cannot be opened: {str(error).splitlines()[0]}") from None
    if found.lifecycle_stage == "deleted":
        raise _refusal(
            f"experiment {name!r} is deleted in {uri}: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or give another data.name="
        )
    if artifacts is not None and found.artifact_location.startswith("mlflow-artifacts:"):
        raise _refusal(
            f"experiment {name!r} was made through a server or the UI, so its artifacts ({found.artifact_location}) "
            "go through that server: set MLFLOW_TRACKING_URI to it, or give another data.name="
        )
    return found.experiment_id


# Read once: mlflow.set_tracking_uri writes the variable too.
_uri_given = os.environ.get("MLFLOW_TRACKING_URI")


def _address() -> tuple[str, Path | None]:
    """(the store's address with its password, the store's file where it is a file)."""
    if _uri_given and not _uri_given.startswith("sqlite:"):
        return _uri_given, None
    database = Path(_uri_given.removeprefix("sqlite:///")) if _uri_given else paths.home() / "mlflow.db"
    return _uri_given or f"sqlite:///{database}", database.absolute()


def _use(uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    if errors.without_password(uri) != uri:
        # At the end of each run MLflow prints the address of the run's page, password included.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def _refusal(message: str) -> InputError:
    return InputError(errors.without_password(message))


def shown_address() -> str:
    """The store's address for a message: without a password."""
    return errors.without_password(_address()[0])


def look_at(run_id: str) -> str:
    """The command that shows the store, and the page of the run. A password stands in neither."""
    page = f"#/experiments/{mlflow.get_run(run_id).info.experiment_id}/runs/{run_id}"
    given = errors.without_password(_uri_given or "")
    if given.startswith("http"):
        return f"{given}/{page}"
    store = f" --backend-store-uri {given}" if given else ""
    there = "" if given or Path.cwd() == paths.home() else f"cd {paths.home()} && "
    return f"{there}mlflow ui{store}   (then http://127.0.0.1:5000/{page})"


@contextmanager
def reading(what: str) -> Iterator[mlflow.MlflowClient]:
    """MLflow's client of the store.

    Raises:
        InputError: there is no store yet, or the block fails to read it: one line about `what`.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri, database = _address()
    if database and not database.is_file():
        raise InputError(f"there is no store of runs at {database}; python -m kesikaran.train makes one")
    try:
        _use(uri)
        yield mlflow.MlflowClient()
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise _refusal(f"{what} cannot be read from {uri}: {errors.first_line(error)}") from None
