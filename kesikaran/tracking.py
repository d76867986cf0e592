"""Writing runs: a run is a `with` block; nothing it does leaves a run RUNNING. `records` reads them."""

import json
import logging
import math
import os
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import filelock
import mlflow
import numpy as np
import pandas as pd
from mlflow import entities
from mlflow.data import pandas_dataset
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types.schema import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from kesikaran import __version__, paths, records, terminal
from kesikaran.errors import InputError

SAVED_MODEL = "tf2model"  # where mlflow.tensorflow puts it within a model's folder
SWEEP_ENV = "KESIKARAN_SWEEP_ID"  # environment variables reach the jobs under every launcher

_PAUSE_SECONDS = 1.0  # between two writes of metrics
_BATCH_METRICS = 1000  # MLflow's limit for one call


class Run:
    """An open run. All is written at once, so that a killed run keeps what it had; metrics at most once a second, since
    a write takes longer than many an epoch: the last wait for the next ones, for the model or for the end."""

    def __init__(self, run_id: str, experiment_id: str):
        self.run_id, self.experiment_id = run_id, experiment_id
        self._client = mlflow.MlflowClient()  # not MLflow's one active run: several may be open at once
        self._unwritten: list[Metric] = []
        self._final: list[Metric] = []
        self._written_seconds = -math.inf

    @terminal.sheltered()
    def tags(self, tags: dict[str, str]) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def epoch(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch."""
        self._note(step, metrics)

    def metrics(self, metrics: dict[str, float]) -> None:
        """Metrics of the run as a whole, and of its model."""
        self._final += self._note(0, metrics)

    def _note(self, step: int, metrics: dict[str, float]) -> list[Metric]:
        now_ms = time.time_ns() // 1_000_000
        noted = [Metric(name, value, now_ms, step) for name, value in metrics.items()]
        self._unwritten += noted
        if time.monotonic() - self._written_seconds >= _PAUSE_SECONDS:
            self.flush()
        return noted

    @terminal.sheltered()
    def flush(self) -> None:
        """Write the metrics that are waiting."""
        metrics, self._unwritten = self._unwritten, []
        for start in range(0, len(metrics), _BATCH_METRICS):
            self._client.log_batch(self.run_id, metrics[start : start + _BATCH_METRICS])
        self._written_seconds = time.monotonic()

    @terminal.sheltered()
    def dataset(self, rows: pd.DataFrame, name: str, source: Path, digest: str, context: str) -> None:
        """Log `rows` (column `label`) as an input of the run. digest: at most 36 characters that name them."""
        data = pandas_dataset.from_pandas(rows, source=str(source), name=name, targets="label", digest=digest)
        entity = entities.Dataset(**data.to_dict())
        tag = entities.InputTag("mlflow.data.context", context)
        self._client.log_inputs(self.run_id, [entities.DatasetInput(entity, [tag])])

    @terminal.sheltered()
    def figure(self, figure: Any, name: str) -> None:
        self._client.log_figure(self.run_id, figure, name)

    @terminal.sheltered()
    def json(self, content: dict[str, Any], name: str) -> None:
        self._client.log_dict(self.run_id, content, name)

    @terminal.sheltered()
    def text(self, content: str, name: str) -> None:
        self._client.log_text(self.run_id, content, name)

    @terminal.sheltered()
    def parquet(self, table: pd.DataFrame, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            table.to_parquet(path, index=False)
            self._client.log_artifact(self.run_id, str(path))

    @terminal.sheltered()
    def model(self, template: Path, write: Callable[[Path], None]) -> None:
        """Log a model made of `template`, a folder of `save_model`; `write(folder)` writes its SavedModel."""
        self.flush()  # saving takes time, and a kill meanwhile must not take the numbers
        pattern = Model.load(template)

        def save(path: str, mlflow_model: Model) -> None:
            shutil.copytree(template, path, ignore=shutil.ignore_patterns(SAVED_MODEL))
            write(Path(path) / SAVED_MODEL)
            mlflow_model.flavors, mlflow_model.signature = pattern.flavors, pattern.signature
            mlflow_model.run_id = self.run_id
            files = [file for file in (Path(path) / SAVED_MODEL).rglob("*") if file.is_file()]
            mlflow_model.model_size_bytes = sum(file.stat().st_size for file in files)
            mlflow_model.save(str(Path(path) / "MLmodel"))

        # As mlflow.tensorflow.log_model does, but for the saving; and the model is made here, or without an active
        # run it would belong to another experiment. Its metrics are told here: told the run, MLflow would read the
        # history of each, a fifth of a second, and take the first epoch's for the model's.
        model = self._client.create_logged_model(
            self.experiment_id,
            "model",
            source_run_id=self.run_id,
            params=self._client.get_run(self.run_id).data.params,
        )
        flavor = SimpleNamespace(save_model=save)
        try:
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
            named = {"run_id": self.run_id, "model_id": model.model_id}
            metrics = [Metric(m.key, m.value, m.timestamp, m.step, **named) for m in self._final]
            self._client.log_batch(self.run_id, metrics)
            Model.log(artifact_path=None, name="model", flavor=flavor, model_id=model.model_id)
        except BaseException:
            # Half a model is of no use, and on a full disk there would be no room to say that the run has failed.
            location = urlsplit(model.artifact_location)
            if location.scheme == "file":
                shutil.rmtree(url2pathname(location.path), ignore_errors=True)
            raise


def save_model(classifier: Any, folder: Path) -> None:
    """Write a `model.Classifier` as an MLflow model: encoded images in, probability of label 1 out.

    `folder` is made; the SavedModel is its `SAVED_MODEL`.
    """
    import tensorflow as tf

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("O"), (-1,))]),  # bytes: other dtypes refuse an object array
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1,))]),
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    # Requirements given, not inferred: MLflow would start a second process to find them.
    mlflow.tensorflow.save_model(
        classifier,
        str(folder),
        signature=signature,
        pip_requirements=[f"tensorflow=={tf.__version__}"],
        saved_model_kwargs={"signatures": classifier.signatures(), "options": options},
    )


@contextmanager
def run(
    experiment: str, name: str | None, params: dict[str, str], overrides: dict[str, str] | None = None
) -> Iterator[Run]:
    """Open a run, log its params, close it whatever happens.

    FINISHED; FAILED with the traceback as `traceback.txt` when something was raised; KILLED on Ctrl-C
    and SIGTERM. A sweep's run is a child: its parent's id is in `$KESIKARAN_SWEEP_ID`, and `overrides` are what it
    has of what the sweep varies.
    """
    experiment_id = open_experiment(experiment)
    sweep_id = open_sweep_id()
    lineage = {"mlflow.parentRunId": sweep_id, records.SWEEP_TAG: sweep_id} if sweep_id else {}
    lineage |= {records.OVERRIDES_TAG: json.dumps(overrides)} if overrides else {}
    client = mlflow.MlflowClient()
    opened = None
    try:
        with terminal.sheltered():
            tags = {**resolve_tags(), **_origin(), **lineage}
            opened = Run(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id, experiment_id)
            client.log_batch(opened.run_id, params=[Param(key, value) for key, value in params.items()])
        yield opened
        opened.flush()
        terminal.stop_if_asked()
    except BaseException as error:
        # What was raised may be what TensorFlow made of a signal to stop.
        killed = terminal.stop_asked() or isinstance(error, KeyboardInterrupt | SystemExit)
        if opened:
            with terminal.sheltered():
                try:
                    opened.flush()
                    if not killed:
                        opened.text(traceback.format_exc(), "traceback.txt")
                finally:
                    client.set_terminated(opened.run_id, "KILLED" if killed else "FAILED")
        terminal.stop_if_asked()
        raise
    with terminal.sheltered():
        client.set_terminated(opened.run_id, "FINISHED")


@terminal.sheltered()
def open_experiment(name: str) -> str:
    """The id of the experiment `name` in the store, both made where missing.

    Raises:
        InputError: the store is not writable, or the experiment's artifacts are out of reach.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it raises what it logs
    uri, database = records.store()
    if database is None:
        return _experiment_id(uri, name, None)
    home = database.parent
    artifacts = paths.writable(home / "mlruns", "store of runs", "run from another folder or set MLFLOW_TRACKING_URI")
    paths.writable(home, "store of runs", "run from another folder or set MLFLOW_TRACKING_URI")
    # Four processes that open a fresh SQLite store at once: three fail in the migration.
    with filelock.FileLock(artifacts / ".store.lock"):
        return _experiment_id(uri, name, artifacts)


def _experiment_id(uri: str, name: str, artifacts: Path | None) -> str:
    try:
        mlflow.set_tracking_uri(uri)
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            location = None if artifacts is None else (artifacts / name).as_uri()
            return mlflow.create_experiment(name, artifact_location=location)
    except (MlflowException, SQLAlchemyError) as error:
        raise InputError(f"the store {uri} cannot be opened: {str(error).splitlines()[0]}") from None
    if found.lifecycle_stage == "deleted":
        raise InputError(
            f"experiment {name!r} is deleted in {uri}: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or give another data.name="
        )
    if artifacts is not None and found.artifact_location.startswith("mlflow-artifacts:"):
        raise InputError(
            f"experiment {name!r} was made through a server or the UI, so its artifacts ({found.artifact_location}) "
            "go through that server: set MLFLOW_TRACKING_URI to it, or give another data.name="
        )
    return found.experiment_id


@terminal.sheltered()
def open_sweep(experiment: str, name: str) -> str:
    """Make the parent run of a sweep and return its id. It is not the active run: its jobs are."""
    experiment_id = open_experiment(experiment)
    client = mlflow.MlflowClient()
    parent = client.create_run(experiment_id, tags={**resolve_tags(), **_origin()}, run_name=name)
    client.set_tag(parent.info.run_id, records.SWEEP_TAG, parent.info.run_id)
    return parent.info.run_id


def open_sweep_id() -> str | None:
    """The parent run that this process's jobs belong to; None outside a sweep."""
    return os.environ.get(SWEEP_ENV)


@contextmanager
def closing_sweep(sweep_id: str, status: str) -> Iterator[tuple[Run, pd.DataFrame]]:
    """The parent run once more, and its jobs (see `records.sweep_jobs`), for what is known at the end.

    It ends as `status`; as FAILED if something is raised, or where FINISHED is said and a job is not.
    """
    with terminal.sheltered():
        client = mlflow.MlflowClient()
        try:
            jobs = records.sweep_jobs(sweep_id)
            if status == "FINISHED" and (jobs["status"] != "FINISHED").any():
                status = "FAILED"
            yield Run(sweep_id, client.get_run(sweep_id).info.experiment_id), jobs
        except BaseException:
            status = "FAILED"
            raise
        finally:
            client.set_terminated(sweep_id, status)


def _origin() -> dict[str, str]:
    """The code that ran: version, commit, whether the tree was dirty."""
    commit, dirty = os.environ.get("KESIKARAN_GIT_COMMIT", "unknown"), "unknown"
    root = paths.checkout()
    if root and (root / ".git").exists():
        try:
            git = ["git", "-C", str(root)]
            commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
            status = subprocess.check_output([*git, "status", "--porcelain"], text=True, stderr=subprocess.DEVNULL)
            dirty = str(bool(status.strip())).lower()
        except (OSError, subprocess.CalledProcessError):
            pass  # no git, or no commit yet: unknown
    return {"kesikaran_version": __version__, "git_commit": commit, "git_dirty": dirty}
