"""Reading runs: found by id or name, their predictions, the jobs of a sweep. `tracking` writes them."""

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import entities
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kesikaran import paths
from kesikaran.errors import InputError, printable

SWEEP_TAG = "sweep_id"
OVERRIDES_TAG = "overrides"  # JSON: what a job has of what its sweep varies
PREDICTIONS = "predictions.parquet"
OOF_PREDICTIONS = "oof_predictions.parquet"  # of a cross-validation's parent run

_LISTED = 10  # runs of one name that an error lists

# Read once: mlflow.set_tracking_uri writes the variable too.
_uri_given = os.environ.get("MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class Record:
    """A run as the store has it. status: MLflow's word, FINISHED where it ended well. experiment: its name. metrics:
    the last value of each."""

    run_id: str
    name: str
    status: str
    experiment: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def is_sweep(self) -> bool:
        """Whether it is the parent run of a sweep, which has jobs and no model of its own."""
        return self.tags.get(SWEEP_TAG) == self.run_id


def store() -> tuple[str, Path | None]:
    """(the store's address, its file where it is one)."""
    if _uri_given and not _uri_given.startswith("sqlite:"):
        return _uri_given, None
    database = Path(_uri_given.removeprefix("sqlite:///")) if _uri_given else paths.home() / "mlflow.db"
    return _uri_given or f"sqlite:///{database}", database.absolute()


def look_at(run_id: str) -> str:
    """The command that shows the store, and the page of the run."""
    page = f"#/experiments/{mlflow.get_run(run_id).info.experiment_id}/runs/{run_id}"
    given = _uri_given
    if given and given.startswith("http"):
        return f"{given}/{page}"
    store = f" --backend-store-uri {given}" if given else ""
    there = "" if given or Path.cwd() == paths.home() else f"cd {paths.home()} && "
    return f"{there}mlflow ui{store}   (then http://127.0.0.1:5000/{page})"


def find(word: str) -> Record:
    """The run of this id, of this unique beginning of an id (6 hex digits or more), or of this name.

    Raises:
        InputError: there is no store, no such run or one that was deleted, several of that name or beginning.
    """
    with _reading(f"run {printable(word)}") as client:
        if re.fullmatch("[0-9a-f]{32}", word):
            return _get(client, word)
        # The search language has no escapes for quotes; _ stands for any character.
        like = _search(client, f"attributes.run_name LIKE '{word.replace(chr(39), '_')}'")
        found = [run for run in like if run.name == word]
        if not found and re.fullmatch("[0-9a-f]{6,31}", word):
            found = _search(client, f"attributes.run_id LIKE '{word}%'")
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"there is no run {printable(word)} in {store()[0]}; give the id or the name of one")
    listed = ", ".join(f"{run.run_id} ({run.status})" for run in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise InputError(f"{len(found)} runs are called {printable(word)}; give an id, the latest first: {listed}{more}")


def finished(word: str) -> Record:
    """`find`, of a run that ended well.

    Raises:
        InputError: as `find`; it is FAILED, KILLED or still RUNNING.
    """
    record = find(word)
    if record.status != "FINISHED":
        raise InputError(f"run {record.run_id} ({printable(record.name)}) is {record.status}, not FINISHED")
    return record


def predictions(run_id: str, file: str = PREDICTIONS) -> pd.DataFrame:
    """The images of a run and what it said of them, as `report.write` (or, of all folds, `crossval.pool`) left it.

    Returns:
        Columns object_id, label (0 or 1), logit (finite), probability, and what else the file has.

    Raises:
        InputError: no such run, it has no such file, or the file is damaged.
    """
    with _reading(f"{file} of run {run_id}") as client:
        if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
            record = _get(client, run_id)
            way_out = f"it is a sweep's parent, its jobs have: sweep:{run_id}" if record.is_sweep else "train again"
            if file == OOF_PREDICTIONS:
                way_out = "the parent run of a cross-validation has: python -m kesikaran.train experiment=cv makes one"
            raise InputError(f"run {run_id} ({printable(record.name)}) has no {file}; {way_out}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows = pd.read_parquet(client.download_artifacts(run_id, file, folder))
                sound = rows["label"].isin([0, 1]).all() and np.isfinite(rows["logit"]).all()
                if not sound or rows[["object_id", "probability"]].isna().any(axis=None) or rows.empty:
                    raise ValueError("a column holds what it cannot")
            except (ValueError, TypeError, KeyError, OSError) as error:  # pyarrow's are ValueErrors and OSErrors
                raise InputError(f"{file} of run {run_id} is damaged: {_one_line(error)}") from None
    return rows


def text(run_id: str, file: str) -> str:
    """A text file among a run's artifacts.

    Raises:
        InputError: no such run, it has no such file, or the file is no text.
    """
    with _reading(f"{file} of run {run_id}") as client:
        if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
            raise InputError(f"run {run_id} has no {file}; train again")
        with tempfile.TemporaryDirectory() as folder:
            try:
                return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{file} of run {run_id} is damaged: {_one_line(error)}") from None


def jobs(sweep_id: str) -> list[Record]:
    """The jobs of a sweep, in their order.

    Raises:
        InputError: there is no store, or it cannot be read.
    """
    with _reading(f"sweep {sweep_id}") as client:
        query = f"tags.{SWEEP_TAG} = '{sweep_id}' and tags.mlflow.parentRunId = '{sweep_id}'"
        return _search(client, query, "attributes.start_time ASC")


def settings(run: Record) -> dict[str, str]:
    """A run's params; a sweep's parent, which has none, stands for its jobs: the first one's, none where it is gone.

    Raises:
        InputError: as `jobs`.
    """
    if not run.is_sweep:
        return run.params
    return next((job.params for job in jobs(run.run_id)), {})


def sweep_jobs(sweep_id: str) -> pd.DataFrame:
    """The jobs of a sweep in their order: columns `run_id`, `status`, `split_fingerprint` and `gate` (None where a job
    has none), `overrides.*` (what the sweep varies), `params.*` and `metrics.*`."""
    rows = []
    for job in jobs(sweep_id):
        row: dict[str, Any] = {"run_id": job.run_id, "status": job.status}
        row |= {name: job.tags.get(name) for name in ("split_fingerprint", "gate")}
        row |= {f"overrides.{k}": value for k, value in json.loads(job.tags.get(OVERRIDES_TAG, "{}")).items()}
        row |= {f"params.{name}": value for name, value in job.params.items()}
        rows.append(row | {f"metrics.{name}": value for name, value in job.metrics.items()})
    return pd.DataFrame(rows, columns=None if rows else ["run_id", "status"])


def label_doubts(run_id: str | None) -> tuple[str, pd.DataFrame]:
    """(run id, `label_doubts.csv`) of a sweep; where none is named, of the latest finished one that has it.

    Returns:
        Of the table the columns object_id (str), label (int), probability and loss (float), in its order.

    Raises:
        InputError: there is no store yet, no such run, no such table, or it is not what `crossval.doubts` gives.
    """
    remedy = "python -m kesikaran.train experiment=cv makes one"
    columns = {"object_id": str, "label": int, "probability": float, "loss": float}
    with _reading(f"run {run_id}" if run_id else "the latest cross-validation") as client:
        pooled = "attributes.status = 'FINISHED' and metrics.`oof/n` > 0"
        order = "attributes.end_time DESC"
        for run in [_get(client, run_id)] if run_id else _search(client, pooled, order):
            found = run.run_id
            if any(file.path == "label_doubts.csv" for file in client.list_artifacts(found)):
                with tempfile.TemporaryDirectory() as folder:
                    path = client.download_artifacts(found, "label_doubts.csv", folder)
                    try:
                        return found, pd.read_csv(path, usecols=list(columns), dtype=columns, keep_default_na=False)
                    except ValueError as error:  # a parser's and a decoder's error are ValueErrors
                        raise InputError(f"label_doubts.csv of run {found} is damaged: {_one_line(error)}") from None
    which = f"run {run_id} has" if run_id else f"no finished run in {store()[0]} has"
    raise InputError(f"{which} no label_doubts.csv; the parent run of a cross-validation has: {remedy}")


@contextmanager
def _reading(what: str) -> Iterator[mlflow.MlflowClient]:
    """MLflow's client of the store; whatever goes wrong with it is said in one line about `what`."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri, database = store()
    if database and not database.is_file():
        raise InputError(f"there is no store of runs at {database}; python -m kesikaran.train makes one")
    try:
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient()
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(f"{what} cannot be read from {uri}: {_one_line(error)}") from None


def _get(client: mlflow.MlflowClient, run_id: str) -> Record:
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} is deleted; mlflow runs restore --run-id {run_id} brings it back")
    return _record(run, client.get_experiment(run.info.experiment_id).name)


def _search(client: mlflow.MlflowClient, query: str, order: str = "attributes.start_time DESC") -> list[Record]:
    """The runs of all experiments that a query finds; deleted ones are in none."""
    experiments = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    found: list[Record] = []
    token = None
    while True:
        page = client.search_runs(list(experiments), query, order_by=[order], page_token=token)
        found += [_record(run, experiments[run.info.experiment_id]) for run in page]
        token = page.token
        if not token:
            return found


def _record(run: entities.Run, experiment: str) -> Record:
    data = run.data
    return Record(run.info.run_id, run.info.run_name, run.info.status, experiment, data.params, data.tags, data.metrics)


def _one_line(error: Exception) -> str:
    """The first line of an error, without control characters, short."""
    return printable((str(error).splitlines() or [type(error).__name__])[0])[:300]
