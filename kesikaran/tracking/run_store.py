"""The store of runs: its address, its experiments, and reading it so that every failure is one line.

Nothing here prints or raises the store's address with its password.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kesikaran.core import errors, files, paths, terminal
from kesikaran.core.errors import InputError
from kesikaran.tracking import context, liveness, store_address, store_client, store_file

_LOCK = ".store.lock"
_TRAINING = "workflowType=machine_learning"  # MLflow's "Model training" view
FAILURES = (MlflowException, SQLAlchemyError, OSError, ImportError)  # of a store and of its registry
# What MLflow raises where a row of the store holds what MLflow never writes, such as a status that it does not know.
_OF_WRONG_ROWS = (ValueError, TypeError, LookupError, AttributeError)


_opened: dict[tuple[str, str], str] = {}  # (a sweep, the name of an experiment) -> its id


def open_experiment(name: str) -> str:
    """The id of the experiment `name` in the store, both made where missing. For the jobs of a sweep a process looks
    once.

    Raises:
        InputError: the store is not writable, or the experiment's artifacts are out of reach.
    """
    sweep_id = context.open_sweep_id()
    if sweep_id is None:
        return _open_experiment(name)
    if (sweep_id, name) not in _opened:
        _opened[sweep_id, name] = _open_experiment(name)
    return _opened[sweep_id, name]


@terminal.sheltered()
def _open_experiment(name: str) -> str:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it logs is raised as well
    uri, database = _address()
    if database is None:
        return _experiment_id(uri, name, None)
    home = database.parent
    remedy = "run from another folder or set MLFLOW_TRACKING_URI"
    artifacts = files.writable(home / store_file.ARTIFACTS, "store of runs", remedy)
    files.writable(home, "store of runs", remedy)
    # Four processes that open a fresh SQLite store at once: three fail in the migration.
    with filelock.FileLock(artifacts / _LOCK):
        if not os.path.lexists(database):
            _make(database)
        store_file.check(database, to_write=True)
        return _experiment_id(uri, name, database)


def _make(database: Path) -> None:
    """Make a store. It gets its name when it is whole, so that a start that is killed leaves no half made one."""
    half = database.with_name(f".{database.name}.new")
    for end in ("", "-journal"):  # a journal of an earlier half one is none of the new file
        half.with_name(half.name + end).unlink(missing_ok=True)
    try:
        mlflow.MlflowClient(store_file.address(half)).search_experiments()
        half.rename(database)
    except FAILURES as error:
        raise _refusal(f"the store {database} cannot be made: {_why(error)}") from None


def _experiment_id(uri: str, name: str, database: Path | None) -> str:
    try:
        _use(uri)
        liveness.close_dead()
        client = store_client.client()
        found = client.get_experiment_by_name(name)
        if found is None:
            location = None if database is None else (database.parent / store_file.ARTIFACTS / name).as_uri()
            try:
                return client.create_experiment(name, artifact_location=location)
            except MlflowException:
                found = client.get_experiment_by_name(name)  # made by another process since
                if found is None:
                    raise
    except InputError:
        raise
    except FAILURES as error:
        raise _refusal(f"the store {uri} cannot be opened: {_why(error)}") from None
    if database is not None and (old := store_file.left_behind(database, found.artifact_location or "")):
        raise store_file.moved(database, old)
    if found.lifecycle_stage == "deleted":
        raise _refusal(
            f"experiment {name!r} is deleted in {uri}: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or give another data.name="
        )
    if database is not None and found.artifact_location.startswith("mlflow-artifacts:"):
        raise _refusal(
            f"experiment {name!r} was made through a server or the UI, so its artifacts ({found.artifact_location}) "
            "go through that server: set MLFLOW_TRACKING_URI to it, or give another data.name="
        )
    return found.experiment_id


@contextmanager
def alone() -> Iterator[bool]:
    """A block in which no other process of ours opens a run, where the store is a file: then it gives True. A server
    or a database has no such lock, and gives False."""
    _, database = _address()
    if database is None:
        yield False
        return
    with filelock.FileLock(database.parent / store_file.ARTIFACTS / _LOCK):
        yield True


# Read once: mlflow.set_tracking_uri writes the variable too.
_uri_given = os.environ.get("MLFLOW_TRACKING_URI")


def _address() -> tuple[str, Path | None]:
    """(the store's address with its password, the store's file where it is a file)."""
    if _uri_given:
        return _uri_given, store_file.of(_uri_given)
    database = paths.home() / store_file.NAME
    return store_file.address(database), database


def file() -> Path | None:
    """The store's file; None where the store is a server or a database."""
    return _address()[1]


def database() -> Path:
    """The store's file.

    Raises:
        InputError: the store is a server or a database.
    """
    uri, found = _address()
    if found is None:
        raise _refusal(f"the store is {uri}, not a file: MLFLOW_TRACKING_URI=sqlite:////FOLDER/mlflow.db names one")
    return found


def _use(uri: str) -> None:
    """Make it MLflow's store.

    Raises:
        InputError: it does not answer.
    """
    if context.open_sweep_id() is None:  # a sweep has had its answer, and a server may be away for a while
        store_address.need_answer(uri)
    mlflow.set_tracking_uri(uri)
    if errors.without_password(uri) != uri:
        # At the end of each run MLflow prints the address of the run's page, password included.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def _why(error: Exception) -> str:
    """What failed, in one line. A library that is missing is named by its package, and a schema that MLflow here does
    not have by the way out."""
    if found := re.search(r"out-of-date database schema \(found version (\w+)", str(error)):
        if store_file.is_newer([found.group(1)]):
            return f"it {store_file.OF_NEWER}"
        return f"it was written by an older MLflow: make a backup of it, then: mlflow db upgrade {_address()[0]}"
    return store_address.missing(error) or errors.first_line(error)


def _refusal(message: str) -> InputError:
    return InputError(errors.without_password(message))


def shown_address() -> str:
    """The store's address for a message: without a password."""
    return errors.without_password(_address()[0])


def look_at(run_id: str, experiment_id: str) -> str:
    """The command that shows the store, and the page of the run. A password stands in neither."""
    return look_at_page(page_of_run(run_id, experiment_id))


def page_of_run(run_id: str, experiment_id: str) -> str:
    """The end of the address of a run's page. MLflow opens on pages for language models; these are the others."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_TRAINING}"


def page_of_view(experiment_id: str, key: str) -> str:
    """The end of the address of a view of an experiment, see `tracking.views`."""
    return f"#/experiments/{experiment_id}/runs?{_TRAINING}&viewStateShareKey={key}"


def look_at_page(page: str) -> str:
    """`look_at` of another page of the store."""
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
    if database and not database.exists():
        raise InputError(f"there is no store of runs at {database}; python -m kesikaran.train makes one")
    if database:
        store_file.check(database, to_write=False)
    try:
        # A server keeps its own transactions, and may take its time to answer.
        with terminal.sheltered() if database else contextlib.nullcontext():
            _use(uri)
            liveness.close_dead()
            yield store_client.client()
    except InputError:
        raise
    except (*FAILURES, *_OF_WRONG_ROWS) as error:
        raise _refusal(f"{what} cannot be read from {uri}: {_why(error)}") from None


def place_of_files(client: mlflow.MlflowClient, run_id: str) -> str:
    """The artifact location of a run.

    Raises:
        InputError: its files lie beside another store's file, from which this one was moved or copied. The files of a
            store of which a copy was made without them are read from where they are.
        MlflowException: no such run.
    """
    _, database = _address()
    location = store_file.artifacts_of(database, run_id) if database else None
    location = location or client.get_run(run_id).info.artifact_uri or ""
    need_not_moved(location)
    return location


def need_not_moved(location: str) -> None:
    """Raises InputError where an artifact location lies beside another store's file, as `place_of_files` does."""
    _, database = _address()
    old = store_file.left_behind(database, location) if database else None
    path = store_file.path_of(location)
    if database and old and path and ((database.parent / path.relative_to(old)).exists() or not path.exists()):
        raise store_file.moved(database, old)
